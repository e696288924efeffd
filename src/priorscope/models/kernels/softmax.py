"""Attention's weights, softmax and dropout, in one pass each way."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from priorscope.core.compiled import cfunc
from priorscope.models.kernels.dropout import DRAWS, dropped, row_key, signed, threshold_of, unless
from priorscope.models.kernels.lanes import FAST, F, exponential, from_order, in_order, read, rounded
from priorscope.models.kernels.team import AT_ONCE, COLUMNS, FIRST, JOB, ROWS, array_at, claim, rows_of, run


@njit(inline="always")
def _weigh(job: Any, element: Any) -> None:
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


@njit(inline="always")
def _weigh_back(job: Any, element: Any) -> None:
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


@cfunc(JOB, fastmath=FAST)
def _weigh_float(job: Any) -> None:
    _weigh(job, types.float32(0))


@cfunc(JOB, fastmath=FAST)
def _weigh_bfloat(job: Any) -> None:
    _weigh(job, types.uint16(0))


@cfunc(JOB, fastmath=FAST)
def _weigh_back_float(job: Any) -> None:
    _weigh_back(job, types.float32(0))


@cfunc(JOB, fastmath=FAST)
def _weigh_back_bfloat(job: Any) -> None:
    _weigh_back(job, types.uint16(0))


def weigh_and_drop(scores: Tensor, p: float, seed: int) -> tuple[Tensor, Tensor]:
    """The weights w = softmax(scores) of each row after dropout, w / (1 - p) or 0; and w itself, negative where dropped.

    The backward pass needs the second tensor alone.
    """
    weights, kept = torch.empty_like(scores), torch.empty_like(scores)
    loop = _weigh_bfloat if scores.dtype == torch.bfloat16 else _weigh_float
    run(loop, rows_of(scores), (scores, weights, kept), seed, threshold_of(p))
    return kept, weights


def weigh_and_drop_backward(gradient: Tensor, weights: Tensor, p: float) -> Tensor:
    """The gradient of the scores from that of the weights after dropout, g: w (m g - sum(w m g)).

    Here m is 1 / (1 - p), or 0 where a weight was dropped.
    """
    result = torch.empty_like(gradient)
    loop = _weigh_back_bfloat if gradient.dtype == torch.bfloat16 else _weigh_back_float
    run(loop, rows_of(gradient), (gradient, weights, result), threshold_of(p))
    return result
