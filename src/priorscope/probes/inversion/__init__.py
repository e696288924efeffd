"""How much of a picture is left at each depth of a network?

From the activations at one tap alone a picture is sought that has the same ones (Mahendran and Vedaldi, arXiv 1412.0035),
for each of a few real pictures and several depths. Two numbers are kept apart. The *feature residual* says whether one was
found: the squared distance of the activations, where 1 is the mean squared distance between two real pictures' activations
at that tap. The *image error* says how far the picture found is from the real one: the root mean square of pixels. Only where
the residual is small does the image error speak of the network: what it does not keep apart, the search cannot tell apart.
Where the residual stays large the search failed, and the picture is marked. The error of the data's mean picture, which
needs no network at all, is the reference.

A preset holds every setting: `priorscope` seeks the spectrum of decorrelated colours with Adam; `zooming` is the "zooming in
on MLPs" study's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.config import Config, Number
from priorscope.core.contracts import Array, Metric, Result, Standing, Subject
from priorscope.core.errors import RequestError
from priorscope.core.stats import Interval, bootstrap, bracketed, wilson
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, the_split

if TYPE_CHECKING:
    from pathlib import Path

    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 4

Floats = NDArray[np.float64]
NonNegative = Annotated[Number, Field(ge=0)]


class Seeking(Config):
    """Every setting of the search.

    `relative_to` is what the squared distance of the loss is divided by: the mean squared distance between two pictures'
    activations, or the square of the sought activations' own norm. `prior` weighs the mean square of the free numbers: of all
    natural pictures with these activations, the likeliest under the data's own spectrum is sought.
    """

    steps: int = Field(default=512, ge=1)
    lr: Annotated[Number, Field(gt=0)] = 0.1
    form: Literal["natural", "fourier", "pixels", "z-normalised"] = "natural"
    optimiser: Literal["adam", "sgd"] = "adam"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    schedule: Literal["constant", "cosine", "tenth-every-80"] = "cosine"
    relative_to: Literal["spread", "norm"] = "spread"
    weight: Annotated[Number, Field(gt=0)] = 1.0
    prior: NonNegative = 0.01
    total_variation: NonNegative = 0.0
    z_penalty: bool = False


PRESETS: Mapping[str, Seeking] = {
    "priorscope": Seeking(),
    "zooming": Seeking(
        steps=350,
        lr=1500.0,
        form="z-normalised",
        optimiser="sgd",
        momentum=0.9,
        schedule="tenth-every-80",
        relative_to="norm",
        weight=0.1,
        prior=0.0,
        z_penalty=True,
    ),
}

ZOOMING_FAULTS = (
    "Preset zooming clamps normalised pixels to [0.0001, 1], so nothing darker than the mean colour can be found; its total "
    "variation punishes colours and rows and no columns; its first step has a rate of 1500 and the next 80 one of 150, which "
    "may diverge; its residual is relative to the activations' norm, which a constant part of them makes small. Its numbers "
    "are kept for comparison only."
)


class InversionConfig(ProbeConfig):
    """Which taps, which pictures, and what of the preset is changed."""

    name: str = "inversion"
    taps: tuple[str, ...] | None = Field(default=None, description="addresses; not set: as many as depths says")
    depths: int = Field(default=5, ge=2, description="how many taps, evenly spread along the network")
    images: int = Field(default=8, ge=2, description="how many pictures are sought, class-balanced")
    converged: Annotated[Number, Field(gt=0)] = Field(
        default=0.01, description="the largest feature residual at which a search has converged"
    )
    preset: Literal["priorscope", "zooming"] = Field(
        default="priorscope",
        description="priorscope, or zooming: that study's settings; steps, lr and so on each change one of the preset's",
    )
    steps: int | None = Field(
        default=None, ge=1, description="how many steps a picture is followed; not set: 512 (zooming: 350)"
    )
    lr: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="the rate of the first step; not set: 0.1 (zooming: 1500)"
    )
    form: Literal["natural", "fourier", "pixels"] | None = Field(
        default=None,
        description="what the free numbers are: natural, fourier or pixels; not set: natural (zooming: its normalised pixels)",
    )
    prior: NonNegative | None = Field(
        default=None,
        description="weight of the pull towards the likeliest picture under the data's spectrum; not set: 0.01 (zooming: 0)",
    )
    total_variation: NonNegative | None = Field(
        default=None, description="weight of a penalty on differences of neighbouring pixels; not set: 0"
    )
    split: str = Field(default="test", description="whose pictures are sought")
    seed: int = Field(default=0, ge=0, description="the seed of the noise with which a search begins")

    def seeking(self) -> Seeking:
        """How a picture is sought: the preset's settings, and in their place those that are set here."""
        return PRESETS[self.preset].replace(**self.model_dump(include=set(Seeking.model_fields), exclude_none=True))


