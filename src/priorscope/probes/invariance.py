"""What does a network not mind: where a thing stands, how it is turned, how sharp it is, where its pixels are?

Six honest numbers, each with one picture:

- moves: how often the answer stays when the picture is shifted, turned, magnified or mirrored, by size. The headline is a shift
  by an eighth of the side, in eight directions. A network that always answers the same is perfectly consistent: accuracy
  stands beside it.
- what locality is worth: accuracy, on the same images, of runs of the same recipe whose backbone saw its pixels in one fixed
  random order, of the whole picture or within patches (`model.permute`), against the run's own. A study that has such runs
  hands them over. An MLP trained without augmentation loses nothing: its known answer.
- waves: how often the answer changes under a plane wave of one amplitude, over frequencies (Yin et al. 2019, arXiv 1906.08988).
- resolution: accuracy with fewer pixels a side.
- reach: how far a unit's input gradients spread, over depth (effective receptive field: Luo et al. 2016, arXiv 1701.04128).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.aspects import AspectName
from priorscope.core.comparison import Difference, paired_proportions
from priorscope.core.config import Config, Number, Plain
from priorscope.core.contracts import Array, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.metrics import decisions, top_k_correct
from priorscope.core.rng import stream
from priorscope.core.stats import Interval, bootstrap, bootstrap_of_shares, wilson
from priorscope.probes import ProbeConfig, TrainedRun, the_split

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 1
PER = "run"

SHARE = "share of images"
LOOKS = 32
"""Images over which a unit's squared gradients are averaged."""

WHOLE = "in the whole picture"
"""What is permuted by the order of pixels that says how much locality is worth."""


class InvarianceConfig(ProbeConfig):
    """How many images (class-balanced), and how much of each part."""

    name: str = "invariance"
    split: str = "test"
    images: int | None = Field(default=500, ge=2, description="for moves and resolution; not set: all")
    wave_images: int = Field(default=64, ge=0, description="0 leaves the waves out")
    amplitude: Annotated[Number, Field(gt=0)] = Field(default=16 / 255, description="of a wave, root mean square")
    depths: int = Field(default=5, ge=0, description="taps whose units' reach is measured; 0 leaves it out")
    units: int = Field(default=8, ge=1, description="units at each")
    seed: int = Field(default=0, ge=0)


class Moved(Config):
    """A kind of move and its size: pixels, degrees, or a factor."""

    kind: Literal["shift", "turn", "magnify", "mirror"]
    size: float

    def said(self) -> str:
        """The move in words."""
        words = {"shift": f"shift by {self.size:g} px", "turn": f"turn by {self.size:g} degrees", "mirror": "mirror image"}
        return words.get(self.kind, f"magnify by {self.size:g}")


