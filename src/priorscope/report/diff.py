"""Two reports beside each other: exactly the numbers that differ, and what only one of them has.

Runs are matched by recipe and seed, and where the two have no seed in common by their place among the recipe's seeds, so that
a study and the same study at other seeds can be laid side by side; results about several runs by their probe. Of a probe that
was asked in several ways, answers to the same question are matched. Equal numbers are counted and not shown.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from priorscope.core.config import Plain, content_key
from priorscope.report.joined import Place, Sources, read_sources
from priorscope.report.records import Reading, RunRecord
from priorscope.report.tidy import outcomes_of, rows_of
from priorscope.report.words import number

Key = tuple[str, str, str, str, str, str]
"""Run (recipe and seed, or place among its seeds), probe, metric, setting, data and split."""


@dataclass(frozen=True)
class ToldNumber:
    """A number's row, and what its probe was asked: its settings and world, and the runs where they are several."""

    row: Plain
    asked: str


@dataclass(frozen=True)
class Change:
    """A number that is not the same in both, or that one of them lacks."""

    run: str
    probe: str
    metric: str
    setting: str
    unit: str
    before: float | None
    after: float | None
    told: tuple[str, str]
    """Both as they are read: with interval and n where the numbers alone read alike."""

    @property
    def kind(self) -> Literal["changed", "only here", "only there"]:
        """What happened to it."""
        if self.before is None:
            return "only here"
        return "only there" if self.after is None else "changed"

    def plain(self) -> Plain:
        """The change as plain data."""
        told = {name: value for name, value in vars(self).items() if name != "told"}
        return {**told, "kind": self.kind}


@dataclass(frozen=True)
class Diff:
    """How a report differs from another."""

    other: str
    same: int
    changes: tuple[Change, ...]

    def headline(self) -> str:
        """How much differs, in one sentence."""
        if not self.changes and not self.same:
            return f"There is nothing to compare: neither this nor {self.other} holds a number that a probe measured."
        if not self.changes:
            return f"All {self.same:,} numbers are those of {self.other}."
        counts = Counter(change.kind for change in self.changes)
        differ = "1 number differs" if counts["changed"] == 1 else f"{counts['changed']:,} numbers differ"
        told = [f"{differ} from {self.other}'s and {self.same:,} are the same"]
        told += [f"{counts[kind]:,} stand {kind}" for kind in ("only here", "only there") if counts[kind]]
        return "; ".join(told) + "."


def compare_sources(sources: Sources, other: Place) -> Diff:
    """How the folders of studies or runs differ from another one."""
    return diff(read_sources(sources), read_sources(other))


def diff(here: Reading, there: Reading) -> Diff:
    """How one reading differs from another."""
    ours, theirs = _numbers(here, there), _numbers(there, here)
    changes: list[Change] = []
    same = 0
    for key in {**theirs, **ours}:
        for before, after in _matched(theirs.get(key, []), ours.get(key, [])):
            if before and after and _equal(before, after):
                same += 1
                continue
            unit = str((after or before or {}).get("unit", ""))
            old, new = (None if row is None else float(row["value"]) for row in (before, after))
            changes.append(Change(*key[:4], unit, old, new, _told(before, after, unit)))
    return Diff(there.name if there.name != here.name else f"the other {there.name}", same, tuple(changes))


def _told(before: Plain | None, after: Plain | None, unit: str) -> tuple[str, str]:
    there, here = ("none" if row is None else number(row["value"], unit) for row in (before, after))
    return (_with_interval(before, unit), _with_interval(after, unit)) if before and after and there == here else (there, here)


def _with_interval(row: Plain, unit: str) -> str:
    low, high, n = row["low"], row["high"], row["n"]
    interval = [] if low is None or high is None else [f"{number(low, unit)} to {number(high, unit)}"]
    images = [] if n is None else [f"n = {n:,}"]
    inside = "; ".join(interval + images)
    return number(row["value"], unit) + (f" ({inside})" if inside else "")


def _equal(before: Plain, after: Plain) -> bool:
    return all(before[name] == after[name] for name in ("value", "low", "high", "n"))


def _matched(before: list[ToldNumber], after: list[ToldNumber]) -> Iterator[tuple[Plain | None, Plain | None]]:
    """Numbers of one key in pairs: answers to the same question, then the others in their order."""
    others: list[ToldNumber] = []
    left = list(after)
    for one in before:
        same = next((other for other in left if other.asked == one.asked), None)
        if same is None:
            others.append(one)
        else:
            left.remove(same)
            yield one.row, same.row
    for one, other in itertools.zip_longest(others, left):
        yield one and one.row, other and other.row


def _numbers(reading: Reading, other: Reading) -> dict[Key, list[ToldNumber]]:
    """Every number of a reading by what it is about, its runs called as the other's that they are matched with."""
    places = {run.name: _place(run, reading, other) for run in reading.runs}
    found: dict[Key, list[ToldNumber]] = {}
    for outcome in outcomes_of(reading):
        together = [places.get(subject.name, subject.name) for subject in outcome.subjects if len(outcome.subjects) > 1]
        asked = content_key([outcome.comparable, together])
        for row in rows_of(reading.name, outcome, timed=False):
            name = row["run"]
            run = "" if name is None else places.get(name, str(name))
            probe, metric, setting, data, split = (
                str(row[column]) for column in ("probe", "metric", "setting", "data", "split")
            )
            found.setdefault((run, probe, metric, setting, data, split), []).append(ToldNumber(row, asked))
    return found


def _place(run: RunRecord, reading: Reading, other: Reading) -> str:
    """A run by its recipe, and by its seed where the two readings share some but not all; else by its place among the seeds."""
    own, others = (sorted(r.seed for r in one.runs if r.recipe_name == run.recipe_name) for one in (reading, other))
    if own != others and not set(own).isdisjoint(others):
        return f"{run.recipe_name} (seed {run.seed})"
    most = max(len(own), len(others))
    return run.recipe_name if most == 1 else f"{run.recipe_name} ({own.index(run.seed) + 1} of {most})"
