"""A matrix turned in memory, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from priorscope.core.compiled import cfunc
from priorscope.models.kernels.team import FIRST, JOB, ROWS, array_at, claim, run

BLOCK = 64
"""Rows and columns of the blocks that a matrix is transposed in: 8 KiB each, which touch as few pages as possible."""


@njit(inline="always")
def _turn(job: Any, few: Any, wide: Any) -> None:
    """Packs every `few` rows into one row of 64-bit words, and writes the result column by column."""
    rows, columns = job[FIRST + 2], job[FIRST + 3]
    source = array_at(job[FIRST], types.uint16(0), (rows, columns))
    result = array_at(job[FIRST + 1], types.uint64(0), (columns, rows // few))
    words = np.empty((BLOCK // few, BLOCK + 8), np.uint64)
    while True:
        block = claim(job, 1)
        if block >= job[ROWS]:
            break
        top = block * BLOCK
        high = min(BLOCK, rows - top) // few
        for left in range(0, columns, BLOCK):
            across = min(BLOCK, columns - left)
            for i in range(high):
                word, row = words[i], top + few * i
                a, b = source[row, left : left + across], source[row + 1, left : left + across]
                if wide:
                    for j in range(across):
                        word[j] = types.uint64(a[j]) << np.uint64(16) | types.uint64(b[j]) << np.uint64(48)
                else:
                    c, d = source[row + 2, left : left + across], source[row + 3, left : left + across]
                    for j in range(across):
                        low = types.uint64(a[j]) | types.uint64(b[j]) << np.uint64(16)
                        word[j] = low | types.uint64(c[j]) << np.uint64(32) | types.uint64(d[j]) << np.uint64(48)
            for j in range(across):
                line = result[left + j, block * (BLOCK // few) : block * (BLOCK // few) + high]
                for i in range(high):
                    line[i] = words[i, j]


@cfunc(JOB)
def _turn_bfloat(job: Any) -> None:
    _turn(job, 4, False)


@cfunc(JOB)
def _turn_to_float(job: Any) -> None:
    _turn(job, 2, True)


def turned(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The transpose of a bfloat16 matrix of 4 n rows, row by row in memory, in bfloat16 or float32."""
    rows, columns = matrix.shape
    result = matrix.new_empty(columns, rows, dtype=dtype)
    loop = _turn_bfloat if dtype == torch.bfloat16 else _turn_to_float
    run(loop, (-(-rows // BLOCK), BLOCK * columns), (matrix, result), rows, columns)
    return result
