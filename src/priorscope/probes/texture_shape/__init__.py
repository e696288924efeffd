"""What is left when a picture loses its colour, its texture, its shape or some of its parts?

The same pictures are shown again and again, each time with something taken away (`priorscope.data.transforms`): in pixel
space, before any resize, so that every network sees the same. The headline is the mean accuracy over the transforms asked for,
each at its usual strength; curves run over the other strengths. Where a transform borrows from a picture of another class,
answers of that class are counted too.

Pictures stylised by somebody else are read from a folder of class folders. Those are other pictures, so they are neither
part of the headline nor paired with anything. What is made here without a network (histogram, phase swap, quilting) goes by
its own name, and does not compare with any published stylisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.blocks import at_once, blocks
from priorscope.core.config import Config, Plain
from priorscope.core.contracts import Array, Metric, Result, Statistics, Subject
from priorscope.core.errors import RequestError
from priorscope.core.metrics import top_k_correct
from priorscope.core.progress import PartialTables
from priorscope.core.stats import Interval, bootstrap, bracketed, wilson
from priorscope.data.transforms import TRANSFORMS, USUAL, Z, apply, transform_named
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, labelled_split
from priorscope.probes.shared.state import state_of

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.core.figure import Figure
    from priorscope.data.fetch import Fetch
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 3

BLOCK = 500
"""Pictures of side 32 that are changed and shown at a time; of larger ones as many pixels."""
SHOWN, SHOWN_SIDE = 4, 64
"""Pictures that are kept to look at, and their side at most."""
RIGHT, BORROWED = 1, 2
"""What was answered: the picture's own class, or that of the picture that it borrows from."""

PAST_NORMALISATION = (
    "The stylised pictures are normalised here like all others; the study whose transforms these are fed them past the "
    "normalisation, so that this accuracy does not compare with its own."
)

Bools = NDArray[np.bool_]


class TextureShapeConfig(ProbeConfig):
    """Which pictures, and what to take away."""

    name: str = "texture_shape"
    split: str = Field(default="test", description="whose images are shown")
    images: int | None = Field(default=1000, ge=2, description="how many, class-balanced; all where there are no more")
    transforms: tuple[str, ...] = Field(
        default=USUAL, description='what is taken away; z stands for the transforms of the "zooming in on MLPs" study'
    )
    curves: bool = Field(default=True, description="show every strength, not the usual one alone")
    stylised: str | None = Field(default=None, description="a folder of stylised pictures, one folder a class")
    seed: int = Field(default=0, ge=0, description="the seed of what a transform draws, and of intervals")

    def reads(self) -> tuple[str | Plain | Path, ...]:
        return () if self.stylised is None else (Path(self.stylised),)

    def conditions(self) -> tuple[Condition, ...]:
        """Every transform asked for at its strengths, or at its usual one alone where `curves` is off."""
        names = list(dict.fromkeys(name for asked in self.transforms for name in (Z if asked == "z" else (asked,))))
        if not names:
            raise RequestError("No transform was given.", "one or more", f"transforms = {list(USUAL[:3])}")
        found = [
            Condition(transform=name, level=level, usual=level == transform_named(name).usual)
            for name in names
            for level in transform_named(name).at()
        ]
        return tuple(one for one in found if self.curves or one.usual)


class Condition(Config):
    """A transform at one strength; `usual` says that it stands for the transform in the headline."""

    transform: str
    level: float | None = None
    usual: bool = True

    def label(self) -> str:
        """The transform's name with its strength."""
        return self.transform if self.level is None else f"{self.transform} {self.level:g}"


class Stylised(Config):
    """Accuracy on a folder of pictures that somebody else stylised."""

    folder: str
    right: int
    n: int
    by_class: tuple[tuple[str, int, int], ...]


