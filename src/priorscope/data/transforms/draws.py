"""Random numbers of pictures: hashes of (seed, what for, the picture's position, the number of the draw).

Drawn for a whole batch at once: a generator a picture costs 15 microseconds, more than most transforms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.core.rng import seed_of

Keys = NDArray[np.uint64]
Ints = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Scene:
    """What a transform may know beside the pictures: their random keys, the data's statistics, and pictures to borrow from."""

    keys: Keys
    statistics: Statistics | None
    donors: Tensor | None

    @classmethod
    def of(cls, name: str, index: Ints, seed: int, statistics: Statistics | None, donors: Tensor | None) -> Scene:
        """The scene of a transform for pictures at these positions of their split."""
        return cls(keys_of(seed, name, index), statistics, donors)

    def known(self, what: str) -> Statistics:
        """The statistics, or a refusal where a transform needs them and has none."""
        if self.statistics is None:
            raise RequestError(f"{what} got no statistics of the data.", "mean and std of each channel", "split.statistics")
        return self.statistics

    def lenders(self) -> Tensor:
        """The pictures to borrow from."""
        if self.donors is None:
            raise RequestError("No pictures to borrow from were given.", "as many as there are pictures", "donors=...")
        return self.donors


def keys_of(seed: int, name: str, index: Ints) -> Keys:
    """A random key for every picture."""
    base = np.uint64(seed_of(seed, "transform", name))
    return _mixed(_mixed(base + index.astype(np.uint64) * _GOLDEN) ^ base)


def bits(keys: Keys, count: int, start: int = 0) -> Keys:
    """(pictures, count) random 64-bit numbers, from the `start`-th on."""
    return _mixed(keys[:, None] + np.arange(start + 1, start + count + 1, dtype=np.uint64) * _GOLDEN)


def below(keys: Keys, limit: int | Ints, draw: int = 0) -> Ints:
    """A whole number from 0 to below the limit for every picture."""
    uniform = (bits(keys, 1, draw)[:, 0] >> np.uint64(11)) * 2.0**-53
    return (uniform * limit).astype(np.int64)


def orders(keys: Keys, count: int) -> Ints:
    """A random order of `count` things for every picture; of 2^64 numbers, two are equal once in 10^13 orders of 1,000."""
    return np.argsort(bits(keys, count), axis=1, kind="stable")


def other_class(labels: Ints, index: Ints, seed: int, name: str = "donors", *, same: bool = False) -> Ints:
    """For every picture the row of one of another class, the class and then the picture drawn evenly.

    `same` asks for another picture of its own class instead (itself where it is alone).
    """
    keys = keys_of(seed, name, index)
    order = np.argsort(labels, kind="stable")
    classes, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    own = np.searchsorted(classes, labels)
    if same:
        place = np.empty(len(labels), np.int64)
        place[order] = np.arange(len(labels))
        step = 1 + below(keys, np.maximum(counts[own] - 1, 1), 1)
        return order[starts[own] + (place - starts[own] + step) % counts[own]]
    if len(classes) < 2:
        raise RequestError("All pictures are of one class.", "two classes at least", "choose other pictures")
    pick = below(keys, len(classes) - 1)
    pick += pick >= own
    return order[starts[pick] + below(keys, counts[pick], 1)]


def _mixed(x: Keys) -> Keys:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
