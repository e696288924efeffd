"""The smallest budget that breaks each picture, by bisection over budgets, with the accuracy at every one of them.

Budgets share their work: a picture broken at one is broken at every larger one, because its adversarial picture lies in the
larger ball too. All pictures are attacked at the budget asked about; then each is tried between the largest budget at which
it stood and the smallest at which it fell, first over the budgets of the curve, then between two of them.

Of an ensemble the attacks come in turn, each at what stood; a picture that falls goes on to its next budget at once, while
others still meet the rest of the ensemble at theirs. The attack that most pictures wait for comes next, so that batches stay
large. Where each picture stands in all this is plain numbers, kept every few seconds: an interrupted search is resumed.

The first attack, which is the cheapest, goes ahead alone; all of them are then asked at the largest budget at which a picture
stood. If it stands again, it is done, and has met the whole ensemble once; only if it falls do all of them bisect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.attacks import Attack, Norm
from priorscope.attacks.ball import lengths, pictures
from priorscope.attacks.losses import right
from priorscope.attacks.pgd import fgsm_curve
from priorscope.attacks.turns import run_attack
from priorscope.attacks.victim import Victim
from priorscope.core.arrays import Arrays, read_arrays
from priorscope.core.errors import WorkError
from priorscope.core.progress import Keeper, PartialTables
from priorscope.data.fetch import Fetch

REFINEMENTS = 2
"""Bisections between two budgets of the curve: neighbours of ratio 2 end up within a fifth of each other."""
HINTS = 2
UNKNOWN, WRONG, RIGHT = 0, 1, 2
NOT_FINITE = "not finite"
"""How many answers were NaN or infinite, as files call it."""


@dataclass(frozen=True)
class Brackets:
    """What is known of each picture: whether it is right at budget 0, between which budgets it falls, and by which attack.

    `stood` and `fell` number budgets of the curve (`fell` = their count: none); `low` and `high` are the bracket in pixels.
    `hint` is the budget to be tried before any other, NaN if there is none, and `hinted` how often there was one. `turn`
    counts the attacks that it has withstood at the budget at which it is being tried.
    """

    clean: NDArray[np.int8]
    stood: NDArray[np.int64]
    fell: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    refined: NDArray[np.int64]
    asked: NDArray[np.bool_]
    broken_by: NDArray[np.int64]
    hint: NDArray[np.float64]
    hinted: NDArray[np.int64]
    turn: NDArray[np.int64]

    @classmethod
    def unknown(cls, count: int, budgets: int) -> Brackets:
        """What is known of pictures before anything is asked about them: nothing."""
        return cls(
            clean=np.full(count, UNKNOWN, np.int8),
            stood=np.zeros(count, np.int64),
            fell=np.full(count, budgets, np.int64),
            low=np.zeros(count),
            high=np.full(count, np.inf),
            refined=np.zeros(count, np.int64),
            asked=np.zeros(count, np.bool_),
            broken_by=np.full(count, -1, np.int64),
            hint=np.full(count, np.nan),
            hinted=np.zeros(count, np.int64),
            turn=np.zeros(count, np.int64),
        )

    def right(self) -> NDArray[np.bool_]:
        """Which pictures are right at budget 0."""
        return self.clean == RIGHT

    def standing(self, eps: float) -> NDArray[np.bool_]:
        """Which pictures are right at a budget."""
        return self.right() & (self.high > eps * (1 + 1e-6))


def find_smallest(
    victim: Victim,
    fetch: Fetch,
    index: NDArray[np.int64],
    attacks: Sequence[Attack],
    budgets: Sequence[float],
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    state: Path | None = None,
) -> Brackets:
    """Brackets the smallest breaking budget of every picture. `budgets` rise from 0 and hold `eps`; `index` names streams."""
    known, ahead, not_finite = _read(state, len(index), len(budgets))
    before, victim.not_finite = victim.not_finite, victim.not_finite + not_finite
    asked = budgets.index(eps)
    search = _Search(victim, attacks, tuple(budgets), norm, seed, known, asked)
    alone = _Search(victim, attacks[:1], tuple(budgets), norm, seed, ahead, asked) if len(attacks) > 1 else None
    keeper = Keeper(state, lambda: {**_stacked(known, ahead), NOT_FINITE: np.array(victim.not_finite - before)})
    for rows in victim.blocks(len(index)):
        if not search.open_rows(rows).size:
            continue
        for _ in _rounds(search, alone, _Block(rows, *fetch(rows), index[rows])):
            keeper.now_and_then()
    keeper.now()
    return known


@dataclass(frozen=True)
class _Block:
    """Pictures at hand: their rows among all, and the positions that name their random streams."""

    rows: NDArray[np.int64]
    images: Tensor
    labels: Tensor
    index: NDArray[np.int64]


def _rounds(search: _Search, ahead: _Search | None, block: _Block) -> Iterator[None]:
    """Does all that is to be done on a block, and yields after each attack."""
    rows = block.rows
    search.look(block)
    while search.attack(block, search.unasked(rows)):
        yield
    if ahead is not None:
        ahead.begin_with(search.known, rows)
        while ahead.attack(block, ahead.open_rows(rows)):
            yield
        search.follow(ahead.known, rows)
    while search.attack(block, search.open_rows(rows)):
        yield


@dataclass(frozen=True)
class _Search:
    victim: Victim
    attacks: Sequence[Attack]
    budgets: tuple[float, ...]
    norm: Norm
    seed: int
    known: Brackets
    asked: int

    def look(self, block: _Block) -> None:
        """Finds out which pictures of a block are right at budget 0, unless that is known."""
        k, rows = self.known, block.rows
        if not (k.clean[rows] == UNKNOWN).any():
            return
        was_right = right(self.victim(block.images), block.labels).cpu().numpy()
        k.clean[rows] = np.where(was_right, RIGHT, WRONG)
        k.high[rows[~was_right]] = 0.0
        k.fell[rows[~was_right]] = 0

    def unasked(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that are still to be attacked at the budget asked about."""
        return rows[(self.known.clean[rows] == RIGHT) & ~self.known.asked[rows]]

    def open_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows about which something is still to be found out."""
        k = self.known
        fallen = (k.fell[rows] < len(self.budgets)) & (k.refined[rows] < REFINEMENTS)
        going = ~k.asked[rows] | ~np.isnan(k.hint[rows]) | self._apart(rows) | fallen
        return rows[(k.clean[rows] == UNKNOWN) | ((k.clean[rows] == RIGHT) & going)]

    def _apart(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows have budgets of the curve between the last at which they stood and the first at which they fell."""
        return self.known.fell[rows] - self.known.stood[rows] > 1

    def begin_with(self, other: Brackets, rows: NDArray[np.int64]) -> None:
        """Takes over what another search knows of the rows about which this one knows nothing."""
        new = rows[self.known.clean[rows] == UNKNOWN]
        for field in fields(Brackets):
            getattr(self.known, field.name)[new] = getattr(other, field.name)[new]

    def follow(self, ahead: Brackets, rows: NDArray[np.int64]) -> None:
        """Takes over the budgets at which pictures fell to a search that went ahead, and as hints those at which they stood."""
        k = self.known
        rows = rows[k.clean[rows] == RIGHT]
        k.high[rows] = np.minimum(k.high[rows], ahead.high[rows])
        k.low[rows] = np.minimum(k.low[rows], k.high[rows])
        k.fell[rows] = np.minimum(k.fell[rows], ahead.fell[rows])
        k.stood[rows] = np.minimum(k.stood[rows], k.fell[rows] - 1)
        untried = rows[(k.hinted[rows] == 0) & (ahead.low[rows] > k.low[rows])]
        k.hint[untried] = ahead.low[untried]
        k.refined[rows[ahead.low[rows] == k.low[rows]]] = REFINEMENTS

    def attack(self, block: _Block, rows: NDArray[np.int64]) -> bool:
        """Runs the attack that most of these rows wait for on those that do, each at its own budget; False without rows."""
        if not rows.size:
            return False
        k = self.known
        turn = int(np.bincount(k.turn[rows]).argmax())
        rows = rows[k.turn[rows] == turn]
        at, here = self._next(rows), np.searchsorted(block.rows, rows)
        picked = torch.from_numpy(here).to(block.images.device)
        eps = torch.from_numpy(at).to(block.images.device, block.images.dtype)
        index = torch.from_numpy(block.index[here])
        of = pictures(block.images[picked], block.labels[picked], eps, norm=self.norm, index=index)
        found = run_attack(self.victim, of, self.attacks[turn], self.seed)
        broken = found.broken.cpu().numpy()
        reached = lengths(found.adversarial - of.images, self.norm).cpu().double().numpy()
        done = broken | (turn + 1 == len(self.attacks))
        k.turn[rows] = np.where(done, 0, turn + 1)
        k.broken_by[rows[broken & ~k.asked[rows]]] = turn
        self._learn(rows[done], at[done], broken[done], reached[done])
        return True

    def _next(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The budget at which each picture is attacked next."""
        k, levels = self.known, np.array(self.budgets)
        stood, fell = k.stood[rows], k.fell[rows]
        middle = levels[np.minimum((stood + fell) // 2, len(levels) - 1)]
        between = np.where(k.low[rows] > 0, np.sqrt(k.low[rows] * np.minimum(k.high[rows], levels[-1])), k.high[rows] / 2)
        at = np.where(fell - stood > 1, middle, between)
        at = np.where(np.isnan(k.hint[rows]), at, k.hint[rows])
        return np.where(k.asked[rows], at, levels[self.asked])

    def _learn(
        self, rows: NDArray[np.int64], at: NDArray[np.float64], broken: NDArray[np.bool_], reached: NDArray[np.float64]
    ) -> None:
        """Notes what all attacks in turn found at a budget: `broken` or not, and how far the broken pictures had to move."""
        k = self.known
        hinted = ~np.isnan(k.hint[rows])
        k.refined[rows[k.asked[rows] & ~hinted & ~self._apart(rows)]] += 1
        k.asked[rows] = True
        self._hint_again(rows[hinted], at[hinted], broken[hinted])
        self._narrow(rows, at, broken, reached)

    def _hint_again(self, rows: NDArray[np.int64], at: NDArray[np.float64], broken: NDArray[np.bool_]) -> None:
        """Ends the search for pictures that stood at their hint, and gives those that fell a lower one, up to `HINTS` in all.

        The new hint is as many times smaller than the old one as the bracket's upper end was larger.
        """
        k = self.known
        k.refined[rows[~broken]] = REFINEMENTS
        k.hinted[rows] += 1
        k.hint[rows] = np.nan
        again = broken & (k.hinted[rows] < HINTS) & (at > 0)
        rows, at = rows[again], at[again]
        lower = at**2 / np.minimum(k.high[rows], self.budgets[-1])
        k.hint[rows] = np.where((lower > k.low[rows]) & (lower < at), lower, np.nan)

    def _narrow(
        self, rows: NDArray[np.int64], at: NDArray[np.float64], broken: NDArray[np.bool_], reached: NDArray[np.float64]
    ) -> None:
        """Narrows the brackets of pictures that stood or fell at a budget."""
        k, levels = self.known, np.array(self.budgets)
        stands, falls = rows[~broken], rows[broken]
        k.low[stands] = np.maximum(k.low[stands], at[~broken])
        k.high[falls] = np.minimum(k.high[falls], np.minimum(at[broken], reached[broken]))
        k.fell[falls] = np.searchsorted(levels, k.high[falls] * (1 - 1e-6))
        k.low[falls] = np.minimum(k.low[falls], k.high[falls])
        k.stood[rows] = np.searchsorted(levels, k.low[rows] * (1 + 1e-6), side="right") - 1
        k.stood[rows] = np.minimum(k.stood[rows], k.fell[rows] - 1)


@dataclass(frozen=True)
class Curve:
    """What a published protocol measures: at each budget (rows) whether each picture is right, and right within k guesses."""

    right: NDArray[np.bool_]
    within: NDArray[np.bool_]


def protocol_curve(
    victim: Victim,
    fetch: Fetch,
    index: NDArray[np.int64],
    attack: Attack,
    budgets: Sequence[float],
    *,
    norm: Norm = "linf",
    seed: int = 0,
    k: int = 5,
    state: Path | None = None,
) -> Curve:
    """Every picture at every budget, each budget on its own, whether or not it was right before.

    What is known of a block of pictures is kept in a file `state`; of its answers that were not finite, with its first one.
    """
    shape = len(budgets), len(index)
    known = PartialTables(state, {"right": (shape, np.int8), "within": (shape, np.int8), NOT_FINITE: (shape[1:], np.int64)})
    for rows in victim.blocks(len(index)):
        place = slice(None), rows
        if not known.lacks("right", place):
            victim.not_finite += int(known[NOT_FINITE][rows[0]])
            continue
        before = victim.not_finite
        images, labels = fetch(rows)
        of = pictures(images, labels, 0.0, norm=norm, index=torch.from_numpy(index[rows]))
        if attack.steps == attack.step == 1 and attack.start == "none":
            logits = fgsm_curve(victim, of, budgets, attack.loss)
        else:
            logits = [victim(run_attack(victim, of.at(eps), attack, seed).adversarial) for eps in budgets]
        scores = torch.stack(logits)
        labelled = labels.expand(len(budgets), -1)
        own = scores.gather(2, labelled[..., None])
        rivals = (~(scores < own)).sum(2)  # the label's own logit is one of them; ties and NaN count against it
        finite = ~torch.isnan(own[..., 0])
        known.learn("within", place, ((rivals <= k) & finite).cpu().numpy())
        known.learn(NOT_FINITE, rows[:1], victim.not_finite - before)
        known.learn("right", place, ((rivals == 1) & finite).cpu().numpy())
    known.keep()
    return Curve(known["right"] == 1, known["within"] == 1)


def _stacked(*both: Brackets) -> Arrays:
    """What one file holds: what all attacks together have found out, and what the first attack alone has."""
    return {f.name: np.stack([getattr(brackets, f.name) for brackets in both]) for f in fields(Brackets)}


def _read(path: Path | None, count: int, budgets: int) -> tuple[Brackets, Brackets, int]:
    """What a file holds, and how many answers were not finite until then, which files of old do not say."""
    if path is None or not path.exists():
        return Brackets.unknown(count, budgets), Brackets.unknown(count, budgets), 0
    stored = read_arrays(path, [f.name for f in fields(Brackets)])
    known, ahead = (Brackets(**{name: both[i].copy() for name, both in stored.items()}) for i in range(2))
    with suppress(WorkError):
        return known, ahead, int(read_arrays(path, [NOT_FINITE])[NOT_FINITE])
    return known, ahead, 0
