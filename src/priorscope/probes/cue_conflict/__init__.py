"""Which cue decides where shape and texture disagree?

It depends on the data how that is asked. On ShapeTex a dial is turned, which is this module. On the published stimuli, and on
pictures made from the user's own classes, there is one setting: `stimuli` beside this module.

In ShapeTex every image carries one shape and one texture, and the training world never tells them apart. The dial of salience
runs from a loud shape (0) to a loud texture (1); at each setting the same scenes are shown with disagreeing cues, and each
decision is for the shape's class, for the texture's class, or for neither. The headline is the *shape share*: of the
decisions for either cue, how many are for the shape, averaged over the dial. One ratio at one setting would say as much about
the setting as about the network, so absolute shape and texture accuracy and coverage stand beside it at every setting.

A logistic curve, fitted by maximum likelihood, says where the share crosses one half: the *indifference point*. For a steep
curve the two are the same number. A flat one, of a network that goes by both cues however loud they are, has no such point, or
it lies anywhere; it is then called not identified, and the share still says what the network does. Where all decisions turn
between two settings, the point is known to lie between these two, however many images there are.

How fast each cue alone is learnt is read from runs of the same recipe in worlds where only that cue predicts the class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from priorscope.core.aspects import AspectName
from priorscope.core.config import Config, Number, Plain
from priorscope.core.contracts import Array, Metric, Result, Subject, read_stored
from priorscope.core.epoch import Epoch
from priorscope.core.errors import RequestError
from priorscope.core.metrics import answers_alone
from priorscope.core.rng import stream
from priorscope.core.seeds import by_recipe
from priorscope.core.stats import NO_DECISION, Interval, bracketed, share_from_resamples, wilson
from priorscope.data import SOURCES
from priorscope.data.sources.shapetex import ShapetexConfig
from priorscope.data.split import Split
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, run_of, the_source

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier
    from priorscope.recipe import Recipe

VERSION = 5

RESAMPLES = 1000
HALFWAY = 0.5
"""A cue counts as learnt once validation accuracy reaches this."""

Floats = NDArray[np.float64]
Made = Literal["quilting", "phase-swap", "histogram"]


class CueConflictConfig(ProbeConfig):
    """Where on the dial to look; on other data than ShapeTex, which pictures to show."""

    reads_runs = True

    name: str = "cue_conflict"
    salience: tuple[Annotated[Number, Field(ge=0, le=1)], ...] = Field(
        default=(0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0),
        description="places on ShapeTex's dial, from a loud shape (0) to a loud texture (1)",
    )
    stimuli: str | None = Field(
        default=None, description="published stimuli in place of the run's own data: cue_conflict, or a path"
    )
    categories: str | None = Field(
        default=None,
        description="a file that lists classes by category; not set: the one beside the stimuli, else that in the data folder",
    )
    humans: str | None = Field(default=None, description="the authors' raw decisions of people: a CSV file or a folder")
    made: Made | None = Field(
        default=None,
        description="how conflicts are made of other data: quilting, phase-swap or histogram; not set: quilting",
    )
    images: int | None = Field(default=None, ge=2, description="of how many pictures they are made; not set: 1,000")

    def reads(self) -> tuple[str | Plain | Path, ...]:
        stimuli = () if self.stimuli is None else (self.stimuli if self.stimuli in SOURCES else Path(self.stimuli),)
        return (*stimuli, *(Path(file) for file in (self.categories, self.humans) if file is not None))

    def companions(self, recipe: Recipe) -> dict[str, Recipe]:
        """The recipe in the worlds where one cue alone predicts the class, by cue: how fast is that cue learnt?"""
        world = recipe.data.source
        if not isinstance(world, ShapetexConfig) or world.cue != "both":
            return {}
        worlds = {cue: world.replace(cue=cue) for cue in ("shape", "texture")}
        return {cue: recipe.replace(data=recipe.data.replace(source=other)) for cue, other in worlds.items()}


class Learning(Config):
    """How fast one cue alone was learnt: images seen until validation accuracy reached one half; absent if it never did."""

    cue: str
    images: float | None = None
    final: float
    n: int


class CueConflict(Result):
    """Which cue decides, along the dial of salience."""

    probe: ClassVar[str] = "cue_conflict"
    question: ClassVar[str] = "Which cue decides where shape and texture disagree?"
    measure: ClassVar[str] = "shape share over the dial"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"
    seeds_needed: ClassVar[int] = 5
    aspect: ClassVar[AspectName | None] = "cue preference"
    leaning: ClassVar[tuple[str, str] | None] = ("leans more to shape", "leans more to texture")

    salience: tuple[float, ...]
    shape: Array
    texture: Array
    point: float | None = None
    """The indifference point; None if it is not identified."""
    point_interval: Interval | None = None
    slope: float
    learning: tuple[Learning, ...] = ()

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        share = f"{self.value:.0%}{bracketed(self.interval, '.0%')}"
        said = f"Of the decisions for either cue, {share} are for the shape, over the dial"
        if self.point is None or self.point_interval is None:
            return f"{said}."
        return f"{said}; indifferent at salience {self.point:.2f}{bracketed(self.point_interval, '.2f')}."

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"The same {self.n:,} scenes with disagreeing cues at {len(self.salience)} settings of the dial, equal "
            "parts of the dial weighing alike; percentile bootstrap over images, of one checkpoint."
        )

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        rows = [Metric.of(self.measure, self.value, self.interval, self.n, self.unit, split="conflict")]
        if self.point is not None:
            rows.append(Metric.of("indifference point", self.point, self.point_interval, self.n, "salience", split="conflict"))
        for level, shape, texture in zip(self.salience, self.shape, self.texture, strict=True):
            where = {"setting": f"salience {level:g}", "split": f"conflict@{level:g}"}
            rows += [
                Metric.of(name, count / n, wilson(count, n), n, "share of images", **where)
                for name, count, n in shares_of(int(shape), int(texture), self.n)
                if n
            ]
        for cue in self.learning:
            where = {"setting": f"{cue.cue} alone", "split": "val"}
            rows.append(Metric.of("accuracy with one cue", cue.final, None, cue.n, "share of images", **where))
            if cue.images is not None:
                rows.append(Metric.of("images until half right", cue.images, None, cue.n, "images", **where))
        return rows

    @classmethod
    def load(cls, path: Path | str) -> CueConflict:
        """Reads back what `save` wrote: decisions along the dial, or on stimuli."""
        if cls is CueConflict and "kind" in read_stored(Path(path)).get("result", {}):
            from priorscope.probes.cue_conflict.stimuli import StimuliConflict

            return StimuliConflict.load(path)
        return super().load(path)

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Any]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        still = [(subject, result) for subject, result in results if type(result) is not CueConflict]
        dialled = [(subject, result) for subject, result in results if type(result) is CueConflict]
        if still:
            return [*type(still[0][1]).draw(still), *(cls.draw(dialled) if dialled else [])]
        from priorscope.probes.cue_conflict import figures

        arms = by_recipe(results)
        drawn = [figures.draw_shares(arms), figures.draw_dial(arms)]
        return drawn + ([figures.draw_learning(arms)] if any(result.learning for _, result in results) else [])


@asks(CueConflictConfig)
def measure_cue_conflict(
    subject: Classifier | Evidence | TrainedRun,
    data: Source | Split,
    asked: CueConflictConfig,
    *,
    companions: Mapping[str, TrainedRun] | None = None,
) -> CueConflict:
    """Reads decisions: along ShapeTex's dial, on published stimuli, or on conflicts made of the data's own classes.

    `companions` are the runs that saw one cue only, by cue.
    """

    run, evidence = run_of(subject), evidence_of(subject)
    name = data.source if isinstance(data, Split) else data.name
    if asked.stimuli or name == "cue_conflict":
        from priorscope.probes.cue_conflict.stimuli import measure_stimuli

        shown = measure_stimuli(evidence, data, run, asked)
        return _with_idle(shown, "Stimuli are shown as they are", asked, "made", "images", "salience")
    if name != "shapetex":
        from priorscope.probes.cue_conflict.stimuli import measure_made

        made = measure_made(evidence, data, asked)
        return _with_idle(made, "Conflicts are made of the data's own pictures", asked, "categories", "humans", "salience")
    result = _measure_dial(evidence, the_source("cue_conflict", data), asked.salience, companions or {})
    return _with_idle(result, "On ShapeTex the dial is turned", asked, "categories", "humans", "made", "images")


def _with_idle(result: CueConflict, done: str, asked: CueConflictConfig, *idle: str) -> CueConflict:
    """The result with a caveat that names those of the settings which were given and are not read in this way of asking."""
    usual = CueConflictConfig()
    given = [name for name in idle if getattr(asked, name) != getattr(usual, name)]
    said = [f"{done}: {', '.join(given)} changed nothing."] if given else []
    return result.model_copy(update={"caveats": (*result.caveats, *said)})


def _measure_dial(
    evidence: Evidence, source: Source, salience: Sequence[float], companions: Mapping[str, TrainedRun]
) -> CueConflict:
    """Decisions along the dial."""
    levels = np.array(sorted(set(salience)))
    if len(levels) < 2:
        raise RequestError(f"{len(levels)} setting of the dial was given.", "two or more", "salience = [0, 0.25, 0.5, 0.75, 1]")
    shape, texture = (
        np.stack(cue) for cue in zip(*(_decisions(evidence, source.split(f"conflict@{s:g}")) for s in levels), strict=True)
    )
    drawn = stream(0, "cue_conflict", "resample").multinomial(
        shape.shape[1], np.full(shape.shape[1], 1 / shape.shape[1]), RESAMPLES
    )
    counts = shape.sum(1)[None], texture.sum(1)[None]
    (value,), (point,), (slope,) = share_over_dial(levels, *counts), *fit_dial(levels, *counts)
    resampled = drawn @ shape.T, drawn @ texture.T
    shares, (points, slopes) = share_over_dial(levels, *resampled), fit_dial(levels, *resampled)
    falls = float(np.percentile(slopes, 2.5)) > 0
    identified = falls and levels[0] < point < levels[-1]
    learning = tuple(_learning(cue, run.history) for cue, run in sorted(companions.items()))
    return CueConflict(
        value=float(value),
        interval=share_from_resamples(shares, float(value), shape.shape[1]) if (shape | texture).any() else NO_DECISION,
        n=shape.shape[1],
        unit="share of decisions",
        caveats=tuple(_caveats(float(point), falls, identified, shape, texture, learning)),
        salience=tuple(levels.tolist()),
        shape=shape.sum(1),
        texture=texture.sum(1),
        point=float(point) if identified else None,
        point_interval=_around_point(levels, shape.sum(1), texture.sum(1), float(point), points) if identified else None,
        slope=float(slope),
        learning=learning,
    )


def share_over_dial(levels: Floats, shape: NDArray[np.integer], texture: NDArray[np.integer]) -> Floats:
    """The share of shape decisions among those for either cue, averaged over the dial by trapezoids; one a row of counts.

    Settings at which a row has no decision for either cue are left out; 0.5 if that leaves none.
    """
    gaps = np.diff(levels)
    weights = (np.append(gaps, 0.0) + np.insert(gaps, 0, 0.0)) / 2
    either = shape + texture
    held = np.where(either > 0, weights, 0.0)
    weighed = (held * shape / np.maximum(either, 1)).sum(1)
    return np.where(held.sum(1) > 0, weighed / np.where(held.sum(1) > 0, held.sum(1), 1.0), 0.5)


def fit_dial(levels: Floats, shape: NDArray[np.integer], texture: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Fits share(s) = 1 / (1 + exp(slope * (s - point))) to counts of decisions, one fit a row; returns points and slopes.

    Newton's method on the log-likelihood, halving steps that would lower it, with a weak ridge (1e-3), which keeps slopes
    finite where the cues are separated perfectly. A crossing outside the dial was not observed; its point is
    the dial's nearer end.
    """
    total = shape + texture
    x = np.stack([np.ones_like(levels), levels - 0.5])

    def likelihood(beta: Floats) -> Floats:
        z = beta @ x
        return (shape * z - total * np.logaddexp(0, z)).sum(1) - 5e-4 * (beta**2).sum(1)

    beta = np.zeros((len(shape), 2))
    for _ in range(100):
        p = expit(beta @ x)
        gradient = (shape - total * p) @ x.T - 1e-3 * beta
        if np.abs(gradient).max() < 1e-6:
            break
        curvature = np.einsum("rl,il,jl->rij", total * p * (1 - p), x, x) + 1e-3 * np.eye(2)
        step, now = np.linalg.solve(curvature, gradient[..., None])[..., 0], likelihood(beta)
        for _ in range(40):
            lower = likelihood(beta + step) < now
            if not lower.any():
                break
            step[lower] /= 2
        beta = beta + step
    intercept, slope = beta.T
    falls = slope < -1e-9
    above = np.where(intercept > 0, levels[-1], levels[0])  # a flat curve has no crossing: its level says beyond which end
    point = np.where(falls, 0.5 - intercept / np.where(falls, slope, -1), above)
    return np.clip(point, levels[0], levels[-1]), -slope


