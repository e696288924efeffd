"""The exponential moving average of the weights: smoother than the weights themselves, and often better.

After update t (from 0) the average moves to d * average + (1 - d) * weights, with d = min(decay, (1 + t) / (10 + t)): a young
average must not cling to the initial weights. It follows every floating-point value of the state, batch statistics with
them, because these must fit the averaged weights; counts are copied.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier


def decay_at(decay: float, step: int) -> float:
    """How much of the average stays after update `step` (0-based): a pure function of the step, like the learning rate."""
    return min(decay, (1 + step) / (10 + step))


class Average:
    """A second classifier that follows the first one. It is what is evaluated, chosen and kept."""

    def __init__(self, model: Classifier, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        self._averaged = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        self._copied = [(mine, theirs) for mine, theirs in pairs if not mine.is_floating_point()]

    def follow(self, step: int) -> None:
        """Takes in the weights as they are after update `step` (0-based, counted over the whole run)."""
        import torch

        mine, theirs = [list(side) for side in zip(*self._averaged, strict=True)]
        torch._foreach_lerp_(mine, theirs, 1 - decay_at(self.decay, step))  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        for count, other in self._copied:
            count.copy_(other)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts a checkpoint's average in place, in the same tensors."""
        self.model.load_state_dict(state)
