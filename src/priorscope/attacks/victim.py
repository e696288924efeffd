"""A network under attack: logits and input gradients in chunks, in float32, with its parameters left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from priorscope.attacks.ball import concatenate
from priorscope.attacks.losses import Loss
from priorscope.core.blocks import SIDE, at_once, blocks
from priorscope.core.errors import RequestError
from priorscope.core.machine import plain_attention, repeatable

CHUNK = 250
"""Pictures of side 32 in one pass: larger chunks gained nothing on a processor (ResNet-20) and cost memory."""
BLOCK = 500
"""Pictures of side 32 that an attack works on at a time."""


class Victim:
    """Logits and gradients of a callable; counts the answers that came back unusable."""

    def __init__(self, logits: Callable[[Tensor], Tensor], chunk: int = CHUNK) -> None:
        self._logits = logits
        self._chunk = chunk
        self._side = max(getattr(logits, "image_size", 0), getattr(logits, "input_size", 0))
        self.not_finite = 0

    def blocks(self, count: int) -> Iterator[NDArray[np.int64]]:
        """The rows from 0 to `count`, a block at a time."""
        return blocks(count, self._at_once(BLOCK))

    def _at_once(self, most: int, side: int = SIDE) -> int:
        """How many pictures have as many pixels as `most` of side 32 have, at the side to which the network enlarges them."""
        return at_once(max(self._side, side), most)

    def __call__(self, x: Tensor) -> Tensor:
        """The logits, without a gradient."""
        with torch.no_grad(), repeatable(x.device):
            return concatenate([self._answer(part) for part in x.split(self._at_once(self._chunk, x.shape[-1]))])

    def gradient(self, x: Tensor, labels: Tensor, loss: Loss, targets: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the loss of each picture, and its gradient with respect to that picture's pixels."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        chunk = self._at_once(self._chunk, x.shape[-1])
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            part = x[rows].detach().requires_grad_(True)
            with torch.enable_grad(), repeatable(x.device), plain_attention(x.device):
                logits = self._answer(part)
                values = loss(logits, labels[rows], None if targets is None else targets[rows])
                gradient = _input_gradient(values, part)
            parts.append((logits.detach(), values.detach(), torch.nan_to_num(gradient, 0.0, 0.0, 0.0)))
        logits, values, gradients = zip(*parts, strict=True)
        return concatenate(logits), concatenate(values), concatenate(gradients)

    def _answer(self, x: Tensor) -> Tensor:
        logits = self._logits(x).float()
        self.not_finite += int((~torch.isfinite(logits.detach())).any(1).sum())
        return logits


def _input_gradient(values: Tensor, x: Tensor) -> Tensor:
    if not values.requires_grad:
        raise no_gradient()
    try:
        return torch.autograd.grad(values.sum(), x)[0]
    except RuntimeError as error:
        if "not have been used" in str(error):
            raise no_gradient() from None
        raise


class GradientError(RequestError):
    """Says that no gradient flows to the pixels."""


def no_gradient() -> GradientError:
    """The error for a network through which no gradient flows to the pixels."""
    return GradientError(
        "No gradient reaches the pixels: the network's logits do not depend on them by a differentiable path.",
        "a network without detach(), numpy or no_grad() between pixels and logits",
        'attack = "square" or "decision", which need no gradient',
    )


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside the block; afterwards each asks as it did."""
    asked = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    for parameter, _ in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, before in asked:
            parameter.requires_grad_(before)
