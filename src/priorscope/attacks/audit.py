"""The checks of a robustness number: each looks for what the attack missed, on the pictures that it left standing.

What they mean together is `priorscope.attacks.verdict`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from priorscope.attacks import Attack, LossName, Norm, attack_of
from priorscope.attacks.ball import pictures
from priorscope.attacks.losses import LOSSES, right
from priorscope.attacks.turns import run_in_turn
from priorscope.attacks.verdict import Check, check
from priorscope.attacks.victim import GradientError, Victim
from priorscope.core.progress import PartialTables
from priorscope.core.wording import listed
from priorscope.data.fetch import Fetch

QUERIES = 100
STEPS = 10
"""The most steps of the shortened attack, in the checks that run it at other budgets."""
SHORT = 25
"""Steps of APGD in the check that tries a step size of its own choice."""
TIMES = (1, 2, 4)
"""After how many times the steps, and how many more starts, a check says what still stood."""
ONCE = ("margin loss", "own step size", "more steps", "more starts", "without gradients", "half the range")
"""The checks that attack each picture at one budget."""


@dataclass(frozen=True)
class Attacked:
    """What attacks in turn found at one budget: which pictures are broken.

    For a broken one `steps` is the number of steps after which it fell, and `start` the start of the attack that broke it.
    """

    broken: NDArray[np.bool_]
    steps: NDArray[np.int64]
    start: NDArray[np.int64]


@dataclass(frozen=True)
class Audited:
    """What is audited: attacks at a budget on some rows of a split, which of them are right, and which stand.

    What the checks find is kept in a file `state`: an interrupted audit is resumed.
    """

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
    state: Path | None = None

    @cached_property
    def known(self) -> PartialTables:
        """For each check that attacks, of each right picture: broken, steps, start, and a block's answers that were not finite.

        The last is noted with the block's first picture, and 0 with the others.
        """
        checks = (*ONCE, *map(_at, self.budgets))
        return PartialTables(self.state, {name: ((4, len(self.right)), np.int64) for name in checks})

    def attacked(self, name: str, rows: NDArray[np.int64], attacks: Sequence[Attack], eps: float) -> Attacked:
        """What a check's attacks in turn find on some of the right rows at a budget, a block at a time unless it is known."""
        known, among = self.known, np.searchsorted(self.right, rows)
        for places in self.victim.blocks(len(rows)):
            place = slice(None), among[places]
            if known.lacks(name, place):
                known.learn(name, place, self._attack(rows[places], attacks, eps))
            else:
                self.victim.not_finite += int(known[name][3, among[places]].sum())
        broken, steps, start, _ = known[name][:, among]
        return Attacked(broken == 1, steps, start)

    def _attack(self, rows: NDArray[np.int64], attacks: Sequence[Attack], eps: float) -> NDArray[np.int64]:
        """What `known` says of a block of rows."""
        before = self.victim.not_finite
        images, labels = self.fetch(rows)
        of = pictures(images, labels, eps, norm=self.norm, index=torch.from_numpy(self.index[rows]))
        found = run_in_turn(self.victim, of, attacks, self.seed)
        lost = torch.zeros_like(found.steps)
        lost[0] = self.victim.not_finite - before
        return torch.stack([found.broken.long(), found.steps, found.start, lost]).cpu().numpy()

    @property
    def follows_gradients(self) -> bool:
        """Whether any of the attacks follows gradients, which may lead nowhere."""
        return any(not attack.gradient_free for attack in self.attacks)


@dataclass(frozen=True)
class _Try:
    """Attacks that may break what the attack left; `marks` says what fell within k times its steps, or within k starts."""

    name: str
    words: str
    attacks: tuple[Attack, ...]
    marks: Callable[[Attacked, int], NDArray[np.bool_]] | None = None


def _at(eps: float) -> str:
    """The name under which the check of the falling curve keeps what it finds at a budget."""
    return f"at {eps}"


def audit(number: Audited) -> tuple[list[Check], NDArray[np.int64]]:
    """All checks of a number, and the rows that still stand after them."""
    left = np.ones(len(number.standing), np.bool_)
    iterated = [attack for attack in number.attacks if not attack.gradient_free]
    checks, reaches = _zero_gradients(number, iterated)
    for each in _tries(iterated, reaches=reaches):
        found = number.attacked(each.name, number.standing, each.attacks, number.eps)
        left &= ~found.broken
        checks.append(_more(number, each, found))
    if any(attack.steps > 1 for attack in iterated):
        checks.append(_half_the_range(number, iterated))
        checks.append(_falling_curve(number, iterated))
    number.known.keep()
    return checks, number.standing[left]


def _tries(iterated: Sequence[Attack], *, reaches: bool) -> Iterator[_Try]:
    """Other losses, other steps and more of the same; gradients only if one `reaches` the pixels.

    A number without gradients is tried with them too, as one with them is tried without.
    """
    if reaches:
        yield _Try("margin loss", "with the margin loss", (attack_of("pgd-margin"),))
        short = attack_of("apgd", steps=SHORT)
        yield _Try("own step size", f"by {SHORT} steps of APGD, which chooses their size", (short,))
    if iterated:
        last = iterated[-1]
        yield _Try("more steps", "with four times the steps", (_longer(last),), lambda found, k: found.steps <= k * last.steps)
        again = last.replace(start="random", restarts=4, judge="any", leave=True, name=f"{last.name} again")
        yield _Try("more starts", "from four more starts", (again,), lambda found, k: found.start < k)
    free = attack_of("square", steps=QUERIES), attack_of("decision", steps=QUERIES)
    yield _Try("without gradients", f"by {QUERIES} queries each of Square and RayS", free)


