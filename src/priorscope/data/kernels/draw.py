"""Draws what happens to each picture: random numbers become one warp, a list of colour operations and boxes to erase.

A warp maps output to source coordinates (pixel centres lie at halves): u = a x + b y + c, v = d x + e y + f. Every geometric
operation multiplies its own map onto it, so a picture is sampled once, however many operations there are. Beside the map stands
the window of the source that may be seen; what lies outside is filled.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from priorscope.core.compiled import njit
from priorscope.data.kernels.codes import (
    AFFINE,
    CENTRE_CROP,
    CHANCE,
    CHOOSE,
    CODE,
    COLOUR,
    CUTOUT,
    ERASE,
    FLIP_X,
    FLIP_Y,
    JITTER,
    PAD_CROP,
    PIXELS_X,
    PIXELS_Y,
    PLACE,
    RESIZED_CROP,
    ROTATE,
    SHEAR_X,
    SHEAR_Y,
    SHIFT_X,
    SHIFT_Y,
)
from priorscope.data.kernels.hashing import DRAWS, picture_key, uniform

Table = NDArray[np.float64]

TRIES: Final = 10
"""Tries to find a rectangle that fits, as in torchvision."""


@njit(nogil=True)
def _after(warp: Table, a: float, b: float, c: float, d: float, e: float, f: float) -> None:
    """Makes the warp one whose output is read through the map (a .. f)."""
    wa, wb, wd, we = warp[0], warp[1], warp[3], warp[4]
    warp[2] += wa * c + wb * f
    warp[5] += wd * c + we * f
    warp[0], warp[1] = wa * a + wb * d, wa * b + wb * e
    warp[3], warp[4] = wd * a + we * d, wd * b + we * e


@njit(nogil=True)
def _see_only(warp: Table, left: float, top: float, right: float, bottom: float) -> None:
    """Narrows what may be seen to a window of the present output, where the warp keeps windows upright."""
    if warp[1] != 0.0 or warp[3] != 0.0:
        return
    x0, x1 = warp[0] * left + warp[2], warp[0] * right + warp[2]
    y0, y1 = warp[4] * top + warp[5], warp[4] * bottom + warp[5]
    warp[6], warp[8] = max(warp[6], min(x0, x1)), min(warp[8], max(x0, x1))
    warp[7], warp[9] = max(warp[7], min(y0, y1)), min(warp[9], max(y0, y1))


@njit(nogil=True)
def _zoom(warp: Table, frame: Table, side: int, left: float, top: float, width: float, height: float) -> None:
    """Cuts out a window of the present output and resizes it to `side`."""
    _see_only(warp, left, top, left + width, top + height)
    _after(warp, width / side, 0.0, left, 0.0, height / side, top)
    frame[0], frame[1] = side, side


@njit(nogil=True)
def _centre(warp: Table, frame: Table, side: int, share: float) -> None:
    short = min(frame[0], frame[1])
    kept = max(1.0, float(round(short * share)))
    left, top = float(int(frame[1] - kept) // 2), float(int(frame[0] - kept) // 2)
    _zoom(warp, frame, side, left, top, kept, kept)


@njit(nogil=True)
def _turn(warp: Table, frame: Table, degrees: float, dx: float, dy: float, scale: float, shear: float, corner: bool) -> None:
    """The inverse of: shear along x, turn clockwise, scale (all about the centre, or the upper left corner), then shift."""
    turn, slope = math.radians(degrees), math.tan(math.radians(shear))
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    # Forward: R(turn) [[1, -tan shear], [0, 1]] scale; its inverse is [[1, tan shear], [0, 1]] R(-turn) / scale.
    a, b = cos - slope * sin, sin + slope * cos
    d, e = -sin, cos
    x, y = (0.0, 0.0) if corner else (0.5 * frame[1], 0.5 * frame[0])
    _after(warp, a, b, x - a * (x + dx) - b * (y + dy), d, e, y - d * (x + dx) - e * (y + dy))


@njit(nogil=True)
def _rectangle(
    picture: int, place: int, row: Table, height: float, width: float, spare: float
) -> tuple[bool, float, float, float, float]:
    """(found, left, top, width, height) of a random rectangle in whole pixels; scale and log ratio are the row's parameters.

    It leaves at least `spare` rows and columns of the picture out.
    """
    for attempt in range(TRIES):
        draw = 4 * attempt
        area = height * width * (row[3] + (row[4] - row[3]) * uniform(picture, place, draw))
        ratio = math.exp(row[5] + (row[6] - row[5]) * uniform(picture, place, draw + 1))
        w, h = float(round(math.sqrt(area * ratio))), float(round(math.sqrt(area / ratio)))
        if 0.0 < w <= width - spare and 0.0 < h <= height - spare:
            left = float(math.floor(uniform(picture, place, draw + 2) * (width - w + 1.0)))
            top = float(math.floor(uniform(picture, place, draw + 3) * (height - h + 1.0)))
            return True, left, top, w, h
    return False, 0.0, 0.0, width, height


@njit(nogil=True)
def _resized_crop(picture: int, place: int, row: Table, side: int, warp: Table, frame: Table) -> None:
    height, width = frame[0], frame[1]
    found, left, top, w, h = _rectangle(picture, place, row, height, width, 0.0)
    if not found:
        low, high = math.exp(row[5]), math.exp(row[6])
        if width / height < low:
            h = float(round(width / low))
        elif width / height > high:
            w = float(round(height * high))
        left, top = float(int(width - w) // 2), float(int(height - h) // 2)
    _zoom(warp, frame, side, left, top, w, h)


@njit(nogil=True)
def _affine(picture: int, place: int, row: Table, warp: Table, frame: Table) -> None:
    """Parameters: degrees low, high; translate x, y; scale low, high; shear low, high."""
    degrees = row[3] + (row[4] - row[3]) * uniform(picture, place, 0)
    dx = float(round(row[5] * frame[1] * (2.0 * uniform(picture, place, 1) - 1.0)))
    dy = float(round(row[6] * frame[0] * (2.0 * uniform(picture, place, 2) - 1.0)))
    scale = row[7] + (row[8] - row[7]) * uniform(picture, place, 3)
    shear = row[9] + (row[10] - row[9]) * uniform(picture, place, 4)
    _turn(warp, frame, degrees, dx, dy, scale, shear, False)


@njit(nogil=True)
def _magnitude(picture: int, place: int, row: Table) -> float:
    """The number of an operation that takes one.

    Parameters: low, high, random sign or not, how many equally spaced values there are (0: all), what to add to it.
    """
    share = uniform(picture, place, 0)
    if row[6] > 0.0:
        share = math.floor(share * row[6]) / max(row[6] - 1.0, 1.0)
    value = row[3] + (row[4] - row[3]) * share
    return row[7] + (-value if row[5] > 0.0 and uniform(picture, place, 1) < 0.5 else value)


@njit(nogil=True)
def _jitter(picture: int, place: int, row: Table, colours: Table, used: NDArray[np.int64]) -> None:
    """Four colour operations in random order. Parameters: code, low, high of each in turn; an empty range does nothing."""
    order = np.arange(4)
    for i in range(3):
        j = i + int(uniform(picture, place, 4 + i) * (4 - i))
        order[i], order[j] = order[j], order[i]
    for j in range(4):
        i = int(order[j])
        code, low, high = row[3 + 3 * i], row[4 + 3 * i], row[5 + 3 * i]
        if low < high:
            colours[used[0], 0] = code
            colours[used[0], 1] = low + (high - low) * uniform(picture, place, i)
            used[0] += 1


@njit(nogil=True)
def _erase(picture: int, place: int, row: Table, number: int, side: int, boxes: Table, used: NDArray[np.int64]) -> None:
    """A box is left, top, right, bottom in the output, the table row that says how to fill it, and the place."""
    height = width = float(side)
    if int(row[CODE]) == CUTOUT:
        w, h = row[3], row[3]
        left = float(math.floor(uniform(picture, place, 0) * width)) - float(int(w) // 2)
        top = float(math.floor(uniform(picture, place, 1) * height)) - float(int(h) // 2)
    else:
        found, left, top, w, h = _rectangle(picture, place, row, height, width, 1.0)
        if not found:
            return
    box = boxes[used[1]]
    box[0], box[1], box[2], box[3] = max(left, 0.0), max(top, 0.0), min(left + w, width), min(top + h, height)
    box[4], box[5] = number, place
    used[1] += 1


@njit(nogil=True)
def _warped(picture: int, place: int, row: Table, side: int, warp: Table, frame: Table) -> None:
    """A geometric operation, multiplied onto the warp."""
    code = int(row[CODE])
    if code == FLIP_X:
        _after(warp, -1.0, 0.0, frame[1], 0.0, 1.0, 0.0)
    elif code == FLIP_Y:
        _after(warp, 1.0, 0.0, 0.0, 0.0, -1.0, frame[0])
    elif code == PAD_CROP:
        span = 2.0 * row[3] + 1.0
        dx = math.floor(uniform(picture, place, 0) * span) - row[3]
        dy = math.floor(uniform(picture, place, 1) * span) - row[3]
        _see_only(warp, dx, dy, dx + frame[1], dy + frame[0])
        _after(warp, 1.0, 0.0, dx, 0.0, 1.0, dy)
    elif code == CENTRE_CROP:
        _centre(warp, frame, side, row[3])
    elif code == RESIZED_CROP:
        _resized_crop(picture, place, row, side, warp, frame)
    elif code == AFFINE:
        _affine(picture, place, row, warp, frame)
    else:
        value = _magnitude(picture, place, row)
        if code == ROTATE:
            _turn(warp, frame, -value, 0.0, 0.0, 1.0, 0.0, False)
        elif code == SHEAR_X:
            _turn(warp, frame, 0.0, 0.0, 0.0, 1.0, math.degrees(math.atan(value)), True)
        elif code == SHEAR_Y:
            _after(warp, 1.0, 0.0, 0.0, value, 1.0, 0.0)
        elif code == SHIFT_X:
            _after(warp, 1.0, 0.0, -float(int(value * frame[1])), 0.0, 1.0, 0.0)
        elif code == SHIFT_Y:
            _after(warp, 1.0, 0.0, 0.0, 0.0, 1.0, -float(int(value * frame[0])))
        elif code == PIXELS_X:
            _after(warp, 1.0, 0.0, -float(int(value)), 0.0, 1.0, 0.0)
        elif code == PIXELS_Y:
            _after(warp, 1.0, 0.0, 0.0, 0.0, 1.0, -float(int(value)))


@njit(nogil=True)
def _apply(
    picture: int,
    place: int,
    number: int,
    table: Table,
    side: int,
    warp: Table,
    frame: Table,
    colours: Table,
    boxes: Table,
    used: NDArray[np.int64],
) -> None:
    """One operation, if its chance has it."""
    row = table[number]
    code = int(row[CODE])
    if row[CHANCE] < 1.0 and uniform(picture, place, DRAWS - 1) >= row[CHANCE]:
        return
    if code >= COLOUR:
        colours[used[0], 0] = row[CODE]
        colours[used[0], 1] = _magnitude(picture, place, row)
        used[0] += 1
    elif code == JITTER:
        _jitter(picture, place, row, colours, used)
    elif code in (CUTOUT, ERASE):
        _erase(picture, place, row, number, side, boxes, used)
    else:
        _warped(picture, place, row, side, warp, frame)


@njit(
    types.void(
        types.float64[:, ::1],
        types.int64,
        types.uint64,
        types.int64[::1],
        types.int64[:, ::1],
        types.int64,
        types.float64[:, ::1],
        types.float64[:, :, ::1],
        types.float64[:, :, ::1],
    ),
    nogil=True,
)
def draw(
    table: Table,
    listed: int,
    key: int,
    index: NDArray[np.int64],
    sizes: NDArray[np.int64],
    side: int,
    warps: Table,
    colours: Table,
    boxes: Table,
) -> None:
    """Draws for pictures of `sizes` (n, 2: height, width) that come out `side` pixels wide.

    The first `listed` rows of the table are the list, the others are what its `choose` rows choose from. Fills `warps` (n, 10),
    `colours` (n, most, 2: code, number; code 0 is none) and `boxes` (n, most, 6; see `_erase`; empty ones are zero).
    """
    frame = np.empty(2)
    used = np.empty(2, np.int64)
    for i in range(len(index)):
        warp = warps[i]
        frame[0], frame[1] = float(sizes[i, 0]), float(sizes[i, 1])
        warp[:] = 0.0
        warp[0], warp[4], warp[8], warp[9] = 1.0, 1.0, frame[1], frame[0]
        colours[i, :, :] = 0.0
        boxes[i, :, :] = 0.0
        used[:] = 0
        picture = picture_key(key, index[i])
        for number in range(listed):
            row = table[number]
            place = int(row[PLACE])
            if int(row[CODE]) != CHOOSE:
                _apply(picture, place, number, table, side, warp, frame, colours[i], boxes[i], used)
            elif uniform(picture, place, DRAWS - 1) < row[CHANCE]:
                # Parameters: fewest, most, first row, rows to choose from. Each choice has a place of its own.
                count = int(row[3] + math.floor(uniform(picture, place, 0) * (row[4] - row[3] + 1.0)))
                for j in range(count):
                    chosen = int(row[5]) + int(uniform(picture, place, 1 + j) * row[6])
                    _apply(picture, place + 1 + j, chosen, table, side, warp, frame, colours[i], boxes[i], used)
        if frame[0] != side or frame[1] != side:
            _centre(warp, frame, side, 1.0)
