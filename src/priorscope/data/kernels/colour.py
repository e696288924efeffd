"""Colour operations on one picture's bytes, in as few touches as they allow.

Whatever maps each channel's levels on their own (brightness, contrast, posterize, solarize, invert, equalize, autocontrast)
only changes a table of 256 levels a channel; what it must know of the picture, its histogram pushed through the table tells. So
a run of them costs one count and one look-up. Saturation and hue mix channels and sharpness mixes neighbours: they touch the
pixels. Levels are rounded after every operation, as they are where each is carried out on bytes (torchvision cuts off instead
of rounding, which darkens by half a level each time).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
from numba import types
from numpy.typing import NDArray

from priorscope.core.compiled import njit
from priorscope.data.kernels.codes import (
    AUTOCONTRAST,
    BRIGHTNESS,
    CONTRAST,
    EQUALIZE,
    HUE,
    INVERT,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
)

F = cast("Callable[[float], float]", np.float32)
Levels = NDArray[np.uint8]
Counts = NDArray[np.int64]

_RED, _GREEN, _BLUE = F(0.299), F(0.587), F(0.114)


@njit(nogil=True)
def _level(value: float) -> int:
    """The nearest of the 256 levels."""
    return int(min(max(value, F(0.0)), F(255.0)) + F(0.5))


@njit(nogil=True)
def _reset(table: Levels) -> None:
    for c in range(3):
        for level in range(256):
            table[c, level] = level


@njit(nogil=True)
def _count(planes: Levels, counts: Counts) -> None:
    counts[:] = 0
    for c in range(3):
        for k in range(planes.shape[1]):
            counts[c, planes[c, k]] += 1


@njit(nogil=True)
def _counted(counts: Counts, table: Levels, c: int, seen: Counts) -> None:
    """The histogram of a channel as it is after the table."""
    seen[:] = 0
    for level in range(256):
        seen[table[c, level]] += counts[c, level]


@njit(nogil=True)
def _grey_mean(counts: Counts, table: Levels, pixels: int) -> float:
    total = 0.0
    for c in range(3):
        share = _RED if c == 0 else (_GREEN if c == 1 else _BLUE)
        summed = 0
        for level in range(256):
            summed += counts[c, level] * table[c, level]
        total += share * summed
    return F(total / pixels)


@njit(nogil=True)
def _blend_levels(table: Levels, factor: float, other: float) -> None:
    """Brightness and contrast: factor x level + (1 - factor) x other."""
    offset = (F(1.0) - factor) * other
    for c in range(3):
        for level in range(256):
            table[c, level] = _level(factor * F(table[c, level]) + offset)


@njit(nogil=True)
def _equalize(counts: Counts, table: Levels, seen: Counts, pixels: int) -> None:
    """PIL's rule: levels are spread so that each step holds equally many pixels, the last level's left out."""
    for c in range(3):
        _counted(counts, table, c, seen)
        last = 255
        while seen[last] == 0:
            last -= 1
        step = (pixels - seen[last]) // 255
        if step == 0:
            continue
        below = step // 2
        for level in range(256):
            count = seen[level]
            seen[level] = min(below // step, 255)
            below += count
        for level in range(256):
            table[c, level] = seen[table[c, level]]


@njit(nogil=True)
def _autocontrast(counts: Counts, table: Levels, seen: Counts) -> None:
    for c in range(3):
        _counted(counts, table, c, seen)
        low, high = 0, 255
        while seen[low] == 0:
            low += 1
        while seen[high] == 0:
            high -= 1
        if high > low:
            scale = F(255.0) / F(high - low)
            for level in range(256):
                table[c, level] = _level((F(table[c, level]) - F(low)) * scale)


@njit(nogil=True)
def _each_level(table: Levels, code: int, value: float) -> None:
    """Posterize, solarize, invert."""
    mask = 255 ^ ((1 << (8 - round(value))) - 1) if code == POSTERIZE else 0
    for c in range(3):
        for level in range(256):
            old = table[c, level]
            if code == POSTERIZE:
                table[c, level] = old & mask
            elif code == INVERT or F(old) >= value:
                table[c, level] = 255 - old


@njit(nogil=True)
def _saturate(planes: Levels, table: Levels, factor: float) -> None:
    """Blends with the luminance."""
    rest = F(1.0) - factor
    for k in range(planes.shape[1]):
        r, g, b = F(table[0, planes[0, k]]), F(table[1, planes[1, k]]), F(table[2, planes[2, k]])
        grey = rest * (_RED * r + _GREEN * g + _BLUE * b)
        planes[0, k] = _level(factor * r + grey)
        planes[1, k] = _level(factor * g + grey)
        planes[2, k] = _level(factor * b + grey)


@njit(nogil=True, inline="always")
def _channel(sector: float, top: float, range_: float) -> int:
    """A channel of a colour from its hue (in sixths of a turn, shifted for the channel), greatest value and range of values."""
    sector = sector - F(6.0) * F(math.floor(sector / F(6.0)))
    return _level(top - range_ * max(F(0.0), min(min(sector, F(4.0) - sector), F(1.0))))


@njit(nogil=True)
def _turn_hue(planes: Levels, table: Levels, turns: float) -> None:
    """Moves the hue of the hexagonal HSV model; its value and the range of the channels stay."""
    for k in range(planes.shape[1]):
        r, g, b = F(table[0, planes[0, k]]), F(table[1, planes[1, k]]), F(table[2, planes[2, k]])
        top, low = max(r, max(g, b)), min(r, min(g, b))
        range_ = top - low
        hue = F(0.0)
        if range_ > F(0.0):
            if top == r:
                hue = (g - b) / range_
            elif top == g:
                hue = F(2.0) + (b - r) / range_
            else:
                hue = F(4.0) + (r - g) / range_
        hue += F(6.0) * turns
        planes[0, k] = _channel(hue + F(5.0), top, range_)
        planes[1, k] = _channel(hue + F(3.0), top, range_)
        planes[2, k] = _channel(hue + F(1.0), top, range_)


@njit(nogil=True)
def _sharpen(planes: Levels, table: Levels, factor: float, side: int) -> None:
    """Blends with a picture smoothed by (1 1 1, 1 5 1, 1 1 1) / 13; the border stays."""
    rest = (F(1.0) - factor) / F(13.0)
    above = np.empty(side, np.float32)
    here = np.empty(side, np.float32)
    for c in range(3):
        for k in range(planes.shape[1]):
            planes[c, k] = table[c, planes[c, k]]
        for x in range(side):
            here[x] = F(planes[c, x])
        for y in range(1, side - 1):
            # Rows are overwritten as they are done: the two rows above are kept as they were.
            above, here = here, above
            base = y * side
            for x in range(side):
                here[x] = F(planes[c, base + x])
            for x in range(1, side - 1):
                below = F(planes[c, base + side + x - 1]) + F(planes[c, base + side + x]) + F(planes[c, base + side + x + 1])
                ring = above[x - 1] + above[x] + above[x + 1] + here[x - 1] + here[x + 1] + below
                planes[c, base + x] = _level(factor * here[x] + rest * (ring + F(5.0) * here[x]))


@njit(nogil=True)
def _carry_out(planes: Levels, side: int, ops: NDArray[np.float64], table: Levels, counts: Counts, seen: Counts) -> None:
    """All colour operations of one picture; what is left to do stands in the table."""
    counted = False
    pixels = planes.shape[1]
    for k in range(len(ops)):
        code, value = int(ops[k, 0]), F(ops[k, 1])
        if code == 0:
            break
        if code in (CONTRAST, EQUALIZE, AUTOCONTRAST) and not counted:
            _count(planes, counts)
            counted = True
        if code == BRIGHTNESS:
            _blend_levels(table, value, F(0.0))
        elif code == CONTRAST:
            _blend_levels(table, value, _grey_mean(counts, table, pixels))
        elif code == EQUALIZE:
            _equalize(counts, table, seen, pixels)
        elif code == AUTOCONTRAST:
            _autocontrast(counts, table, seen)
        elif code in (POSTERIZE, SOLARIZE, INVERT):
            _each_level(table, code, value)
        else:
            if code == SATURATION:
                _saturate(planes, table, value)
            elif code == HUE:
                _turn_hue(planes, table, value)
            else:
                _sharpen(planes, table, value, side)
            _reset(table)
            counted = False


@njit(types.void(types.float32[:, :, :, ::1], types.float64[:, :, ::1]), nogil=True)
def colour(images: NDArray[np.float32], ops: NDArray[np.float64]) -> None:
    """Carries out the colour operations `ops` (n, most, 2: code, number; code 0 ends them) on pictures in [0, 1], in place."""
    side = images.shape[2]
    planes = np.empty((3, side * side), np.uint8)
    table = np.empty((3, 256), np.uint8)
    counts = np.empty((3, 256), np.int64)
    seen = np.empty(256, np.int64)
    unit = F(1.0 / 255.0)
    for i in range(len(images)):
        if ops[i, 0, 0] == 0.0:
            continue
        image = images[i].reshape(3, side * side)
        for c in range(3):
            for k in range(side * side):
                planes[c, k] = int(image[c, k] * F(255.0) + F(0.5))
        _reset(table)
        _carry_out(planes, side, ops[i], table, counts, seen)
        for c in range(3):
            for k in range(side * side):
                image[c, k] = F(table[c, planes[c, k]]) * unit
