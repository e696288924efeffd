"""The fingerprint of every recipe: one number an aspect, each aspect on a scale of its own, and what limits it.

An aspect that was not measured is said, never drawn as a zero. Which number tells an aspect is the probe's to say
(`Result.trait`); where several probes tell one, that which looked at most recipes is taken, the first of the list among equals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from priorscope.core.aspects import ASPECTS, AspectName
from priorscope.core.contracts import Metric
from priorscope.core.errors import PriorscopeError
from priorscope.core.stats import Interval, over_seeds
from priorscope.core.wording import listed
from priorscope.report.records import Reading, by_recipe
from priorscope.report.scale import Scale, scale_of
from priorscope.report.verdict import Arm, Finding, same_images
from priorscope.report.words import number, range_said

WIDE = 20
"""The scale of an aspect is logarithmic where its largest value is more than this many times the smallest."""


@dataclass(frozen=True)
class Trait:
    """One number of a fingerprint; `at`, `low` and `high` are places from 0 to 100 on the scale of its aspect."""

    value: float
    text: str
    between: str
    at: float
    low: float | None
    high: float | None
    alone: bool
    """Whether it rests on too few seeds to speak for a family."""
    notes: tuple[str, ...]
    caveats: int
    """How many caveats limit it."""


@dataclass(frozen=True)
class Axis:
    """An aspect with what tells it: the ends of its scale in words and in numbers, and the section that says more."""

    aspect: AspectName
    measure: str
    unit: str
    poles: tuple[str, str]
    ends: tuple[str, str]
    log: bool
    note: str
    """What the probe says of all of its numbers; where it says different things, each stands with its number."""
    section: str


@dataclass(frozen=True)
class Row:
    """A recipe's fingerprint: a trait an axis, or why there is none."""

    label: str
    family: str
    seeds: int
    parameters: int | None
    traits: tuple[Trait | str, ...]


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprints of all recipes of which something was asked, and the aspects of which nothing is known."""

    axes: tuple[Axis, ...]
    rows: tuple[Row, ...]
    absent: tuple[AspectName, ...]
    caveats: tuple[tuple[str, str], ...]
    """Every caveat once, with the aspect and the recipes that it limits."""

    @property
    def few(self) -> bool:
        """Whether some number rests on too few seeds to speak for a family."""
        return any(isinstance(trait, Trait) and trait.alone for row in self.rows for trait in row.traits)


def fingerprint(reading: Reading, found: Sequence[Finding], sections: Mapping[int, str]) -> Fingerprint:
    """The fingerprints that findings allow; `sections` has the anchor of a finding's section by its identity."""
    chosen: dict[AspectName, Finding] = {}
    for aspect in ASPECTS:
        able = [finding for finding in found if finding.result.aspect == aspect and any(map(_told, finding.arms))]
        if able:
            chosen[aspect] = max(able, key=lambda finding: sum(_told(arm) is not None for arm in finding.arms))
    asked = {arm.label for finding in chosen.values() for arm in finding.arms}
    runs = (run for run in reading.runs if run.recipe_name in asked)
    columns = [_column(finding) for finding in chosen.values()]
    rows = [
        Row(label, of[0].family, len(of), of[0].parameters, tuple(column.get(label, "not measured") for column in columns))
        for label, of in by_recipe(runs).items()
    ]
    axes = tuple(_axis(aspect, finding, sections.get(id(finding), "")) for aspect, finding in chosen.items())
    return Fingerprint(axes, tuple(rows), tuple(aspect for aspect in ASPECTS if aspect not in chosen), tuple(_caveats(chosen)))


def _column(finding: Finding) -> dict[str, Trait | str]:
    """Every arm's trait of an aspect, or why it has none."""
    scale = _scale([told for arm in finding.arms if (told := _told(arm))])
    column: dict[str, Trait | str] = {}
    shared = len(_grounds(finding.arms)) == 1
    for arm in finding.arms:
        told = _told(arm)
        if told is None:
            column[arm.label] = finding.result.untold
            continue
        ends = (scale.place(told.interval.low), scale.place(told.interval.high)) if told.interval else (None, None)
        column[arm.label] = Trait(
            told.value,
            ("> " if arm.beyond and told.value == arm.value else "") + number(told.value, told.unit),
            range_said(told.interval, told.unit),
            scale.place(told.value),
            *ends,
            alone=told.seeds < finding.result.seeds_needed and not arm.exact,
            notes=tuple(note for note in (_ahead(finding, arm), told.of(arm), *([] if shared else _grounds([arm]))) if note),
            caveats=len(_doubts(arm)),
        )
    return column


