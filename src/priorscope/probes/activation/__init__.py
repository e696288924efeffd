"""What does a network want to see, and do other networks see it too?

Pictures are made that drive a class, a unit, a channel, a token or a latent of each network of a set, by following the gradient
to the pixels (Erhan et al. 2009; Olah et al., "Feature Visualization", Distill 2017). Each target is started several times,
from noise of its own. A picture that drives its own network says little: an adversarial one does as well. So
every picture of a class is shown to every *other* network of the set, and the headline is the probability that they give its
class. Beside it stand how far the picture drives its target above real pictures, how far its spectrum is from theirs, and
how much two starts differ. What is scored is what is shown: the picture after rounding to 8 bits.

A preset holds every setting: `priorscope` follows the spectrum of decorrelated colours under random shifts, turns and zooms;
`zooming` is the "zooming in on MLPs" study's: real pictures, plain gradient descent on the pixels' cross-entropy until the
probability passes 0.95, no penalty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.config import Config, Number
from priorscope.core.contracts import Array, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.stats import Interval, bootstrap, bracketed, wilson
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, the_split

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 4

CLASSES = 10
"""Classes that are driven where no targets are named, evenly spread over the data's."""

Floats = NDArray[np.float64]
NonNegative = Annotated[Number, Field(ge=0)]


class Making(Config):
    """Every setting of how a picture is made; `climb` is what is raised of a class."""

    steps: int = Field(default=256, ge=1)
    lr: Annotated[Number, Field(gt=0)] = 0.1
    form: Literal["natural", "fourier", "pixels"] = "natural"
    climb: Literal["logit", "probability"] = "logit"
    begin: Literal["noise", "real"] = "noise"
    optimiser: Literal["steepest", "adam", "sgd"] = "steepest"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "cosine"] = "cosine"
    enough: Annotated[Number, Field(gt=0, lt=1)] | None = None
    shift: NonNegative = 0.0625
    zoom: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    turn: NonNegative = 10.0
    total_variation: NonNegative = 0.0
    glare: NonNegative = 0.0


PRESETS: Mapping[str, Making] = {
    "priorscope": Making(),
    "zooming": Making(
        steps=250,
        lr=0.01,
        form="pixels",
        climb="probability",
        begin="real",
        optimiser="sgd",
        momentum=0.0,
        schedule="constant",
        enough=0.95,
        shift=0.0,
        zoom=0.0,
        turn=0.0,
    ),
}

ZOOMING_FAULTS = (
    "Preset zooming begins at a real picture of the target's class and stops once the probability passes 0.95: a network that "
    "is sure of the picture leaves it unchanged, one trained with label smoothing 0.3 can hardly stop. Its pictures compare "
    "confidence, not what networks want to see."
)


class ActivationConfig(ProbeConfig):
    """What is driven (not set: up to ten classes), how often it is begun, and what of the preset is changed."""

    per = "set"

    name: str = "activation"
    targets: tuple[str, ...] | None = Field(
        default=None, description="what is driven: class:star, channel:TAP@5, ...; not set: up to ten classes, evenly spread"
    )
    starts: int = Field(default=2, ge=1, description="pictures of each target, each from a start of its own")
    preset: Literal["priorscope", "zooming"] = Field(
        default="priorscope",
        description="priorscope, or zooming: that study's settings; steps, lr and so on each change one of the preset's",
    )
    steps: int | None = Field(
        default=None, ge=1, description="how many steps a picture is followed; not set: 256 (zooming: 250)"
    )
    lr: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="the length of a step; not set: 0.1 (zooming: 0.01)"
    )
    form: Literal["natural", "fourier", "pixels"] | None = Field(
        default=None, description="what the free numbers are: natural, fourier or pixels; not set: natural (zooming: pixels)"
    )
    climb: Literal["logit", "probability"] | None = Field(
        default=None,
        description="what is raised of a class: its logit or its probability; not set: logit (zooming: probability)",
    )
    optimiser: Literal["steepest", "adam", "sgd"] | None = Field(
        default=None,
        description="how a step follows the gradient: steepest, adam or sgd; not set: steepest, along the gradient made of "
        "equal length for every picture (zooming: sgd)",
    )
    shift: NonNegative | None = Field(
        default=None,
        description="how far each step shifts the picture at most, as a share of its side; not set: 0.0625 (zooming: 0)",
    )
    zoom: Annotated[Number, Field(ge=0, lt=1)] | None = Field(
        default=None, description="how much each step magnifies or shrinks it at most; not set: 0.1 (zooming: 0)"
    )
    turn: NonNegative | None = Field(
        default=None, description="how far each step turns it at most, in degrees; not set: 10 (zooming: 0)"
    )
    total_variation: NonNegative | None = Field(
        default=None, description="weight of a penalty on differences of neighbouring pixels; not set: 0"
    )
    glare: NonNegative | None = Field(default=None, description="weight of a penalty on pixels near 0 and 1; not set: 0")
    split: str = Field(default="test", description="whose real pictures the made ones are held against")
    images: int = Field(default=256, ge=2, description="how many real pictures, class-balanced")
    seed: int = Field(default=0, ge=0, description="the seed of the starts and of the motions")

    def making(self) -> Making:
        """How a picture is made: the preset's settings, and in their place those that are set here."""
        return PRESETS[self.preset].replace(**self.model_dump(include=set(Making.model_fields), exclude_none=True))


