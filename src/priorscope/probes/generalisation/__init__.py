"""How far do its features carry: what do they tell of the classes of other data?

The network stays as it is. Its features at several depths, averaged over positions, are read on each data set that is named:
by a ridge in closed form, a logistic regression and nearest neighbours, from a few labelled images of each class and from
many. Two baselines stand beside every number, read in the same way: the untrained twin (the same architecture with random
weights), which shows what the architecture alone is worth, and the raw pixels, which need no network. A network whose features
tell no more than these has learnt nothing that carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.aspects import AspectName
from priorscope.core.comparison import paired_proportions
from priorscope.core.config import Config, Number, Plain
from priorscope.core.contracts import Array, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.core.stats import bracketed, ends, seed_by_image, wilson
from priorscope.models.depth import taps_along
from priorscope.probes import ProbeConfig, TrainedRun, asks, check_apart, evidence_of, run_of, the_source
from priorscope.probes.shared.ridge import few_of_each

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 4

MB = 1 << 20
COPIES = 4
"""Copies of the labelled images' features, and of a number for each of their classes, that fitting holds in float64."""
COPIES_ASKED = 2
"""Copies of the asked images' features, and of a number for each of their classes, that scoring holds in float64."""
NAMES = {"ridge": "Ridge regression", "logistic": "Logistic regression", "knn": "Nearest neighbours"}

Readout = Literal["ridge", "logistic", "knn"]
READOUTS: tuple[Readout, ...] = ("ridge", "logistic", "knn")
Who = Literal["trained", "untrained", "pixels"]
Positive = Annotated[int, Field(ge=1)]
Along = Sequence[tuple[str, float]]
"""Taps, each with its depth."""

Floats = NDArray[np.float32]


class GeneralisationConfig(ProbeConfig):
    """On which data, at which depths, and how features are read."""

    reads_runs = True

    name: str = "generalisation"
    sources: tuple[str | dict[str, Any], ...] | None = Field(
        default=None,
        description="names, paths or tables of data sets with train and the split; not set: the data that it is asked on",
    )
    split: str = Field(default="test", description="whose images are asked")
    taps: tuple[str, ...] | None = Field(
        default=None, description="addresses, of which the last is told first; not set: as many as depths says"
    )
    depths: int = Field(default=4, ge=1, description="how many taps, evenly spread along the network")
    readouts: tuple[Readout, ...] = Field(
        default=READOUTS, min_length=1, description="how features are read; the first is told first"
    )
    shots: tuple[Positive, ...] = Field(
        default=(10,), description="labelled images of each class, beside readouts from all, at the last tap"
    )
    draws: int = Field(default=3, ge=2, description="how often these few are drawn")
    train_images: int = Field(
        default=2000,
        ge=2,
        description="labelled images in all, class-balanced; twice the most shots of every class where that is more",
    )
    test_images: int = Field(default=2000, ge=2, description="images that are asked, class-balanced")
    memory: Annotated[Number, Field(gt=0)] = Field(
        default=2048.0, description="MB that may be held; more is refused before anything is read"
    )
    seed: int = Field(default=0, ge=0, description="the seed of the untrained twin and of the draws")

    def reads(self) -> tuple[str | Plain | Path, ...]:
        return self.sources or ()


class Reading(Config):
    """One readout: of what, where, from how many labelled images (`shots` of each class; 0: all)."""

    source: str
    who: Who
    tap: str
    depth: float
    readout: Readout
    shots: int
    labelled: int
    value: float
    low: float
    high: float
    n: int


class DataSet(Config):
    """One data set: its classes, and how many of its images were labelled and asked."""

    name: str
    classes: int
    labelled: int
    n: int