class TextureShape(Result):
    """Accuracy after each transform, image by image."""

    probe: ClassVar[str] = "texture_shape"
    question: ClassVar[str] = "What is left when a picture loses its colour, texture, shape or parts?"
    measure: ClassVar[str] = "mean accuracy after transforms"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"

    split: str
    classes: tuple[str, ...]
    seed: int
    conditions: tuple[Condition, ...]
    stylised: Stylised | None = None
    labels: Array
    clean: Array
    """(images,): right without a transform."""
    right: Array
    """(conditions, images): right under each condition."""
    borrowed: Array
    """(conditions, images): the donor's class was answered; never if nothing was borrowed."""
    pictures: Array
    """(1 + usual conditions, a few, side, side, 3): what it looks like, first without a transform."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        shares = {one.label(): float(self.right[at].mean()) for at, one in self.usual()}
        least = min(shares, key=lambda label: shares[label])
        return (
            f"Of {self.clean.mean():.1%} right, {self.value:.1%}{bracketed(self.interval)} are left after a mean transform; "
            f"{least} leaves {shares[least]:.1%}, and chance is {1 / len(self.classes):.1%}."
        )

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"{self.n:,} images of {self.split}, all of them whether right before or not, each transform in pixel space at the "
            f"images' own size (seed {self.seed}); 95 % intervals over images (Wilson's of shares, the bootstrap of their "
            "mean), each of one checkpoint."
        )

    def usual(self) -> list[tuple[int, Condition]]:
        """The conditions that the headline is the mean of."""
        return [(at, one) for at, one in enumerate(self.conditions) if one.usual]

    def per_image(self) -> NDArray[np.float64]:
        """Each image's mean over the transforms."""
        return self.right[[at for at, _ in self.usual()]].mean(0)

    def class_accuracy(self, right: Bools) -> list[tuple[str, int, int]]:
        """Each class with how often it was answered right and how often it was asked."""
        counts = [np.bincount(self.labels[rows], minlength=len(self.classes)) for rows in (right, np.ones_like(right))]
        return [(name, int(a), int(b)) for name, a, b in zip(self.classes, *counts, strict=True)]

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        rows = [Metric.of(self.measure, self.value, self.interval, self.n, self.unit, split=self.split)]
        rows += self._rows("no transform", self.clean)
        for at, one in enumerate(self.conditions):
            rows += self._rows(one.label(), self.right[at])
            if TRANSFORMS[one.transform].donors:
                rows.append(self._share("donor's class", int(self.borrowed[at].sum()), self.n, one.label()))
        if self.stylised:
            rows.append(self._share("accuracy", self.stylised.right, self.stylised.n, "stylised elsewhere"))
            rows += [
                self._share("class accuracy", a, b, f"stylised elsewhere: {name}") for name, a, b in self.stylised.by_class if b
            ]
        return rows

    def _rows(self, setting: str, right: Bools) -> list[Metric]:
        parts = [self._share("class accuracy", a, b, f"{setting}: {name}") for name, a, b in self.class_accuracy(right) if b]
        return [self._share("accuracy", int(right.sum()), len(right), setting), *parts]

    def _share(self, metric: str, count: int, n: int, setting: str) -> Metric:
        return Metric.of(metric, count / n, wilson(count, n), n, "share of images", setting=setting, split=self.split)

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.texture_shape.figures import draw_all

        return draw_all(results)


@asks(TextureShapeConfig)
def measure_texture_shape(
    subject: Classifier | Evidence | TrainedRun,
    data: Source | Split,
    asked: TextureShapeConfig,
    *,
    folder: Path | None = None,
) -> TextureShape:
    """Shows every picture under every condition. Memory: a block of pictures, its donors, and what the network needs.

    With a `folder` (not set: the evidence's own) an interrupted measurement is resumed.
    """
    from priorscope.data.fetch import some_images

    conditions = asked.conditions()
    evidence = evidence_of(subject)
    whole = labelled_split(data, asked.split, evidence)
    chosen, index = some_images(whole, asked.images)
    shown = _Shown(evidence.model, chosen, index, whole.statistics, conditions, asked.seed)
    answered = shown.answered(folder or evidence.folder)
    right, borrowed = answered[1:] == RIGHT, answered[1:] == BORROWED
    scores = right[[one.usual for one in conditions]].mean(0)
    return TextureShape(
        value=float(scores.mean()),
        interval=_interval(scores, asked.seed),
        n=len(chosen),
        unit="share of images",
        caveats=(*_caveats(conditions, chosen), *([PAST_NORMALISATION] if asked.stylised and _of_z(conditions) else [])),
        split=chosen.name,
        classes=chosen.classes,
        seed=asked.seed,
        conditions=conditions,
        stylised=_stylised(evidence, asked.stylised, chosen) if asked.stylised else None,
        labels=chosen.labels,
        clean=answered[0] == RIGHT,
        right=right,
        borrowed=borrowed,
        pictures=shown.looks(),
    )


