"""Dropout in one pass, whose mask is a function of seed and place: forward and backward take the same one, and none is kept."""

from __future__ import annotations

from typing import Any

import torch
from numba import cfunc, njit, types
from torch import Tensor

from priorscope.models.kernels.lanes import DRAWS, F, dropped, drops, read, rounded, row_key, unless
from priorscope.models.kernels.team import AT_ONCE, FIRST, JOB, ROWS, array_at, claim, run

ROW = 1 << 10
"""Elements that share a key: rows of this length, the last of which may end earlier."""


@njit
def _drop(job: Any, element: Any) -> None:
    count, seed, threshold = job[FIRST + 2], job[FIRST + 3], types.uint32(job[FIRST + 4])
    values = array_at(job[FIRST], element, count)
    result = array_at(job[FIRST + 1], element, count)
    scale = F(DRAWS / (DRAWS - job[FIRST + 4]))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= job[ROWS]:
            break
        for i in range(start, min(start + job[AT_ONCE], job[ROWS])):
            key = row_key(seed, i)
            here, there = values[i * ROW : (i + 1) * ROW], result[i * ROW : (i + 1) * ROW]
            for j in range(len(here)):
                there[j] = rounded(unless(F(read(here[j]) * scale), dropped(key, j, threshold)), element)


@cfunc(JOB, cache=True)
def _drop_float(job: Any) -> None:
    _drop(job, types.float32(0))


@cfunc(JOB, cache=True)
def _drop_bfloat(job: Any) -> None:
    _drop(job, types.uint16(0))


def drop(values: Tensor, p: float, seed: int) -> Tensor:
    """Each element with probability p replaced by 0, the others made larger so that the mean stays."""
    result, count = torch.empty_like(values), values.numel()
    loop = _drop_bfloat if values.dtype == torch.bfloat16 else _drop_float
    run(loop, (-(-count // ROW), ROW), (values, result), count, seed, drops(p))
    return result
