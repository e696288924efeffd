"""Muon's orthogonal steps in float32, where a device has no bfloat16.

torch and timm compute them in bfloat16 on any device. On a processor that must emulate that type, six epochs of a tiny MLP took
five minutes in place of a few seconds. Where the type is in hardware nothing changes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from priorscope.train.precision import has_fast_bf16

if TYPE_CHECKING:
    from torch.optim import Optimizer


def in_fast_precision(optimiser: Optimizer) -> Optimizer:
    """A Muon of torch's or timm's that orthogonalises in a type which its device has, from step to step."""
    if has_fast_bf16(optimiser.param_groups[0]["params"][0].device):
        return optimiser
    if type(optimiser).__module__.startswith("timm."):
        from timm.optim import muon

        room, name = muon, "zeropower_via_newtonschulz"
        ours = partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)
    else:
        from torch.optim import _muon

        room, name, ours = _muon, "_zeropower_via_newtonschulz", orthogonalised
    theirs = getattr(cast("Any", room), name)

    def begin(*_: object) -> None:
        setattr(room, name, ours)

    def end(*_: object) -> None:
        setattr(room, name, theirs)

    optimiser.register_step_pre_hook(begin)
    optimiser.register_step_post_hook(end)
    return optimiser


def orthogonalised(gradient: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """A matrix with its singular values drawn to about 1, by as many Newton-Schulz steps, in its own type."""
    a, b, c = coefficients
    wide = gradient.size(0) <= gradient.size(1)
    x = gradient if wide else gradient.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T
