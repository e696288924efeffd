"""What a split is: pictures, labels, class names and further label columns, in a fixed order.

A split is read-only and lazy about its pixels: they may be an array in memory, a memory-mapped store or encoded files.
What is carved out of it (a validation part, a class-balanced subset) is a pure function of the labels, the same for every seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError, unknown_name

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

VAL_SHARE = 0.1
VAL_MOST = 10_000


class Pixels(Protocol):
    """The pictures of a split, wherever they are: in memory, in a store or in encoded files."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every picture, or None where they differ."""
        ...

    @property
    def array(self) -> Bytes | None:
        """All pictures as one uint8 array (N, H, W, 3), in memory or memory-mapped.

        None where they are encoded or differ in size.
        """
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Bytes:
        """One picture, uint8 (H, W, 3)."""
        ...


@dataclass(frozen=True)
class ArrayPixels:
    """Pictures of one size as one array."""

    array: Bytes

    def __post_init__(self) -> None:
        if self.array.dtype != np.uint8 or self.array.ndim != 4 or self.array.shape[3] != 3:
            raise RequestError(
                f"The pictures came as {self.array.dtype} with shape {self.array.shape}.",
                "uint8 with shape (N, H, W, 3)",
                "convert them: grey to three equal channels, floats in [0, 1] times 255, channels last",
            )

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[2]

    def __len__(self) -> int:
        return len(self.array)

    def read(self, index: int) -> Bytes:
        return self.array[index]


@dataclass(frozen=True)
class ChosenPixels:
    """Some pictures of others, in the order given."""

    of: Pixels
    chosen: Ints

    @property
    def size(self) -> tuple[int, int] | None:
        return self.of.size

    @cached_property
    def array(self) -> Bytes | None:
        whole = self.of.array
        return None if whole is None else whole[self.chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, index: int) -> Bytes:
        return self.of.read(int(self.chosen[index]))


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled pictures of one source, in a fixed order. `columns` holds further labels (shape, texture, real)."""

    source: str
    name: str
    pixels: Pixels
    labels: Ints
    classes: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    known_statistics: Statistics | None = None
    known_fingerprint: str | None = None

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.pixels) or len(self.labels) == 0:
            raise RequestError(
                f"{self.source}/{self.name} has {len(self.pixels)} pictures and {len(self.labels)} labels.",
                "one label a picture, and at least one",
                "check what it was made of",
            )
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.classes)))
        if len(outside):
            raise RequestError(
                f"{self.source}/{self.name}: picture {outside[0]} has label {self.labels[outside[0]]}.",
                f"0 to {len(self.classes) - 1}",
                "check its labels, or name all of its classes",
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Bytes, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.pixels.read(index % len(self)), int(self.labels[index])

    @property
    def image_size(self) -> int:
        """The side of the pictures, which are square and of one size."""
        size = self.pixels.size
        if size is None or size[0] != size[1]:
            raise RequestError(
                f"{self.source}/{self.name} holds pictures of "
                + ("different sizes." if size is None else f"{size[0]}x{size[1]} pixels."),
                "square pictures of one size",
                'source = {name = "folder", path = "pics", res = 64}, or: priorscope data convert SRC DST.beton --res 64',
            )
        return size[0]

    @cached_property
    def statistics(self) -> Statistics:
        """Exact mean and standard deviation of each channel over all pixels, from counts of grey levels."""
        if self.known_statistics is not None:
            return self.known_statistics
        counts = np.zeros((3, 256), np.int64)
        for block in self._blocks(1024):
            for channel in range(3):
                counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
        level = np.arange(256) / 255
        share = counts / counts.sum(1, keepdims=True)
        mean = share @ level
        std = np.sqrt(np.maximum(share @ level**2 - mean**2, 0))
        return Statistics(mean=tuple(map(float, mean)), std=tuple(map(float, std)))

    def _blocks(self, size: int) -> Iterator[Bytes]:
        """All pictures in order, some at a time: a store may be larger than memory. One by one if there is no array."""
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            together = _gathered(self.pixels, rows)
            if together is not None:
                yield together
            else:
                yield from (self.pixels.read(index) for index in range(rows.start, rows.stop))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every pixel, label and column: two splits with equal fingerprints are the same data.

        Columns count by the types of a store, so that a split has the same fingerprint in memory and in a file.
        """
        if self.known_fingerprint is not None:
            return self.known_fingerprint
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self.pixels.size, self.classes, sorted(self.columns))).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        for name in sorted(self.columns):
            digest.update(np.ascontiguousarray(as_stored(self.columns[name])).tobytes())
        for block in self._blocks(256):
            if self.pixels.size is None:
                digest.update(repr(block.shape).encode())
            digest.update(np.ascontiguousarray(block).tobytes())
        return digest.hexdigest()

    def choose(self, chosen: Ints, name: str | None = None) -> Split:
        """The split with only some of its pictures, in the order given."""
        return replace(
            self,
            name=name or self.name,
            pixels=ChosenPixels(self.pixels, np.asarray(chosen, np.int64)),
            labels=self.labels[chosen],
            columns={key: column[chosen] for key, column in self.columns.items()},
            known_statistics=None,
            known_fingerprint=None,
        )

    def subset(self, n: int) -> Split:
        """A class-balanced subset of n pictures, nested: a smaller subset lies in every larger one."""
        if not 0 < n <= len(self):
            raise RequestError(
                f"A subset of {n} was asked for, and there are {len(self)} pictures.",
                f"1 to {len(self)}",
                f"subset = {len(self)}",
            )
        return self.choose(np.sort(balanced_order(self.labels)[:n]))


