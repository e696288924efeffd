"""The checks of a robustness number: each looks for what the attack missed, on the pictures that it left standing.

What they mean together is `priorscope.attacks.verdict`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from priorscope.attacks import Attack, LossName, Norm, attack_of
from priorscope.attacks.losses import LOSSES
from priorscope.attacks.search import attacked
from priorscope.attacks.supply import Fetch
from priorscope.attacks.verdict import Check, check
from priorscope.attacks.victim import Victim
from priorscope.core.errors import WorkError

QUERIES = 100
STEPS = 10
"""Of the attack in those checks that run it at other budgets."""


@dataclass(frozen=True)
class Number:
    """What is audited: attacks at a budget on some rows of a split, which of them are right, and which stand."""

    victim: Victim
    fetch: Fetch
    index: NDArray[np.int64]
    attacks: Sequence[Attack]
    eps: float
    norm: Norm
    seed: int
    right: NDArray[np.int64]
    standing: NDArray[np.int64]
    budgets: Sequence[float]

    def broken(self, rows: NDArray[np.int64], attacks: Sequence[Attack], eps: float) -> NDArray[np.bool_]:
        """Whether attacks in turn break some rows at a budget."""
        return attacked(self.victim, self.fetch, rows, self.index, attacks, eps, norm=self.norm, seed=self.seed)[0]


def audit(number: Number) -> tuple[list[Check], NDArray[np.int64]]:
    """All checks of a number, and the rows that still stand after them."""
    n = len(number.right)
    left = np.ones(len(number.standing), np.bool_)
    iterated = [attack for attack in number.attacks if not attack.gradient_free]
    checks = [_zero_gradients(number, iterated)] if iterated else []
    for name, words, attacks in _tries(iterated):
        broken = number.broken(number.standing, attacks, number.eps)
        left &= ~broken
        count = int(broken.sum())
        checks.append(check(name, count, n, f"{count} of {n} more images are broken {words}."))
    if any(attack.steps > 1 for attack in iterated):
        checks.append(_half_the_range(number, iterated))
        checks.append(_falling_curve(number, iterated))
    return checks, number.standing[left]


def _tries(iterated: Sequence[Attack]) -> Iterator[tuple[str, str, tuple[Attack, ...]]]:
    """What may break pictures that the attack left: the check's name, how it tries, and with which attacks."""
    if iterated:
        last = iterated[-1]
        yield "margin loss", "with the margin loss", (attack_of("pgd-margin"),)
        yield "more steps", "with four times the steps", (_longer(last),)
        again = last.replace(start="random", restarts=4, judge="any", leave=True, name=f"{last.name} again")
        yield "more starts", "from four more starts", (again,)
    free = attack_of("square", steps=QUERIES), attack_of("decision", steps=QUERIES)
    yield "without gradients", f"by {QUERIES} queries each of Square and RayS", free


def _zero_gradients(number: Number, attacks: Sequence[Attack]) -> Check:
    """Pictures at which every loss that is raised has a gradient of exactly 0 in every pixel."""
    zero = np.ones(len(number.right), np.bool_)
    losses: list[LossName] = sorted({attack.loss for attack in attacks}) if zero.size else []
    images, labels = number.fetch(number.right) if losses else (torch.zeros(0), torch.zeros(0))
    for loss in losses:
        _, _, gradient = number.victim.gradient(images, labels, LOSSES[loss])
        zero &= (gradient.flatten(1).abs().amax(1) == 0).cpu().numpy()
    count = int(zero.sum())
    return check("zero gradients", count, zero.size, f"At {count} of {zero.size} images the gradient is 0 in every pixel.")


def _longer(attack: Attack) -> Attack:
    """The attack with four times the steps; PGD's at half the size."""
    smaller = {"step": min(attack.step / 2, 0.5)} if attack.kind == "pgd" else {}
    return attack.replace(steps=attack.steps * 4, judge="any", leave=True, name=f"{attack.name} longer", **smaller)


def _short(attack: Attack) -> Attack:
    smaller = {"step": max(attack.step, 2.5 / STEPS)} if attack.kind == "pgd" else {}
    return attack.replace(steps=min(attack.steps, STEPS), restarts=1, judge="any", leave=True, **smaller)


def _half_the_range(number: Number, attacks: Sequence[Attack]) -> Check:
    """The attack at a budget at which every picture can be made uniformly grey: what stood must fall.

    What fell at the smaller budget is not asked again, for its adversarial picture lies in this ball too. The attack begins
    at the picture as well: far from it a network may be as good as constant.
    """
    pixels = int(number.fetch(number.right[:1])[0].numel()) if len(number.right) else 1
    eps = 0.5 if number.norm == "linf" else 0.5 * math.sqrt(pixels)
    from_picture = [_short(attack).replace(start="none") for attack in attacks]
    as_it_is = [attack.replace(leave=True, judge="any") for attack in attacks]
    count = int((~number.broken(number.standing, [*from_picture, *as_it_is], eps)).sum())
    n = len(number.right)
    sentence = f"At a budget of half the range of pixels {count} of {n} images stand; none should."
    return check("half the range", count, n, sentence)


def _falling_curve(number: Number, attacks: Sequence[Attack]) -> Check:
    """One iterated attack on its own at each budget: where it breaks fewer pictures at a larger one, it lost its way."""
    alone = [_short(next(attack for attack in reversed(attacks) if attack.steps > 1))]
    broken = [int(number.broken(number.right, alone, eps).sum()) for eps in number.budgets if eps > 0]
    rise = int(np.max(np.maximum.accumulate(broken) - broken)) if broken else 0
    sentence = f"Run on its own at each budget, up to {rise} of {len(number.right)} images stand again at a larger one."
    return check("falling curve", rise, len(number.right), sentence)


# What is wrong with the network before anything is attacked.


SAMPLE = 100


def doubts(victim: Victim, fetch: Fetch, count: int) -> tuple[list[str], bool]:
    """Caveats about a network's answers, and whether they alone make every number suspect. NaN is refused."""
    rows = np.arange(min(count, SAMPLE))
    images, _ = fetch(rows)
    first, second = victim(images), victim(images)
    bad = int((~torch.isfinite(first)).any(1).sum())
    if bad:
        raise WorkError(
            f"The network answers NaN or infinity for {bad} of {len(rows)} images.",
            "finite logits: what is not a number cannot be attacked or defended",
            "look at the run's curve for where it diverged",
        )
    said: list[str] = []
    varies = not torch.allclose(first, second, rtol=1e-3, atol=1e-4)
    if varies:
        said.append("Its answers differ between two passes over the same images: attacks that assume a fixed network miss.")
    sums = first.sum(1)
    if bool((first >= 0).all() and (sums - 1).abs().max() < 1e-3) and first.shape[1] > 1:
        said.append(
            "Its outputs are probabilities, not logits (they sum to 1): cross-entropy takes their softmax again, which "
            "flattens its gradient; wrap the network without its last softmax."
        )
        return said, True
    return said, varies
