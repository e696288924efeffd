"""Names beside the ends of curves: which curves bear one, and where it stands off the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from priorscope.core.axis import Axis
from priorscope.core.figure import Row

NAME_HEIGHT, MOST_NAMES = 13, 24
"""Pixels from one name beside a curve to the next, at least; and how many there may be beside one panel."""


def most_names(rows: Sequence[Row], panel: str | None) -> int:
    """How many different names stand beside the panel that has most of them."""
    named = {(row[panel] if panel else None, row["end"]) for row in rows if row.get("end") is not None}
    return max(Counter(where for where, _ in named).values(), default=0)


def named_where_alike(rows: Sequence[Row], panel: str | None) -> Sequence[Row]:
    """Rows with an `end` for each curve whose family has others in its panel: its series, at its last point.

    They stay as they are where some row has an `end` of its own, or where the names would be too many to be told apart.
    """
    if any(row.get("end") is not None for row in rows):
        return rows

    def where(row: Row) -> str:
        return str(row[panel]) if panel else ""

    last = {(where(row), row["family"], row["series"]): row for row in sorted(rows, key=lambda row: row["x"])}
    alike = Counter((there, family) for there, family, _ in last)
    ends = {id(row) for (there, family, _), row in last.items() if alike[there, family] > 1}
    named = [{**row, "end": row["series"]} if id(row) in ends else row for row in rows]
    return named if most_names(named, panel) <= MOST_NAMES else rows


def names_apart(rows: Sequence[Row], y: Axis, height: int, panel: str | None) -> Sequence[Row]:
    """Rows with `end_y`, where the name in `end` stands: by the curve's last point, and off other names in its panel.

    Moved by the least squares that leave room between them and keep them beside the panel (names in order of height; neighbours
    that are too near share a middle). One name of several curves is written once, in their middle.
    """
    if all(row.get("end") is None for row in rows):
        return rows
    drawn = [float(row[key]) for row in rows for key in ("y", "low", "high") if row.get(key) is not None]
    heights = [y.height(value) for value in y.domain or drawn if y.scale != "log" or value > 0]
    low, high = min(heights), max(heights)
    gap = NAME_HEIGHT * ((high - low) or 1.0) / height
    names = _names(rows, panel)
    placed: dict[int, float] = {}
    for beside in dict.fromkeys((name.panel, name.x) for name in names):
        there = sorted((name for name in names if (name.panel, name.x) == beside), key=lambda name: (name.middle, name.row))
        spread = _spread([y.height(name.middle) for name in there], gap, low, high)
        placed |= zip((name.row for name in there), map(y.value_at, spread), strict=True)
    return [{**row, "end": row.get("end") if i in placed else None, "end_y": placed.get(i)} for i, row in enumerate(rows)]


class _Name(NamedTuple):
    """A name beside a panel, at the x where its curves end: in the row of the first of them, at the middle of all."""

    panel: str | None
    x: float
    row: int
    middle: float


def _names(rows: Sequence[Row], panel: str | None) -> list[_Name]:
    """Every name once for each panel and x."""
    named: dict[tuple[str | None, float, str], list[int]] = {}
    for i, row in enumerate(rows):
        if row.get("end") is not None:
            named.setdefault((row[panel] if panel else None, row["x"], row["end"]), []).append(i)
    return [
        _Name(where, x, several[0], float(np.mean([float(rows[i]["y"]) for i in several])))
        for (where, x, _), several in named.items()
    ]


def _spread(middles: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The nearest heights, by squares, of names in their order that lie `gap` apart, between two ends."""
    room = [gap * place for place in range(len(middles))]
    apart = np.clip(_rising([at - before for at, before in zip(middles, room, strict=True)]), low, high - room[-1])
    return [at + before for at, before in zip(apart.tolist(), room, strict=True)]


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest numbers, by squares, that never fall (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
    return [value for value, count in pools for _ in range(count)]