class Activation(Result):
    """The pictures of every network and target, and what is said about them.

    Axes: networks that made a picture (M), networks that judge it (J, the same), targets (T), starts (S).
    """

    probe: ClassVar[str] = "activation"
    question: ClassVar[str] = "What does a network want to see, and do other networks see it too?"
    measure: ClassVar[str] = "probability that other networks give a picture's class"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    sampled: ClassVar[str] = "pictures made"
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"

    names: tuple[str, ...]
    families: tuple[str, ...]
    targets: tuple[str, ...]
    preset: str
    making: Making
    split: str
    images: int
    seed: int
    classes: int
    accuracy: tuple[float, ...]
    """Each network's accuracy on the real pictures: what its judgement is worth."""
    pictures: Array
    """uint8 (M, T, S, H, W, 3)."""
    real: Array
    """uint8 (T, H, W, 3): a real picture of the target's class; of another target the real picture that drives it most."""
    probability: Array
    """(J, M, T, S): what a judge gives the target's class; nan where the target is not a class."""
    score: Array
    """(M, T, S): how strongly the picture drives its target."""
    real_score: Array
    """(M, T, 3): how strongly real pictures drive the target: mean, standard deviation, largest."""
    power: Array
    """(M, frequencies): log10 power of the pictures, mean; 1, 2, ... periods a picture."""
    real_power: Array
    """(3, frequencies): log10 power of the real pictures, mean and the ends between which 95 % lie."""
    distance: Array
    """(M, T, S): decibels between the picture's spectrum and the real pictures' mean."""
    real_distance: float
    """Decibels between a real picture's spectrum and the real pictures' mean, averaged over the real pictures."""
    between_starts: Array
    """(M, T): root mean square difference of the pictures of two starts, in pixels (nan of one start)."""
    between_targets: Array
    """(M,): root mean square difference of the pictures of two targets, in pixels (nan of one target)."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        if self.unit != "probability":
            return f"The pictures drive their targets {self.value:.1f} standard deviations above real pictures."
        who = "Other networks give" if len(self.names) > 1 else "The network itself gives"
        return (
            f"{who} the class of a made picture a probability of {self.value:.2f}{bracketed(self.interval, '.2f')}, "
            f"where chance is {1 / self.classes:.2f}."
        )

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        made = self.making
        moved = f"shifts to {made.shift:.3g} of the side, zooms to {made.zoom:.3g}, turns to {made.turn:.3g} degrees"
        said = [
            f"{self.pictures.shape[2]} starts a target, {made.steps} steps of {made.optimiser} at {made.lr:g} on {made.form}",
            f"preset {self.preset}",
            moved if made.shift or made.zoom or made.turn else "not moved",
            f"total variation {made.total_variation:g}, glare {made.glare:g}",
            f"scored after rounding to 8 bits, beside {self.images:,} real pictures of {self.split}",
            f"seed {self.seed}, intervals over targets, each number of these checkpoints",
        ]
        return "; ".join(said) + "."

    def others(self) -> Floats:
        """(M, T, S): the mean probability that the other networks give; of a set of one, its own."""
        return by_others(self.probability)

    def driven(self) -> Floats:
        """(M, T, S): how many standard deviations above real pictures each picture drives its target."""
        return above_real(self.score, self.real_score)

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        rows = [Metric.of(self._headline_name(), self.value, self.interval, self.n, self.unit, split=self.split)]
        for m, name in enumerate(self.names):
            rows += self._made_by(m, name)
            right = round(self.accuracy[m] * self.images)
            rows.append(self._row("accuracy on real pictures", self.accuracy[m], name, self.images, wilson(right, self.images)))
        is_class = ~np.isnan(self.probability[0, 0, :, 0])
        if is_class.any():
            for j, judge in enumerate(self.names):
                for m, maker in enumerate(self.names):
                    given = self.probability[j, m][is_class].mean(1)
                    rows.append(self._over_targets("probability of the target's class", given, f"{maker} -> {judge}"))
        return [*rows, self._row("spectrum distance", self.real_distance, "real pictures", self.images, None, "dB")]

    def _headline_name(self) -> str:
        if self.unit != "probability":
            return "driven above real pictures"
        return self.measure if len(self.names) > 1 else "probability that the network itself gives a picture's class"

    def _made_by(self, m: int, name: str) -> list[Metric]:
        rows = [self._over_targets("spectrum distance", self.distance[m].mean(1), name, "dB")]
        driven = self.driven()[m].mean(1)
        if np.isfinite(driven).all():
            rows.insert(0, self._over_targets("driven above real pictures", driven, name, "standard deviations"))
        if self.pictures.shape[2] > 1:
            rows.append(self._over_targets("difference between starts", self.between_starts[m], name, "pixel range"))
            spread = np.ptp(self.others()[m], axis=-1)
            if not np.isnan(spread).any():
                rows.append(self._over_targets("range of the other networks' probability over starts", spread, name))
        if len(self.targets) > 1:
            between = float(self.between_targets[m])
            rows.append(self._row("difference between targets", between, name, len(self.targets), None, "pixel range"))
        return rows

    def _over_targets(self, metric: str, values: Floats, setting: str, unit: str = "probability") -> Metric:
        """A mean over targets with its interval."""
        return self._row(metric, float(values.mean()), setting, len(values), interval_over(values), unit)

    def _row(
        self, metric: str, value: float, setting: str, n: int, interval: Interval | None, unit: str = "share of images"
    ) -> Metric:
        return Metric.of(metric, value, interval, n, unit, setting=setting, split=self.split)

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of each set, most important first."""
        from priorscope.probes.activation.figures import figures_of

        return [figure for _, result in results for figure in figures_of(result)]


