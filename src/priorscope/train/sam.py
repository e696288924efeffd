"""Sharpness-aware minimisation: the gradient is taken where the loss nearby is highest (Foret et al. 2021, arXiv 2010.01412).

A first pass gives the gradient g at the weights w. The second is taken at w + e, and the optimiser applies it at w:

    e = rho * s * g / (|| a * g || + 1e-12)      plain: s = a = 1; adaptive (ASAM, arXiv 2102.11600): s = w^2, a = |w|

The norm is over all weights together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from priorscope.core.config import Config, Number

if TYPE_CHECKING:
    from torch import nn


class SamConfig(Config):
    """How far uphill the second pass looks; every step costs two."""

    rho: Number = Field(default=0.05, gt=0, description="how far uphill the gradient is taken")
    adaptive: bool = Field(
        default=False,
        description="whether that is measured relative to each weight's size (a usual rho is then 10 times larger)",
    )


@contextmanager
def uphill(model: nn.Module, config: SamConfig) -> Iterator[None]:
    """The model at w + e inside the block, without gradients; afterwards at w again, to the last bit.

    Batch statistics are held inside: they belong to w, and would count every batch twice.
    """
    import torch

    moved = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    before = [p.detach().clone() for p, _ in moved]
    with torch.no_grad():
        weighted = [p.abs() * g if config.adaptive else g for p, g in moved]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in weighted]))
        for p, g in moved:
            p.add_((p * p * g if config.adaptive else g) * (config.rho / (norm + 1e-12)))
            p.grad = None
    try:
        with _batch_statistics_still(model):
            yield
    finally:
        with torch.no_grad():
            for (p, _), value in zip(moved, before, strict=True):
                p.copy_(value)


@contextmanager
def _batch_statistics_still(model: nn.Module) -> Iterator[None]:
    """Batches are normalised by their own statistics as in training, but these are not recorded."""
    recording: list[Any] = [module for module in model.modules() if getattr(module, "track_running_stats", False)]
    for module in recording:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in recording:
            module.track_running_stats = True
