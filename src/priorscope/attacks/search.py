"""The smallest budget that breaks each picture, by bisection over budgets, with the accuracy at every one of them.

Budgets share their work: a picture broken at one is broken at every larger one, because its adversarial picture lies in the
larger ball too. All pictures are attacked at the budget asked about; then each goes on between the largest budget at which
it stood and the smallest at which it fell, first over the budgets of the curve, then between two of them. Every picture's
bracket is plain numbers, so that a long search that is stopped goes on where it was.

Of an ensemble the first attack, which is the cheapest, goes ahead alone; all of them in turn are then asked at the largest
budget at which a picture stood. Where it stands again, it is done, and has met the whole ensemble once; only where it falls do
all of them bisect.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.attacks import Attack, Norm
from priorscope.attacks.ball import Found, lengths, pictures
from priorscope.attacks.losses import right
from priorscope.attacks.pgd import fgsm_curve
from priorscope.attacks.supply import Fetch
from priorscope.attacks.turns import run_attack, run_in_turn
from priorscope.attacks.victim import Victim
from priorscope.core.errors import WorkError
from priorscope.core.folder import write_bytes

BLOCK = 500
REFINEMENTS = 2
"""Bisections between two budgets of the curve: neighbours of ratio 2 end up within a fifth of each other."""
HINTS = 2
SAVE_EVERY_SECONDS = 5.0
UNKNOWN, WRONG, RIGHT = 0, 1, 2


@dataclass(frozen=True)
class Brackets:
    """What is known of each picture: whether it is right at budget 0, between which budgets it falls, and by which attack.

    `stood` and `fell` number budgets of the curve (`fell` = their count: none); `low` and `high` are the bracket in pixels.
    `hint` is the budget to be tried before any other, NaN where there is none, and `hinted` how often there was one.
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

    @classmethod
    def unknown(cls, count: int, budgets: int) -> Brackets:
        """Nothing is known yet."""
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
    known, ahead = _read(state, len(index), len(budgets))
    asked = budgets.index(eps)
    search = _Search(victim, attacks, tuple(budgets), norm, seed, known, asked)
    alone = _Search(victim, attacks[:1], tuple(budgets), norm, seed, ahead, asked) if len(attacks) > 1 else None
    saved = time.perf_counter()
    for start in range(0, len(index), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(index)))
        if not search.open_rows(rows).size:
            continue
        for _ in _rounds(search, alone, _Block(rows, *fetch(rows), index[rows])):
            if state is not None and time.perf_counter() - saved > SAVE_EVERY_SECONDS:
                _write(state, known, ahead)
                saved = time.perf_counter()
    if state is not None:
        _write(state, known, ahead)
    return known


@dataclass(frozen=True)
class _Block:
    """Pictures at hand: their rows among all, and the positions that name their random streams."""

    rows: NDArray[np.int64]
    images: Tensor
    labels: Tensor
    index: NDArray[np.int64]


