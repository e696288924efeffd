"""Muon's orthogonal steps in float32, for devices without bfloat16.

torch and timm compute them in bfloat16 on any device. On a processor that must emulate that type, six epochs of a tiny MLP took
five minutes in place of a few seconds. Where the type is in hardware nothing changes.

Float32 has digits enough to iterate on the small Gram matrix and to touch the long one twice in all: the steps of a
128 x 3,072 matrix take a quarter of the time, those of a 512 x 2,048 one three fifths.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from priorscope.train.precision import has_fast_bf16

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.optim import Optimizer

Coefficients = tuple[float, float, float]
"""The coefficients of x, x^3 and x^5 in one Newton-Schulz step."""


def in_fast_precision(optimiser: Optimizer) -> Optimizer:
    """A Muon of torch's or timm's that orthogonalises in a type which its device has, from step to step."""
    if has_fast_bf16(optimiser.param_groups[0]["params"][0].device):
        return optimiser
    if type(optimiser).__module__.startswith("timm."):
        from timm.optim import muon

        room, name, ours = muon, "zeropower_via_newtonschulz", partial(_as_timm, muon.zeropower_via_newtonschulz)
    else:
        from torch.optim import _muon

        room, name, ours = _muon, "_zeropower_via_newtonschulz", _as_torch
    theirs = getattr(cast("Any", room), name)

    def begin(*_: object) -> None:
        setattr(room, name, ours)

    def end(*_: object) -> None:
        setattr(room, name, theirs)

    optimiser.register_step_pre_hook(begin)
    optimiser.register_step_post_hook(end)
    return optimiser


def _as_torch(gradient: Tensor, coefficients: Coefficients, steps: int, eps: float) -> Tensor:
    whole = gradient.float()
    return drawn(whole / whole.norm().clamp(min=eps), steps * [coefficients])


def _as_timm(
    theirs: Callable[..., Tensor], gradient: Tensor, steps: int, coefficients: Sequence[Coefficients], **options: Any
) -> Tensor:
    """A gradient orthogonalised as by timm, in float32; `theirs` is timm's function, called for 0 steps to make the norm 1.

    The last coefficients serve for all further steps.
    """
    in_order = [*coefficients[:steps], *(steps - len(coefficients)) * [coefficients[-1]]]
    return drawn(theirs(gradient, 0, in_order, dtype=torch.float32, **options), in_order)


def drawn(matrix: Tensor, coefficients: Sequence[Coefficients]) -> Tensor:
    """A matrix of norm 1 with its singular values drawn towards 1 by Newton-Schulz steps, in its own type.

    A step multiplies by a polynomial of the Gram matrix. All of these commute, so that their product is taken first.
    """
    if matrix.size(-2) > matrix.size(-1):
        return drawn(matrix.mT, coefficients).mT
    gram = matrix @ matrix.mT
    steps = torch.eye(matrix.size(-2), dtype=matrix.dtype, device=matrix.device)
    for a, b, c in coefficients:
        step = b * gram + c * gram @ gram
        step.diagonal(dim1=-2, dim2=-1).add_(a)
        steps = step @ steps
        gram = step @ gram @ step
    return steps @ matrix