class Inversion(Result):
    """What was found from each tap (K) for each picture (N)."""

    probe: ClassVar[str] = "inversion"
    question: ClassVar[str] = "How much of a picture is left at each depth of a network?"
    measure: ClassVar[str] = "image error from the deepest tap"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"
    leaning: ClassVar[tuple[str, str] | None] = ("keeps less of the picture", "keeps more of the picture")

    taps: tuple[str, ...]
    depths: tuple[float, ...]
    """The depth of each tap, from 0 (the embedding) to 1 (what the head sees)."""
    preset: str
    seeking: Seeking
    converged: float
    split: str
    seed: int
    index: Array
    """The pictures' positions in the split."""
    real: Array
    """uint8 (N, H, W, 3)."""
    found: Array
    """uint8 (K, N, H, W, 3)."""
    residual: Array
    """(K, N): the squared distance of activations; 1 is that between two real pictures."""
    error: Array
    """(K, N): root mean square of pixels between the picture found and the real one."""
    blind: Array
    """(N,): root mean square of pixels between the data's mean picture and the real one."""

    def standing(self) -> Standing:
        """How many of the searches from the deepest tap converged: the error of a failed one speaks of the search."""
        good = int(self.good()[-1].sum())
        enough = 2 * good >= self.n
        ground = f"{good} of {self.n} searches converged"
        return Standing(ground=ground, trust="believed" if enough else "not believed", leads=enough)

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        good = int(self.good()[-1].sum())
        return (
            f"From {self.taps[-1]} pictures come back with an error of {self.value:.3f}{bracketed(self.interval, '.3f')} of "
            f"the pixel range, where the mean picture has {self.blind.mean():.3f}; the search converged for {good} of {self.n}."
        )

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        how = self.seeking
        return (
            f"{how.steps} steps of {how.optimiser} at {how.lr:g} ({how.schedule}) on {how.form}, preset {self.preset}, total "
            f"variation {how.total_variation:g}; converged at a feature residual of {self.converged:g} or less, where 1 is the "
            f"mean between two pictures; {self.n} pictures of {self.split}, scored after rounding to 8 bits, seed {self.seed}; "
            "intervals over pictures, of one checkpoint."
        )

    def good(self) -> NDArray[np.bool_]:
        """(K, N): whether the search converged."""
        return self.residual <= self.converged

    def per_image(self) -> Floats:
        """The image error from the deepest tap, of each picture."""
        return self.error[-1]

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        rows = [self._row(self.measure, self.error[-1], self.taps[-1])]
        for k, tap in enumerate(self.taps):
            good = int(self.good()[k].sum())
            rows.append(self._row("image error", self.error[k], tap))
            rows.append(self._row("feature residual", self.residual[k], tap, "of the mean between two pictures"))
            share = Metric.of("converged", good / self.n, wilson(good, self.n), self.n, "share of images")
            rows.append(share.replace(setting=tap, split=self.split))
        return [*rows, self._row("image error", self.blind, "mean picture")]

    def _row(self, metric: str, values: Floats, setting: str, unit: str = "pixel range") -> Metric:
        between = interval_over(values)
        return Metric.of(metric, float(values.mean()), between, len(values), unit, setting=setting, split=self.split)

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.inversion.figures import figures_of

        return figures_of(results)


def interval_over(values: Floats) -> Interval | None:
    """The percentile bootstrap interval of a mean over pictures; None of one."""
    return bootstrap(values, seed=0)


@asks(InversionConfig)
def measure_inversion(
    subject: Classifier | Evidence | TrainedRun, data: Source | Split, asked: InversionConfig, *, folder: Path | None = None
) -> Inversion:
    """Seeks each picture from each tap's activations alone.

    With a `folder` (not set: the evidence's own) what was found from each tap is kept there under a hash of weights, pictures
    and settings, so that a stopped search resumes with the next tap.
    """
    from priorscope.probes.inversion.seeking import Task, measure

    evidence = evidence_of(subject)
    model, chosen = evidence.model, the_split(data, asked.split)
    if model.image_size != chosen.image_size:
        raise RequestError(
            f"{model.name} takes images of side {model.image_size}; {chosen.source}/{chosen.name} has {chosen.image_size}.",
            "a network and pictures of one size",
            "a backbone of another size resizes inside (input_size)",
        )
    return measure(model, Task(asked, chosen, folder or evidence.folder))
