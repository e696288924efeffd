"""The nearest decision boundary, towards one class at a time (targeted FAB; Croce and Hein 2019, arXiv 1907.02044).

Each step takes the boundary for the plane that it is to first order, projects both the iterate and the picture onto it
within [0, 1], and goes between the two; if the iterate is across, it steps back towards the picture. It finds how near
a boundary is, not only whether one lies within a budget, and it does not depend on the scale of the logits. A step takes one
gradient and goes one way; the published code goes ahead and back in one iteration if the first led across.
"""

from __future__ import annotations

import torch
from torch import Tensor

from priorscope.attacks import Attack, Norm
from priorscope.attacks.ball import Found, Pictures, lengths, random_start, whole, wide
from priorscope.attacks.losses import LOSSES, right
from priorscope.attacks.victim import Victim

TOWARDS_PICTURE = 0.1
"""The largest weight of the picture's own projection."""
OVERSHOOT = 1.05
STEP_BACK = 0.9
BISECTIONS = 5
"""At the end, how often the way from the picture to its nearest find is halved."""


def fab(victim: Victim, of: Pictures, attack: Attack, keys: Tensor, targets: Tensor | None = None) -> Found:
    """Runs one start towards `targets`; a picture is broken if a boundary was found within its budget.

    If no picture leaves early, each is wanted at the whole budget: a broken one is moved on along its way as far as that,
    unless it stops fooling there. One that stands is moved towards the nearest boundary, or along its last step.
    """
    found, rows = Found(of), torch.arange(len(of), device=of.images.device)
    x = random_start(of, keys) if attack.start == "random" else of.images
    nearest = torch.full_like(of.eps, torch.inf)
    best = of.images.clone()
    for done in range(attack.steps):
        logits, value, gradient = victim.gradient(x, of.labels, LOSSES["margin"], targets)
        wrong = ~right(logits, of.labels)
        best, nearest = _nearer(best, nearest, x, wrong, of)
        if attack.leave:
            inside = nearest <= of.eps
            found.note(rows, best, inside, done)
            stay = torch.nonzero(~inside)[:, 0]
            if len(stay) < len(rows):
                rows, x, best, nearest, of = rows[stay], x[stay], best[stay], nearest[stay], of.take(stay)
                value, gradient, wrong = value[stay], gradient[stay], wrong[stay]
                targets = None if targets is None else targets[stay]
            if len(rows) == 0:
                return found
        back = of.images + STEP_BACK * (x - of.images)
        ahead = _between_projections(x, of, value, gradient)
        x = torch.where(wide(wrong), back, ahead)
    best, nearest = _nearer(best, nearest, x, ~right(victim(x), of.labels), of)
    best, nearest = _bisected(victim, best, nearest, of)
    inside = nearest <= of.eps
    ahead = whole(torch.where(wide(torch.isfinite(nearest)), best, x), of)
    kept = best if attack.leave else torch.where(wide(~right(victim(ahead), of.labels)), ahead, best)
    found.note(rows, kept, inside, attack.steps)
    found.finish(rows, ahead)
    return found


def _nearer(best: Tensor, nearest: Tensor, x: Tensor, wrong: Tensor, of: Pictures) -> tuple[Tensor, Tensor]:
    distance = lengths(x - of.images, of.norm)
    better = wrong & (distance < nearest)
    return torch.where(wide(better), x, best), torch.where(better, distance, nearest)


def _between_projections(x: Tensor, of: Pictures, value: Tensor, gradient: Tensor) -> Tensor:
    """A step to the plane on which the loss, taken as linear around x, is 0: a mix of two projections onto it."""
    shape, w = x.shape, gradient.flatten(1)
    level = (w * x.flatten(1)).sum(1) - value
    from_x = onto_plane(x.flatten(1), w, level, of.norm).view(shape) - x
    from_picture = onto_plane(of.images.flatten(1), w, level, of.norm).view(shape) - of.images
    a, b = lengths(from_x, of.norm), lengths(from_picture, of.norm)
    weight = wide((a / (a + b).clamp_min(1e-12)).clamp(0, TOWARDS_PICTURE))
    mixed = (1 - weight) * (x + OVERSHOOT * from_x) + weight * (of.images + OVERSHOOT * from_picture)
    return mixed.clamp(0, 1)


def onto_plane(x: Tensor, w: Tensor, level: Tensor, norm: Norm) -> Tensor:
    """The point z of [0, 1]^d with w z = level that is nearest to x (N, d); or else the corner nearest to the plane.

    Along the path clip(x + t s), with s the signs of w (L-inf) or w itself (L2) turned towards the plane, w z is piecewise
    linear and concave in t. So Newton's method from t = 0 never passes the plane and ends exactly on it once it is on the
    right piece.
    """
    side = torch.sign(level - (w * x).sum(1))
    way = (w.sign() if norm == "linf" else w / w.norm(dim=1, keepdim=True).clamp_min(1e-30)) * side[:, None]
    t = torch.zeros_like(level)
    z = x
    for _ in range(NEWTON):
        missing = side * (level - (w * z).sum(1))
        free = ((way > 0) & (z < 1)) | ((way < 0) & (z > 0))
        slope = side * (w * way * free).sum(1)
        forward = torch.where((slope > 0) & (missing > 0), missing / slope.clamp_min(1e-30), 0.0)
        if not bool((forward > 1e-7 * (t + 1e-3)).any()):
            break
        t = t + forward
        z = (x + t[:, None] * way).clamp(0, 1)
    return z


NEWTON = 30
"""An upper bound on Newton steps; five to ten are usual."""


def _bisected(victim: Victim, best: Tensor, nearest: Tensor, of: Pictures) -> tuple[Tensor, Tensor]:
    """Looks between each picture and its nearest find for a nearer one."""
    rows = torch.nonzero(torch.isfinite(nearest))[:, 0]
    if len(rows) == 0:
        return best, nearest
    some = of.take(rows)
    low, high = torch.zeros_like(some.eps), torch.ones_like(some.eps)
    delta = best[rows] - some.images
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        wrong = ~right(victim(some.images + wide(middle) * delta), some.labels)
        low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
    best, nearest = best.clone(), nearest.clone()
    best[rows] = some.images + wide(high) * delta
    nearest[rows] = lengths(best[rows] - some.images, of.norm)
    return best, nearest