class Generalisation(Result):
    """How often frozen features are right about the classes of several data sets."""

    probe: ClassVar[str] = "generalisation"
    question: ClassVar[str] = "What do its frozen features tell of the classes of other data?"
    measure: ClassVar[str] = "readout accuracy"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    aspect: ClassVar[AspectName | None] = "data efficiency"

    split: str
    taps: tuple[str, ...]
    readouts: tuple[Readout, ...]
    draws: int
    seed: int
    planned_mb: float
    sources: tuple[DataSet, ...]
    readings: tuple[Reading, ...]
    right: Array
    """(images of all data sets in turn): whether the last tap, read by the first readout from all images, is right."""
    untrained: Array
    """(images of all data sets in turn): whether the untrained twin, read like `right`, is right; empty without one."""
    pixels: Array
    """(images of all data sets in turn): whether the first readout of the raw pixels, from all images, is right."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        said = [f"{one.name} {self.of(one.name).value:.1%}" for one in self.sources]
        beside = [f"the untrained network {self.untrained.mean():.1%}"] if self.untrained.size else []
        beside.append(f"raw pixels {self.pixels.mean():.1%}")
        each = f" ({', '.join(said)})" if len(said) > 1 else f" of {self.sources[0].name}"
        return f"Its features are right on {self.value:.1%}{bracketed(self.interval)}{each}, where {' and '.join(beside)} are."

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        known = ", ".join(f"{one.labelled:,} labelled and {one.n:,} asked of {one.name}" for one in self.sources)
        return (
            f"{NAMES[self.readouts[0]]} on {self.taps[-1]}, features averaged over positions, network frozen; {known}; nothing "
            f"tuned on {self.split}; seed {self.seed}; interval over images, of one checkpoint."
        )

    def of(
        self, source: str, who: Who = "trained", tap: str | None = None, readout: str | None = None, shots: int = 0
    ) -> Reading:
        """One reading; not given: the last tap, the first readout, all labelled images."""
        tap = ("pixels" if who == "pixels" else self.taps[-1]) if tap is None else tap
        wanted = (source, who, tap, readout or self.readouts[0], shots)
        return next(one for one in self.readings if (one.source, one.who, one.tap, one.readout, one.shots) == wanted)

    def spans(self) -> list[slice]:
        """The slice of each data set's images in the arrays."""
        stops = np.cumsum([one.n for one in self.sources]).tolist()
        return [slice(stop - one.n, stop) for one, stop in zip(self.sources, stops, strict=True)]

    def per_image(self) -> NDArray[np.bool_]:
        """Whether each image of all data sets in turn is right."""
        return self.right

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        rows = [Metric.of(self.measure, self.value, self.interval, self.n, self.unit, split=self.split)]
        for one, span in zip(self.sources, self.spans(), strict=True):
            for beside, base in (("the untrained twin", self.untrained), ("raw pixels", self.pixels)):
                if base.size:
                    gain = paired_proportions(self.right[span], base[span])
                    where: dict[str, Any] = {"setting": one.name, "split": self.split}
                    rows.append(Metric.of(f"gain over {beside}", gain.value, gain.interval, one.n, self.unit, **where))
        for one in self.readings:
            shots = "all labelled images" if not one.shots else f"{one.shots} shots"
            who = {"trained": one.tap, "untrained": f"untrained {one.tap}", "pixels": "raw pixels"}[one.who]
            where = {"low": one.low, "high": one.high, "setting": f"{one.source}, {who}, {one.readout}, {shots}"}
            rows.append(Metric(metric=self.measure, value=one.value, n=one.n, unit=self.unit, split=self.split, **where))
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.generalisation.figures import draw_all

        return draw_all(results)


@asks(GeneralisationConfig)
def measure_generalisation(
    subject: Classifier | Evidence | TrainedRun, data: Source, asked: GeneralisationConfig
) -> Generalisation:
    """Reads the network's features, its untrained twin's and the pixels on every data set."""
    from priorscope.evidence import Evidence
    from priorscope.probes.shared.networks import twin_of

    run, evidence = run_of(subject), evidence_of(subject)
    model = evidence.model
    along = taps_along(model, asked.taps, asked.depths)
    sources = [the_source("generalisation", data)] if asked.sources is None else _opened(asked.sources)
    chosen = [_parts(source, asked) for source in sources]
    planned = _planned_mb(model, along, chosen, asked)
    networks: list[tuple[Who, Evidence]] = [("trained", evidence)]
    twin = twin_of(model, model.name, asked.seed)
    if twin is not None:
        networks.append(("untrained", Evidence(twin)))
    read = [_read_all(asked, along, source.name, networks, *parts) for source, parts in zip(sources, chosen, strict=True)]
    right, untrained, of_pixels = (np.concatenate([heads[who] for _, heads in read]) for who in range(3))
    caveats = ["There is no untrained twin: the network came without a config to build one from."] if twin is None else []
    if run is not None:
        caveats += _seen_before(run, sources)
    return Generalisation(
        value=float(right.mean()),
        interval=wilson(int(right.sum()), len(right)),
        n=len(right),
        unit="share of images",
        caveats=tuple(caveats),
        split=asked.split,
        taps=tuple(tap for tap, _ in along),
        readouts=asked.readouts,
        draws=asked.draws,
        seed=asked.seed,
        planned_mb=planned,
        sources=tuple(
            DataSet(name=source.name, classes=len(test.classes), labelled=len(train), n=len(test))
            for source, (train, test) in zip(sources, chosen, strict=True)
        ),
        readings=tuple(one for readings, _ in read for one in readings),
        right=right,
        untrained=untrained,
        pixels=of_pixels,
    )


def _parts(source: Source, asked: GeneralisationConfig) -> tuple[Split, Split]:
    """Class-balanced parts of a source: images to label, at least twice the most shots of each class; and images to ask."""
    check_apart("generalisation", asked.split)
    train, test = source.split("train"), source.split(asked.split)
    wanted = max(asked.train_images, 2 * max(asked.shots, default=0) * len(train.classes))
    return _some(train, wanted), _some(test, asked.test_images)


def _some(split: Split, most: int) -> Split:
    return split if len(split) <= most else split.subset(most)


