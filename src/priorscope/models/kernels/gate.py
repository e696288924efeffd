"""Gating by GELU, a x Phi(x), forward and backward, for rows that hold all a and then all x.

Phi is the normal distribution's, to 8e-8: the complementary error function of Abramowitz and Stegun, 7.1.26, whose exponential
is also the density that the backward pass asks for.
"""

from __future__ import annotations

from typing import Any

import torch
from numba import cfunc, njit, types
from torch import Tensor

from priorscope.models.kernels.lanes import F, exponential, read, rounded
from priorscope.models.kernels.team import AT_ONCE, COLUMNS, FIRST, JOB, ROWS, array_at, claim, rows_of, run

FAST = {"contract", "nsz"}
"""What the compiler may do: multiply and add in one. NaN and infinity stay what they are."""


@njit(inline="always", fastmath=FAST, error_model="numpy")
def _normal(x: float) -> tuple[float, float]:
    """The normal distribution up to x, and its density there."""
    size = F(abs(x))
    t = F(F(1.0) / F(F(1.0) + F(F(0.23164190) * size)))
    power = exponential(F(F(F(-0.5) * size) * size))
    tail = F(F(0.5) * power) * t
    series = F(F(1.061405429) * t + F(-1.453152027))
    series = F(series * t + F(1.421413741))
    series = F(series * t + F(-0.284496736))
    tail = F(tail * F(series * t + F(0.254829592)))
    return F(tail if x < F(0.0) else F(F(1.0) - tail)), F(F(0.39894228) * power)


@njit(fastmath=FAST, error_model="numpy")
def _forward(job: Any, element: Any) -> None:
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


@njit(fastmath=FAST, error_model="numpy")
def _backward(job: Any, element: Any) -> None:
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


@cfunc(JOB, cache=True)
def _forward_bfloat(job: Any) -> None:
    _forward(job, types.uint16(0))


@cfunc(JOB, cache=True)
def _backward_bfloat(job: Any) -> None:
    _backward(job, types.uint16(0))


def gated(packed: Tensor) -> Tensor:
    """The first half of each row times the GELU of the second, in bfloat16."""
    result = packed.new_empty(*packed.shape[:-1], packed.shape[-1] // 2)
    run(_forward_bfloat, rows_of(result), (packed, result))
    return result


def gated_backward(gradient: Tensor, packed: Tensor) -> Tensor:
    """The gradient of the rows, from that of the result."""
    result = torch.empty_like(packed)
    run(_backward_bfloat, rows_of(gradient), (gradient, packed, result))
    return result
