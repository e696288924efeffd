"""Ablation surfaces: a number over two settings whose combinations were trained, and where its best one stands.

A grid is found in the recipes themselves, not in a study's file: recipes that differ in exactly two settings, each with two
values or more, of which one at least is a number; the other may be a word, such as an augmentation's. Where the best cell
stands at the edge of the grid, a better one may lie beyond, and the picture says so; words have no edge.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from priorscope.core.figure import Figure
from priorscope.core.wording import capitalised, from_to, listed
from priorscope.report.recipes import first_runs, settings
from priorscope.report.records import RunRecord
from priorscope.report.verdict import Arm, Finding
from priorscope.report.words import images_said, number, number_of

FEWEST = 4
"""Cells below which there is no surface: two values of each of two settings."""
INNER = 3
"""Values of a setting below which every one of them stands at the edge, which says nothing."""


Value: TypeAlias = float | str
"""The value of a setting: a number or a word."""
Table: TypeAlias = Mapping[str, Mapping[str, str | None]]
"""Recipes by name, each with the settings in which they differ; None where one is not set."""
Rest: TypeAlias = tuple[tuple[str, str | None], ...]
"""The settings of a recipe that are not those of a grid's axes."""


@dataclass(frozen=True)
class Grid:
    """Recipes by the values of two settings; `fixed` says what sets this grid apart from others of the same two."""

    across: str
    up: str
    cells: Mapping[tuple[Value, Value], str]
    fixed: str

    @property
    def values(self) -> tuple[list[Value], list[Value]]:
        """The values of both settings: numbers rising, words as they come."""
        return _in_order(x for x, _ in self.cells), _in_order(y for _, y in self.cells)


def grids(runs: Sequence[RunRecord]) -> list[Grid]:
    """Every grid over two settings among recipes, one of them numeric."""
    table = _table(runs)
    found: list[Grid] = []
    for across, up in _axes(table):
        groups = {rest: cells for rest, cells in _groups(table, across, up).items() if len(cells) >= FEWEST}
        each = [Grid(across, up, cells, _fixed(rest, list(groups))) for rest, cells in groups.items()]
        found += [grid for grid in each if _crosses(grid)]
    return found


def _crosses(grid: Grid) -> bool:
    """Whether two values of one setting met the same two of the other: what is changed one at a time meets in a corner."""
    across, up = grid.values
    met = [{y for y in up if (x, y) in grid.cells} for x in across]
    return any(len(one & other) > 1 for one, other in itertools.combinations(met, 2))


def _table(runs: Sequence[RunRecord]) -> Table:
    recipes = {name: settings(run.recipe) for name, run in first_runs(runs).items()}
    keys = dict.fromkeys(key for recipe in recipes.values() for key in recipe)
    varied = [key for key in keys if len({recipe.get(key) for recipe in recipes.values()}) > 1]
    return {name: {key: recipe.get(key) for key in varied} for name, recipe in recipes.items()}


def _axes(table: Table) -> Iterator[tuple[str, str]]:
    """Two settings each that are numbers or words wherever they are set, one of the two numeric."""
    values = {
        key: [_value(recipe[key]) for recipe in table.values() if recipe[key] is not None]
        for key in next(iter(table.values()), {})
    }
    axes = [key for key, known in values.items() if None not in known]
    numeric = {key for key in axes if all(isinstance(value, float) for value in values[key])}
    return ((across, up) for across, up in itertools.combinations(axes, 2) if numeric & {across, up})


def _groups(table: Table, across: str, up: str) -> dict[Rest, dict[tuple[Value, Value], str]]:
    """Recipes by their values of two settings, those together that are alike in all others."""
    groups: dict[Rest, dict[tuple[Value, Value], str]] = {}
    for name, recipe in table.items():
        x, y = _value(recipe[across]), _value(recipe[up])
        if x is not None and y is not None:
            rest = tuple((key, text) for key, text in recipe.items() if key not in (across, up))
            groups.setdefault(rest, {})[x, y] = name
    return groups


def surfaces(finding: Finding, runs: Sequence[RunRecord]) -> Iterator[Figure]:
    """The finding's number over every grid of which it knows enough cells."""
    arms = {arm.label: arm for arm in finding.arms}
    for grid in grids([run for run in runs if run.recipe_name in arms]):
        yield _surface(finding, grid, arms)


