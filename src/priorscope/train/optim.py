"""Optimisers and learning-rate schedules.

The learning rate is a pure function of the step, so that resuming needs no scheduler's state and cannot be off by one.
Weight decay really arrives: parameters are grouped by whether they are decayed, and every group is given its decay by name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from priorscope.core.config import Config, Number

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

VERSION = 1


class OptimConfig(Config):
    """How weights move: the optimiser, its learning rate over time, and weight decay."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Number = Field(default=1e-3, gt=0)
    weight_decay: Number = Field(default=0.05, ge=0)
    decay_norms_and_biases: bool = False
    momentum: Number = Field(default=0.9, ge=0, lt=1, description="SGD only; AdamW's first beta")
    beta2: Number = Field(default=0.999, ge=0, lt=1, description="AdamW only")
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Number = Field(default=0.0, ge=0, description="epochs of linear warm-up, counted into the schedule")
    clip: Number | None = Field(default=None, gt=0, description="largest global L2 norm of the gradient")


def learning_rate(config: OptimConfig, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of one step (0-based) of a run of `steps`.

    Warm-up rises linearly to `lr` at its last step; cosine falls from `lr` there to near 0 at the run's last step, never
    reaching 0 while there is still a step to take.
    """
    warm = min(round(config.warmup * steps_per_epoch), steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "constant":
        return config.lr
    progress = (step - warm) / max(steps - warm, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, object]]:
    """Two groups, decayed and not; matrices and kernels are decayed, vectors (norms, biases) only when asked."""
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 or config.decay_norms_and_biases]
    spared = [p for p in trained if not (p.ndim > 1 or config.decay_norms_and_biases)]
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimiser(model: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimiser of a config.

    Fused, because one kernel a step replaces dozens of small ones (and gives the same numbers each run).
    """
    import torch

    groups = parameter_groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, config.beta2), fused=True)
