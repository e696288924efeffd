"""GELU's gradient, and gating by GELU both ways."""

from __future__ import annotations

from typing import Any

import torch
from numba import njit, types
from torch import Tensor

from priorscope.core.compiled import cfunc
from priorscope.models.kernels.lanes import FAST, F, exponential, read, rounded
from priorscope.models.kernels.team import AT_ONCE, COLUMNS, FIRST, JOB, ROW, ROWS, array_at, claim, rows_of, run


@njit(inline="always")
def _normal(x: float) -> tuple[float, float]:
    """The normal distribution up to x, to 8e-8 and float32's rounding, and its density there.

    The complementary error function is that of Abramowitz and Stegun, 7.1.26, whose exponential the density is made of.
    """
    size = F(abs(x))
    t = F(F(1.0) / F(F(1.0) + F(F(0.23164190) * size)))
    power = exponential(F(F(F(-0.5) * size) * size))
    tail = F(F(0.5) * power) * t
    series = F(F(1.061405429) * t + F(-1.453152027))
    series = F(series * t + F(1.421413741))
    series = F(series * t + F(-0.284496736))
    tail = F(tail * F(series * t + F(0.254829592)))
    return F(tail if x < F(0.0) else F(F(1.0) - tail)), F(F(0.39894228) * power)


@njit(inline="always")
def _gate(job: Any, element: Any) -> None:
    rows, width = job[ROWS], job[COLUMNS]
    packed = array_at(job[FIRST], element, (rows, 2, width))
    result = array_at(job[FIRST + 1], element, (rows, width))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= rows:
            break
        for i in range(start, min(start + job[AT_ONCE], rows)):
            for j in range(width):
                gate = read(packed[i, 1, j])
                below, _ = _normal(gate)
                result[i, j] = rounded(F(read(packed[i, 0, j]) * F(gate * below)), element)


@njit(inline="always")
def _gate_back(job: Any, element: Any) -> None:
    rows, width = job[ROWS], job[COLUMNS]
    gradient = array_at(job[FIRST], element, (rows, width))
    packed = array_at(job[FIRST + 1], element, (rows, 2, width))
    result = array_at(job[FIRST + 2], element, (rows, 2, width))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= rows:
            break
        for i in range(start, min(start + job[AT_ONCE], rows)):
            for j in range(width):
                of_result, gate = read(gradient[i, j]), read(packed[i, 1, j])
                below, density = _normal(gate)
                result[i, 0, j] = rounded(F(of_result * F(gate * below)), element)
                slope = F(below + F(gate * density))
                result[i, 1, j] = rounded(F(F(of_result * read(packed[i, 0, j])) * slope), element)


@cfunc(JOB, fastmath=FAST, error_model="numpy")
def _gate_bfloat(job: Any) -> None:
    _gate(job, types.uint16(0))


@cfunc(JOB, fastmath=FAST, error_model="numpy")
def _gate_back_bfloat(job: Any) -> None:
    _gate_back(job, types.uint16(0))


def gated(packed: Tensor) -> Tensor:
    """The first half of each row times the GELU of the second, in bfloat16."""
    result = packed.new_empty(*packed.shape[:-1], packed.shape[-1] // 2)
    run(_gate_bfloat, rows_of(result), (packed, result))
    return result


def gated_backward(gradient: Tensor, packed: Tensor) -> Tensor:
    """The gradient of `packed`, from the gradient of what `gated` returns."""
    result = torch.empty_like(packed)
    run(_gate_back_bfloat, rows_of(gradient), (gradient, packed, result))
    return result


FLAT = 5.0
"""Beyond this GELU's slope is taken for constant: there it is 0 or 1, to 7e-6."""


@njit(inline="always")
def _slope(x: float) -> float:
    """GELU's derivative, to 2e-5: one half plus an odd polynomial, written in x^2 brought to [-1, 1].

    Fitted to the least largest error between -FLAT and FLAT; a hundredth of what rounding to bfloat16 changes.
    """
    x = F(x if x < F(FLAT) else F(FLAT))
    x = F(x if x > F(-FLAT) else F(-FLAT))
    t = F(F(x * x) * F(2.0 / FLAT**2) - F(1.0))
    odd = F(-0.020719458)
    odd = F(odd * t + F(0.046514359))
    odd = F(odd * t + F(-0.027723545))
    odd = F(odd * t + F(0.021228819))
    odd = F(odd * t + F(-0.068446151))
    odd = F(odd * t + F(0.095119399))
    odd = F(odd * t + F(-0.085356218))
    odd = F(odd * t + F(0.077089564))
    odd = F(odd * t + F(-0.071541805))
    odd = F(odd * t + F(0.066826158))
    odd = F(odd * t + F(-0.075122786))
    odd = F(odd * t + F(0.14213058))
    return F(x * odd + F(0.5))


@njit(inline="always")
def _gelu_back(job: Any, element: Any) -> None:
    count = job[FIRST + 3]
    gradient = array_at(job[FIRST], element, count)
    x = array_at(job[FIRST + 1], element, count)
    result = array_at(job[FIRST + 2], element, count)
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= job[ROWS]:
            break
        first, last = start * ROW, min((start + job[AT_ONCE]) * ROW, count)
        given, here, there = gradient[first:last], x[first:last], result[first:last]
        for j in range(len(here)):
            there[j] = rounded(F(read(given[j]) * _slope(read(here[j]))), element)


@cfunc(JOB, fastmath=FAST)
def _gelu_back_bfloat(job: Any) -> None:
    _gelu_back(job, types.uint16(0))


def gelu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of x from that of GELU(x), in bfloat16; both lie alike in memory, without gaps."""
    result, count = torch.empty_like(x), x.numel()
    run(_gelu_back_bfloat, (-(-count // ROW), ROW), (gradient, x, result), count)
    return result
