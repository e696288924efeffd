"""The tables of a page: one line a recipe or a run, every number on the scale of its column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from priorscope.core.stats import Interval
from priorscope.report.records import Reading, by_recipe
from priorscope.report.scale import scale_of
from priorscope.report.verdict import Finding
from priorscope.report.words import compared_images, difference_said, number, range_said


@dataclass(frozen=True)
class Mark:
    """A number with its interval, drawn small: positions from 0 to 100 on the scale of its column."""

    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TableCell:
    """A number in a table."""

    value: float
    text: str
    between: str
    mark: Mark | None
    alone: bool


@dataclass(frozen=True)
class Line:
    """A line of a table: an arm, or a run."""

    name: str
    model: str
    """The recipe that it is about."""
    family: str
    facts: tuple[tuple[float | str, str], ...]
    cells: tuple[TableCell | None, ...]


def arm_lines(reading: Reading, found: Sequence[Finding]) -> tuple[Line, ...]:
    """One line a recipe: the fingerprint of each family, every number on the scale of its column."""
    lines: list[Line] = []
    for label, runs in by_recipe(reading.runs).items():
        cells: list[TableCell | None] = []
        for finding in found:
            arm = finding.arm(label)
            cells.append(
                _cell(arm.value, arm.interval, finding, beyond=arm.beyond, alone=arm.scope != "family" and not arm.exact)
                if arm
                else None
            )
        if not any(cells):
            continue  # a run that others are compared with, or begin with, and of which nothing was asked
        size = runs[0].parameters
        facts = ((len(runs), str(len(runs))), (size or 0, f"{size:,}" if size else ""))
        lines.append(Line(label, label, runs[0].family, facts, tuple(cells)))
    return tuple(lines)


def run_lines(reading: Reading, found: Sequence[Finding]) -> tuple[Line, ...]:
    lines: list[Line] = []
    for run in reading.runs:
        cells: list[TableCell | None] = []
        for finding in found:
            result = next((r for arm in finding.arms for its, r in zip(arm.runs, arm.results, strict=True) if its is run), None)
            cells.append(
                _cell(result.value, result.interval, finding, beyond=result.standing().beyond, alone=False) if result else None
            )
        lines.append(Line(run.name, run.recipe_name, run.family, ((run.seed, str(run.seed)),), tuple(cells)))
    return tuple(lines)


def _cell(value: float, interval: Interval | None, finding: Finding, *, beyond: bool, alone: bool) -> TableCell:
    scale = scale_of([(one.value, one.interval) for arm in finding.arms for one in (arm, *arm.results)])
    ends = (scale.place(interval.low), scale.place(interval.high)) if interval else (None, None)
    text = ("> " if beyond else "") + number(value, finding.unit)
    return TableCell(value, text, range_said(interval, finding.unit), Mark(scale.place(value), *ends), alone)


def pair_rows(finding: Finding) -> list[tuple[str, str, str, str]]:
    """The comparisons of a finding as a table: first, second, difference, what may be said."""
    rows: list[tuple[str, str, str, str]] = []
    for pair in finding.pairs:
        if pair.comparison is None:
            gap = pair.first.value - pair.second.value
            rows.append(
                (pair.first.label, pair.second.label, number(gap, finding.unit), "exact" if pair.differs else "the same")
            )
        else:
            said = difference_said(pair.comparison, pair.unit, compared_images(finding.result))
            rows.append((pair.first.label, pair.second.label, said, pair.comparison.verdict))
    return rows