def as_stored(column: NDArray[Any]) -> NDArray[Any]:
    """A further column in the type that it has in a store: numbers of 64 bits; rows of numbers keep their own."""
    if column.ndim > 1 or column.dtype.kind not in "iubf":
        return column
    return column.astype(np.float64 if column.dtype.kind == "f" else np.int64)


def _gathered(pixels: Pixels, rows: slice | Ints) -> Bytes | None:
    """Some pictures as one array, taken from where they lie: of chosen ones no more than these are copied."""
    if isinstance(pixels, ChosenPixels):
        return _gathered(pixels.of, pixels.chosen[rows])
    return None if pixels.array is None else pixels.array[rows]


class Source(Protocol):
    """A data set that offers splits by their names."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def origin(self) -> str:
        """Where the pictures come from, in words; empty where there is nothing to say."""
        ...

    @property
    def caveats(self) -> tuple[str, ...]:
        """What every number made from them must say."""
        ...

    def splits(self) -> tuple[str, ...]:
        """The names of the splits there are."""
        ...

    def split(self, name: str) -> Split:
        """One split; an unknown name is refused with the nearest valid one."""
        ...


def no_such_split(source: str, name: str, known: tuple[str, ...]) -> RequestError:
    """The error for a split that a source does not have."""
    if name == "test" and "val" in known:
        return RequestError(
            f"{source} has no test: nobody published one, and none is carved.",
            f"one of: {', '.join(known)}",
            'split = "val" (in [[probes]], or --set split=val); or put a test part beside its train',
        )
    return unknown_name(f"split of {source}", name, known)


def hashed(count: int) -> NDArray[np.uint64]:
    """A fixed pseudo-random 64-bit number for every index (the finaliser of splitmix64).

    Equal on every machine, for every seed.
    """
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def balanced_order(labels: Ints) -> Ints:
    """All indices in an order whose every prefix is class-balanced as far as the classes' sizes allow."""
    order, grouped, starts, counts = _by_class(labels)
    within = np.empty(len(labels), np.int64)
    within[grouped] = np.arange(len(labels)) - np.repeat(starts, counts)
    return order[np.argsort(within[order], kind="stable")]


def _by_class(labels: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """All indices in the order of their hashes; the same class by class, with where each class begins and how many it has."""
    order = np.argsort(hashed(len(labels)), kind="stable")
    grouped = order[np.argsort(labels[order], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    return order, grouped, np.cumsum(counts) - counts, counts


def carve_val(labels: Ints, size: int | None = None) -> tuple[Ints, Ints]:
    """(train, val) indices: a stratified tenth, at most 10,000, chosen by the hash of the index, the same for every seed.

    Or `size` of them. No class loses its last picture: of one that has a single picture, val has none.
    """
    size = min(round(len(labels) * VAL_SHARE), VAL_MOST) if size is None else min(size, len(labels))
    val = np.zeros(len(labels), np.bool_)
    val[balanced_share(labels, size)] = True
    return np.flatnonzero(~val), np.flatnonzero(val)


def balanced_share(labels: Ints, size: int) -> Ints:
    """`size` indices of more, with every class represented in proportion (largest remainders first).

    Ties between remainders are broken by the hashes of the classes' numbers: neighbouring classes are often alike, and of many
    small ones the first half alone would be chosen. Each class keeps a picture, so that fewer than `size` are returned where
    all others are taken.
    """
    _, grouped, starts, counts = _by_class(labels)
    exact = counts * (size / len(labels))
    take = np.minimum(np.floor(exact).astype(np.int64), counts - 1)
    turn = hashed(int(labels.max()) + 1)[labels[grouped[starts]]]
    while (short := size - int(take.sum())) and len(able := np.flatnonzero(take < counts - 1)):
        take[able[np.lexsort((turn[able], (take - exact)[able]))[:short]]] += 1
    parts = [grouped[start : start + count] for start, count in zip(starts, take, strict=True)]
    return np.sort(np.concatenate(parts))