@dataclass(frozen=True)
class _Shown:
    """What is shown to whom: every picture under every condition."""

    model: Classifier
    chosen: Split
    index: NDArray[np.int64]
    statistics: Statistics
    conditions: tuple[Condition, ...]
    seed: int

    @cached_property
    def lent(self) -> NDArray[np.int64] | None:
        """For each picture the one that it borrows from, of another class; None if no transform borrows."""
        from priorscope.data.transforms.draws import other_class

        borrows = any(TRANSFORMS[one.transform].donors for one in self.conditions)
        return other_class(self.chosen.labels, self.index, self.seed) if borrows else None

    @cached_property
    def fetch(self) -> Fetch:
        from priorscope.data.fetch import fetcher

        return fetcher(self.chosen, self.model.device)

    def answered(self, folder: Path | None) -> NDArray[np.int8]:
        """(1 + conditions, pictures) `RIGHT`, `BORROWED` or neither, first without a transform; kept in the `folder`."""
        import torch

        from priorscope.models.classifier import looking

        conditions = [[one.transform, one.level] for one in self.conditions]
        settings: Plain = {"version": VERSION, "index": self.index.tolist(), "conditions": conditions, "seed": self.seed}
        settings["statistics"] = self.statistics.plain()
        state = state_of(folder, "texture_shape", self.model, self.chosen, settings)
        known = PartialTables(state, {"answered": ((1 + len(conditions), len(self.chosen)), np.int8)})
        block = at_once(self.chosen.image_size, BLOCK)
        with looking(self.model), torch.inference_mode():
            for rows in blocks(len(self.chosen), block):
                self._answer(rows, known)
        known.keep()
        return known["answered"]

    def _answer(self, rows: NDArray[np.int64], known: PartialTables) -> None:
        """Answers a block of pictures under the conditions that are still missing."""
        missing = [at for at in range(1 + len(self.conditions)) if known.lacks("answered", (at, rows))]
        if not missing:
            return
        pictures, donors = self._pictures(rows)
        for at in missing:
            one = self.conditions[at - 1] if at else None
            changed = self._changed(one, pictures, donors, rows) if one else pictures
            logits = self.model(changed).float().cpu().numpy()
            answered = np.where(top_k_correct(logits, self.chosen.labels[rows]), RIGHT, 0)
            if one and TRANSFORMS[one.transform].donors and self.lent is not None:
                answered[top_k_correct(logits, self.chosen.labels[self.lent[rows]])] = BORROWED
            known.learn("answered", (at, rows), answered)

    def looks(self) -> NDArray[np.uint8]:
        """The first few pictures without a transform and under each usual condition."""
        rows = np.arange(min(SHOWN, len(self.chosen)))
        pictures, donors = self._pictures(rows)
        usual = [self._changed(one, pictures, donors, rows) for one in self.conditions if one.usual]
        return np.stack([_look(each) for each in (pictures, *usual)])

    def _pictures(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Pictures, and those that they borrow from."""
        return self.fetch(rows)[0], self.fetch(self.lent[rows])[0] if self.lent is not None else None

    def _changed(self, one: Condition, pictures: Tensor, donors: Tensor | None, rows: NDArray[np.int64]) -> Tensor:
        return apply(
            one.transform,
            pictures,
            self.index[rows],
            level=one.level,
            seed=self.seed,
            statistics=self.statistics,
            donors=donors,
        )


def _look(pictures: Tensor) -> NDArray[np.uint8]:
    """Pictures as bytes, made smaller where they are large."""
    from torch.nn import functional as F

    some = pictures.clamp(0, 1)
    if some.shape[-1] > SHOWN_SIDE:
        some = F.interpolate(some, size=(SHOWN_SIDE, SHOWN_SIDE), mode="area")
    return (some * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _interval(scores: NDArray[np.float64], seed: int) -> Interval | None:
    """Over images: Wilson's if every score is right or wrong, otherwise the bootstrap of means, which takes two images."""
    if np.isin(scores, (0, 1)).all():
        return wilson(int(scores.sum()), len(scores))
    return bootstrap(scores, seed=seed)


def _stylised(evidence: Evidence, folder: str, chosen: Split) -> Stylised:
    """Accuracy on pictures from elsewhere, in folders named like the classes."""
    from priorscope.data import open as open_source

    pictures = {"name": "folder", "path": folder, "res": chosen.image_size}
    source = open_source(pictures)
    if "test" not in source.splits():  # folders of classes: all of them, of which nothing is carved
        source = open_source({**pictures, "split": "test"})
    unknown = sorted(set(source.classes) - set(chosen.classes))
    if unknown:
        raise RequestError(
            f"The folder {folder} has the class {unknown[0]!r}.",
            f"folders named like the classes: {', '.join(chosen.classes[:12])}",
            "rename it",
        )
    shown = source.split("test")
    labels = np.array([chosen.classes.index(name) for name in shown.classes], np.int64)[shown.labels]
    right = top_k_correct(evidence.logits(shown), labels)
    asked = np.bincount(labels, minlength=len(chosen.classes))
    hits = np.bincount(labels[right], minlength=len(chosen.classes))
    by_class = tuple((name, int(a), int(b)) for name, a, b in zip(chosen.classes, hits, asked, strict=True))
    return Stylised(folder=folder, right=int(right.sum()), n=len(right), by_class=by_class)


def _of_z(conditions: Sequence[Condition]) -> bool:
    return any(one.transform in Z for one in conditions)


def _caveats(conditions: Sequence[Condition], chosen: Split) -> list[str]:
    said = [
        f"{name} is kept as it was published, with its fault: {TRANSFORMS[name].fault}."
        for name in dict.fromkeys(one.transform for one in conditions)
        if TRANSFORMS[name].fault
    ]
    if any(one.transform == "silhouette" for one in conditions):
        said.append("silhouette thresholds the distance from the border's colour: on busy ground it finds no object.")
    least = int(np.bincount(chosen.labels, minlength=len(chosen.classes)).min())
    if least < 20:
        said.append(f"A class has {least} images only: its accuracy says little.")
    return said
