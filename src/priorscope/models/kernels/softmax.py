"""Attention weights and their dropout, row by row, forward and backward.

Forward, a row of scores s becomes weights w = softmax(s) and kept weights k = w / (1 - p), or 0 where dropped. What the
backward pass needs is stored in one array: w, negative where it was dropped. Backward, the gradient g of the kept weights
becomes that of the scores, w (m g - sum(w m g)) with m = 1 / (1 - p) or 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import cfunc, njit, types
from torch import Tensor

from priorscope.models.kernels.lanes import (
    DRAWS,
    F,
    dropped,
    drops,
    exponential,
    from_order,
    in_order,
    read,
    rounded,
    row_key,
    signed,
    unless,
)
from priorscope.models.kernels.team import AT_ONCE, COLUMNS, FIRST, JOB, ROWS, array_at, claim, rows_of, run

FAST = {"reassoc", "contract", "nsz"}
"""What the compiler may do to sums: take them in another order, always the same. NaN and infinity stay what they are."""


@njit(fastmath=FAST)
def _forward(job: Any, element: Any) -> None:
    shape = (job[ROWS], job[COLUMNS])
    scores = array_at(job[FIRST], element, shape)
    weights = array_at(job[FIRST + 1], element, shape)
    kept = array_at(job[FIRST + 2], element, shape)
    seed, threshold = job[FIRST + 3], types.uint32(job[FIRST + 4])
    scale = F(DRAWS / (DRAWS - job[FIRST + 4]))
    row = np.empty(shape[1], np.float32)
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= shape[0]:
            break
        for i in range(start, min(start + job[AT_ONCE], shape[0])):
            top = in_order(F(-np.inf))
            for j in range(shape[1]):
                place = in_order(read(scores[i, j]))
                top = place if place > top else top
            most, total = from_order(top), F(0.0)
            for j in range(shape[1]):
                power = exponential(F(read(scores[i, j]) - most))
                row[j] = power
                total = F(total + power)
            share = F(F(1.0) / total)
            key = row_key(seed, i)
            for j in range(shape[1]):
                weight = F(row[j] * share)
                gone = dropped(key, j, threshold)
                weights[i, j] = rounded(signed(weight, gone), element)
                kept[i, j] = rounded(unless(F(weight * scale), gone), element)


@njit(fastmath=FAST)
def _backward(job: Any, element: Any) -> None:
    shape = (job[ROWS], job[COLUMNS])
    gradient = array_at(job[FIRST], element, shape)
    weights = array_at(job[FIRST + 1], element, shape)
    of_scores = array_at(job[FIRST + 2], element, shape)
    half = F(0.5 * DRAWS / (DRAWS - job[FIRST + 3]))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= shape[0]:
            break
        for i in range(start, min(start + job[AT_ONCE], shape[0])):
            total = F(0.0)
            for j in range(shape[1]):
                weight = read(weights[i, j])
                stays = F(F(weight + abs(weight)) * half)
                total = F(total + F(stays * read(gradient[i, j])))
            for j in range(shape[1]):
                weight = read(weights[i, j])
                stays = F(F(weight + abs(weight)) * half)
                of_scores[i, j] = rounded(F(F(stays * read(gradient[i, j])) - F(total * abs(weight))), element)


@cfunc(JOB, cache=True, fastmath=FAST)
def _forward_float(job: Any) -> None:
    _forward(job, types.float32(0))


@cfunc(JOB, cache=True, fastmath=FAST)
def _forward_bfloat(job: Any) -> None:
    _forward(job, types.uint16(0))


@cfunc(JOB, cache=True, fastmath=FAST)
def _backward_float(job: Any) -> None:
    _backward(job, types.float32(0))


@cfunc(JOB, cache=True, fastmath=FAST)
def _backward_bfloat(job: Any) -> None:
    _backward(job, types.uint16(0))


def weigh(scores: Tensor, p: float, seed: int) -> tuple[Tensor, Tensor]:
    """The kept weights of scores, and all weights with signs."""
    weights, kept = torch.empty_like(scores), torch.empty_like(scores)
    loop = _forward_bfloat if scores.dtype == torch.bfloat16 else _forward_float
    run(loop, rows_of(scores), (scores, weights, kept), seed, drops(p))
    return kept, weights


def weigh_backward(gradient: Tensor, weights: Tensor, p: float) -> Tensor:
    """The gradient of the scores, from that of the kept weights."""
    result = torch.empty_like(gradient)
    loop = _backward_bfloat if gradient.dtype == torch.bfloat16 else _backward_float
    run(loop, rows_of(gradient), (gradient, weights, result), drops(p))
    return result
