"""Dropout in one pass each way and without a mask: whether an element is dropped is a hash of where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from priorscope.core.compiled import cfunc
from priorscope.models.kernels.lanes import BITS, Bits, F, lane, read, rounded
from priorscope.models.kernels.team import AT_ONCE, FIRST, JOB, ROW, ROWS, array_at, claim, run

DRAWS = 1 << 31
"""How many random numbers there are that decide whether an element is dropped."""


def threshold_of(p: float) -> int:
    """How many of the `DRAWS` random numbers drop an element: their share is nearest to p, but neither none nor all."""
    return min(max(round(p * DRAWS), 1), DRAWS - 1)


@njit(inline="always")
def row_key(seed: int, row: int) -> int:
    """The 32-bit key of a row's random numbers: the finaliser of splitmix64 but for its last shift."""
    x = np.uint64(seed) + np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return BITS(x >> np.uint64(32))


@lane
def dropped(_typing: Any, _key: Any, _column: Any, _threshold: Any) -> Any:
    """All 32 bits set where an element is dropped, else none; decided by a hash of its row's key and its column.

    The probability of being dropped is threshold / DRAWS.
    """

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = Bits(context, write)
        key, column, threshold = args
        x = write.xor(key, write.mul(bits.from_index(column), bits.number(0x9E3779B1)))
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = write.mul(write.xor(x, write.lshr(x, bits.number(shift))), bits.number(factor))
        x = write.xor(x, write.lshr(x, bits.number(16)))
        return write.ashr(write.sub(write.lshr(x, bits.number(1)), threshold), bits.number(31))

    return types.uint32(types.uint32, types.int64, types.uint32), code


@lane
def unless(_typing: Any, _value: Any, _gone: Any) -> Any:
    """The value, or 0 where it is dropped."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = Bits(context, write)
        return bits.float_of(write.and_(bits.of(args[0]), write.not_(args[1])))

    return types.float32(types.float32, types.uint32), code


@lane
def signed(_typing: Any, _value: Any, _gone: Any) -> Any:
    """The value, with its sign turned where it is dropped."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = Bits(context, write)
        return bits.float_of(write.xor(bits.of(args[0]), write.shl(args[1], bits.number(31))))

    return types.float32(types.float32, types.uint32), code


@njit(inline="always")
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


@cfunc(JOB)
def _drop_float(job: Any) -> None:
    _drop(job, types.float32(0))


@cfunc(JOB)
def _drop_bfloat(job: Any) -> None:
    _drop(job, types.uint16(0))


def drop(values: Tensor, p: float, seed: int) -> Tensor:
    """Each element with probability p replaced by 0, the others made larger so that the mean stays."""
    result, count = torch.empty_like(values), values.numel()
    loop = _drop_bfloat if values.dtype == torch.bfloat16 else _drop_float
    run(loop, (-(-count // ROW), ROW), (values, result), count, seed, threshold_of(p))
    return result