class Invariance(Result):
    """What a network does not mind."""

    probe: ClassVar[str] = "invariance"
    question: ClassVar[str] = "What does it not mind: place, turn, size, sharpness, the order of pixels?"
    measure: ClassVar[str] = "consistency under shifts"
    aspect: ClassVar[AspectName | None] = "locality"
    untold: ClassVar[str] = "no run on permuted pixels"

    split: str
    image_size: int
    classes: int
    seed: int
    amplitude: float
    moved: tuple[Moved, ...]
    agrees: Array
    """(moves, images): the share of the move's directions under which the answer stays."""
    correct: Array
    """(images): right on the picture as it is."""
    resolutions: tuple[int, ...]
    sharp: Array
    """(resolutions, images): right with so many pixels a side."""
    waves: Array
    """(waves, 2): cycles down and across."""
    changed: Array
    """(waves, images): whether a wave changes the answer."""
    taps: tuple[str, ...]
    depth: tuple[float, ...]
    reach: Array
    """(taps, units): see `spread_of_units`."""
    permuted: tuple[str, ...] = ()
    """What was permuted in the runs beside this one."""
    permuted_right: Array
    """(1 + permuted runs, images): right of this run, then of each of those, on all images of the split."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (self.value, self.value)
        said = f"The answer stays under {self.value:.1%} ({low:.1%} to {high:.1%}) of {self.usual.said()}s"
        for kind, difference in self.locality():
            said += f"; pixels out of order {kind} cost {-100 * difference.value:.1f} points of accuracy"
        return said + "."

    @property
    def usual(self) -> Moved:
        """The move of the headline: the largest shift."""
        return max((one for one in self.moved if one.kind == "shift"), key=lambda one: one.size)

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"{self.n:,} images of {self.split}, mirrored beyond their edges; shifts in eight directions, turns in two; the "
            "share of these under which the answer is that to the picture as it is; bootstrap over images, of one checkpoint."
        )

    def trait(self) -> Metric | None:
        """What it loses where pixels are out of order in the whole picture; None without a run on such pixels."""
        return next((self._lost(kind, difference) for kind, difference in self.locality() if kind == WHOLE), None)

    def per_image(self) -> NDArray[np.float64]:
        """The share of the headline's shifts under which each image's answer stays."""
        return self.agrees[self.moved.index(self.usual)]

    def locality(self) -> list[tuple[str, Difference]]:
        """What each permutation changes in accuracy: permuted minus plain, on the same images."""
        right = self.permuted_right
        return [(kind, paired_proportions(right[1 + i], right[0])) for i, kind in enumerate(self.permuted)]

    def radius(self) -> NDArray[np.float64]:
        """Each wave's frequency as a share of the highest that pixels can hold."""
        return np.hypot(self.waves[:, 0], self.waves[:, 1]) / (self.image_size / 2)

    def centre_of_sensitivity(self) -> tuple[float, Interval | None]:
        """The mean frequency of the waves, each counted as often as it changes the answer; nan where none does."""
        if not self.changed.size or not self.changed.any():
            return float("nan"), None
        radius = self.radius()
        counts = self.changed.sum(0).astype(np.float64)
        sums = (self.changed * radius[:, None]).sum(0)
        centre = float(sums.sum() / counts.sum())
        drawn = stream(self.seed, "invariance", "resample").multinomial(
            len(counts), np.full(len(counts), 1 / len(counts)), 2000
        )
        ratios = (drawn @ sums) / np.maximum(drawn @ counts, 1)
        low, high = (float(end) for end in np.percentile(ratios, [2.5, 97.5]))
        return centre, Interval(low=min(low, centre), high=max(high, centre), method="percentile bootstrap", over="images")

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        n, split = self.n, self.split
        rows = [Metric.of(self.measure, self.value, self.interval, n, SHARE, split=split)]
        for one, agrees in zip(self.moved, self.agrees, strict=True):
            mean = float(agrees.mean())
            rows.append(
                Metric.of(
                    "consistency", mean, bootstrap_of_shares(agrees, seed=self.seed), n, SHARE, setting=one.said(), split=split
                )
            )
        for label, right in (
            ("as it is", self.correct),
            *((f"{side} px", own) for side, own in zip(self.resolutions, self.sharp, strict=True)),
        ):
            count = int(right.sum())
            rows.append(Metric.of("accuracy by resolution", count / n, wilson(count, n), n, SHARE, setting=label, split=split))
        centre, interval = self.centre_of_sensitivity()
        if np.isfinite(centre):
            waves = self.changed.shape[1]
            unit = "share of the highest frequency"
            rows.append(Metric.of("centre of sensitivity", centre, interval, waves, unit, split=split))
        for tap, spread in zip(self.taps, self.reach, strict=True):
            own = spread[np.isfinite(spread)]
            if len(own) > 1:
                between = bootstrap(own, seed=self.seed)
                rows.append(Metric.of("reach", float(own.mean()), between, len(own), "share of an even spread", setting=tap))
        return [*rows, *(self._lost(kind, difference) for kind, difference in self.locality())]

    def _lost(self, kind: str, difference: Difference) -> Metric:
        lost, images = -difference.value, self.permuted_right.shape[1]
        row = Metric.of("accuracy lost to permutation", lost, None, images, SHARE, setting=kind, split=self.split)
        return row.replace(low=-difference.interval.high, high=-difference.interval.low)

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes import invariance_figures as figures

        drawn = [figures.draw_moves(results), figures.draw_resolution(results)]
        if any(result.permuted for _, result in results):
            drawn.insert(0, figures.draw_locality(results))
        if any(np.isfinite(result.reach).any() for _, result in results):
            drawn.append(figures.draw_reach(results))
        if all(result.changed.size for _, result in results):
            drawn.append(figures.draw_waves(results))
        return drawn


def companions(recipe: Plain) -> dict[str, Plain]:
    """The same recipe with pixels out of order: in the whole picture, and within patches of 4."""
    model = recipe["model"]
    if model.get("permute") is not None:
        return {}
    orders = {WHOLE: {"seed": 0}, "within patches of 4": {"patch": 4, "seed": 0}}
    return {kind: {**recipe, "model": {**model, "permute": order}} for kind, order in orders.items()}


