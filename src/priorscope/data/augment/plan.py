"""An augmentation as a table of numbers, which the kernels interpret: one row an operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from priorscope.data.augment import Augment
from priorscope.data.augment import ops as o
from priorscope.data.kernels import codes as c

Row = tuple[float, ...]
"""Code, chance, parameters."""

RAND_BINS = 31


@dataclass(frozen=True)
class Mix:
    """A mixing operation with its place."""

    place: int
    op: o.Mixup | o.Cutmix


@dataclass(frozen=True)
class AugmentPlan:
    """What the kernels need to know of an augmentation."""

    table: NDArray[np.float64]
    listed: int
    """Rows that are the list; the rest are what `choose` rows choose from."""
    colours: int
    """Most colour operations that can happen to one picture."""
    boxes: int
    """Most boxes that can be erased in one picture."""
    mixes: tuple[Mix, ...]
    permute: int | None
    """The seed of the pixels' fixed order."""


def plan(augment: Augment) -> AugmentPlan:
    """The plan of an augmentation."""
    rows: list[tuple[Row, int]] = []
    chosen: list[list[Row]] = []
    mixes: list[Mix] = []
    permute: int | None = None
    place = 0
    for op in augment.ops:
        if isinstance(op, o.Mixup | o.Cutmix):
            mixes.append(Mix(place, op))
        elif isinstance(op, o.Permute):
            permute = op.seed
        elif isinstance(op, o.Choose | o.RandAugment | o.TrivialAugment):
            fewest, most, choices = _choices(op)
            rows.append(((c.CHOOSE, op.p, fewest, most, len(chosen), len(choices)), place))
            chosen.append(choices)
            place += most
        else:
            rows.append((_row(op), place))
        place += 1
    return _assembled(rows, chosen, tuple(mixes), permute)


def _assembled(
    rows: list[tuple[Row, int]], chosen: list[list[Row]], mixes: tuple[Mix, ...], permute: int | None
) -> AugmentPlan:
    """The table with the choices after the list, and how much one picture can need."""
    starts = np.cumsum([len(rows), *(len(choices) for choices in chosen)])
    table = np.zeros((int(starts[-1]), c.COLUMNS))
    colours = boxes = 0
    for line, (row, place) in zip(table, rows, strict=False):
        _write(line, row, place)
        times, candidates = 1, [row]
        if row[0] == c.CHOOSE:
            times, candidates = int(row[3]), chosen[int(row[4])]
            line[5] = starts[int(row[4])]
        colours += times * max(_colours(candidate) for candidate in candidates)
        boxes += times * max(candidate[0] in (c.CUTOUT, c.ERASE) for candidate in candidates)
    for line, row in zip(table[len(rows) :], [row for choices in chosen for row in choices], strict=True):
        _write(line, row, 0)
    return AugmentPlan(table, len(rows), colours, boxes, mixes, permute)


def _write(line: NDArray[np.float64], row: Row, place: int) -> None:
    line[c.CODE], line[c.CHANCE], line[c.PLACE] = row[0], row[1], place
    line[c.FIRST : c.FIRST + len(row) - 2] = row[2:]


def _colours(row: Row) -> int:
    return 4 if row[0] == c.JITTER else int(row[0] >= c.COLOUR)


def _row(op: o.SingleOp) -> Row:
    match op:
        case o.Flip():
            return (c.FLIP_X if op.axis == "horizontal" else c.FLIP_Y, op.p)
        case o.PadCrop():
            return (c.PAD_CROP, op.p, op.pad)
        case o.CentreCrop():
            return (c.CENTRE_CROP, op.p, op.share)
        case o.ResizedCrop():
            return (c.RESIZED_CROP, op.p, *op.scale, *_logs(op.ratio))
        case o.Rotate():
            return (c.ROTATE, op.p, *op.degrees)
        case o.Affine():
            return (c.AFFINE, op.p, *op.degrees, *op.translate, *op.scale, *op.shear)
        case o.Cutout():
            return _erasing(c.CUTOUT, op.p, (op.size,), op.fill)
        case o.Erase():
            low, high = _logs(op.ratio)  # of height to width, where the kernel draws width to height
            return _erasing(c.ERASE, op.p, (*op.scale, -high, -low), op.fill)
        case o.Jitter():
            return _jitter(op)
        case _:
            return _colour(op)


