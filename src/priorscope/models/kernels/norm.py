"""LayerNorm's gradient in one pass, its sums in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from priorscope.core.compiled import cfunc
from priorscope.models.kernels.lanes import FAST, F, read, rounded
from priorscope.models.kernels.team import ELEMENTS, FIRST, JOB, ROWS, array_at, claim, rows_of, run


@njit(inline="always")
def _norm_back(job: Any, element: Any) -> None:
    rows, width, together = job[FIRST + 7], job[FIRST + 8], job[FIRST + 9]
    gradient = array_at(job[FIRST], element, (rows, width))
    x = array_at(job[FIRST + 1], element, (rows, width))
    mean, scale = array_at(job[FIRST + 2], types.float32(0), rows), array_at(job[FIRST + 3], types.float32(0), rows)
    weight = array_at(job[FIRST + 4], types.float32(0), width)
    of_x = array_at(job[FIRST + 5], element, (rows, width))
    sums = array_at(job[FIRST + 6], types.float32(0), (job[ROWS], 2, width))
    share = F(1.0 / width)
    normal, pulled = np.empty(width, np.float32), np.empty(width, np.float32)
    while True:
        block = claim(job, 1)
        if block >= job[ROWS]:
            break
        of_weight, of_bias = sums[block, 0], sums[block, 1]
        of_weight[:] = F(0.0)
        of_bias[:] = F(0.0)
        for i in range(block * together, min(block * together + together, rows)):
            here, there, middle, by = gradient[i], x[i], mean[i], scale[i]
            straight, along = F(0.0), F(0.0)
            for j in range(width):
                g, n = read(here[j]), F(F(read(there[j]) - middle) * by)
                of_weight[j] = F(of_weight[j] + F(g * n))
                of_bias[j] = F(of_bias[j] + g)
                pull = F(g * weight[j])
                straight = F(straight + pull)
                along = F(along + F(pull * n))
                normal[j] = n
                pulled[j] = pull
            straight, along = F(straight * share), F(along * share)
            to = of_x[i]
            for j in range(width):
                to[j] = rounded(F(by * F(F(pulled[j] - straight) - F(normal[j] * along))), element)


@cfunc(JOB, fastmath=FAST)
def _norm_back_float(job: Any) -> None:
    _norm_back(job, types.float32(0))


@cfunc(JOB, fastmath=FAST)
def _norm_back_bfloat(job: Any) -> None:
    _norm_back(job, types.uint16(0))


def norm_backward(gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias, where (x - mean) * scale * weight + bias is LayerNorm over the last axis of x.

    Those of weight and bias are summed over blocks of rows that do not depend on how many threads there are.
    """
    rows, width = rows_of(x)
    together = max(1, 4 * ELEMENTS // max(width, 1))
    blocks = -(-rows // together)
    of_x, sums = torch.empty_like(x), weight.new_empty(blocks, 2, width)
    loop = _norm_back_bfloat if x.dtype == torch.bfloat16 else _norm_back_float
    run(loop, (blocks, together * width), (gradient, x, mean, scale, weight.contiguous(), of_x, sums), rows, width, together)
    of_weight, of_bias = sums.sum(0)
    return of_x, of_weight, of_bias
