"""What the numbers of a study allow to be compared; `words` makes sentences of it.

Runs of one recipe that differ in their seed alone are an *arm*. An arm with as many seeds as the probe asks for speaks for
its family, and its interval is over seeds and images; with one seed it is a checkpoint, and its interval is over images. In
between, nothing is compared: the sentence says how many seeds are missing. The comparisons of one table are Holm-corrected,
and "not distinguishable" is not called "equal". Families whose number has a bias of its own are compared by one without.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from priorscope.core.comparison import (
    Comparison,
    Difference,
    compare,
    holm,
    over_seeds_difference,
)
from priorscope.core.config import content_key
from priorscope.core.contracts import About, Result
from priorscope.core.errors import PriorscopeError
from priorscope.core.seeds import difference_of_families, interval_of_seeds, told_from_chance
from priorscope.core.stats import Interval, over_seeds
from priorscope.probes import PROBES
from priorscope.report.records import Outcome, Reading, RunRecord
from priorscope.report.settings import differences_said, settings_of

Scope = Literal["family", "checkpoint", "too few seeds"]


@dataclass(frozen=True)
class Arm:
    """One recipe's results of one probe, one a seed."""

    label: str
    family: str
    runs: tuple[RunRecord, ...]
    results: tuple[Result, ...]
    images: tuple[str, ...]
    """Which images each result is about; see `RunRecord.images`."""
    scope: Scope
    value: float
    interval: Interval | None
    unbiased: tuple[float, Interval] | None = None
    """What families are compared by, with its interval, if `value` is biased and can have none."""
    told_from_chance: bool = True
    """Whether some seed's number says more than chance alone would, corrected for all numbers of the same finding."""

    @property
    def seeds(self) -> int:
        """How many seeds the arm has."""
        return len(self.results)

    @property
    def exact(self) -> bool:
        """Whether the number is the same for every seed and was not sampled: a count of parameters, say."""
        return all(result.exact for result in self.results) and len({result.value for result in self.results}) == 1

    @property
    def beyond(self) -> bool:
        """Whether its number is only known to be larger than `value`."""
        return any(result.standing().beyond for result in self.results)

    @property
    def believed(self) -> bool:
        """Whether its number may be ranked: one that is known to be a bound only, or of a blind instrument, may not."""
        return all(result.standing().believed for result in self.results)

    def said(self, text: str) -> str:
        """The arm's name with what it is: a checkpoint unless it speaks for a family."""
        if self.scope == "family" or self.exact:
            return text
        return f"this checkpoint of {text}" if self.seeds == 1 else f"these {self.seeds} checkpoints of {text}"


@dataclass(frozen=True)
class Pair:
    """Two arms compared; `comparison` is None where both numbers are exact and simply differ or do not."""

    first: Arm
    second: Arm
    comparison: Comparison | None

    @property
    def differs(self) -> bool:
        """Whether the two are told apart."""
        if self.comparison is None:
            return self.first.value != self.second.value
        return self.comparison.verdict in ("higher", "lower")

    @property
    def unit(self) -> str:
        """The unit of the difference: two checkpoints may be compared in another one than their values have."""
        return difference_unit(self.first)

    def above(self, one: Arm) -> bool:
        """Whether one of the two is the higher: by the test where there is one, which may look at other images than a value."""
        other = self.second if one is self.first else self.first
        if self.comparison is None:
            return one.value >= other.value
        return (self.comparison.difference.value >= 0) == (one is self.first)


@dataclass(frozen=True)
class Finding:
    """What one probe at one setting found: its arms, best first, and their comparisons."""

    probe: str
    result: type[Result]
    about: About
    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    outcomes: tuple[Outcome, ...]
    where: str = ""

    @property
    def measure(self) -> str:
        """What the number is called, and where it was taken if the probe looked in more than one way."""
        return f"{self.result.measure} ({self.where})" if self.where else self.result.measure

    @property
    def leads(self) -> bool:
        """Whether all of its numbers are what their name promises."""
        return all(result.standing().leads for arm in self.arms for result in arm.results)

    @property
    def by_chance(self) -> bool:
        """Whether chance alone would give numbers like all of these: nothing is ranked by them."""
        return not any(arm.told_from_chance for arm in self.arms)

    @property
    def unit(self) -> str:
        """The number's unit."""
        return self.arms[0].results[0].unit

    def among(self, arms: Sequence[Arm]) -> Finding:
        """What was found of some of the arms."""
        kept = {id(arm) for arm in arms}
        pairs = tuple(pair for pair in self.pairs if {id(pair.first), id(pair.second)} <= kept)
        return replace(self, arms=tuple(arm for arm in self.arms if id(arm) in kept), pairs=pairs)

    def arm(self, label: str) -> Arm | None:
        """What was found of a recipe, if it was asked."""
        return next((arm for arm in self.arms if arm.label == label), None)

    def pair(self, one: Arm, other: Arm) -> Pair | None:
        """How two arms compare, if they were."""
        return next((pair for pair in self.pairs if {id(pair.first), id(pair.second)} == {id(one), id(other)}), None)