def _around_point(
    levels: Floats, shape: NDArray[np.integer], texture: NDArray[np.integer], point: float, resampled: Floats
) -> Interval:
    """The interval of the indifference point: percentiles of its resamples over images, with the point between them.

    Where every decision for the shape comes before every one for the texture, the resamples only show how a curve is laid
    through the gap; the interval is then the gap.
    """
    last, first = float(levels[shape > 0].max()), float(levels[texture > 0].min())
    if last < first:
        return Interval(low=min(last, point), high=max(first, point), method="between two settings", over="images")
    low, high = (float(end) for end in np.percentile(resampled, [2.5, 97.5]))
    return Interval(low=min(low, point), high=max(high, point), method="percentile bootstrap", over="images")


def _decisions(evidence: Evidence, split: Split) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each image whether the decision was the shape's class, and whether it was the texture's; a tie is for neither."""
    decided = answers_alone(evidence.logits(split))
    return decided == split.columns["shape"], decided == split.columns["texture"]


def shares_of(shape: int, texture: int, n: int) -> list[tuple[str, int, int]]:
    """Metrics of one setting: name, count, out of how many."""
    return [
        ("shape accuracy", shape, n),
        ("texture accuracy", texture, n),
        ("coverage", shape + texture, n),
        ("shape share", shape, shape + texture),
    ]


def _learning(cue: str, history: Sequence[Epoch]) -> Learning:
    """How fast a cue was learnt: after how many images validation accuracy reached one half, linearly between epochs."""
    reached: float | None = None
    before, at = 0.0, 0.0
    for epoch in history:
        now, where = epoch.val.accuracy, float(epoch.images)
        if now >= HALFWAY:
            reached = at + (where - at) * (HALFWAY - before) / (now - before)
            break
        before, at = now, where
    return Learning(cue=cue, images=reached, final=history[-1].val.accuracy, n=history[-1].val.n)


def _caveats(
    point: float,
    falls: bool,
    identified: bool,
    shape: NDArray[np.bool_],
    texture: NDArray[np.bool_],
    learning: Sequence[Learning],
) -> list[str]:
    said = []
    if not falls:
        said.append("How loud either cue is hardly moves its decisions: an indifference point is not identified.")
    elif not identified:
        said.append(f"The curve does not cross one half on the dial: its point lies at or beyond the end, {point:g}.")
    covered = float((shape | texture).mean())
    if covered < 0.5:
        said.append(f"Only {covered:.0%} of the decisions are for either cue's class: the share describes few of them.")
    if not learning:
        said.append("No run of this recipe saw one cue only: how fast each cue is learnt was not measured.")
    said += [f"Trained on {cue.cue} alone it stayed below one half right." for cue in learning if cue.images is None]
    return said
