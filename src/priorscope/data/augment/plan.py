"""An augmentation as a table of numbers, which the kernels interpret: one row an operation, the code first."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from priorscope.data.augment import Augment
from priorscope.data.augment.ops import AnyOp, Flip, PadCrop

FLIP_HORIZONTAL: Final = 0
FLIP_VERTICAL: Final = 1
PAD_CROP: Final = 2
RESIZED_CROP: Final = 3

COLUMNS: Final = 8
"""Code, chance, then up to six parameters."""


def plan(augment: Augment) -> NDArray[np.float64]:
    """The table of an augmentation's operations, one row each."""
    table = np.zeros((len(augment.ops), COLUMNS))
    for row, op in zip(table, augment.ops, strict=True):
        numbers = _row(op)
        row[: len(numbers)] = numbers
    return table


def _row(op: AnyOp) -> tuple[float, ...]:
    if isinstance(op, Flip):
        return (FLIP_HORIZONTAL if op.axis == "horizontal" else FLIP_VERTICAL, op.p)
    if isinstance(op, PadCrop):
        return (PAD_CROP, op.p, op.pad)
    return (RESIZED_CROP, op.p, *op.scale, *(math.log(ratio) for ratio in op.ratio))
