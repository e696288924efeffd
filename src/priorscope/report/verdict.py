"""What the numbers of a study allow to be said, in sentences made from them.

Runs of one recipe that differ in their seed alone are an *arm*. An arm with as many seeds as the probe asks for speaks for
its family, and its interval is over seeds and images; with one seed it is a checkpoint, and its interval is over images. In
between, nothing is compared: the sentence says how many seeds are missing. The comparisons of one table are Holm-corrected,
and "not distinguishable" is not called "equal".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from priorscope.core.comparison import (
    Comparison,
    Difference,
    compare,
    holm,
    over_seeds_difference,
    paired_bootstrap,
    paired_proportions,
    seed_by_image_difference,
)
from priorscope.core.config import content_key
from priorscope.core.contracts import Result
from priorscope.core.errors import PriorscopeError
from priorscope.core.stats import Interval, is_proportion, over_seeds, seed_by_image
from priorscope.probes import PROBES
from priorscope.report.reading import Outcome, Reading, RunRecord, apart, flat

Scope = Literal["family", "checkpoint", "too few seeds"]


@dataclass(frozen=True)
class Arm:
    """One recipe's results of one probe, one a seed."""

    label: str
    family: str
    runs: tuple[RunRecord, ...]
    results: tuple[Result, ...]
    scope: Scope
    value: float
    interval: Interval | None

    @property
    def seeds(self) -> int:
        """How many seeds the arm has."""
        return len(self.results)

    @property
    def exact(self) -> bool:
        """Whether the number is the same for every seed and was not sampled: a count of parameters, say."""
        return all(result.exact for result in self.results) and len({result.value for result in self.results}) == 1

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


@dataclass(frozen=True)
class Finding:
    """What one probe at one setting found: its arms, best first, their comparisons, and the sentence that they allow."""

    probe: str
    result: type[Result]
    about: Mapping[str, Any]
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
        return all(result.leads for arm in self.arms for result in arm.results)

    @property
    def unit(self) -> str:
        """The number's unit."""
        return self.arms[0].results[0].unit

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
    order = {name: i for i, name in enumerate(dict.fromkeys((*reading.probes, *PROBES)))}
    found = sorted(groups.values(), key=lambda members: order.get(members[0][1].probe, len(order)))
    first = [members[0] for members in found]
    same_probe = [[_setting(*other) for other in first if other[1].probe == one[1].probe] for one in first]
    return [_finding(those, apart(_setting(*those[0]), others)) for those, others in zip(found, same_probe, strict=True)]


def _setting(run: RunRecord, outcome: Outcome) -> dict[str, str]:
    """What must be equal for two numbers to stand in one column: data, split and the probe's own settings."""
    told = {key: outcome.about.get(key) for key in ("data", "split", "config")}
    own = run.world if outcome.about.get("data") == run.world.get("name") else {}
    return dict(flat({**told, "world": own}))


def _finding(members: Sequence[tuple[RunRecord, Outcome]], where: str) -> Finding:
    first = members[0][1]
    kind = type(first.result)
    by_label: dict[str, list[tuple[RunRecord, Outcome]]] = {}
    for run, outcome in members:
        by_label.setdefault(run.recipe_name, []).append((run, outcome))
    arms = [_arm(label, sorted(those, key=lambda one: one[0].seed)) for label, those in by_label.items()]
    arms.sort(key=lambda arm: arm.value, reverse=kind.better != "lower")
    outcomes = tuple(outcome for _, outcome in members)
    return Finding(first.probe, kind, first.about, tuple(arms), tuple(_pairs(arms)), outcomes, where)


def _arm(label: str, members: Sequence[tuple[RunRecord, Outcome]]) -> Arm:
    runs = tuple(run for run, _ in members)
    results = tuple(outcome.result for _, outcome in members)
    needed = type(results[0]).seeds_needed
    scope: Scope = "checkpoint" if len(results) == 1 else "family" if len(results) >= needed else "too few seeds"
    value = float(np.mean([result.value for result in results]))
    return Arm(label, runs[0].family, runs, results, scope, value, _interval(runs, results))


def _interval(runs: Sequence[RunRecord], results: Sequence[Result]) -> Interval | None:
    """Over images for one run; over seeds x images where all seeds saw the same images, else over seeds."""
    if len(results) == 1:
        return results[0].interval
    table = _crossed(runs, results)
    try:
        return over_seeds([result.value for result in results]) if table is None else seed_by_image(table)
    except PriorscopeError:
        return None  # a value that is not finite: there is nothing to put an interval around


def _crossed(runs: Sequence[RunRecord], results: Sequence[Result]) -> NDArray[Any] | None:
    """The scores as (seeds, images); None where there are none an image, or the seeds had images of their own."""
    scores = [result.per_image() for result in results]
    if len({run.data for run in runs}) > 1 or any(score is None or score.size < 2 for score in scores):
        return None
    if len({len(score) for score in scores if score is not None}) > 1:
        return None
    return np.stack([score for score in scores if score is not None])


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


