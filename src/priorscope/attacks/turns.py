"""Restarts, target classes and ensembles: each attack in turn on what the ones before left standing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from priorscope.attacks import Attack, Kind
from priorscope.attacks.apgd import apgd
from priorscope.attacks.ball import Found, Pictures, picture_keys
from priorscope.attacks.fab import fab
from priorscope.attacks.losses import margin, right
from priorscope.attacks.pgd import pgd
from priorscope.attacks.rays import rays
from priorscope.attacks.square import square
from priorscope.attacks.victim import Victim

OneStart = Callable[[Victim, Pictures, Attack, Tensor, Tensor | None], Found]

ONE_START: dict[Kind, OneStart] = {"pgd": pgd, "apgd": apgd, "fab": fab, "square": square, "decision": rays}


def run_attack(victim: Victim, of: Pictures, attack: Attack, seed: int = 0) -> Found:
    """One attack with its restarts and target classes. The first start sees every picture, the others what stands."""
    found = Found(of)
    ranked = _rivals(victim, of, attack.targets) if attack.targets else None
    for restart in range(attack.restarts):
        for rank in range(max(attack.targets, 1)):
            rows = found.standing()
            if len(rows) == 0:
                return found
            keys = picture_keys(seed, of.index[rows], attack.name, restart, rank)
            targets = None if ranked is None else ranked[rows, rank]
            other = ONE_START[attack.kind](victim, of.take(rows), attack, keys, targets)
            first = restart == rank == 0
            found.merge(rows, other, ~found.broken[rows] if first else _worse(victim, of, found, rows, other), restart)
    if attack.start == "random" and attack.judge == "any":
        rows = found.standing()  # a random start never looks at the picture itself, which lies in the ball too
        if len(rows):
            found.note(rows, of.images[rows], ~right(victim(of.images[rows]), of.labels[rows]), 0)
    return found


def run_in_turn(victim: Victim, of: Pictures, attacks: Sequence[Attack], seed: int = 0) -> Found:
    """Attacks in turn, each on what stands."""
    found = Found(of)
    for number, attack in enumerate(attacks):
        rows = found.standing()
        if len(rows) == 0:
            break
        other = run_attack(victim, of.take(rows), attack, seed)
        found.merge(rows, other, ~found.broken[rows] if number == 0 else _worse(victim, of, found, rows, other))
    return found


def _worse(victim: Victim, of: Pictures, found: Found, rows: Tensor, other: Found) -> Tensor:
    """Which rows still stand but come nearer to fooling the network in the other attack's picture than in their present one."""
    still = torch.nonzero(~other.broken)[:, 0]
    nearer = torch.zeros_like(other.broken)
    if len(still):
        labels = of.labels[rows[still]]
        now, before = (margin(victim(x), labels, None) for x in (other.adversarial[still], found.adversarial[rows[still]]))
        nearer[still] = now > before
    return nearer


def _rivals(victim: Victim, of: Pictures, count: int) -> Tensor:
    """The other classes of each picture, the likeliest first."""
    logits = victim(of.images).scatter(1, of.labels[:, None], -torch.inf)
    return logits.sort(dim=1, descending=True, stable=True).indices[:, :count]
