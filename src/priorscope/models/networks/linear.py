"""A linear map whose weights learn at the processor's rate in bfloat16.

The gradient of the weights is dy^T x. torch multiplies it with dy^T lying column by column, an order in which oneDNN takes as
long as for the forward pass and the gradient of the input together, on a processor that has tiles for bfloat16 (AMX; 18 ms for
2048 rows and weights of 1024 by 4096). Turning the narrower factor in memory first leaves 9, and oneDNN turns it in one: four
times as fast as torch's own copy, which goes through a matrix column by column.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Linear(nn.Linear):
    """torch's linear map, with the same keys. On a CPU that trains in bfloat16 its gradients take another order."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 2 or not learns_in_bfloat16(self.weight):
            return super().forward(input)
        result: Tensor = _Linear.apply(input.bfloat16(), self.weight, self.bias)  # pyright: ignore[reportAssignmentType]
        return result


def learns_in_bfloat16(weight: Tensor) -> bool:
    """Whether this CPU's products are in bfloat16 and a gradient of the weights, kept in float32, will be asked for."""
    if weight.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    low = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return low and weight.requires_grad and torch.is_grad_enabled() and weight.dtype == torch.float32


class _Linear(torch.autograd.Function):
    """Products in bfloat16 of weights in float32, whose gradients come in float32 at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        low = weight.to(x.dtype)
        ctx.save_for_backward(x, low)
        return F.linear(x, low, bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x = gradient @ weight if ctx.needs_input_grad[0] else None
        of_bias = gradient.new_ones(1, len(gradient)) @ gradient  # as a product, half the time of a sum
        return of_x, _of_weights(gradient, x), of_bias[0].float()


def _of_weights(gradient: Tensor, x: Tensor) -> Tensor:
    """gradient^T x in float32, the narrower factor turned first."""
    if gradient.shape[1] <= x.shape[1]:
        return (turned(gradient) @ x).float()
    return turned(turned(x) @ gradient).float()


def turned(matrix: Tensor) -> Tensor:
    """The transpose of a bfloat16 matrix, row by row in memory."""
    if not _onednn_turns():
        return matrix.T.contiguous()
    return matrix.to_mkldnn().transpose(0, 1).to_dense()


@cache
def _onednn_turns() -> bool:
    """Whether this build of torch and this processor have oneDNN's copies of bfloat16."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