def _family_difference(one: Arm, other: Arm, level: float) -> Difference:
    first, second = (_crossed(arm.runs, arm.results) for arm in (one, other))
    worlds = [[(run.seed, run.data) for run in arm.runs] for arm in (one, other)]
    if (
        first is not None
        and second is not None
        and first.shape[1] == second.shape[1]
        and one.runs[0].data == other.runs[0].data
    ):
        return seed_by_image_difference(first, second, level=level)
    values = [[result.value for result in arm.results] for arm in (one, other)]
    own_worlds = worlds[0] == worlds[1] and len({data for _, data in worlds[0]}) > 1
    return over_seeds_difference(values[0], values[1], paired=own_worlds, level=level)


def _checkpoint_difference(one: Arm, other: Arm, level: float) -> Difference | None:
    first, second = one.results[0].per_image(), other.results[0].per_image()
    if first is None or second is None or one.runs[0].data != other.runs[0].data or first.shape != second.shape:
        return None
    if is_proportion(first) and is_proportion(second):
        return paired_proportions(first, second, level)
    return paired_bootstrap(first, second, seed=0, level=level)


# Words ---------------------------------------------------------------------------------------------------------------------


def number(value: float, unit: str) -> str:
    """A number as a reader wants it: a share in per cent, anything else with about three digits."""
    if not math.isfinite(value):
        return str(value)
    if unit.startswith("share"):
        return f"{value:.1%}"
    size = abs(value)
    if 0 < size < 0.001:
        return f"{value:.2g}"
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def between(interval: Interval | None, unit: str) -> str:
    """An interval as "low to high"."""
    if interval is None:
        return ""
    return f"{number(interval.low, unit).removesuffix('%')} to {number(interval.high, unit)}"


def difference_said(comparison: Comparison, unit: str) -> str:
    """A difference with its interval, what it is over, and the chance of it without a true one."""
    d = comparison.difference
    over = d.interval.over.replace(" x ", " and ")
    chance = "p < 0.001" if comparison.p_value < 0.001 else f"p = {comparison.p_value:.3f}"
    if unit.startswith("share"):
        value, low, high = (f"{100 * x:+.1f}" for x in (d.value, d.interval.low, d.interval.high))
        value = f"{value} points"
    else:
        value, low, high = (f"{x:+.3g}" for x in (d.value, d.interval.low, d.interval.high))
    return f"{value} ({low} to {high}; {100 * d.interval.level:g}% interval over {over}, {chance})"


def amount(arm: Arm, unit: str) -> str:
    """An arm's number with its interval and what it stands on."""
    n = f"n\u00a0=\u00a0{arm.results[0].n:,}"  # not to be broken over two lines
    on = n if arm.seeds == 1 else f"{arm.seeds} seeds, {n} each"
    inside = f"{between(arm.interval, unit)}; {on}" if arm.interval else on
    return f"{number(arm.value, unit)} ({inside})"


def sentence(finding: Finding) -> str:
    """What a finding allows to be said, and how many seeds are missing for more."""
    return statement(finding) + _missing_seeds(finding)


def statement(finding: Finding) -> str:
    """What a finding allows to be said, in one sentence."""
    arms, unit = finding.arms, finding.unit
    if len(arms) == 1:
        said, few = arms[0].said(arms[0].label), arms[0].scope == "too few seeds" and not arms[0].exact
        has = f"have a mean {finding.measure}" if few else f"has {_a(finding.measure)}"
        return f"{_begun(said)} {has} of {amount(arms[0], unit)}."
    if not any(finding.pair(arms[0], other) for other in arms[1:]):
        low, high = sorted((arms[0], arms[-1]), key=lambda arm: arm.value)
        among = "Among these checkpoints" if any(arm.scope != "family" for arm in arms) else "Among these families"
        return (
            f"{among}, {finding.measure} runs from {number(low.value, unit)} ({low.label}) to "
            f"{number(high.value, unit)} ({high.label}); no test tells them apart here."
        )
    return _two(finding) if len(arms) == 2 else _many(finding)


def _two(finding: Finding) -> str:
    first, second = finding.arms
    pair = finding.pairs[0]
    names = first.said(first.label), second.said(second.label)
    values = f"{number(first.value, finding.unit)} against {number(second.value, finding.unit)}"
    if pair.comparison is None and not pair.differs:
        return (
            f"{_begun(names[0])} and {names[1]} have the same {finding.measure}: {number(first.value, finding.unit)}, exactly."
        )
    above = first.value >= second.value
    higher = "higher" if above else "lower"
    if pair.comparison is None:
        return f"{_begun(names[0])} has a {higher} {finding.measure} than {names[1]}: {values}, exactly."
    told = difference_said(pair.comparison, finding.unit)
    if pair.differs and finding.result.leaning:
        leans = finding.result.leaning[0 if above else 1]
        return f"{_begun(names[0])} {leans} than {names[1]}: {finding.measure} {values}, a difference of {told}."
    if pair.differs:
        return f"{_begun(names[0])} has a {higher} {finding.measure} than {names[1]}: {values}, a difference of {told}."
    return (
        f"On {finding.measure}, {names[0]} and {names[1]} are not distinguishable, which does not make them equal: {values}, "
        f"a difference of {told}."
    )


