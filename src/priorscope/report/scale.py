"""Where numbers stand on a small scale of their own: in a column of a table, on an aspect of a fingerprint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from priorscope.core.stats import Interval


@dataclass(frozen=True)
class Scale:
    """The ends of a scale."""

    low: float
    high: float
    log: bool

    def place(self, value: float) -> float:
        """The place of a value on the scale, from 0 to 100; a value beyond an end is placed at that end."""
        if not self.low < self.high:
            return 50.0
        low, high, x = (math.log(v) if self.log else v for v in (self.low, self.high, min(max(value, self.low), self.high)))
        return round(100 * (x - low) / (high - low), 2)


def scale_of(numbers: Sequence[tuple[float, Interval | None]], wide: float = math.inf) -> Scale:
    """What numbers span with their intervals, of which no more is drawn than the numbers' own span on either side.

    Logarithmic where all is above 0 and the largest number is more than `wide` times the smallest.
    """
    values = [value for value, _ in numbers]
    lows = [interval.low if interval else value for value, interval in numbers]
    highs = [interval.high if interval else value for value, interval in numbers]
    if min(lows) > 0 and max(values) > wide * min(values):
        return Scale(min(lows), max(highs), log=True)
    span = max(values) - min(values) or max(highs) - min(lows)
    return Scale(max(min(lows), min(values) - span), min(max(highs), max(values) + span), log=False)