def findings(reading: Reading) -> list[Finding]:
    """One finding for each probe, setting and world that it looked at, in the study's order, then that of the list of probes.

    Numbers from different data are never put beside each other: a run that learnt in another world was asked about its images.
    """
    groups: dict[tuple[str, str], list[tuple[RunRecord, Outcome]]] = {}
    for run in reading.runs:
        for outcome in run.outcomes:
            groups.setdefault((outcome.probe, content_key(_setting(run, outcome))), []).append((run, outcome))
    names = dict.fromkeys((*(str(entry.probe.get("name")) for entry in reading.entries), *PROBES))
    order = {name: i for i, name in enumerate(names)}

    def asked(members: list[tuple[RunRecord, Outcome]]) -> tuple[int, int, bool, list[tuple[str, str]]]:
        run, outcome = members[0]
        entry = next((i for i, entry in enumerate(reading.entries) if entry.fits(outcome, run.source)), len(reading.entries))
        elsewhere = outcome.about.source not in ({}, run.source)
        return order.get(outcome.probe, len(order)), entry, elsewhere, sorted(_setting(run, outcome).items())

    found = sorted(groups.values(), key=asked)
    return [_finding(those, where) for those, where in zip(found, _told_apart([those[0] for those in found]), strict=True)]


def _told_apart(asked: Sequence[tuple[RunRecord, Outcome]]) -> list[str]:
    """What sets each finding apart from the others of its probe; a world's seed is named only where nothing else does."""
    settings = [(outcome.probe, _setting(run, outcome)) for run, outcome in asked]
    short = [(probe, {name: value for name, value in told.items() if name != "data.seed"}) for probe, told in settings]
    shown = [full if short.count(without) > 1 else without for full, without in zip(settings, short, strict=True)]
    return [differences_said(told, [other for other_probe, other in shown if other_probe == probe]) for probe, told in shown]


def _setting(run: RunRecord, outcome: Outcome) -> dict[str, str]:
    """What must be equal for two numbers to stand in one column: data, split and the probe's own settings.

    Runs that learnt in worlds of their own, and were asked about them, stand in one.
    """
    about = outcome.about
    if about.source:
        data = run.world if about.source == run.source else about.source
    else:
        data = run.world if about.data == run.world.get("name") else {"name": about.data}
    return settings_of({"split": about.split, "config": about.config, "data": data})


def _finding(members: Sequence[tuple[RunRecord, Outcome]], where: str) -> Finding:
    first = members[0][1]
    kind = type(first.result)
    by_label: dict[str, list[tuple[RunRecord, Outcome]]] = {}
    for run, outcome in members:
        by_label.setdefault(run.recipe_name, []).append((run, outcome))
    arms = [_arm(label, sorted(those, key=lambda one: one[0].seed)) for label, those in by_label.items()]
    arms.sort(key=lambda arm: arm.value, reverse=kind.better != "lower")
    sure = set(map(id, told_from_chance([result for arm in arms for result in arm.results])))
    arms = [replace(arm, told_from_chance=not sure.isdisjoint(map(id, arm.results))) for arm in arms]
    outcomes = tuple(outcome for _, outcome in members)
    pairs = _pairs(arms) if any(arm.told_from_chance for arm in arms) else []
    return Finding(first.probe, kind, first.about, tuple(arms), tuple(pairs), outcomes, where)