def _many(finding: Finding) -> str:
    """The arm at the top, from which others it is told apart, and from which not."""
    top, *others = finding.arms
    pairs = {other.label: finding.pair(top, other) for other in others}
    apart = [name for name, pair in pairs.items() if pair and pair.differs]
    alike = [name for name, pair in pairs.items() if pair and not pair.differs]
    extreme = "lowest" if finding.result.better == "lower" else "highest"
    if not apart:
        last = others[-1]
        return (
            f"Nothing stands out on {finding.measure}: from {top.label}, {amount(top, finding.unit)}, to {last.label}, "
            f"{number(last.value, finding.unit)}, none is distinguishable from the {extreme}, which does not make them equal."
        )
    everyone = "all others" if len(apart) == len(others) else _listed(apart)
    said = f"{_begun(top.said(top.label))} has the {extreme} {finding.measure}, {amount(top, finding.unit)}"
    said += f", told apart from {everyone}"
    if alike:
        said += f"; from {_listed(alike)} it is not distinguishable, which does not make them equal"
    return f"{said}."


def _missing_seeds(finding: Finding) -> str:
    have = sorted({arm.seeds for arm in finding.arms if arm.scope != "family" and not arm.exact})
    if not have:
        return ""
    here = f"there {'is' if have == [1] else 'are'} {_listed([str(count) for count in have])}"
    return f" A sentence about a family needs {finding.result.seeds_needed} seeds of it; here {here}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _begun(name: str) -> str:
    """A name at the beginning of a sentence: "this checkpoint of x" with a capital, x itself as it is written."""
    return _capital(name) if name.startswith(("this checkpoint of ", "these ")) else name


def _a(word: str) -> str:
    return f"an {word}" if word[:1] in "aeiou" else f"a {word}"


# How far it can be trusted --------------------------------------------------------------------------------------------------


def limits(reading: Reading, found: Sequence[Finding]) -> list[str]:
    """What limits every sentence of the page: seeds, recipes that differ, tuning, sizes, comparisons and caveats."""
    said = [_seeds_said(found), _recipes_said(reading), _sizes_said(reading)]
    tested = sum(1 for finding in found for pair in finding.pairs if pair.comparison)
    if tested:
        were = "comparisons were" if tested > 1 else "comparison was"
        said.append(f"{tested} {were} tested; within each probe the p-values are Holm-corrected.")
    caveats = sum(len(outcome.result.caveats) > 0 for finding in found for outcome in finding.outcomes)
    if caveats:
        said.append(f"{caveats} result{'s carry' if caveats > 1 else ' carries'} caveats, shown in the section of the probe.")
    return [one for one in said if one]


def _seeds_said(found: Sequence[Finding]) -> str:
    seeds = sorted({arm.seeds for finding in found for arm in finding.arms})
    if not seeds:
        return ""
    if seeds == [1]:
        return "Every network was trained once: each statement is about these checkpoints, not about their families."
    short_of = [f for f in found if any(arm.scope == "too few seeds" and not arm.exact for arm in f.arms)]
    few = sorted({f"{finding.measure} ({finding.result.seeds_needed})" for finding in short_of})
    short = f" Too few for a sentence about families on {_listed(few)}." if few else ""
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"{many} seeds a recipe: intervals of families are over seeds and images.{short}"


def _recipes_said(reading: Reading) -> str:
    """Rule of fairness: the same recipe, or where the recipes differ beside the model."""
    if len({run.recipe_name for run in reading.runs}) < 2:
        return ""
    differing = recipe_differences(reading.runs)
    if not differing:
        return "All were trained by the same recipe but for the model; none was tuned for a best of its own."
    return f"The recipes differ beside the model in {_listed(list(differing))}: what is compared is the whole recipe."


def recipe_differences(runs: Sequence[RunRecord]) -> dict[str, dict[str, str]]:
    """Setting -> {recipe: value} for the settings, beside model and seed, that are not the same in all recipes."""
    asked = {run.recipe_name: dict(flat({k: v for k, v in run.recipe.items() if k not in ("model", "seed")})) for run in runs}
    keys = sorted({key for settings in asked.values() for key in settings})
    told = {key: {name: settings.get(key, "not set") for name, settings in asked.items()} for key in keys}
    return {key: values for key, values in told.items() if len(set(values.values())) > 1}


def _sizes_said(reading: Reading) -> str:
    sizes = {run.recipe_name: run.parameters for run in reading.runs if run.parameters}
    if len(set(sizes.values())) < 2:
        return ""
    small, large = min(sizes, key=lambda name: sizes[name] or 0), max(sizes, key=lambda name: sizes[name] or 0)
    return f"Sizes differ: from {sizes[small]:,} parameters ({small}) to {sizes[large]:,} ({large})."