def edges(grid: Grid, at: tuple[Value, Value]) -> list[str]:
    """The settings in which a cell stands at the end of what was tried."""
    across, up = grid.values
    ends = ((grid.across, at[0], across), (grid.up, at[1], up))
    return [
        name
        for name, value, values in ends
        if isinstance(value, float) and len(values) >= INNER and value in (values[0], values[-1])
    ]


def _surface(finding: Finding, grid: Grid, arms: Mapping[str, Arm]) -> Figure:
    from priorscope.core.axis import Axis
    from priorscope.core.matrices import heat_map

    unit, (across, up) = finding.unit, grid.values
    rows: list[dict[str, Any]] = [
        {"x": _said(x), "y": _said(y), "value": arm.value, "low": _end(arm, 0), "high": _end(arm, 1), "recipe": arm.label}
        for y in reversed(up)
        for x in across
        if (arm := arms.get(grid.cells.get((x, y), "")))
    ]
    title = f"{capitalised(finding.measure)} over {_last(grid.across)} and {_last(grid.up)}"
    if finding.result.better != "neither":
        title = _best(finding, grid, arms)
    where = f" ({grid.fixed})" if grid.fixed else ""
    missing = len(across) * len(up) - len(rows)
    counts = [arms[name].seeds for name in grid.cells.values() if name in arms]
    return heat_map(
        "-".join([finding.probe, "over", _last(grid.across), _last(grid.up)]),
        title + where,
        rows,
        x=grid.across,
        y=grid.up,
        value=Axis(finding.measure, format=".1%" if unit.startswith("share") else ".3g"),
        n=f"{len(rows)} cells of {from_to(counts)} seed{'s' * (max(counts) > 1)}, n = {images_said(*finding.arms)} each",
        protocol=(f"{missing} combinations are missing. " if missing else "")
        + "Each cell is a mean over its seeds. It describes what was measured and chooses nothing: settings are chosen on val.",
        alt=f"{finding.measure} at {_last(grid.across)}, {_last(grid.up)}: "
        + "; ".join(f"{row['x']}, {row['y']}: {number(row['value'], unit)}" for row in rows)
        + ".",
    )


def _best(finding: Finding, grid: Grid, arms: Mapping[str, Arm]) -> str:
    """The title: the best cell, how many others are not told apart from it, and whether a better one may lie beyond."""
    known = {at: arms[name] for at, name in grid.cells.items() if name in arms}
    top = (max if finding.result.better == "higher" else min)(known, key=lambda at: known[at].value)
    extreme = "highest" if finding.result.better == "higher" else "lowest"
    said = (
        f"{capitalised(finding.measure)} is {extreme}, {number_of(known[top], finding.unit)}, at "
        f"{_last(grid.across)} {_said(top[0])} and {_last(grid.up)} {_said(top[1])}"
    )
    pairs = [finding.pair(known[top], arm) for at, arm in known.items() if at != top]
    alike = sum(pair is None or not pair.differs for pair in pairs)
    if alike:
        said += f", not told apart from {alike} of {len(pairs)} others"
    beyond = edges(grid, top)
    return f"{said}, at the edge of the grid in {listed([_last(name) for name in beyond])}" if beyond else said


def _fixed(rest: Rest, groups: Sequence[Rest]) -> str:
    """What sets this grid apart from others over the same two settings: the network's name where that is enough."""
    if len(groups) < 2:
        return ""
    networks = [dict(group).get("model.name") for group in groups]
    if None not in networks and len(set(networks)) == len(groups):
        return dict(rest)["model.name"] or ""
    told = [
        f"{_last(key)} {value}" for i, (key, value) in enumerate(rest) if len({group[i][1] for group in groups}) > 1 and value
    ]
    return ", ".join(told[:3])


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _end(arm: Arm, which: int) -> float | None:
    return None if arm.interval is None else (arm.interval.low, arm.interval.high)[which]


def _value(text: str | None) -> Value | None:
    """A setting as a number or a word; None where it is neither: absent, yes or no, or a list."""
    if text is None or text in ("True", "False"):
        return None
    try:
        return float(text)
    except ValueError:
        return text if re.fullmatch(r"[\w./-]+", text) else None


def _said(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _in_order(values: Iterable[Value]) -> list[Value]:
    different = list(dict.fromkeys(values))
    numbers = [value for value in different if isinstance(value, float)]
    return [*sorted(numbers)] if len(numbers) == len(different) else different