def _rounds(search: _Search, ahead: _Search | None, block: _Block) -> Iterator[None]:
    """All that is to be done on a block, a round at a time."""
    if search.never_asked(block.rows):
        search.round(block)
        yield
    if ahead is not None:
        ahead.begin_with(search.known, block.rows)
        while ahead.round(block):
            yield
        search.follow(ahead.known, block.rows)
    while search.round(block):
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

    def never_asked(self, rows: NDArray[np.int64]) -> bool:
        """Whether some rows have not been attacked at the budget asked about."""
        k = self.known
        return bool(((k.clean[rows] == UNKNOWN) | ((k.clean[rows] == RIGHT) & ~k.asked[rows])).any())

    def open_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows about which something is still to be found out."""
        k = self.known
        apart = k.fell[rows] - k.stood[rows] > 1
        fallen = (k.fell[rows] < len(self.budgets)) & (k.refined[rows] < REFINEMENTS)
        going = ~k.asked[rows] | ~np.isnan(k.hint[rows]) | apart | fallen
        return rows[(k.clean[rows] == UNKNOWN) | ((k.clean[rows] == RIGHT) & going)]

    def begin_with(self, other: Brackets, rows: NDArray[np.int64]) -> None:
        """Goes on from what another search knows of rows about which this one knows nothing."""
        new = rows[self.known.clean[rows] == UNKNOWN]
        for field in fields(Brackets):
            getattr(self.known, field.name)[new] = getattr(other, field.name)[new]

    def follow(self, ahead: Brackets, rows: NDArray[np.int64]) -> None:
        """Takes over where pictures fell to a search that went ahead; where they stood is for this one to try."""
        k = self.known
        rows = rows[k.clean[rows] == RIGHT]
        k.high[rows] = np.minimum(k.high[rows], ahead.high[rows])
        k.low[rows] = np.minimum(k.low[rows], k.high[rows])
        k.fell[rows] = np.minimum(k.fell[rows], ahead.fell[rows])
        k.stood[rows] = np.minimum(k.stood[rows], k.fell[rows] - 1)
        untried = (k.hinted[rows] == 0) & (ahead.low[rows] > k.low[rows])
        k.hint[rows] = np.where(untried, ahead.low[rows], np.nan)
        k.refined[rows[ahead.low[rows] == k.low[rows]]] = REFINEMENTS

    def round(self, block: _Block) -> bool:
        """One attack on every open picture of a block, each at its own budget; False where none is open."""
        known, rows = self.known, block.rows
        if (known.clean[rows] == UNKNOWN).any():
            was_right = right(self.victim(block.images), block.labels).cpu().numpy()
            known.clean[rows] = np.where(was_right, RIGHT, WRONG)
            known.high[rows[~was_right]] = 0.0
            known.fell[rows[~was_right]] = 0
        open_rows = self.open_rows(rows)
        if not open_rows.size:
            return False
        at = self._next(open_rows)
        here = np.searchsorted(rows, open_rows)
        picked = torch.from_numpy(here).to(block.images.device)
        eps = torch.from_numpy(at).to(block.images.device, block.images.dtype)
        index = torch.from_numpy(block.index[here])
        of = pictures(block.images[picked], block.labels[picked], eps, norm=self.norm, index=index)
        found, broken_by = run_in_turn(self.victim, of, self.attacks, self.seed)
        reached = lengths(found.adversarial - of.images, self.norm).double().cpu().numpy()
        self._learn(open_rows, at, found.broken.cpu().numpy(), reached, broken_by.cpu().numpy())
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
        self,
        rows: NDArray[np.int64],
        at: NDArray[np.float64],
        broken: NDArray[np.bool_],
        reached: NDArray[np.float64],
        broken_by: NDArray[np.int64],
    ) -> None:
        k, levels = self.known, np.array(self.budgets)
        first, hinted = ~k.asked[rows], ~np.isnan(k.hint[rows])
        on_curve = first | hinted | (k.fell[rows] - k.stood[rows] > 1)
        k.broken_by[rows[first]] = broken_by[first]
        k.asked[rows] = True
        k.refined[rows[~on_curve]] += 1
        k.refined[rows[hinted & ~broken]] = REFINEMENTS
        k.hinted[rows] += hinted
        k.hint[rows] = np.nan
        again = hinted & broken & (k.hinted[rows] < HINTS) & (at > 0)
        lower = at[again] ** 2 / np.minimum(k.high[rows[again]], levels[-1])
        k.hint[rows[again]] = np.where((lower > k.low[rows[again]]) & (lower < at[again]), lower, np.nan)
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
) -> Curve:
    """Every picture at every budget, each budget on its own, whether or not it was right before."""
    parts: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    for start in range(0, len(index), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(index)))
        images, labels = fetch(rows)
        of = pictures(images, labels, 0.0, norm=norm, index=torch.from_numpy(index[rows]))
        if attack.steps == 1 and attack.start == "none":
            logits = fgsm_curve(victim, of, budgets)
        else:
            logits = [victim(run_attack(victim, of.at(eps), attack, seed).adversarial) for eps in budgets]
        scores = torch.stack(logits)
        labelled = labels.expand(len(budgets), -1)
        own = scores.gather(2, labelled[..., None])
        rivals = (~(scores < own)).sum(2)  # the label's own logit is one of them; ties and NaN count against it
        finite = ~torch.isnan(own[..., 0])
        parts.append((((rivals == 1) & finite).cpu().numpy(), ((rivals <= k) & finite).cpu().numpy()))
    return Curve(*(np.concatenate(side, axis=1) for side in zip(*parts, strict=True)))


def attacked(
    victim: Victim,
    fetch: Fetch,
    rows: NDArray[np.int64],
    index: NDArray[np.int64],
    attacks: Sequence[Attack],
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether attacks in turn break each of some rows at one budget, and the worst pictures they found."""
    broken: list[NDArray[np.bool_]] = []
    worst: list[NDArray[np.float32]] = []
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        images, labels = fetch(some)
        of = pictures(images, labels, eps, norm=norm, index=torch.from_numpy(index[some]))
        found: Found = run_in_turn(victim, of, attacks, seed)[0]
        broken.append(found.broken.cpu().numpy())
        worst.append(found.adversarial.float().cpu().numpy())
    if not broken:
        return np.zeros(0, np.bool_), np.zeros((0, 0, 0, 0), np.float32)
    return np.concatenate(broken), np.concatenate(worst)


def _write(path: Path, *both: Brackets) -> None:
    """What all attacks know, and what the first alone knows."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f.name: np.stack([getattr(brackets, f.name) for brackets in both]) for f in fields(Brackets)}
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def _read(path: Path | None, count: int, budgets: int) -> tuple[Brackets, Brackets]:
    if path is None or not path.exists():
        return Brackets.unknown(count, budgets), Brackets.unknown(count, budgets)
    try:
        with np.load(path, allow_pickle=False) as stored:
            known, ahead = (Brackets(**{f.name: stored[f.name][i].copy() for f in fields(Brackets)}) for i in range(2))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise WorkError(
            f"The state of a search, {path}, is damaged: {error}.", "a file as it was written", f"delete {path.name}"
        ) from None
    return known, ahead
