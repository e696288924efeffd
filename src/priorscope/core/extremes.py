"""Who has the most of something, or the least: words for titles, in which equals share a place.

A superlative about equal numbers is false: where all are equal nobody stands out, and where some share the first place all of
them are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from priorscope.core.wording import listed

MOST_NAMES = 4
"""The most names in a title: where there are more, it says one fewer than this, and how many others there are."""


class Extreme(NamedTuple):
    """The largest number, or the smallest, and the names of all that have it; `of` is how many there were."""

    value: float
    names: tuple[str, ...]
    of: int

    @property
    def equal(self) -> bool:
        """Whether all have it, so that nobody stands out."""
        return len(self.names) == self.of

    def __str__(self) -> str:
        return named(self.names)

    def do(self, one: str, many: str) -> str:
        """Who has it, with a verb for one or for many: "a is", "a and b are"."""
        return f"{self} {one if len(self.names) == 1 else many}"


def largest(values: Mapping[str, float]) -> Extreme:
    """The largest of some numbers, by their names."""
    return _extreme(max, values)


def smallest(values: Mapping[str, float]) -> Extreme:
    """The smallest of some numbers, by their names."""
    return _extreme(min, values)


def named(names: Sequence[str]) -> str:
    """Names as a title lists them: of many the first ones, and how many more."""
    return listed(names if len(names) <= MOST_NAMES else [*names[: MOST_NAMES - 1], f"{len(names) - MOST_NAMES + 1} others"])


def _extreme(pick: Callable[[Iterable[float]], float], values: Mapping[str, float]) -> Extreme:
    """All that are equal to the end but for rounding; NaN is not a number, and counts only where there is nothing else."""
    told = {name: value for name, value in values.items() if not math.isnan(value)}
    if not told:
        return Extreme(math.nan, tuple(values), len(values))
    end = pick(told.values())
    names = tuple(name for name, value in told.items() if math.isclose(value, end, rel_tol=1e-9, abs_tol=1e-12))
    return Extreme(end, names, len(told))