def _axis(aspect: AspectName, finding: Finding, section: str) -> Axis:
    told = [one for arm in finding.arms if (one := _told(arm))]
    scale, unit, grounds = _scale(told), told[0].unit, _grounds(finding.arms)
    ends = (number(scale.low, unit), number(scale.high, unit))
    note = grounds[0] if len(grounds) == 1 else ""
    measure = f"{told[0].measure} ({finding.where})" if finding.where else told[0].measure
    return Axis(aspect, measure, unit, ASPECTS[aspect], ends, scale.log, note, section)


def _grounds(arms: Sequence[Arm]) -> tuple[str, ...]:
    """What the probe says of these numbers, each thing once."""
    return tuple(dict.fromkeys(result.standing().ground for arm in arms for result in arm.results))


def _caveats(chosen: Mapping[AspectName, Finding]) -> Iterator[tuple[str, str]]:
    for aspect, finding in chosen.items():
        about: dict[str, list[str]] = {}
        for arm in finding.arms:
            for doubt in _doubts(arm):
                about.setdefault(doubt, []).append(arm.label)
        for doubt, labels in about.items():
            yield doubt, f"{aspect} of {'all' if len(labels) == len(finding.arms) > 1 else listed(labels)}"


def _doubts(arm: Arm) -> tuple[str, ...]:
    return tuple(dict.fromkeys(caveat for result in arm.results for caveat in result.caveats))


def _ahead(finding: Finding, arm: Arm) -> str:
    """How the best of a column stands against the others; nothing of those below it, or that cannot be believed."""
    finding = finding.among([one for one in finding.arms if one.believed])
    if arm not in finding.arms:
        return ""
    if finding.by_chance or finding.result.better == "neither" or arm is not finding.arms[0] or len(finding.arms) == 1:
        return ""
    if any((told := _told(one)) is None or told.value != one.value for one in finding.arms):
        return ""  # the column shows another number than the one that was tested
    pairs = [pair for other in finding.arms[1:] if (pair := finding.pair(arm, other))]
    extreme, upwards = ("highest", True) if finding.result.better == "higher" else ("lowest", False)
    if arm.exact:
        return extreme
    apart = sum(pair.differs and pair.above(arm) == upwards for pair in pairs)
    if not pairs:
        return f"{extreme}, not tested"
    all_of = "all" if apart == len(pairs) else "none" if not apart else f"{apart}"
    untested = len(finding.arms) - 1 - len(pairs)
    if not untested:
        return f"{extreme}, told apart from {all_of}" + (f" of {len(pairs)}" if all_of == f"{apart}" else "")
    return f"{extreme}, told apart from {apart}, not tested against {untested}"


# One number, and its place --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told:
    """What an arm's results say of an aspect."""

    value: float
    interval: Interval | None
    unit: str
    measure: str
    seeds: int

    def of(self, arm: Arm) -> str:
        """How many of the arm's seeds it was measured of; nothing where of all."""
        return f"of {self.seeds} of {arm.seeds} seeds" if self.seeds < arm.seeds else ""


def _scale(told: Sequence[_Told]) -> Scale:
    return scale_of([(one.value, one.interval) for one in told], WIDE)


def _told(arm: Arm) -> _Told | None:
    """The arm's number on its aspect, with the interval of its value where that is the number."""
    traits = [result.trait() for result in arm.results]
    known = [trait for trait in traits if trait is not None]
    if not known:
        return None
    first = known[0]
    if len(known) == len(traits) and all(trait.value == result.value for trait, result in zip(known, arm.results, strict=True)):
        return _Told(arm.value, arm.interval, first.unit, first.metric, arm.seeds)
    values = [trait.value for trait in known]
    interval = _interval(known, shared=same_images(arm))
    return _Told(math.fsum(values) / len(values), interval, first.unit, first.metric, len(known))


def _interval(traits: Sequence[Metric], shared: bool) -> Interval | None:
    """One seed's own; of several over seeds, and over the images where all seeds saw the same."""
    own = [
        None if one.low is None or one.high is None else Interval(low=one.low, high=one.high, method="its own", over="images")
        for one in traits
    ]
    if len(traits) == 1:
        return own[0]
    try:
        return over_seeds([trait.value for trait in traits], images=own if shared else ())
    except PriorscopeError:
        return None  # a value that is not finite
