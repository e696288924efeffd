"""Steps of a network that our own loops take in one pass, where torch on a CPU takes several, each a parallel section.

They are taken in training alone, or in bfloat16: in float32 a network answers by torch's own operations. They have first
derivatives only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def runs_kernels(values: Tensor) -> bool:
    """Whether our own loops take values of this kind: float32 or bfloat16 on a CPU, outside torch.compile."""
    plain = type(values) is Tensor and values.device.type == "cpu" and values.dtype in (torch.float32, torch.bfloat16)
    if not plain or torch.compiler.is_compiling():
        return False
    from priorscope.models.kernels.team import has_team

    return has_team()


def drawn_seed() -> int:
    """63 bits of torch's own random stream, so that a resumed training draws what it would have drawn."""
    return int(torch.empty((), dtype=torch.int64, device="cpu").random_())


class Dropout(nn.Module):
    """Dropout that on a CPU takes one pass each way and keeps no mask.

    torch draws a number for each element, one after the other, keeps it, and multiplies: a third of a published Perceiver's
    training step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def active(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.p > 0

    def forward(self, values: Tensor) -> Tensor:
        if not self.active:
            return values
        if not runs_kernels(values):
            return F.dropout(values, self.p)
        result: Tensor = _Dropped.apply(values, self.p, drawn_seed())  # pyright: ignore[reportAssignmentType]
        return result

    def extra_repr(self) -> str:
        return f"{self.p}"


class _Dropped(torch.autograd.Function):
    """Drops the gradient where it dropped the value; the rate and the seed are all that it keeps for that."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, p: float, seed: int) -> Tensor:
        from priorscope.models.kernels.dropout import drop

        ctx.drawn = p, seed
        return drop(values.contiguous(), p, seed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        from priorscope.models.kernels.dropout import drop

        return drop(gradient.contiguous(), *ctx.drawn), None, None


def kept_weights(scores: Tensor, p: float) -> Tensor:
    """softmax over the last axis, of which each weight is dropped with probability p, where `runs_kernels`."""
    kept: Tensor = _Kept.apply(scores, p, drawn_seed())  # pyright: ignore[reportAssignmentType]
    return kept


class _Kept(torch.autograd.Function):
    """Softmax and dropout in one pass each way.

    By itself torch takes five, through 64 x 32 x 1024 scores in each layer of a Perceiver of the published size whose
    weights are dropped.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, p: float, seed: int) -> Tensor:
        from priorscope.models.kernels.softmax import weigh_and_drop

        kept, weights = weigh_and_drop(scores.contiguous(), p, seed)
        ctx.save_for_backward(weights)
        ctx.p = p
        return kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        from priorscope.models.kernels.softmax import weigh_and_drop_backward

        (weights,) = ctx.saved_tensors
        return weigh_and_drop_backward(gradient.contiguous(), weights, ctx.p), None, None


class Gelu(nn.GELU):
    """torch's GELU, whose gradient takes half the time in bfloat16 on a CPU: by a polynomial, and not by erf and exp."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if self.approximate != "none" else gelu(input)


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution up to x."""
    learns = x.dtype == torch.bfloat16 and torch.is_grad_enabled() and x.requires_grad
    if not (learns and runs_kernels(x)):
        return F.gelu(x)
    result: Tensor = _Gelu.apply(x)  # pyright: ignore[reportAssignmentType]
    return result


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if not (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)):
            x = x.contiguous()
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        from priorscope.models.kernels.gelu import gelu_backward

        (x,) = ctx.saved_tensors
        if gradient.stride() != x.stride():
            gradient = torch.empty_like(x).copy_(gradient)
        return gelu_backward(gradient, x)


def gated(packed: Tensor) -> Tensor:
    """The first half of each row times the GELU of the second (GEGLU, arXiv 2002.05202)."""
    if packed.dtype == torch.bfloat16 and runs_kernels(packed):
        result: Tensor = _Gated.apply(packed)  # pyright: ignore[reportAssignmentType]
        return result
    values, gates = packed.chunk(2, -1)
    return values * F.gelu(gates)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor) -> Tensor:
        from priorscope.models.kernels.gelu import gated

        packed = packed.contiguous()
        ctx.save_for_backward(packed)
        return gated(packed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        from priorscope.models.kernels.gelu import gated_backward

        (packed,) = ctx.saved_tensors
        return gated_backward(gradient.contiguous(), packed)
