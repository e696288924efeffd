"""What does a network not mind: where a thing stands, how it is turned, how sharp it is, where its pixels are?

Five numbers, each with one picture:

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
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.aspects import AspectName
from priorscope.core.comparison import Difference, paired_proportions
from priorscope.core.config import Config, Number
from priorscope.core.contracts import Array, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.metrics import top_k_correct
from priorscope.core.rng import stream
from priorscope.core.stats import Interval, bootstrap, bootstrap_of_shares, bracketed, wilson
from priorscope.models import Permutation
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, labelled_split

if TYPE_CHECKING:
    from pathlib import Path

    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier
    from priorscope.recipe import Recipe

VERSION = 8

SHARE = "share of images"
WHOLE = "in the whole picture"
"""What is permuted by the order of pixels that says how much locality is worth."""


class InvarianceConfig(ProbeConfig):
    """How many images (class-balanced), and how much of each part."""

    name: str = "invariance"
    split: str = Field(default="test", description="whose images are moved")
    images: int | None = Field(
        default=500, ge=2, description="how many, class-balanced, for moves and resolution; all where there are no more"
    )
    wave_images: int = Field(
        default=64, ge=0, description="how many of them, spread evenly, are shown the waves; 0 leaves the waves out"
    )
    amplitude: Annotated[Number, Field(gt=0)] = Field(default=16 / 255, description="the amplitude of a wave, root mean square")
    depths: int = Field(default=5, ge=0, description="taps whose units' reach is measured; 0 leaves it out")
    units: int = Field(default=8, ge=1, description="units at each of these taps")
    seed: int = Field(default=0, ge=0, description="the seed of the units that are drawn, and of intervals")

    def companions(self, recipe: Recipe) -> dict[str, Recipe]:
        """The recipe with pixels out of order, by what is permuted: in the whole picture, and within patches of 4."""
        if recipe.model.permute is not None:
            return {}
        orders = {WHOLE: Permutation(), "within patches of 4": Permutation(patch=4)}
        return {kind: recipe.replace(model=recipe.model.replace(permute=order)) for kind, order in orders.items()}


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
    bounds: ClassVar[tuple[float, float]] = (0, 1)
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
    """(resolutions, images): right with this many pixels a side."""
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
        said = f"The answer stays under {self.value:.1%}{bracketed(self.interval)} of shifts by {self.usual.size:g} px"
        for kind, difference in self.locality():
            said += f"; pixels out of order {kind} {_changed_said(difference)}"
        return said + "."

    @property
    def usual(self) -> Moved:
        """The move of the headline: the largest shift."""
        return usual_of(self.moved)

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"{self.n:,} images of {self.split}, mirrored beyond their edges; shifts in eight directions, turns in two; the "
            "share of these under which the answer is that to the picture as it is; bootstrap over images, of several seeds "
            "over seeds too."
        )

    def trait(self) -> Metric | None:
        """What it loses where pixels are out of order in the whole picture; None without a run on such pixels."""
        return next((self._lost(kind, difference) for kind, difference in self.locality() if kind == WHOLE), None)

    def per_image(self) -> NDArray[np.float64]:
        """The share of the headline's shifts under which each image's answer stays."""
        return stays(self.moved, self.agrees)

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
        changes = drawn @ counts
        some = changes > 0  # a resample in which no wave changes an answer has no centre
        low, high = (float(end) for end in np.percentile((drawn @ sums)[some] / changes[some], [2.5, 97.5]))
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
        from priorscope.probes.invariance import figures

        drawn = [figures.draw_moves(results), figures.draw_resolution(results)]
        if any(result.permuted for _, result in results):
            drawn.insert(0, figures.draw_locality(results))
        if any(np.isfinite(result.reach).any() for _, result in results):
            drawn.append(figures.draw_reach(results))
        if all(result.changed.size for _, result in results):
            drawn.append(figures.draw_waves(results))
        return drawn


def _changed_said(difference: Difference) -> str:
    """What permuted pixels do to accuracy: they cost some only where the interval has no gain and no 0 in it."""
    value, low, high = (100 * at for at in (difference.value, difference.interval.low, difference.interval.high))
    if high < 0:
        return f"cost {-value:.1f} points of accuracy ({-high:.1f} to {-low:.1f}; n = {difference.n:,})"
    return f"changed accuracy by {value:+.1f} points ({low:+.1f} to {high:+.1f}; n = {difference.n:,})"


def usual_of(moved: Sequence[Moved]) -> Moved:
    """The move of the headline: the largest shift."""
    return max((one for one in moved if one.kind == "shift"), key=lambda one: one.size)


def stays(moved: Sequence[Moved], agrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the headline's shifts under which each image's answer stays."""
    return agrees[moved.index(usual_of(moved))]


@asks(InvarianceConfig)
def measure_invariance(
    subject: Classifier | Evidence | TrainedRun,
    data: Source | Split,
    asked: InvarianceConfig,
    *,
    companions: Mapping[str, TrainedRun] | None = None,
    folder: Path | None = None,
) -> Invariance:
    """Moves, coarsens and disturbs pictures, and asks units where they look. `companions` are runs with permuted pixels.

    With a `folder` (not set: the evidence's own) a measurement that is stopped resumes where it was.
    """
    from priorscope.data.fetch import some_images
    from priorscope.probes.invariance.looking import look

    evidence = evidence_of(subject)
    whole = labelled_split(data, asked.split, evidence)
    if len(whole) < 2:
        raise RequestError(f"{whole.name} has {len(whole)} images.", "two or more", "name another split")
    chosen, index = some_images(whole, asked.images)
    looked = look(evidence.model, chosen, index, asked, folder or evidence.folder)
    permuted = dict(sorted((companions or {}).items()))
    beside = (evidence, *(run.evidence for run in permuted.values())) if permuted else ()
    right = [top_k_correct(one.logits(whole), whole.labels) for one in beside]
    score = stays(looked["moved"], looked["agrees"])
    return Invariance(
        value=float(score.mean()),
        interval=bootstrap_of_shares(score, seed=asked.seed),
        n=len(chosen),
        unit="share of shifts",
        caveats=tuple(_caveats(looked["correct"], len(chosen.classes), tuple(permuted), evidence.model)),
        split=chosen.name,
        image_size=chosen.image_size,
        classes=len(chosen.classes),
        seed=asked.seed,
        amplitude=asked.amplitude,
        permuted=tuple(permuted),
        permuted_right=np.stack(right) if permuted else np.zeros((0, 0), np.bool_),
        **looked,
    )


def _caveats(correct: NDArray[np.bool_], classes: int, permuted: Sequence[str], model: Classifier) -> list[str]:
    n, right = len(correct), int(correct.sum())
    said: list[str] = []
    if wilson(right, n).low <= 1 / classes:
        constant = "a network that always answers the same is consistent"
        said.append(f"Right on {right / n:.1%}, which is not above chance: {constant}.")
    if not permuted:
        said.append("No run of this recipe saw permuted pixels: what locality is worth to it was not measured.")
    else:
        said.append("What permuted pixels cost is of one training each: the noise of training is not in this interval.")
    if model.config is not None and model.config.permute is not None:
        said.append("Its backbone sees pixels in a random order: a shift of the picture is no shift of what it sees.")
    return said