def measure_invariance(
    subject: Classifier | Evidence,
    data: Source | Split,
    *,
    split: str = "test",
    images: int | None = 500,
    wave_images: int = 64,
    amplitude: float = 16 / 255,
    depths: int = 5,
    units: int = 8,
    seed: int = 0,
    companions: Mapping[str, TrainedRun] | None = None,
) -> Invariance:
    """Moves, coarsens and disturbs pictures, and asks units where they look. `companions` are runs with permuted pixels."""
    from priorscope.attacks.supply import fetcher, some_images
    from priorscope.evidence import evaluating, evidence_of

    evidence = evidence_of(subject)
    model = evidence.model
    whole = the_split(data, split)
    if len(whole) < 2:
        raise RequestError(f"{whole.name} has {len(whole)} images.", "two or more", "name another split")
    chosen, index = some_images(whole, images)
    fetch = fetcher(model, chosen)
    with evaluating(model):
        looked = _look(model, fetch, chosen, index, wave_images, float(amplitude), depths, units, seed)
    permuted = dict(sorted((companions or {}).items()))
    right = [top_k_correct(one.logits(whole), whole.labels) for one in (evidence, *(run.evidence for run in permuted.values()))]
    result = Invariance(
        value=0.0,
        interval=None,
        n=len(chosen),
        unit="share of shifts",
        caveats=(),
        split=chosen.name,
        image_size=chosen.image_size,
        classes=len(chosen.classes),
        seed=seed,
        amplitude=float(amplitude),
        permuted=tuple(permuted),
        permuted_right=np.stack(right) if permuted else np.zeros((0, 0), np.bool_),
        **looked,
    )
    agrees = result.per_image()
    result = result.model_copy(update={"value": float(agrees.mean()), "interval": bootstrap_of_shares(agrees, seed=seed)})
    return result.model_copy(update={"caveats": tuple(_caveats(result, model))})


def _look(
    model: Classifier,
    fetch: Any,
    chosen: Split,
    index: NDArray[np.int64],
    wave_images: int,
    amplitude: float,
    depths: int,
    units: int,
    seed: int,
) -> Plain:
    """Everything that is computed with the network."""
    import torch

    from priorscope.attacks.victim import frozen
    from priorscope.models.depth import spread_over_depth
    from priorscope.probes import invariance_moves as made

    side, count = chosen.image_size, len(chosen)
    every = made.moves(side)
    resolutions = [side // part for part in (2, 4, 8) if side // part >= 2]
    waves = made.frequencies(side)
    few = min(wave_images, count)
    agrees = np.zeros((len(every), count))
    sharp = np.zeros((len(resolutions), count), np.bool_)
    correct = np.zeros(count, np.bool_)
    changed = np.zeros((len(waves) if few else 0, few), np.bool_)

    def answer(x: Any) -> NDArray[np.int64]:
        return decisions(model(x).float().cpu())

    with torch.inference_mode():
        for first in range(0, count, 250):
            rows = np.arange(first, min(first + 250, count))
            x, labels = fetch(rows)
            plain, wanted = answer(x), labels.cpu().numpy()
            correct[rows] = plain == wanted
            for i, move in enumerate(every):
                agrees[i, rows] = np.mean([(answer(way(x)) == plain) & (plain >= 0) for way in move.ways], axis=0)
            for i, resolution in enumerate(resolutions):
                sharp[i, rows] = answer(made.coarser(x, resolution)) == wanted
        if few:
            x, _ = fetch(np.arange(few))
            plain = answer(x)
            for i, wave in enumerate(waves):
                changed[i] = (answer(made.with_wave(x, wave, amplitude, index[:few], seed)) != plain) | (plain < 0)
    along = spread_over_depth(model.taps(), depths) if depths else []
    taps = [tap for tap, _ in along]
    with frozen(model):
        reach = made.spread_of_units(model, fetch(np.arange(min(LOOKS, count)))[0], taps, units, seed)
    return {
        "moved": tuple(move.about for move in every),
        "agrees": agrees,
        "correct": correct,
        "resolutions": tuple(resolutions),
        "sharp": sharp,
        "waves": waves if few else np.zeros((0, 2), np.int64),
        "changed": changed,
        "taps": tuple(taps),
        "depth": tuple(at for _, at in along),
        "reach": reach,
    }


def _caveats(result: Invariance, model: Classifier) -> list[str]:
    n, right = len(result.correct), int(result.correct.sum())
    said: list[str] = []
    if wilson(right, n).low <= 1 / result.classes:
        constant = "a network that always answers the same is consistent"
        said.append(f"Right on {right / n:.1%}, which is not above chance: {constant}.")
    if not result.permuted:
        said.append("No run of this recipe saw permuted pixels: what locality is worth to it was not measured.")
    if model.config is not None and model.config.permute is not None:
        said.append("Its backbone sees pixels in a random order: a shift of the picture is no shift of what it sees.")
    return said
