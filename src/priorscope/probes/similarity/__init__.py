"""Do two networks see the same images alike, layer by layer?

Linear CKA without bias (`cka`) between all layers of all networks of a set, in one pass over the images. A layer's
*match* in another network is its largest CKA with any layer there; the headline is the mean match over layers and ordered
pairs of networks. Such a number has a meaning only beside others. Every network therefore has an untrained twin, of the same
architecture with other random weights, and pairs of twins are compared on the same images; networks that share a recipe but
for the seed show how alike two trainings of one thing become.

It also tells what each layer holds by depth: accuracy of a linear readout, of nearest neighbours, and intrinsic dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorscope.core.config import Config, Number, Plain
from priorscope.core.contracts import Array, Matrix, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.core.stats import bracketed, wilson
from priorscope.core.wording import listed
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, the_split

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 6
LEAST = 4
"""Images of a batch that an unbiased estimate takes."""
FEWEST = 2 * LEAST

OUTS = ("embed/out", "*/out", "head/in", "logits")

PRESETS: dict[str, Plain] = {"z": {"kernel": "cosine", "batch": 32, "pooling": "flatten", "twins": False}}

Kernel = Literal["linear", "rbf", "cosine"]
Pooling = Literal["flatten", "mean"]


class SimilarityConfig(ProbeConfig):
    """Which images, which layers, and how they are compared."""

    per = "set"

    name: str = "similarity"
    split: str = Field(default="test", description="whose images are shown")
    images: int | None = Field(
        default=2048,
        ge=FEWEST,
        description="how many, class-balanced and in a random order; all where there are no more (with a preset: all)",
    )
    batch: int = Field(default=128, ge=4, description="most images of a kernel matrix; batches are as equal as can be")
    taps: tuple[str, ...] = Field(default=OUTS, description="patterns of addresses; * is every tap")
    kernel: Kernel = Field(default="linear", description="linear, rbf or cosine")
    bandwidth: Annotated[Number, Field(gt=0)] = Field(
        default=0.5, description="rbf: the width of the kernel, times the median distance in the first batch"
    )
    pooling: Pooling = Field(
        default="flatten", description="flatten: every position of a layer counts; mean: averaged over positions first"
    )
    twins: bool = Field(default=True, description="compare untrained twins too")
    depth: bool = Field(default=True, description="say what each layer holds")
    memory: Annotated[Number, Field(gt=0)] = Field(default=1024.0, description="MB of activations held at a time")
    preset: Literal["z"] | None = Field(
        default=None, description='z: the estimate of the "zooming in on MLPs" study, at the taps asked for'
    )
    seed: int = Field(default=0, ge=0, description="the seed of the images' order and of the untrained twins")

    @model_validator(mode="before")
    @classmethod
    def _of_a_preset_all_images(cls, values: Any) -> Any:
        match values:
            case {"preset": str()}:
                return {"images": None, **values}
            case _:
                return values

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        brought = {} if self.preset is None else PRESETS[self.preset]
        usual = type(self).model_fields
        if idle := [name for name, own in brought.items() if getattr(self, name) not in (own, usual[name].default)]:
            raise RequestError(
                f"preset = {self.preset!r} came with {listed(idle)}, which it sets itself.",
                "a preset, or settings of your own",
                "leave out one of them",
            )
        return self

    def with_preset(self) -> Self:
        """With the settings that its preset brings."""
        return self if self.preset is None else self.replace(**PRESETS[self.preset])


class Pair(Config):
    """How well the layers of two networks match, trained and untrained; `kin`: they share a recipe but for the seed."""

    first: str
    second: str
    value: float
    low: float | None = None
    high: float | None = None
    untrained: float | None = None
    kin: bool = False


class Similarity(Result):
    """CKA of all layers of a set of networks, and what each layer holds."""

    probe: ClassVar[str] = "similarity"
    question: ClassVar[str] = "Do two networks see the same images alike, layer by layer?"
    measure: ClassVar[str] = "mean match of layers"
    bounds: ClassVar[tuple[float, float]] = (-1, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"

    names: tuple[str, ...]
    families: tuple[str, ...]
    taps: tuple[tuple[str, ...], ...]
    split: str
    kernel: Kernel
    pooling: Pooling
    batch: int
    seed: int
    planned_mb: float
    pairs: tuple[Pair, ...]
    dead: tuple[str, ...] = ()
    classes: int
    cka: Array
    """(layers, layers) over all networks in turn; NaN where a layer is dead."""
    half: Array
    """(layers, layers): half the jackknife interval of each CKA."""
    untrained: Array
    """(layers, layers): CKA over all untrained twins in turn; NaN where a layer is dead, empty without twins."""
    match: Array
    """(layers, networks): the largest CKA with a layer of that network; NaN for its own."""
    match_half: Array
    convergence: Array
    """(steps, 3): images, mean match from these alone, half its interval."""
    logistic: Array
    """(1 + layers,) images read out right, the raw pixels first; empty without `depth`."""
    neighbours: Array
    dimension: Array
    """(1 + layers, 3): intrinsic dimension and its ends."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        said = (
            f"A layer's best match in another network has a CKA of {self.value:.2f}{bracketed(self.interval, '.2f')} on average"
        )
        untrained = [pair.untrained for pair in self.pairs if pair.untrained is not None]
        return f"{said}; untrained, {np.mean(untrained):.2f}." if untrained else f"{said}."

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"{self.kernel.capitalize() if self.kernel != 'rbf' else 'RBF'} CKA, unbiased HSIC summed over batches of "
            f"{self.batch} at most in float64, {self.n:,} images of {self.split} in an order of seed {self.seed}; tokens "
            f"{'kept apart' if self.pooling == 'flatten' else 'averaged'}; jackknife over disjoint groups of batches, of these "
            "checkpoints."
        )

    def matrices(self) -> list[Matrix]:
        """How well each two networks' layers match."""
        told = {frozenset((pair.first, pair.second)): pair for pair in self.pairs}

        def cell(first: str, second: str) -> Metric | None:
            pair = told.get(frozenset((first, second))) if first != second else None
            if pair is None:
                return None
            ends: dict[str, Any] = {"low": pair.low, "high": pair.high}
            return Metric(metric=self.measure, value=pair.value, n=self.n, unit=self.unit, split=self.split, **ends)

        cells = tuple(tuple(cell(first, second) for second in self.names) for first in self.names)
        title = "Mean over the layers of two networks of the CKA with their best match in the other."
        return [Matrix(title=title, corner="network", lines=self.names, columns=self.names, cells=cells)]

    def rows_of(self, network: int) -> slice:
        """The rows of a network's layers in the matrices."""
        start = sum(len(taps) for taps in self.taps[:network])
        return slice(start, start + len(self.taps[network]))

    def layers(self) -> Iterator[tuple[int, int, str]]:
        """(row, network, tap) of every layer."""
        row = 0
        for network, taps in enumerate(self.taps):
            for tap in taps:
                yield row, network, tap
                row += 1

    def metrics(self) -> list[Metric]:
        """The numbers of pairs and layers as tidy rows; the matrices are in the result's arrays."""
        rows = [Metric.of(self.measure, self.value, self.interval, self.n, self.unit, split=self.split)]
        for pair in self.pairs:
            where: dict[str, Any] = {"setting": f"{pair.first} ~ {pair.second}", "split": self.split}
            rows.append(
                Metric(metric=self.measure, value=pair.value, low=pair.low, high=pair.high, n=self.n, unit=self.unit, **where)
            )
            if pair.untrained is not None:
                rows.append(Metric(metric="untrained match", value=pair.untrained, n=self.n, unit=self.unit, **where))
        for row, network, tap in self.layers():
            for other, name in enumerate(self.names):
                value, half = float(self.match[row, other]), float(self.match_half[row, other])
                if np.isfinite(value):
                    ends: dict[str, Any] = {"low": value - half, "high": min(value + half, 1.0)} if np.isfinite(half) else {}
                    setting = f"{self.names[network]} {tap} in {name}"
                    rows.append(Metric(metric="match", value=value, n=self.n, unit=self.unit, setting=setting, **ends))
        return rows + self._depth_rows()

    def _depth_rows(self) -> list[Metric]:
        if not self.logistic.size:
            return []
        settings = ["raw pixels", *(f"{self.names[network]} {tap}" for _, network, tap in self.layers())]
        rows: list[Metric] = []
        for at, setting in enumerate(settings):
            for metric, counts in (("linear readout", self.logistic), ("nearest neighbours", self.neighbours)):
                count = int(counts[at])
                between = wilson(count, self.n)
                rows.append(Metric.of(metric, count / self.n, between, self.n, "share of images", setting=setting))
            value, low, high = self.dimension[at].tolist()
            if np.isfinite(value):
                told: dict[str, Any] = {"setting": setting, "n": self.n, "unit": "dimensions"}
                rows.append(Metric(metric="intrinsic dimension", value=value, low=low, high=high, **told))
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of each set, most important first."""
        from priorscope.probes.similarity.figures import draw_all

        return [figure for _, result in results for figure in draw_all(result)]


@asks(SimilarityConfig)
def measure_similarity(
    subjects: Mapping[str, Classifier | Evidence | TrainedRun],
    data: Source | Split,
    asked: SimilarityConfig,
    *,
    folder: Path | None = None,
) -> Similarity:
    """Compares all layers of all networks on the same images.

    With a `folder` (not set: that of the first network's evidence) a comparison that was stopped resumes where it was.
    """
    from priorscope.probes.similarity.matches import matched
    from priorscope.probes.similarity.reading import ChosenLayers, NetworkReading

    if len(subjects) < 2:
        raise RequestError(f"{len(subjects)} network was given.", "two or more", "name another run")
    asked = asked.with_preset()
    chosen, batches = _batches(the_split(data, asked.split), asked)
    seen = {name: evidence_of(subject) for name, subject in subjects.items()}
    trained = [ChosenLayers.of(name, evidence.model, asked.taps, chosen) for name, evidence in seen.items()]
    twins = {network.name: network.untrained(asked.seed) for network in trained} if asked.twins else {}
    lacking = [name for name, twin in twins.items() if twin is None]
    beside = [] if lacking else [twin for twin in twins.values() if twin is not None]
    reading = NetworkReading(asked, chosen, batches, trained, beside)
    planned = reading.planned_mb()
    found = reading.gather(reading.state(folder or next(iter(seen.values())).folder))
    matches = matched(trained, found.alignment, bool(beside), len(chosen))
    return Similarity(
        **matches,
        **found.by_depth(chosen.labels[np.concatenate(batches)], asked.seed),
        unit="CKA",
        caveats=tuple(_caveats(asked, matches["dead"], reading.groups, lacking)),
        names=tuple(network.name for network in trained),
        families=tuple(network.family for network in trained),
        taps=tuple(network.taps for network in trained),
        split=chosen.name,
        kernel=asked.kernel,
        pooling=asked.pooling,
        batch=asked.batch,
        seed=asked.seed,
        planned_mb=planned,
        classes=len(chosen.classes),
    )


def _batches(whole: Split, asked: SimilarityConfig) -> tuple[Split, list[NDArray[np.int64]]]:
    """A class-balanced part, and its images in batches in a random order: a batch of one class would see another variance."""
    count, batch = len(whole) if asked.images is None else min(asked.images, len(whole)), asked.batch
    if count < FEWEST:
        raise RequestError(f"{count} images were given.", f"{FEWEST} or more", "more images, or another split")
    if count < batch:
        raise RequestError(
            f"{count} images were given for batches of {batch}.",
            "one whole batch, of 4 images at least",
            f"batch = {count // 2}",
        )
    chosen = whole if count == len(whole) else whole.subset(count)
    order = stream(asked.seed, "similarity", "order").permutation(count)
    parts = -(-count // batch)
    return chosen, np.array_split(order, parts if count // parts >= LEAST else count // batch)


def matching(taps: Sequence[str], patterns: Sequence[str], name: str) -> tuple[str, ...]:
    """The addresses that fit a pattern, in the order of execution."""
    found = tuple(tap for tap in taps if any(fnmatchcase(tap, pattern) for pattern in patterns))
    if not found:
        raise RequestError(
            f"{name} has no tap like {', '.join(patterns)}.",
            f"some of: {', '.join(taps[:8])}",
            '--set taps=["*"] for every tap',
        )
    return found


def _caveats(asked: SimilarityConfig, dead: Sequence[str], groups: int, lacking: Sequence[str]) -> Iterator[str]:
    yield "CKA is a number about these images: a few outliers can carry it, and equal values need not mean equal features."
    if dead:
        yield f"Dead layers, which do not vary over the images, are left out: {', '.join(dead)}."
    if groups == 1:
        yield "A single batch makes no interval: more images or smaller batches would."
    elif groups < 8:
        yield f"{groups} groups of batches make the intervals: more images would make them surer."
    if lacking:
        yield f"No untrained twins: {', '.join(lacking)} came without a config to build one from."
    if asked.preset == "z" and asked.images is not None:
        yield f"Z read a whole split; of this one {asked.images:,} images were asked for."
    if asked.preset == "z":
        yield (
            "Z's estimate is kept with its fault: every image's features are scaled to length one without a word, so that this "
            "is CKA of directions and compares with no published value. A zero vector stays zero here; there it was NaN. The "
            "layers are not Z's (every Linear of an MLP; Linear, Conv2d, pooling and Identity of a CNN; Linear and Attention "
            f"of a ViT) but those of the taps asked for: {', '.join(asked.taps)}."
        )