def by_others(probability: Floats) -> Floats:
    """(M, T, S) of (J, M, T, S): the mean probability that the other networks give; of a set of one, its own."""
    count = len(probability)
    if count == 1:
        return probability[0]
    own = probability[np.arange(count), np.arange(count)]
    return (probability.sum(0) - own) / (count - 1)


def above_real(score: Floats, real_score: Floats) -> Floats:
    """(M, T, S): how many standard deviations above real pictures each picture drives its target."""
    mean, deviation = real_score[..., 0:1], real_score[..., 1:2]
    return (score - mean) / np.maximum(deviation, 1e-12)


def interval_over(values: Floats) -> Interval | None:
    """The percentile bootstrap interval of a mean over targets; None of one target."""
    between = bootstrap(values, seed=0)
    return between and between.replace(over="targets")


@asks(ActivationConfig)
def measure_activation(
    subjects: Mapping[str, Classifier | Evidence | TrainedRun],
    data: Source | Split,
    asked: ActivationConfig,
    *,
    folder: Path | None = None,
) -> Activation:
    """Makes the pictures of every network, shows them to all, and holds them against real ones.

    With a `folder` (not set: that of the first network's evidence) the pictures of each network are kept there under a hash
    of weights, targets and settings, so that a stopped measurement resumes with the next network.
    """
    from priorscope.probes.activation.making import Task, measure

    judges = {name: evidence_of(subject) for name, subject in subjects.items()}
    chosen = the_split(data, asked.split)
    _check({name: evidence.model for name, evidence in judges.items()}, chosen)
    for evidence in judges.values():
        evidence.check_classes(chosen)
    kept_in = folder or next((evidence.folder for evidence in judges.values() if evidence.folder), None)
    return measure(tuple(judges), [evidence.model for evidence in judges.values()], Task(asked, chosen, kept_in))


def _check(models: Mapping[str, Classifier], chosen: Split) -> None:
    if not models:
        raise RequestError("No network was given.", "one or more", "name a run")
    for name, model in models.items():
        if (model.image_size, model.num_classes) != (chosen.image_size, len(chosen.classes)):
            raise RequestError(
                f"{name} answers {model.num_classes} classes on images of side {model.image_size}; "
                f"{chosen.source}/{chosen.name} has {len(chosen.classes)} of side {chosen.image_size}.",
                "networks and data of one size and the same classes",
                "leave it out; a backbone of another size resizes inside (input_size)",
            )
