"""LayerNorm whose gain and shift learn from sums in float32, in bfloat16 on a CPU.

torch 2.15 adds up the gradients of gain and shift in bfloat16 there: over 32,500 tokens of 128 channels they are wrong by a
seventh (2 threads). Added up in float32 they are right to 5e-7, and in one pass of our own they take 1.5 ms for 3.8.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from priorscope.models.networks.fused import runs_kernels
from priorscope.models.networks.linear import learns_in_bfloat16


class LayerNorm(nn.LayerNorm):
    """torch's LayerNorm, with the same keys and values; as it learns under autocast to bfloat16, its backward pass is ours.

    Our backward pass has first derivatives only.
    """

    def forward(self, input: Tensor) -> Tensor:
        known = input.dtype in (torch.bfloat16, torch.float32) and self._is_plain()
        if not (torch.is_grad_enabled() and known and learns_in_bfloat16(self.weight)):
            return super().forward(input)
        result: Tensor = _LayerNorm.apply(input, self.weight, self.bias, self.eps)  # pyright: ignore[reportAssignmentType]
        return result

    def _is_plain(self) -> bool:
        """Whether it is over the last axis, with gain and shift, and not in timm's lower precision."""
        if getattr(self, "_fast_norm", False):
            return False
        return len(self.normalized_shape) == 1 and self.elementwise_affine and getattr(self, "bias", None) is not None


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        result, mean, scale = torch.native_layer_norm(x, [x.shape[-1]], weight, bias, eps)
        ctx.save_for_backward(x, mean, scale, weight)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mean, scale, weight = ctx.saved_tensors
        if not runs_kernels(x):  # another OpenMP than GNU's
            exact, every = (gradient.float(), x.float(), [x.shape[-1]], mean, scale, weight, weight), [True] * 3
            of_x, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(*exact, every)
            return of_x.to(x.dtype), of_weight, of_bias, None
        from priorscope.models.kernels.norm import norm_backward

        return *norm_backward(gradient.contiguous(), x, mean, scale, weight), None
