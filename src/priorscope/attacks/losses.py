"""What an attack raises: one number a picture, higher the nearer the network is to being wrong.

All but cross-entropy are differences of logits, which do not saturate when a network is sure of itself: multiply all
logits by 1000 and the gradient of cross-entropy is 0 in float32, while the DLR losses, being ratios, do not change at all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope.attacks import LossName

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(logits, labels, targets or None) -> (N,), to be raised."""


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the label's logit is strictly above all others: ties and NaN count as wrong, as everywhere in Priorscope."""
    return margin(logits, labels, None) < 0


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """The log loss of the label; towards a target, minus that of the target."""
    if targets is not None:
        return -F.cross_entropy(logits, targets, reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """The highest other logit (or the target's) minus the label's: at or above 0 the answer is wrong."""
    own = logits.gather(1, labels[:, None])[:, 0]
    if targets is not None:
        return logits.gather(1, targets[:, None])[:, 0] - own
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


def dlr(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """The margin over the gap between the first and the third logit (Croce and Hein 2020): needs three classes."""
    ordered = logits.topk(3, dim=1).values
    return margin(logits, labels, targets) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """The margin to the target over the gap from the first logit to the middle of third and fourth: needs four classes."""
    ordered = logits.topk(4, dim=1).values
    return margin(logits, labels, targets) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + 1e-12)


LOSSES: dict[LossName, Loss] = {
    "cross-entropy": cross_entropy,
    "margin": margin,
    "dlr": dlr,
    "targeted-dlr": targeted_dlr,
}
