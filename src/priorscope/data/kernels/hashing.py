"""Random numbers as hashes of what they are for: seed and epoch, picture, the operation's place, the number of the draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import numpy as np
from numba import types
from numpy.typing import NDArray

from priorscope.core.compiled import njit

DRAWS: Final = 64
"""Random numbers reserved for one place. The last decides whether the operation happens."""

U = cast("Callable[[int], int]", np.uint64)
_GOLDEN = U(0x9E3779B97F4A7C15)


@njit(nogil=True)
def mixed(x: int) -> int:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> U(30))) * U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U(27))) * U(0x94D049BB133111EB)
    return x ^ (x >> U(31))


@njit(nogil=True)
def picture_key(key: int, index: int) -> int:
    """The key of one picture in one epoch."""
    return mixed(mixed(key + U(index) * _GOLDEN) ^ key)


@njit(nogil=True)
def bits_of(picture: int, place: int, draw: int) -> int:
    """The draw-th 64 random bits of a place of a picture's augmentation."""
    return mixed(picture + U(place * DRAWS + draw + 1) * _GOLDEN)


@njit(nogil=True)
def uniform(picture: int, place: int, draw: int) -> float:
    """The draw-th random number in [0, 1) of a place, with 53 bits."""
    return float(bits_of(picture, place, draw) >> U(11)) * (1.0 / 9007199254740992.0)


@njit(types.float64[:, ::1](types.uint64, types.int64[::1], types.int64, types.int64), nogil=True)
def uniforms(key: int, index: NDArray[np.int64], place: int, draws: int) -> NDArray[np.float64]:
    """The first random numbers of a place for many pictures, (n, draws), and in the last column whether-it-happens."""
    out = np.empty((len(index), draws + 1))
    for i in range(len(index)):
        picture = picture_key(key, index[i])
        for j in range(draws):
            out[i, j] = uniform(picture, place, j)
        out[i, draws] = uniform(picture, place, DRAWS - 1)
    return out


@njit(nogil=True)
def noise_key(picture: int, place: int) -> int:
    """The key of the noise that one place fills with: beside the place's own draws."""
    return mixed(picture ^ U(place * DRAWS))


@njit(types.uint64[::1](types.uint64, types.int64[::1], types.int64[::1]), nogil=True)
def noise_keys(key: int, index: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The noise's key for each picture and its place."""
    out = np.empty(len(index), np.uint64)
    for i in range(len(index)):
        out[i] = noise_key(picture_key(key, index[i]), places[i])
    return out
