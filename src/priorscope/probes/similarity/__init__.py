"""Do two networks see the same images alike, layer by layer?

Linear CKA without bias (`probes/cka.py`) between all layers of all networks of a set, in one pass over the images. A layer's
*match* in another network is its largest CKA with any layer there; the headline is the mean match over layers and ordered
pairs of networks. What such a number means shows only beside others: every network has an untrained twin, of the same
architecture and other random weights, and pairs of twins are compared on the same images; networks that share a recipe but
for the seed say how alike two trainings of one thing become.

By depth stands beside it what each layer holds: accuracy of a linear readout, of nearest neighbours, and intrinsic dimension.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.config import Config, Number, content_key
from priorscope.core.contracts import Array, Matrix, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.core.stats import Interval, bracket, wilson
from priorscope.probes import ProbeConfig, the_split

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence, TrainedRun
    from priorscope.models.classifier import Classifier
    from priorscope.probes.shared.cka import Alignment
    from priorscope.probes.shared.layers import Network, Reading

VERSION = 4
FEWEST = 8
"""Images: twice the four that an unbiased estimate takes."""

GROUPS = 16
"""Disjoint groups of batches at most, each of which the jackknife leaves out once."""
OUTS = ("embed/out", "*/out", "head/in", "logits")

Floats = NDArray[np.float64]
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
        description="how many, class-balanced and in a random order; all where there are no more",
    )
    batch: int = Field(default=128, ge=4, description="images a kernel matrix; no partial batch is dropped")
    taps: tuple[str, ...] = Field(default=OUTS, description="patterns of addresses; * is every tap")
    kernel: Kernel = Field(default="linear", description="linear, rbf or cosine")
    bandwidth: Annotated[Number, Field(gt=0)] = Field(
        default=0.5, description="of rbf: its width, times the median distance in the first batch"
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
    seed: int = Field(default=0, ge=0, description="of the images' order and of the untrained twins")


class Pair(Config):
    """How well the layers of two networks match, trained and untrained; `kin` share a recipe but for the seed."""

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
    """Half the jackknife interval of each."""
    untrained: Array
    """The same of the untrained twins; empty without them."""
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
            f"A layer's best match in another network has a CKA of {self.value:.2f}{bracket(self.interval, '.2f')} on average"
        )
        untrained = [pair.untrained for pair in self.pairs if pair.untrained is not None]
        return f"{said}; untrained, {np.mean(untrained):.2f}." if untrained else f"{said}."

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"{self.kernel.capitalize() if self.kernel != 'rbf' else 'RBF'} CKA, unbiased HSIC summed over batches of "
            f"{self.batch} in float64, {self.n:,} images of {self.split} in an order of seed {self.seed}; tokens "
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
        """Where a network's layers stand in the matrices."""
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