def _opened(sources: Sequence[str | Mapping[str, Any]]) -> list[Source]:
    from priorscope.data import open as open_source

    opened = [open_source(source) for source in sources]
    names = [source.name for source in opened]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not names:
        raise RequestError(
            f"sources names {twice!r} twice." if twice else "sources is empty.", "different data sets", 'sources = ["cifar10"]'
        )
    return opened


def _planned_mb(model: Classifier, along: Along, chosen: Sequence[tuple[Split, Split]], asked: GeneralisationConfig) -> float:
    """MB that the largest data set will hold; refused if that is more than `memory`.

    Counted are the features of both networks and of the pixels, and what fitting the widest readout, or scoring by it, holds.
    """
    from priorscope.probes.generalisation.readouts import seeing
    from priorscope.probes.shared.networks import pixel_count, sizes

    planned = 0.0
    for train, test in chosen:
        widths = [size.pooled for size in sizes(seeing(model, train.image_size), [tap for tap, _ in along])]
        of_pixels = pixel_count(train.image_size)
        held = 4 * (len(train) + len(test)) * (2 * sum(widths) + of_pixels)
        copies = 8 * max(COPIES * len(train), COPIES_ASKED * len(test)) * (max(*widths, of_pixels) + len(train.classes))
        planned = max(planned, (held + copies) / MB)
    if planned > asked.memory:
        raise RequestError(
            f"{planned:,.0f} MB would be held, and memory = {asked.memory:g}.",
            "fewer images or taps, or more memory",
            f"--set train_images={asked.train_images // 2}",
        )
    return planned


def _read_all(
    asked: GeneralisationConfig,
    along: Along,
    source: str,
    networks: Sequence[tuple[Who, Evidence]],
    train: Split,
    test: Split,
) -> tuple[list[Reading], tuple[NDArray[np.bool_], ...]]:
    """Every reading of one data set; and whether each image is right by the last tap of each network, and by the pixels."""
    from priorscope.probes.generalisation.readouts import features, pixels, seeing
    from priorscope.probes.shared.networks import sizes

    taps = [tap for tap, _ in along]
    readings: list[Reading] = []
    heads: dict[Who, NDArray[np.bool_]] = {}
    for who, evidence in networks:
        seen = seeing(evidence.model, train.image_size)
        known, unknown = (features(evidence, seen, part, taps) for part in (train, test))
        stops = np.cumsum([size.pooled for size in sizes(seen, taps)]).tolist()
        for (tap, depth), start, stop in zip(along, [0, *stops], stops, strict=False):
            own, heads[who] = _read(asked, known[:, start:stop], unknown[:, start:stop], train, test, tap == taps[-1])
            readings += [Reading(source=source, who=who, tap=tap, depth=depth, **one) for one in own]
    own, heads["pixels"] = _read(asked, pixels(train), pixels(test), train, test, True)
    readings += [Reading(source=source, who="pixels", tap="pixels", depth=0.0, **one) for one in own]
    none = np.zeros(0, np.bool_)
    return readings, (heads["trained"], heads.get("untrained", none), heads["pixels"])


def _read(
    asked: GeneralisationConfig, known: Floats, unknown: Floats, train: Split, test: Split, few: bool
) -> tuple[list[dict[str, Any]], NDArray[np.bool_]]:
    """One set of features by every readout: from all labelled images, and with `few` from a few of each class."""
    from priorscope.probes.generalisation.readouts import answered

    if not (np.isfinite(known).all() and np.isfinite(unknown).all()):
        raise RequestError(
            "Some features are NaN or infinite.", "a network whose features are finite", "look for a diverged run"
        )
    classes, n = len(test.classes), len(test)
    found: list[dict[str, Any]] = []
    right = [answered(kind, known, train.labels, unknown, test.labels, classes) for kind in asked.readouts]
    for kind, correct in zip(asked.readouts, right, strict=True):
        told = {"readout": kind, "shots": 0, "labelled": len(train), "value": float(correct.mean()), "n": n}
        found.append({**told, **ends(wilson(int(correct.sum()), n))})
    for shots in asked.shots if few else ():
        drawn = [
            few_of_each(train.labels, shots, stream(asked.seed, "few shots", draw).permutation(len(train)), classes)
            for draw in range(asked.draws)
        ]
        for kind in asked.readouts:
            each = np.stack([answered(kind, known[rows], train.labels[rows], unknown, test.labels, classes) for rows in drawn])
            told = {"readout": kind, "shots": shots, "labelled": len(drawn[0]), "value": float(each.mean()), "n": n}
            found.append({**told, **ends(seed_by_image(each))})
    return found, right[0]


def _seen_before(run: TrainedRun, sources: Sequence[Source]) -> list[str]:
    """Warns of data sets on which readouts are fitted to images that the network was trained on."""
    learnt = run.environment.data
    own = learnt.source if learnt else run.recipe.data.source.name
    return [
        f"The network was trained on {own}: the images that are labelled there it has seen, and its features fit them better."
        for source in sources
        if source.name == own
    ]