def _more(number: Audited, each: _Try, found: Attacked) -> Check:
    """How many more images a try broke and, if its `marks` tell, how many stood after 1, 2 and 4 times as much of it."""
    n, count = len(number.right), int(found.broken.sum())
    said, left = f"{count} of {n} more images are broken {each.words}", ()
    if each.marks is not None and n:
        fell = [int((found.broken & each.marks(found, k)).sum()) for k in TIMES]
        left = tuple((k, (len(number.standing) - gone) / n) for k, gone in zip(TIMES, fell, strict=True))
        times, shares = listed([str(k) for k in TIMES]), listed([f"{share:.1%}" for _, share in left])
        said += f" (left after {times} times as many: {shares})"
    return check(each.name, count, n, f"{said}.", follows_gradients=number.follows_gradients, left=left)


def _zero_gradients(number: Audited, iterated: Sequence[Attack]) -> tuple[list[Check], bool]:
    """Pictures at which every loss that is raised has a gradient of exactly 0, and whether a gradient reaches pixels at all.

    For attacks without gradients the losses are those of the attacks with gradients that are tried beside them.
    """
    zero = np.ones(len(number.right), np.bool_)
    if not zero.size:
        return [check("zero gradients", 0, 0, "No image is right, so no gradient was looked at.")], True
    losses: list[LossName] = sorted({attack.loss for attack in iterated} or {"cross-entropy", "margin"})
    try:
        for places in number.victim.blocks(len(zero)):
            images, labels = number.fetch(number.right[places])
            for loss in losses:
                _, _, gradient = number.victim.gradient(images, labels, LOSSES[loss])
                zero[places] &= (gradient.flatten(1).abs().amax(1) == 0).cpu().numpy()
    except GradientError:
        said = "No gradient reaches the pixels, so that nothing that follows one could be tried."
        return [check("zero gradients", zero.size, zero.size, said, follows_gradients=number.follows_gradients)], False
    count = int(zero.sum())
    said = f"At {count} of {zero.size} images the gradient is 0 in every pixel."
    return [check("zero gradients", count, zero.size, said, follows_gradients=number.follows_gradients)], True


def _longer(attack: Attack) -> Attack:
    """The attack with four times the steps; PGD's at half the size."""
    smaller = {"step": min(attack.step / 2, 0.5)} if attack.kind == "pgd" else {}
    return attack.replace(steps=attack.steps * 4, judge="any", leave=True, name=f"{attack.name} longer", **smaller)


def _short(attack: Attack) -> Attack:
    smaller = {"step": max(attack.step, 2.5 / STEPS)} if attack.kind == "pgd" else {}
    return attack.replace(steps=min(attack.steps, STEPS), restarts=1, judge="any", leave=True, **smaller)


def _half_the_range(number: Audited, attacks: Sequence[Attack]) -> Check:
    """The attack at a budget at which every picture can be made uniformly grey: pictures that grey makes wrong must fall.

    About pictures of the class that the network answers to grey this says nothing. What fell at the smaller budget is not asked
    again, for its adversarial picture lies in this ball too. The attack also begins at the picture itself: far from it a
    network may be as good as constant.
    """
    pixels, fools = _fooled_by_grey(number)
    rows = number.right[fools]
    eps = 0.5 if number.norm == "linf" else 0.5 * math.sqrt(pixels)
    from_picture = [_short(attack).replace(start="none") for attack in attacks]
    as_it_is = [attack.replace(leave=True, judge="any") for attack in attacks]
    standing = number.standing[np.isin(number.standing, rows)]
    count, n = int((~number.attacked("half the range", standing, [*from_picture, *as_it_is], eps).broken).sum()), len(rows)
    sentence = f"Of {n} images that uniform grey would make wrong {count} stand at half the range of pixels; none should."
    return check("half the range", count, n, sentence)


def _fooled_by_grey(number: Audited) -> tuple[int, NDArray[np.bool_]]:
    """How many numbers a picture has, and which of the right ones the network gets wrong once they are uniformly grey."""
    pixels, fools = 1, np.zeros(len(number.right), np.bool_)
    for places in number.victim.blocks(len(number.right)):
        images, labels = number.fetch(number.right[places])
        pixels = images[0].numel()
        answer = number.victim(torch.full_like(images[:1], 0.5)).expand(len(labels), -1)
        fools[places] = (~right(answer, labels)).cpu().numpy()
    return pixels, fools


def _falling_curve(number: Audited, attacks: Sequence[Attack]) -> Check:
    """One iterated attack on its own at each budget: if it breaks fewer pictures at a larger one, it lost its way."""
    alone = [_short(next(attack for attack in reversed(attacks) if attack.steps > 1))]
    broken = [int(number.attacked(_at(eps), number.right, alone, eps).broken.sum()) for eps in number.budgets if eps > 0]
    rise = int(np.max(np.maximum.accumulate(broken) - broken)) if broken else 0
    sentence = f"Run on its own at each budget, up to {rise} of {len(number.right)} images stand again at a larger one."
    return check("falling curve", rise, len(number.right), sentence)