def measure_similarity(
    subjects: Mapping[str, Classifier | Evidence | TrainedRun],
    data: Source | Split,
    *,
    split: str = "test",
    images: int | None = 2048,
    batch: int = 128,
    taps: Sequence[str] = OUTS,
    kernel: Kernel = "linear",
    bandwidth: float = 0.5,
    pooling: Pooling = "flatten",
    twins: bool = True,
    depth: bool = True,
    memory: float = 1024.0,
    preset: Literal["z"] | None = None,
    seed: int = 0,
    folder: Path | None = None,
) -> Similarity:
    """Compares all layers of all networks on the same images.

    With a `folder` (not set: that of the first network's evidence) a comparison that is stopped goes on where it was.
    """
    from priorscope.evidence import evidence_of
    from priorscope.probes.shared.layers import Network, Reading, collect, planned_mb, twin_of

    if preset == "z":
        kernel, batch, images, pooling, twins = "cosine", 32, None, "flatten", False
    if len(subjects) < 2:
        raise RequestError(f"{len(subjects)} network was given.", "two or more", "name another run")
    chosen, order = _images(the_split(data, split), images, batch, seed)
    trained = [Network.of(name, evidence_of(subject).model, taps, chosen) for name, subject in subjects.items()]
    others = [twin_of(network, seed) for network in trained] if twins else []
    twinned = twins and None not in others
    networks = [*trained, *(other for other in others if other is not None and twinned)]
    reading = Reading(kernel, bandwidth, pooling, memory, depth, len(trained))
    batches = np.array_split(order, max(1, len(order) // batch))
    groups = min(GROUPS, len(batches))
    planned = planned_mb(networks, len(chosen), max(map(len, batches)), groups, reading)
    state = _state(folder or evidence_of(next(iter(subjects.values()))).folder, networks, chosen, reading, batch, seed)
    found = collect(networks, chosen, batches, groups, reading, state)
    ends = np.cumsum([len(network.taps) for network in trained])
    blocks = [slice(int(end) - len(network.taps), int(end)) for end, network in zip(ends, trained, strict=True)]
    result = _result(trained, blocks, found.alignment, twinned, len(chosen))
    caveats = [
        *_caveats(_dead(trained, found.alignment), len(found.alignment.sums)),
        *(_no_twins(trained, others) if twins else []),
    ]
    if preset == "z":
        caveats.append(
            "Z's estimate is kept with its fault: every image's features are scaled to length one without a word, so that this "
            "is CKA of directions and compares with no published value. A zero vector stays zero here; there it was NaN. The "
            "layers are not Z's (every Linear of an MLP; Linear, Conv2d, pooling and Identity of a CNN; Linear and Attention "
            f"of a ViT) but those of the taps asked for: {', '.join(taps)}."
        )
    return Similarity(
        **result,
        **found.by_depth(chosen.labels[order], seed),
        unit="CKA",
        caveats=tuple(caveats),
        names=tuple(network.name for network in trained),
        families=tuple(network.family for network in trained),
        taps=tuple(network.taps for network in trained),
        split=chosen.name,
        kernel=kernel,
        pooling=pooling,
        batch=batch,
        seed=seed,
        planned_mb=planned,
        classes=len(chosen.classes),
    )


def _state(
    folder: Path | None, networks: Sequence[Network], chosen: Split, reading: Reading, batch: int, seed: int
) -> Path | None:
    """Where a comparison keeps what it knows: a file named by everything that its sums are a function of."""
    if folder is None:
        return None
    from priorscope.attacks.supply import network_key

    key = {
        "version": VERSION,
        "networks": [[network_key(network.model), *network.taps] for network in networks],
        "data": chosen.fingerprint,
        "reading": [reading.kernel, reading.bandwidth, reading.pooling, reading.depth, reading.pooled],
        "batch": batch,
        "seed": seed,
    }
    return folder / f"similarity-{content_key(key)}.npz"


def _images(whole: Split, images: int | None, batch: int, seed: int) -> tuple[Split, NDArray[np.int64]]:
    """A class-balanced part, and a random order of it: a batch of one class would see another variance."""
    count = len(whole) if images is None else min(images, len(whole))
    if count < FEWEST:
        raise RequestError(f"{count} images were given.", f"{FEWEST} or more", "more images, or another split")
    if count < batch:
        raise RequestError(
            f"{count} images were given for batches of {batch}.",
            "one whole batch, of 4 images at least",
            f"batch = {count // 2}",
        )
    chosen = whole if count == len(whole) else whole.subset(count)
    return chosen, stream(seed, "similarity", "order").permutation(count)


def _result(trained: Sequence[Network], blocks: Sequence[slice], alignment: Alignment, twinned: bool, n: int) -> dict[str, Any]:
    """Everything that is made of the sums of HSIC."""
    from priorscope.probes.shared.cka import jackknife

    whole, left_out = alignment.values()
    layers = blocks[-1].stop
    cka = whole[:layers, :layers]
    untrained = whole[layers:, layers:] if twinned else np.zeros((0, 0))
    match = _match(cka, blocks)
    out_match = np.stack([_match(one, blocks) for one in left_out])
    pairs: list[Pair] = []
    for a, b in combinations(range(len(blocks)), 2):
        value = _of_pair(match, blocks, a, b)
        half = float(jackknife(np.array([_of_pair(one, blocks, a, b) for one in out_match])))
        raw = _of_pair(_match(untrained, blocks), blocks, a, b) if twinned else None
        pairs.append(
            Pair(
                first=trained[a].name,
                second=trained[b].name,
                value=value,
                **_ends(value, half),
                untrained=raw,
                kin=_kin(trained[a], trained[b]),
            )
        )
    value = float(np.mean([pair.value for pair in pairs]))
    ends = _ends(value, float(jackknife(np.array([_mean_match(one, blocks) for one in out_match]))))
    over = "batches of images"
    return {
        "value": value,
        "interval": Interval(**ends, method="jackknife", over=over) if ends else None,
        "n": n,
        "pairs": tuple(pairs),
        "dead": _dead(trained, alignment),
        "cka": cka,
        "half": jackknife(left_out)[:layers, :layers],
        "untrained": untrained,
        "match": match,
        "match_half": jackknife(out_match),
        "convergence": _convergence(alignment, blocks, n),
    }


def _ends(value: float, half: float) -> dict[str, float]:
    """The interval of a match; nothing where a single batch makes none."""
    return {"low": value - half, "high": max(min(value + half, 1.0), value)} if np.isfinite(half) else {}


def _match(cka: Floats, blocks: Sequence[slice]) -> Floats:
    """(layers, networks): the largest CKA with any layer of another network; NaN for its own and for dead layers."""
    filled = np.where(np.isnan(cka), -np.inf, cka)
    best = np.stack([filled[: blocks[-1].stop, block].max(1) for block in blocks], axis=1)
    for at, block in enumerate(blocks):
        best[block, at] = np.nan
    return np.where(np.isneginf(best), np.nan, best)


def _of_pair(match: Floats, blocks: Sequence[slice], a: int, b: int) -> float:
    """The mean match of two networks' layers, both ways; 0 where all layers of one are dead."""
    ways = [match[blocks[a], b], match[blocks[b], a]]
    return float(np.mean([float(np.nanmean(way)) if np.isfinite(way).any() else 0.0 for way in ways]))


def _mean_match(match: Floats, blocks: Sequence[slice]) -> float:
    return float(np.mean([_of_pair(match, blocks, a, b) for a, b in combinations(range(len(blocks)), 2)]))


def _convergence(alignment: Alignment, blocks: Sequence[slice], n: int) -> Floats:
    """The headline from the first 1, 2, 4, ... groups of batches alone."""
    from priorscope.probes.shared.cka import jackknife, ratio

    groups, dead = len(alignment.sums), alignment.dead()
    layers = blocks[-1].stop
    steps: list[tuple[float, float, float]] = []
    for count in sorted({*(2**power for power in range(groups.bit_length())), groups}):
        some = alignment.sums[:count]
        hsic = some.sum(0)
        sums = [hsic, *(hsic - one for one in some if count > 2)]
        value, *without = (_mean_match(_match(ratio(each, dead)[:layers, :layers], blocks), blocks) for each in sums)
        half = float(jackknife(np.array(without))) if without else float("nan")
        steps.append((n * count / groups, value, half))
    return np.array(steps)


def _kin(first: Network, second: Network) -> bool:
    """Whether two networks are one recipe with two seeds, as far as their names and architectures tell: a-s0 and a-s1."""
    stems = [re.sub(r"-s\d+$", "", network.name) for network in (first, second)]
    config = first.model.config
    return stems[0] == stems[1] and config is not None and config == second.model.config


def _dead(trained: Sequence[Network], alignment: Alignment) -> tuple[str, ...]:
    names = [f"{network.name} {tap}" for network in trained for tap in network.taps]
    return tuple(name for name, gone in zip(names, alignment.dead(), strict=False) if gone)  # the twins' layers come after


def matching(taps: Sequence[str], patterns: Sequence[str], name: str) -> tuple[str, ...]:
    """The addresses that a pattern fits, in the order of execution."""
    found = tuple(tap for tap in taps if any(fnmatchcase(tap, pattern) for pattern in patterns))
    if not found:
        raise RequestError(
            f"{name} has no tap like {', '.join(patterns)}.",
            f"some of: {', '.join(taps[:8])}",
            '--set taps=["*"] for every tap',
        )
    return found


def _caveats(dead: Sequence[str], groups: int) -> list[str]:
    said = ["CKA is a number about these images: a few outliers can carry it, and equal values need not mean equal features."]
    if dead:
        said.append(f"Dead layers, which do not vary over the images, are left out: {', '.join(dead)}.")
    if groups == 1:
        said.append("A single batch makes no interval: more images or smaller batches would.")
    elif groups < 8:
        said.append(f"{groups} groups of batches make the intervals: more images would make them surer.")
    return said


def _no_twins(trained: Sequence[Network], others: Sequence[Network | None]) -> list[str]:
    missing = [network.name for network, other in zip(trained, others, strict=True) if other is None]
    if not missing:
        return []
    return [f"No untrained twins: {', '.join(missing)} came without a config to build one from."]
