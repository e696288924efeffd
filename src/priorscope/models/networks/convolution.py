"""A convolution whose weights learn at the processor's rate in bfloat16 on small maps too.

On maps a few pixels wide oneDNN's gradient of the weights takes up to ten times as long as its forward pass. Written as one
product, of the gradient with the patches that each of its pixels came from, it takes a half to a seventh of that. The patches
are copied out for some pictures at a time: as many as stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from priorscope.models.networks.linear import learns_in_bfloat16, turned

MOST_PIXELS, VALUES_A_PIXEL = 64, 20
"""Weights learn by products where the map that comes out has at most so many pixels, and a patch so many values for each.

A patch is counted with the smaller number of channels. On larger or thinner maps oneDNN's own gradient is as fast.
"""

PATCHES_BYTES = 8 << 20
"""Bytes of patches copied at a time: with 2 MiB a gradient takes nearly twice as long, with all at once a tenth longer."""


class Convolution(nn.Conv2d):
    """torch's convolution, padded to keep the map's size at stride 1; its weights may learn by products."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        if self.bias is not None or not self._learns_in_bfloat16() or not self._is_small_on(input):
            return super().forward(input)
        result: Tensor = _Convolution.apply(input.bfloat16(), self.weight, self.stride[0])  # pyright: ignore[reportAssignmentType]
        return result

    def _learns_in_bfloat16(self) -> bool:
        return learns_in_bfloat16(self.weight) and self.weight.requires_grad and torch.is_grad_enabled()

    def _is_small_on(self, input: Tensor) -> bool:
        """Whether the map is small beside the patches that its pixels come from."""
        pixels = -(-input.shape[-2] // self.stride[0]) * -(-input.shape[-1] // self.stride[0])
        values = self.kernel_size[0] ** 2 * min(self.in_channels, self.out_channels)
        return input.ndim == 4 and pixels <= MOST_PIXELS and values >= VALUES_A_PIXEL * pixels


class _Convolution(torch.autograd.Function):
    """A convolution in bfloat16 of weights in float32, whose gradient comes in float32 at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        low = weight.to(x.dtype)
        ctx.save_for_backward(x, low)
        ctx.stride = stride
        return F.conv2d(x, low, None, stride, (weight.shape[-1] - 1) // 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        kernel, stride, of_x = weight.shape[-1], [ctx.stride] * 2, None
        if ctx.needs_input_grad[0]:  # by the operator itself: nn.grad.conv2d_input returns another layout than x has
            rest = (stride, [(kernel - 1) // 2] * 2, [1, 1], False, [0, 0], 1)
            of_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *rest, [True, False, False])[0]
        return of_x, _of_weights(gradient.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1), kernel, ctx.stride), None


def _of_weights(gradient: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    """The sum over pixels of gradient (N, H, W, out) times the patch of x (N, H', W', in) under each: (out, in, k, k)."""
    _, height, width, outputs = gradient.shape
    inputs, edge = x.shape[-1], (kernel - 1) // 2
    padded = F.pad(x, (0, 0, edge, edge, edge, edge)).contiguous()
    picture, row, column, _ = padded.stride()
    values = kernel * kernel * inputs
    total = torch.zeros(outputs, values)
    at_a_time = max(1, PATCHES_BYTES // (height * width * values * x.element_size()) // 4) * 4  # 4 n rows are turned faster
    for some, theirs in zip(padded.split(at_a_time), gradient.split(at_a_time), strict=True):
        shape = (len(some), height, width, kernel, kernel, inputs)
        patches = some.as_strided(shape, (picture, stride * row, stride * column, row, column, 1))
        total += turned(theirs.reshape(-1, outputs), theirs.dtype) @ patches.reshape(-1, values)
    return total.unflatten(1, (kernel, kernel, inputs)).permute(0, 3, 1, 2)
