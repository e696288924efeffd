"""The time, the memory and the disk that the rest of a study will take, from what steps like its own have cost.

A step like which nothing was measured, here or where the shipped studies were, is said to be unknown, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from priorscope.core.machine import cores
from priorscope.study.plan import Plan
from priorscope.study.rates import Keys, keys_of, rates_here, rates_shipped
from priorscope.study.steps import Step


@dataclass(frozen=True)
class Forecast:
    """What the steps that are left will take. `unknown` of them were never measured and are not in the sums.

    `disk` is None where what some of the others leave on the disk was never measured.
    """

    seconds: float
    memory: float
    unknown: int
    disk: float | None = None


def forecast(plan: Plan, workers: int | None = None) -> Forecast:
    """Time with as many steps side by side as cores allow, the memory of that many processes, and what they leave on the disk.

    However many cores there are, it is not less than that of the longest chain of steps that wait for each other.
    """
    here, shipped = rates_here(), rates_shipped()
    known: list[tuple[float, float, int]] = []
    left_behind: list[float | None] = []
    ends: dict[str, float] = {}
    left = [*plan.to_do(), *plan.following()]
    for step in left:
        keys = keys_of(step)
        rate = here.of(keys) or shipped.of(keys)
        if rate is not None:
            known.append((rate.seconds, rate.memory, step.threads))
            left_behind.append(rate.disk)
        begins = max((ends.get(need, 0.0) for need in step.needs), default=0.0)
        ends[step.id] = begins + (rate.seconds if rate else 0.0)
    side_by_side = max(1, min(workers or cores(), cores() // max((threads for _, _, threads in known), default=1)))
    seconds = max(sum(cost for cost, _, _ in known) / side_by_side, *ends.values(), 0.0)
    memory = sum(sorted((memory for _, memory, _ in known), reverse=True)[:side_by_side])
    told = [size for size in left_behind if size is not None]
    return Forecast(seconds, memory, len(left) - len(known), sum(told) if len(told) == len(known) else None)


class Memories:
    """The most memory that steps have taken, here or else where the shipped studies were measured."""

    def __init__(self) -> None:
        self._keys: dict[str, Keys] = {}
        self.read()

    def read(self) -> None:
        """Reads what is remembered by now."""
        self._here, self._shipped = rates_here(), rates_shipped()

    def of(self, step: Step) -> float | None:
        """The most that a step, or else one like it, has taken; None where none was measured."""
        if step.id not in self._keys:  # a scheduler asks again and again
            self._keys[step.id] = keys_of(step)
        keys = self._keys[step.id]
        found = self._here.of(keys) or self._shipped.of(keys)
        return found.memory if found else None
