"""What an attack finds of one network: how small a budget breaks each image, and what the audit says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from priorscope.attacks import Attack
from priorscope.attacks.audit import Audited, audit
from priorscope.attacks.doubts import doubts
from priorscope.attacks.search import find_smallest, protocol_curve
from priorscope.attacks.verdict import AuditVerdict, Check, verdict_of
from priorscope.attacks.victim import Victim, frozen
from priorscope.core.config import Plain
from priorscope.data.fetch import Fetch, evenly, fetcher
from priorscope.data.split import Split
from priorscope.models.classifier import Classifier, evaluating
from priorscope.probes.robustness import QUERIES, SEARCH, VERSION
from priorscope.probes.shared.state import state_of

if TYPE_CHECKING:
    from priorscope.probes.robustness import RobustnessConfig

RISE = 0.01
"""Share of the images by which a curve may rise again with the budget before it is said."""


@dataclass(frozen=True)
class Found:
    """What was found; the names are those of the result, `priorscope.probes.robustness.Robustness`."""

    correct: NDArray[np.bool_]
    smallest: NDArray[np.float64]
    stood: NDArray[np.float64]
    right_at: NDArray[np.int64]
    within_at: NDArray[np.int64]
    verdict: AuditVerdict
    caveats: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    turns: tuple[tuple[str, int], ...] = ()
    after_audit: float | None = None
    audited: int | None = None


@dataclass(frozen=True)
class _Audited:
    """What the audit says, the accuracy that it leaves, and on how many images; empty if it was not asked for."""

    checks: tuple[Check, ...] = ()
    after: float | None = None
    audited: int | None = None


@dataclass(frozen=True)
class Measurement:
    """One network, the images and their positions in the split, what is to break them, and where what is known is kept."""

    model: Classifier
    images: Split
    index: NDArray[np.int64]
    asked: RobustnessConfig
    attacks: tuple[Attack, ...]
    eps: float
    levels: tuple[float, ...]
    folder: Path | None = None

    def find(self) -> Found:
        """Attacks the network; an interrupted search or audit is resumed."""
        fetch = fetcher(self.images, self.model.device)
        with evaluating(self.model), frozen(self.model):
            victim = Victim(self.model)
            caveats, uncertain = doubts(victim, fetch, len(self.images))
            if self.attacks[0].judge == "last":
                return self._by_protocol(victim, fetch, caveats, uncertain)
            return self._by_search(victim, fetch, caveats, uncertain)

    def _searched(self) -> Path | None:
        """The file of what attacks have found."""
        free = any(attack.gradient_free for attack in self.attacks)
        return self._state("robustness", {"version": QUERIES if free else SEARCH})

    def _state(self, name: str, settings: Plain) -> Path | None:
        """A file for what is known, named by everything that it is a function of; None without a folder."""
        about: Plain = {
            "index": self.index.tolist(),
            "attacks": [attack.plain() for attack in self.attacks],
            "norm": self.asked.norm,
            "eps": self.eps,
            "budgets": list(self.levels),
            "seed": self.asked.seed,
        }
        return state_of(self.folder, name, self.model, self.images, about | settings)

    def _by_search(self, victim: Victim, fetch: Fetch, caveats: list[str], uncertain: bool) -> Found:
        """The smallest budgets by bisection, then the audit of the accuracy at `eps`."""
        asked = self.asked
        brackets = find_smallest(
            victim,
            fetch,
            self.index,
            self.attacks,
            self.levels,
            self.eps,
            norm=asked.norm,
            seed=asked.seed,
            state=self._searched(),
        )
        correct = brackets.right()
        seen = self._audit(victim, fetch, correct, brackets.standing(self.eps))
        broken = [int(np.count_nonzero(brackets.broken_by == i)) for i in range(len(self.attacks))]
        verdict, unaudited = self._verdict(seen.checks, uncertain)
        return Found(
            correct=correct,
            smallest=brackets.high,
            stood=brackets.low,
            right_at=np.array([int(brackets.standing(level).sum()) for level in self.levels]),
            within_at=np.zeros(0, np.int64),
            verdict=verdict,
            caveats=(*caveats, *unaudited, *_not_finite(victim)),
            checks=seen.checks,
            turns=tuple(zip((attack.name for attack in self.attacks), broken, strict=True)),
            after_audit=seen.after,
            audited=seen.audited,
        )

    def _audit(self, victim: Victim, fetch: Fetch, correct: NDArray[np.bool_], standing: NDArray[np.bool_]) -> _Audited:
        """Audits the accuracy at `eps` on some of the images, if any are asked for."""
        asked = self.asked
        if not asked.audit_images:
            return _Audited()
        looked = evenly(len(correct), asked.audit_images)
        number = Audited(
            victim,
            fetch,
            self.index,
            self.attacks,
            self.eps,
            asked.norm,
            asked.seed,
            looked[correct[looked]],
            looked[standing[looked]],
            self.levels,
            self._state("audit", {"version": VERSION, "images": asked.audit_images}),
        )
        checks, left = audit(number)
        return _Audited(tuple(checks), len(left) / len(looked), len(looked))

    def _by_protocol(self, victim: Victim, fetch: Fetch, caveats: list[str], uncertain: bool) -> Found:
        """A published protocol: every image at every budget, whether right before or not; the last iterate counts.

        Its audit looks at images that are right before and at `eps`: the others are broken without an attack.
        """
        asked = self.asked
        curve = protocol_curve(
            victim,
            fetch,
            self.index,
            self.attacks[0],
            self.levels,
            norm=asked.norm,
            seed=asked.seed,
            state=self._searched(),
        )
        wrong, levels, counts = ~curve.right, np.array(self.levels), curve.right.sum(1)
        ever, at = wrong.any(0), wrong.argmax(0)
        rise = int(np.max(counts - np.minimum.accumulate(counts)))
        rises = (
            f"The curve rises again with the budget, by {rise} images: the attack loses its way, not the network its weakness."
        )
        seen = self._audit(victim, fetch, curve.right[0], curve.right[0] & curve.right[self.levels.index(self.eps)])
        verdict, unaudited = self._verdict(seen.checks, uncertain)
        return Found(
            correct=curve.right[0],
            smallest=np.where(ever, levels[at], np.inf),
            stood=np.where(ever, levels[np.maximum(at - 1, 0)], levels[-1]),
            right_at=counts,
            within_at=curve.within.sum(1),
            verdict=verdict,
            caveats=(*caveats, *([rises] if rise > RISE * len(self.index) else []), *unaudited, *_not_finite(victim)),
            checks=seen.checks,
            after_audit=seen.after,
            audited=seen.audited,
        )

    def _verdict(self, checks: Sequence[Check], uncertain: bool) -> tuple[AuditVerdict, list[str]]:
        """What may be said of the number: it stays suspect if nothing was checked, or if the network itself is in doubt."""
        verdict = verdict_of(self.attacks, checks)
        if verdict != "no sign of overestimation":
            return verdict, []
        if not any(each.n for each in checks):
            looked = "No image that the audit looked at was right" if self.asked.audit_images else "The number was not audited"
            return "suspect", [f"{looked}, so nothing speaks for it: it is called suspect until something does."]
        return ("suspect" if uncertain else verdict), []


def _not_finite(victim: Victim) -> list[str]:
    if not victim.not_finite:
        return []
    return [f"{victim.not_finite:,} answers under attack were NaN or infinite; they count as wrong."]
