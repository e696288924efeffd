"""RayS: an attack that sees only which class was decided (Chen and Gu 2020, arXiv 2006.12792).

It searches among directions of plus and minus one for the one along which the boundary is nearest: the signs of one block
of pixels are turned at a time, first half of the picture, then quarters, and so on; if the turned direction fools the
network at the best distance so far, a bisection finds how much nearer its boundary is. Nothing about it is random.
"""

from __future__ import annotations

import torch
from torch import Tensor

from priorscope.attacks import Attack
from priorscope.attacks.ball import Found, Pictures, lengths, project, wide
from priorscope.attacks.losses import right
from priorscope.attacks.victim import Victim

BISECTIONS = 6


def rays(victim: Victim, of: Pictures, attack: Attack, keys: Tensor, targets: Tensor | None = None) -> Found:  # noqa: ARG001
    """Spends `attack.steps` queries a picture, its first look among them; broken once the distance is within the budget."""
    found, rows = Found(of), torch.arange(len(of), device=of.images.device)
    signs = torch.ones_like(of.images)
    radius = torch.where(right(victim(of.images), of.labels), torch.inf, torch.zeros_like(of.eps))
    count = of.images[0].numel()
    blocks, block = 1, 0
    spent = torch.ones(len(of), dtype=torch.int64, device=of.images.device)
    while True:
        inside = _distance(of, signs, radius) <= of.eps
        found.note(rows, _along(of, signs, radius.nan_to_num(posinf=0.0)), inside, spent)
        over = spent >= attack.steps
        if bool(over.any()):
            _finish(victim, found, rows[over], of.take(over), signs[over], attack)
        gone = over | inside if attack.leave else over
        if bool(gone.any()):
            stay = torch.nonzero(~gone)[:, 0]
            rows, signs, radius, spent, of = rows[stay], signs[stay], radius[stay], spent[stay], of.take(stay)
        if len(rows) == 0:
            return found
        length = -(-count // blocks)
        turned = signs.clone().flatten(1)
        turned[:, block * length : (block + 1) * length] *= -1
        turned = turned.view_as(signs)
        reach = torch.where(torch.isfinite(radius), radius, 1.0)  # nothing in [0, 1] is farther than 1 along signs
        fools = ~right(victim(_along(of, turned, reach)), of.labels)
        spent += 1
        if bool(fools.any()):
            turns = (attack.steps - spent).clamp_max(BISECTIONS) * fools
            radius, signs = _bisected(victim, of, turned, signs, radius, reach, fools, turns)
            spent = spent + turns
        block += 1
        if block * length >= count:
            blocks, block = min(blocks * 2, count), 0


def _finish(victim: Victim, found: Found, rows: Tensor, of: Pictures, signs: Tensor, attack: Attack) -> None:
    """Keeps the pictures at the whole budget along the best directions: of what stands, or of all if none leaves early."""
    ahead = project(_along(of, signs, of.eps), of)
    if not attack.leave:
        found.note(rows, ahead, found.broken[rows] & ~right(victim(ahead), of.labels), attack.steps)
    found.finish(rows, ahead)


def _along(of: Pictures, signs: Tensor, radius: Tensor) -> Tensor:
    return (of.images + wide(radius) * signs).clamp(0, 1)


def _distance(of: Pictures, signs: Tensor, radius: Tensor) -> Tensor:
    """The distance, in the norm asked for, to the picture at `radius` along the signs; infinite if none was found."""
    at = lengths(_along(of, signs, radius.nan_to_num(posinf=0.0)) - of.images, of.norm)
    return torch.where(torch.isfinite(radius), at, torch.inf)


def _bisected(
    victim: Victim, of: Pictures, turned: Tensor, signs: Tensor, radius: Tensor, reach: Tensor, fools: Tensor, turns: Tensor
) -> tuple[Tensor, Tensor]:
    """The smallest distance at which the turned direction still fools, after `turns` bisections, and the direction kept.

    Where the turned direction does not fool at `reach`, distance and direction stay as they were.
    """
    low, high = torch.zeros_like(reach), torch.where(fools, reach, radius)
    for done in range(int(turns.max())):
        hit = torch.nonzero(turns > done)[:, 0]
        some, middle = of.take(hit), (low[hit] + high[hit]) / 2
        wrong = ~right(victim(_along(some, turned[hit], middle)), some.labels)
        low[hit], high[hit] = torch.where(wrong, low[hit], middle), torch.where(wrong, middle, high[hit])
    return high, torch.where(wide(fools), turned, signs)
