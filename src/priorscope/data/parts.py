"""From what a source publishes to the splits that it offers.

A source publishes parts: `train` and `test`, or `train` and `valid`, or one folder of pictures. Which split a part becomes
follows one rule for all sources, so that the test split never chooses anything:

    published                 splits
    train, val, test          as they are
    train, test               val is carved out of train
    train, val                the validation pictures are `test`, val is carved out of train
    train                     val is carved out of train, there is no test
    val                       it is `test`
    anything else             a part keeps its name

Carving is a pure function of the labels (`split.carve_val`): the same for every seed and on every machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.data.split import ChosenPixels, Ints, Pixels, Split, carve_val, no_such_split
from priorscope.data.squares import at_size

SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What published folders and files call the three parts; the same words as Hugging Face's `datasets` knows."""


def part_named(name: str) -> str | None:
    """The part that a folder's or file's name means, or None."""
    folded = name.casefold()
    return next((part for part, spellings in SPELLINGS.items() if folded in spellings), None)


def usual_order(part: str) -> tuple[int, str]:
    """What parts are sorted by: train, val, test, and then others by name."""
    usual = tuple(SPELLINGS)
    return (usual.index(part) if part in usual else len(usual), part)


def split_within(name: str) -> str | None:
    """The part that a word of a name means: `cifar_test_64` -> test."""
    return next((part for word in re.split(r"[\W_0-9]+", name) if (part := part_named(word))), None)


def numbers_of(own: Sequence[str], classes: Sequence[str], where: str) -> Ints:
    """The number that each name of a part's own list of classes has in its source's list.

    Published parts may list their classes in another order, or only those that they hold: taken as they are, labels would then
    mean other classes without a word.
    """
    if tuple(own) == tuple(classes[: len(own)]):
        return np.arange(len(own))
    number, listed, known = {name: index for index, name in enumerate(classes)}, Counter(own), Counter(classes)
    odd = next((name for name in own if listed[name] > 1 or known[name] != 1), None)
    if odd is not None:
        raise RequestError(
            f"{where} lists the classes {listing(own)}, and {odd!r} is not one of the first part's: {listing(classes)}.",
            "parts whose classes are all among those of the first, each name once",
            "name the classes alike in all parts, or open this one alone",
        )
    return np.array([number[name] for name in own], np.int64)


def by_name(labels: Ints, own: Sequence[str], classes: Sequence[str], where: str) -> Ints:
    """A part's labels as numbers of its source's classes, told by their names; as they are where one of the lists is empty."""
    if not own or not classes or tuple(own) == tuple(classes):
        return labels
    numbers = numbers_of(own, classes, where)
    outside = labels[(labels < 0) | (labels >= len(own))]
    if len(outside):
        raise RequestError(
            f"{where} has the label {outside[0]}, and lists {len(own)} classes: {listing(own)}.",
            f"0 to {len(own) - 1}",
            "check its labels",
        )
    return numbers[labels]


def listing(names: Sequence[str]) -> str:
    """Names of classes in an error: twelve at most, and how many there are."""
    return ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")


class HoldingBackError(RequestError):
    """More pictures of train are to be held back as val than can be."""


@dataclass(frozen=True)
class Part:
    """Labelled pictures as published, before anything is carved out of them."""

    pixels: Pixels
    labels: Ints
    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict[str, NDArray[np.generic]])
    classes: tuple[str, ...] | None = None
    """The part's own classes, where they are not the source's: so it is with pictures without labels."""
    known_statistics: Statistics | None = None
    known_fingerprint: str | None = None

    def choose(self, chosen: Ints) -> Part:
        """The part with only some of its pictures."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        pixels = ChosenPixels(self.pixels, chosen)
        labels = self.labels[chosen]
        return replace(self, pixels=pixels, labels=labels, columns=columns, known_statistics=None, known_fingerprint=None)

    def at_size(self, res: int) -> Part:
        """The part with every picture as its central square of a size."""
        pixels = at_size(self.pixels, res)
        as_it_was = pixels is self.pixels
        return self if as_it_was else replace(self, pixels=pixels, known_statistics=None, known_fingerprint=None)


@dataclass(frozen=True, eq=False)
class PublishedSource:
    """A source made of published parts, each read when one of its splits is asked for.

    `origin` says where the data comes from, `caveats` what a reader of numbers must know about it.
    """

    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, Callable[[], Part]]
    origin: str = ""
    caveats: tuple[str, ...] = ()
    carve: bool = True
    """False where the parts are splits already."""
    held_back: int | None = None
    """How many pictures of train become val; not set: a tenth."""
    res: int | None = None
    """The side of the central squares that pictures are read as; not set: as they are."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise RequestError(f"{self.name} holds no pictures.", "at least one part, such as train or test", "check the path")

    @cached_property
    def carved(self) -> Mapping[str, str]:
        """The part that each split is taken from."""
        published = list(self.parts)
        if self.carve and "val" in published and not {"train", "test"} & set(published):
            return {"test" if name == "val" else name: name for name in published}
        if not self.carve or "train" not in published or {"val", "test"} <= set(published):
            return {name: name for name in published}
        labelled_test = next((name for name in ("test", "val") if name in published), None)
        others = {name: name for name in published if name not in ("train", "val", "test")}
        return {"train": "train", "val": "train"} | ({"test": labelled_test} if labelled_test else {}) | others

    def splits(self) -> tuple[str, ...]:
        """The names of the splits there are."""
        return tuple(self.carved)

    def at_size(self, res: int) -> PublishedSource:
        """The source with every picture as its central square of a size."""
        return replace(self, res=res)

    def holding_back(self, pictures: int) -> PublishedSource:
        """The source with so many pictures of train as val."""
        if self.carved.get("val") != "train":
            raise HoldingBackError(
                f"val = {pictures} came with {self.name}, whose splits are as they were published: {', '.join(self.carved)}.",
                "a source of which val is carved out of train",
                "remove val",
            )
        return replace(self, held_back=pictures)

    @cached_property
    def _read(self) -> dict[str, Part]:
        return {}

    def part(self, name: str) -> Part:
        """A published part, read once."""
        if name not in self._read:
            self._read[name] = self.parts[name]()
        return self._read[name]

    def split(self, name: str) -> Split:
        """One split; an unknown name is refused with the nearest valid one."""
        if name not in self.carved:
            raise no_such_split(self.name, name, self.splits())
        part = self.part(self.carved[name])
        if self.res is not None:
            part = part.at_size(self.res)
        whole = Split(
            source=self.name,
            name=name,
            pixels=part.pixels,
            labels=part.labels,
            classes=part.classes or self.classes,
            columns=part.columns,
            known_statistics=part.known_statistics,
            known_fingerprint=part.known_fingerprint,
        )
        if self.carved[name] != "train" or self.carved.get("val") != "train":
            return whole
        train, val = carve_val(part.labels, self.held_back)
        if self.held_back is not None and len(val) != self.held_back:
            raise HoldingBackError(
                f"val = {self.held_back} came with {self.name}, of whose {len(part.labels):,} training pictures {len(val):,}"
                " can be held back: each class keeps one.",
                f"at most {len(val):,}",
                f"val = {max(1, len(part.labels) // 10)}",
            )
        if name == "val" and not len(val):
            raise RequestError(
                f"{self.name}/val is a tenth of train, which has {len(part.labels)} pictures: too few to carve one out.",
                "6 or more training pictures, two of some class, or a published val",
                "add pictures to train, or a val part beside it",
            )
        return whole.choose(val if name == "val" else train)
