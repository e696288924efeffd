"""A linear map at the processor's rate, in bfloat16 on a CPU, forward and backward.

torch adds a bias by writing it to the whole output, which the product then reads and adds to: 5.7 ms for 32,768 rows from 128
to 512 channels, of which the product takes 2.9. oneDNN adds it on its way out, to the same numbers. The gradient of the weights
is dy^T x; torch multiplies it with dy^T lying column by column, an order in which oneDNN takes twice as long where weights are
wide (15 ms for 2048 rows and weights of 1024 by 4096). There the narrower factor is turned in memory first; elsewhere it is
the left one all the same, which saves up to a quarter.

Learnt so, a map has first derivatives only, and no transforms of torch.func; in float32 it is torch's own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from priorscope.models.networks.fused import runs_kernels

WIDE = 1024
"""With this many channels or more, in or out, a weight's gradient is taken from a factor that is transposed in memory first."""


class Linear(nn.Linear):
    """torch's linear map, with the same keys; under autocast to bfloat16 on a CPU it takes another way."""

    def forward(self, input: Tensor) -> Tensor:
        known = input.dtype in (torch.bfloat16, torch.float32) and input.numel() > 0
        if not (known and learns_in_bfloat16(self.weight) and _onednn_multiplies()):
            return super().forward(input)
        result: Tensor = _Linear.apply(input.bfloat16(), self.weight, self.bias)  # pyright: ignore[reportAssignmentType]
        return result


def multiplies_in_bfloat16(x: Tensor) -> bool:
    """Whether autocast has a CPU multiply x in bfloat16, outside torch.compile, which fuses in ways of its own."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def learns_in_bfloat16(weight: Tensor) -> bool:
    """Whether this weight is a plain float32 tensor whose products autocast makes in bfloat16 on a CPU."""
    return weight.dtype == torch.float32 and type(weight) in (Tensor, nn.Parameter) and multiplies_in_bfloat16(weight)


class _Linear(torch.autograd.Function):
    """Products in bfloat16 of weights in float32, whose gradients come in float32 at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, low = x.contiguous(), weight.to(x.dtype, memory_format=torch.contiguous_format)
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, low if wants_x else None)
        added = None if bias is None else bias.to(x.dtype)
        return torch.ops.mkldnn._linear_pointwise(x, low, added, "none", [], "")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        rows = gradient.view(-1, gradient.shape[-1])
        of_x = None if weight is None else gradient @ weight
        of_weight = None if x is None else _of_weights(rows, x.view(-1, x.shape[-1]))
        return of_x, of_weight, _of_bias(rows) if ctx.needs_input_grad[2] else None


def _of_bias(gradient: Tensor) -> Tensor:
    """The sum of the rows in float32: as a product it takes half the time of a sum."""
    return (gradient.new_ones(1, len(gradient)) @ gradient)[0].float()


def _of_weights(gradient: Tensor, x: Tensor) -> Tensor:
    """gradient^T x in float32, the narrower factor on the left."""
    if gradient.shape[1] <= x.shape[1]:
        return _left_by(gradient, x).float()
    return turned(_left_by(x, gradient), torch.float32)


def _left_by(narrow: Tensor, wide: Tensor) -> Tensor:
    """The product narrow^T wide; `narrow` is transposed in memory first where `wide` has `WIDE` columns or more."""
    return (narrow.T if wide.shape[1] < WIDE else turned(narrow, narrow.dtype)) @ wide


def turned(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The transpose of a bfloat16 matrix, row by row in memory, in bfloat16 or float32; quickest of 4 n rows."""
    rows, columns = matrix.shape
    if rows % 4 or not matrix.is_contiguous() or not runs_kernels(matrix):
        return matrix.new_empty(columns, rows, dtype=dtype).copy_(matrix.T)
    from priorscope.models.kernels import turning

    return turning.turned(matrix, dtype)


def _onednn_multiplies() -> bool:
    """Whether oneDNN multiplies in bfloat16 here, and nobody has switched it off."""
    return bool(torch.backends.mkldnn.enabled) and _onednn_knows_bfloat16()


@cache
def _onednn_knows_bfloat16() -> bool:
    """Whether this build of torch and this processor have oneDNN's products in bfloat16."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
