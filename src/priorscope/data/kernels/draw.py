"""Draws what happens to each picture: the random numbers of an augmentation, turned into one warp a picture.

A warp maps output to source coordinates (pixel centres lie at halves): u = a x + b y + c, v = d x + e y + f. Every geometric
operation multiplies its own map onto it, so a picture is sampled once, however many operations there are. Beside the map stands
the window of the source that may be seen; what lies outside is filled.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from priorscope.data.augment.plan import FLIP_HORIZONTAL, FLIP_VERTICAL, PAD_CROP, RESIZED_CROP

WARP: Final = 10
"""Numbers a warp: a, b, c, d, e, f, then the window's left, top, right, bottom in the source."""

DRAWS: Final = 64
"""Random numbers reserved for one operation."""

CROP_TRIES: Final = 10

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True, inline="always")
def mixed(x: np.uint64) -> np.uint64:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(nogil=True, cache=True)
def picture_key(key: np.uint64, index: int) -> np.uint64:
    """The key of one picture in one epoch."""
    return mixed(mixed(key + np.uint64(index) * _GOLDEN) ^ key)


@njit(nogil=True, cache=True)
def uniform(picture: np.uint64, op: int, draw: int) -> float:
    """The draw-th random number in [0, 1) of an operation on a picture (53 bits)."""
    bits = mixed(picture + np.uint64(op * DRAWS + draw + 1) * _GOLDEN)
    return float(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def _after(warp: NDArray[np.float64], a: float, b: float, c: float, d: float, e: float, f: float) -> None:
    """Makes the warp one whose output is read through the map (a .. f)."""
    wa, wb, wd, we = warp[0], warp[1], warp[3], warp[4]
    warp[0], warp[1], warp[2] = wa * a + wb * d, wa * b + wb * e, wa * c + wb * f + warp[2]
    warp[3], warp[4], warp[5] = wd * a + we * d, wd * b + we * e, wd * c + we * f + warp[5]


@njit(nogil=True, cache=True)
def _see_only(warp: NDArray[np.float64], left: float, top: float, right: float, bottom: float) -> None:
    """Narrows what may be seen to a window of the present output, where the warp keeps windows upright."""
    if warp[1] != 0.0 or warp[3] != 0.0:
        return
    x0, x1 = warp[0] * left + warp[2], warp[0] * right + warp[2]
    y0, y1 = warp[4] * top + warp[5], warp[4] * bottom + warp[5]
    warp[6], warp[8] = max(warp[6], min(x0, x1)), min(warp[8], max(x0, x1))
    warp[7], warp[9] = max(warp[7], min(y0, y1)), min(warp[9], max(y0, y1))


@njit(nogil=True, cache=True)
def _crop_window(
    picture: np.uint64, op: int, row: NDArray[np.float64], height: float, width: float
) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a random window, in whole pixels."""
    for attempt in range(CROP_TRIES):
        area = height * width * (row[2] + (row[3] - row[2]) * uniform(picture, op, 4 * attempt))
        ratio = math.exp(row[4] + (row[5] - row[4]) * uniform(picture, op, 4 * attempt + 1))
        w, h = float(round(math.sqrt(area * ratio))), float(round(math.sqrt(area / ratio)))
        if 0.0 < w <= width and 0.0 < h <= height:
            left = math.floor(uniform(picture, op, 4 * attempt + 2) * (width - w + 1.0))
            top = math.floor(uniform(picture, op, 4 * attempt + 3) * (height - h + 1.0))
            return left, top, w, h
    low, high = math.exp(row[4]), math.exp(row[5])
    w, h = width, height
    if width / height < low:
        h = float(round(width / low))
    elif width / height > high:
        w = float(round(height * high))
    return float((int(width) - int(w)) // 2), float((int(height) - int(h)) // 2), w, h


@njit(nogil=True, cache=True)
def draw(
    table: NDArray[np.float64],
    key: np.uint64,
    index: NDArray[np.int64],
    sizes: NDArray[np.int64],
    side: int,
    warps: NDArray[np.float64],
) -> None:
    """Fills `warps` (n, 10) for pictures of `sizes` (n, 2: height, width) that come out with `side` pixels a side."""
    for i in range(len(index)):
        warp = warps[i]
        height, width = float(sizes[i, 0]), float(sizes[i, 1])
        warp[:] = 0.0
        warp[0], warp[4], warp[8], warp[9] = 1.0, 1.0, width, height
        picture = picture_key(key, index[i])
        for k in range(len(table)):
            code = int(table[k, 0])
            if uniform(picture, k, DRAWS - 1) >= table[k, 1]:
                continue
            if code == FLIP_HORIZONTAL:
                _after(warp, -1.0, 0.0, width, 0.0, 1.0, 0.0)
            elif code == FLIP_VERTICAL:
                _after(warp, 1.0, 0.0, 0.0, 0.0, -1.0, height)
            elif code == PAD_CROP:
                pad = table[k, 2]
                dx = math.floor(uniform(picture, k, 0) * (2.0 * pad + 1.0)) - pad
                dy = math.floor(uniform(picture, k, 1) * (2.0 * pad + 1.0)) - pad
                _see_only(warp, dx, dy, dx + width, dy + height)
                _after(warp, 1.0, 0.0, dx, 0.0, 1.0, dy)
            elif code == RESIZED_CROP:
                left, top, w, h = _crop_window(picture, k, table[k], height, width)
                _see_only(warp, left, top, left + w, top + h)
                _after(warp, w / side, 0.0, left, 0.0, h / side, top)
                height, width = float(side), float(side)
        if height != side or width != side:
            short = min(height, width)
            left, top = float(int(width - short) // 2), float(int(height - short) // 2)
            _see_only(warp, left, top, left + short, top + short)
            _after(warp, short / side, 0.0, left, 0.0, short / side, top)