def _colour(op: o.Grayscale | o.Equalize | o.Autocontrast | o.Sharpness | o.Posterize | o.Solarize | o.Invert) -> Row:
    match op:
        case o.Grayscale():
            return _fixed(c.SATURATION, 0.0, op.p)
        case o.Equalize():
            return _fixed(c.EQUALIZE, 0.0, op.p)
        case o.Autocontrast():
            return _fixed(c.AUTOCONTRAST, 0.0, op.p)
        case o.Sharpness():
            return _fixed(c.SHARPNESS, op.factor, op.p)
        case o.Posterize():
            return _fixed(c.POSTERIZE, op.bits, op.p)
        case o.Solarize():
            return _fixed(c.SOLARIZE, 255.0 * op.threshold, op.p)
        case o.Invert():
            return _fixed(c.INVERT, 0.0, op.p)


def _fixed(code: int, value: float, chance: float = 1.0) -> Row:
    return (code, chance, value, value)


def _logs(ratio: tuple[float, float]) -> tuple[float, float]:
    return math.log(ratio[0]), math.log(ratio[1])


def _erasing(code: int, chance: float, numbers: Sequence[float], fill: o.Colour | str) -> Row:
    """The fill stands in the last three columns."""
    colour = (math.nan,) * 3 if isinstance(fill, str) else fill
    gap = c.COLUMNS - c.FIRST - len(numbers) - 3
    return (code, chance, *numbers, *(0.0,) * gap, *colour)


def _jitter(op: o.Jitter) -> Row:
    numbers: list[float] = []
    for code, spread in ((c.BRIGHTNESS, op.brightness), (c.CONTRAST, op.contrast), (c.SATURATION, op.saturation)):
        numbers += [code, max(0.0, 1 - spread), 1 + spread]
    return (c.JITTER, op.p, *numbers, c.HUE, -op.hue, op.hue)


def _choices(op: o.Choose | o.RandAugment | o.TrivialAugment) -> tuple[int, int, list[Row]]:
    """(fewest, most, rows to choose from)."""
    if isinstance(op, o.RandAugment):
        return op.n, op.n, _rand_space(op.magnitude / (RAND_BINS - 1))
    if isinstance(op, o.TrivialAugment):
        return 1, 1, _trivial_space()
    fewest, most = op.k if isinstance(op.k, tuple) else (op.k, op.k)
    return fewest, most, [_row(each) for each in op.ops]


def _rand_space(m: float) -> list[Row]:
    """torchvision's RandAugment at a share m of the greatest magnitude; 1 = with a random sign."""
    share = 150.0 / 331.0
    return [
        _fixed(c.BRIGHTNESS, 1.0),
        (c.SHEAR_X, 1.0, 0.3 * m, 0.3 * m, 1),
        (c.SHEAR_Y, 1.0, 0.3 * m, 0.3 * m, 1),
        (c.SHIFT_X, 1.0, share * m, share * m, 1),
        (c.SHIFT_Y, 1.0, share * m, share * m, 1),
        (c.ROTATE, 1.0, 30 * m, 30 * m, 1),
        *((code, 1.0, 0.9 * m, 0.9 * m, 1, 0, 1) for code in (c.BRIGHTNESS, c.SATURATION, c.CONTRAST, c.SHARPNESS)),
        _fixed(c.POSTERIZE, 8 - round(4 * m)),
        _fixed(c.SOLARIZE, 255 * (1 - m)),
        _fixed(c.AUTOCONTRAST, 0.0),
        _fixed(c.EQUALIZE, 0.0),
    ]


def _trivial_space() -> list[Row]:
    """torchvision's TrivialAugmentWide: magnitudes from 31 equally spaced ones, with a random sign where it makes sense."""
    return [
        _fixed(c.BRIGHTNESS, 1.0),
        (c.SHEAR_X, 1.0, 0, 0.99, 1, RAND_BINS),
        (c.SHEAR_Y, 1.0, 0, 0.99, 1, RAND_BINS),
        (c.PIXELS_X, 1.0, 0, 32, 1, RAND_BINS),
        (c.PIXELS_Y, 1.0, 0, 32, 1, RAND_BINS),
        (c.ROTATE, 1.0, 0, 135, 1, RAND_BINS),
        *((code, 1.0, 0, 0.99, 1, RAND_BINS, 1) for code in (c.BRIGHTNESS, c.SATURATION, c.CONTRAST, c.SHARPNESS)),
        (c.POSTERIZE, 1.0, 8, 2, 0, RAND_BINS),
        (c.SOLARIZE, 1.0, 255, 0, 0, RAND_BINS),
        _fixed(c.AUTOCONTRAST, 0.0),
        _fixed(c.EQUALIZE, 0.0),
    ]
