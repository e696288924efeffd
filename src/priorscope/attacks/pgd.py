"""Projected gradient steps: FGSM, BIM, PGD, MI-FGSM, and a whole FGSM curve from one backward pass.

FGSM (Goodfellow et al. 2014, arXiv 1412.6572) is one step of the budget's size from the picture itself; BIM (Kurakin et al.
2016, arXiv 1607.02533) is many smaller ones; PGD (Madry et al. 2017, arXiv 1706.06083) begins at a random point of the ball;
MI-FGSM (Dong et al. 2017, arXiv 1710.06081) follows a running sum of gradients, each divided by its mean absolute value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from priorscope.attacks import Attack, LossName
from priorscope.attacks.ball import Found, Pictures, direction, project, random_start, wide
from priorscope.attacks.losses import LOSSES, right
from priorscope.attacks.victim import Victim


def pgd(victim: Victim, of: Pictures, attack: Attack, keys: Tensor, targets: Tensor | None = None) -> Found:
    """Runs one start of `attack.steps` steps. Every iterate is looked at, unless only the last counts."""
    found, loss = Found(of), LOSSES[attack.loss]
    rows = torch.arange(len(of), device=of.images.device)
    x = random_start(of, keys) if attack.start == "random" else of.images
    running = torch.zeros_like(x) if attack.momentum else None
    for done in range(attack.steps):
        logits, _, gradient = victim.gradient(x, of.labels, loss, targets)
        if attack.judge == "any":
            wrong = ~right(logits, of.labels)
            found.note(rows, x, wrong, done)
            if attack.leave and bool(wrong.any()):
                stay = torch.nonzero(~wrong)[:, 0]
                rows, x, gradient, of = rows[stay], x[stay], gradient[stay], of.take(stay)
                targets = None if targets is None else targets[stay]
                running = None if running is None else running[stay]
                if len(rows) == 0:
                    return found
        if running is not None:
            running = attack.momentum * running + gradient / wide(gradient.flatten(1).abs().mean(1).clamp_min(1e-30))
            gradient = running
        x = project(x + wide(of.eps * attack.step) * direction(gradient, of.norm), of)
    found.note(rows, x, ~right(victim(x), of.labels), attack.steps)
    found.finish(rows, x)
    return found


def fgsm_curve(victim: Victim, of: Pictures, budgets: Sequence[float], loss: LossName = "cross-entropy") -> list[Tensor]:
    """The logits after FGSM at each budget: the gradient at the picture is the same for all, so it is computed once.

    At budget 0 they are the logits of that same pass.
    """
    logits, _, gradient = victim.gradient(of.images, of.labels, LOSSES[loss])
    step = direction(gradient, of.norm)
    return [logits if eps == 0 else victim(project(of.images + eps * step, of.at(eps))) for eps in budgets]
