"""Following the gradient of a loss from pictures to pictures: many at once, each on its own.

The loss of a batch is the sum of its pictures' losses and every update is elementwise, so no picture feels another. Only
the gradient of the free numbers is computed: freeze the network's parameters around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from priorscope.core.config import Config
from priorscope.synthesis.forms import Parameterisation
from priorscope.synthesis.motion import Motion, drawn_motions, moved

AT_ONCE = 64 * 32 * 32
"""Pixels that are followed at once: 64 pictures of 32 pixels, one of 224 or more. Larger batches gained nothing on a processor,
and memory is what the network keeps for the backward pass of that many pictures."""

Schedule = Literal["constant", "cosine", "tenth-every-80"]


class Steps(Config):
    """How the free numbers are moved.

    "steepest" goes along the gradient, each picture's made of root mean square 1, so that `lr` means the same for every
    network; held in a ball it ends at the best picture there. Adam does not: it makes every number's gradient equally large,
    and of a linear function it would find the signs.
    """

    steps: int = Field(ge=1)
    lr: float = Field(gt=0)
    optimiser: Literal["steepest", "adam", "sgd"] = "adam"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    schedule: Schedule = "constant"
    enough: float | None = None
    """A picture whose loss is below this stays as it is."""

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        if self.schedule == "tenth-every-80":  # divided after steps 0, 80, 160, ...: one step goes at the whole rate
            return self.lr / 10 ** ((step + 79) // 80)
        return self.lr


class Loss(Protocol):
    """One loss for each picture: `images` are pictures as the network sees them, `rows` says which ones they are."""

    def __call__(self, images: Tensor, rows: slice, /) -> Tensor: ...


Penalty = Callable[[Tensor, Tensor], Tensor]
"""(free numbers, pictures) -> one number a picture, of the picture before it is moved."""


def descend(
    loss: Loss,
    start: Tensor,
    form: Parameterisation,
    how: Steps,
    *,
    penalty: Penalty | None = None,
    motion: Motion | None = None,
    names: list[str] | None = None,
    seed: int = 0,
) -> Tensor:
    """The pictures that the loss leads to from `start` (free numbers), in blocks of `AT_ONCE` pixels.

    `names` name the pictures' streams of motions, where they move.
    """
    side = form.decode(start[:1]).shape[-1]
    block = max(1, AT_ONCE // side**2)
    parts: list[Tensor] = []
    for first in range(0, len(start), block):
        rows = slice(first, min(first + block, len(start)))
        draws = None
        if motion is not None and not motion.still():
            draws = drawn_motions((names or [])[rows], seed, how.steps)
        parts.append(_block(loss, start[rows], form, how, penalty, motion or Motion(), draws, rows))
    return torch.cat(parts)


def _block(
    loss: Loss,
    start: Tensor,
    form: Parameterisation,
    how: Steps,
    penalty: Penalty | None,
    motion: Motion,
    draws: Tensor | None,
    rows: slice,
) -> Tensor:
    numbers = start.detach().clone().requires_grad_(True)
    move = _optimiser(numbers, how)
    done = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    kept = form.decode(start).detach().clone()
    for step in range(how.steps):
        with torch.enable_grad():
            images = form.decode(numbers)
            seen = images if draws is None else moved(images, draws[:, step], motion)
            values = loss(seen, rows)
            total = values.sum() if penalty is None else (values + penalty(numbers, images)).sum()
            (gradient,) = torch.autograd.grad(total, numbers)
        if how.enough is not None:
            reached = (values.detach() <= how.enough) & ~done
            kept[reached] = images.detach()[reached]
            done |= reached
            if bool(done.all()):
                break
        for group in move.param_groups:
            group["lr"] = how.rate(step)
        numbers.grad = _direction(torch.nan_to_num(gradient, 0.0, 0.0, 0.0), how)
        move.step()
        with torch.no_grad():
            form.project(numbers)
    final = form.decode(numbers).detach()
    return torch.where(done[:, None, None, None], kept, final)


def _direction(gradient: Tensor, how: Steps) -> Tensor:
    """The gradient, or each picture's made of root mean square 1 - momentum: with momentum, steps of 1 in the long run."""
    if how.optimiser != "steepest":
        return gradient
    size = gradient.square().flatten(1).mean(1).sqrt().clamp_min(1e-30)
    return gradient * ((1 - how.momentum) / size).view(-1, *[1] * (gradient.ndim - 1))


def _optimiser(numbers: Tensor, how: Steps) -> torch.optim.Optimizer:
    if how.optimiser == "adam":
        return torch.optim.Adam([numbers], lr=how.lr)
    return torch.optim.SGD([numbers], lr=how.lr, momentum=how.momentum)