def _arm(label: str, members: Sequence[tuple[RunRecord, Outcome]]) -> Arm:
    runs = tuple(run for run, _ in members)
    results = tuple(outcome.result for _, outcome in members)
    images = tuple(run.images(outcome) for run, outcome in members)
    needed = type(results[0]).seeds_needed
    scope: Scope = "checkpoint" if len(results) == 1 else "family" if len(results) >= needed else "too few seeds"
    value = float(np.mean([result.value for result in results]))
    same = len({*images}) == 1
    interval, unbiased = _interval(results, shared=same), _unbiased(results, shared=same)
    return Arm(label, runs[0].family, runs, results, images, scope, value, interval, unbiased)


def _interval(results: Sequence[Result], *, shared: bool) -> Interval | None:
    """The interval of an arm's value: over images for one run, over seeds x images if all saw the same, else over seeds."""
    try:
        if len(results) == 1 or results[0].biased or shared:
            return interval_of_seeds(results)
        return results[0].bounded(over_seeds([result.value for result in results]))
    except PriorscopeError:
        return None  # a value that is not finite: there is nothing to put an interval around


def _unbiased(results: Sequence[Result], *, shared: bool) -> tuple[float, Interval] | None:
    """The mean over seeds of what families are compared by, with its interval, where the value itself is biased."""
    told = [one for result in results if result.biased and (one := result.compared())]
    if len(told) < 2:
        return None
    values, own = zip(*told, strict=True)
    found = over_seeds(values, images=own if shared else ())
    return float(np.mean(values)), results[0].bounded(found)


def same_images(*arms: Arm) -> bool:
    """Whether all runs were asked about the same images."""
    return len({images for arm in arms for images in arm.images}) == 1


def _pairs(arms: Sequence[Arm]) -> list[Pair]:
    """Every two arms that may be compared, their p-values corrected for being many."""
    exact, tested = list[Pair](), list[tuple[Arm, Arm, Difference]]()
    for one, other in itertools.combinations(arms, 2):
        if one.exact and other.exact:
            exact.append(Pair(one, other, None))
        elif (difference := _difference(one, other)) is not None:
            tested.append((one, other, difference))
    adjusted = holm([difference.p_value for *_, difference in tested]) if tested else []
    compared = [Pair(one, other, compare(d, adjusted_p=p)) for (one, other, d), p in zip(tested, adjusted, strict=True)]
    return [*exact, *compared]


def _difference(one: Arm, other: Arm) -> Difference | None:
    """The difference of two arms of one scope; None where the data allow no test."""
    try:
        return arm_difference(one, other)
    except PriorscopeError:
        return None  # not finite, or not the same images: there is no test to make


def arm_difference(one: Arm, other: Arm, level: float = 0.95) -> Difference | None:
    """First minus second with its interval; None where the two do not speak for the same kind of thing."""
    if one.scope == other.scope == "family":
        return _family_difference(one, other, level)
    if one.scope == other.scope == "checkpoint":
        return _checkpoint_difference(one, other, level)
    return None


def difference_of_values(one: Arm, other: Arm, level: float) -> Difference | None:
    """First minus second in the unit of their values, where they are compared in another; None where there is no test."""
    if one.scope != other.scope or one.scope == "too few seeds" or not same_images(one, other):
        return None
    return type(one.results[0]).difference_of_values(one.results, other.results, level)


def difference_unit(arm: Arm) -> str:
    """The unit in which an arm is compared with others."""
    return arm.results[0].difference_unit or arm.results[0].unit


def _family_difference(one: Arm, other: Arm, level: float) -> Difference | None:
    """Over seeds and images where all looked at the same ones; else over seeds, if images are not what is compared."""
    if same_images(one, other):
        return difference_of_families(one.results, other.results, level)
    told = [[result.compared() for result in arm.results] for arm in (one, other)]
    values = [[number[0] for number in arm if number] for arm in told]
    if [len(arm) for arm in values] != [one.seeds, other.seeds]:
        return None
    worlds = [[(run.seed, images) for run, images in zip(arm.runs, arm.images, strict=True)] for arm in (one, other)]
    own_worlds = worlds[0] == worlds[1] and len({images for _, images in worlds[0]}) > 1
    return over_seeds_difference(values[0], values[1], paired=own_worlds, level=level)


def _checkpoint_difference(one: Arm, other: Arm, level: float) -> Difference | None:
    if not same_images(one, other):
        return None
    return one.results[0].paired(other.results[0], level)
