"""Sentences made from what numbers allow to be compared.

They speak of a checkpoint where there is one seed, name the interval and what it is over, and do not call equal what is not
distinguishable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from priorscope.core.comparison import Comparison
from priorscope.core.contracts import Result
from priorscope.core.stats import Interval
from priorscope.core.wording import amount_said, capitalised, chance_said, counted, from_to, listed
from priorscope.report.verdict import Arm, Finding, difference_unit

BUDGET = "L-inf on pixels"
"""How the unit of a budget begins that people write in 255ths."""


TINY = 1e-6
"""A share or probability below this is written as 0."""
NAMED = 3
"""Up to this many names stand in a sentence with their numbers."""
FEW = 30
"""Fewer images than this are few for a comparison: its interval is not to be relied on."""
MANY = 12
"""Where there are more names than this, a sentence says only the first ones."""


def number(value: float, unit: str) -> str:
    """A number as a reader wants it: a share in per cent, a budget in 255ths, anything else with about three digits."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) < TINY and unit.startswith(("share", "probability")):
        value = 0.0  # what is left of rounding
    if unit.startswith("share"):
        return f"{value:.1%}"
    if unit.startswith(BUDGET):
        return f"{255 * value:#.2g}/255" if 0 < abs(value) < 9.95 / 255 else f"{255 * value:.0f}/255"
    if unit == "multiply-adds":
        return amount_said(value)
    size = abs(value)
    if 0 < size < 0.001:
        return f"{value:.2g}"
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def range_said(interval: Interval | None, unit: str) -> str:
    """An interval as "low to high"."""
    if interval is None:
        return ""
    return f"{number(interval.low, unit).removesuffix('%').removesuffix('/255')} to {number(interval.high, unit)}"


def difference_said(comparison: Comparison, unit: str, images: str = "images") -> str:
    """A difference with its interval, what it is over and of how many `images`, and the chance of it without a true one."""
    d = comparison.difference
    between = difference_between(d.interval, unit, d.over(images))
    return f"{signed(d.value, unit)} ({between}, {chance_said(comparison.p_value)})"


def difference_between(interval: Interval, unit: str, over: str = "") -> str:
    """A difference's interval with what it is over; its unit stands with the difference and is not said again."""
    low, high = (signed(end, unit).partition(" ")[0] for end in (interval.low, interval.high))
    return f"{low} to {high}; {100 * interval.level:.3g}% interval over {over or listed(interval.over.split(' x '))}"


def compared_images(result: type[Result]) -> str:
    """What two networks are compared on: what one is asked about, said of all, "images that all get right"."""
    return result.sampled.replace("it gets", "all get")


def few_compared(finding: Finding) -> str:
    """On how few images networks were compared, where they are too few for an interval; nothing where they are not."""
    counts = [n for n in images_compared(finding) if n < FEW]
    return f"compared on only {from_to(counts, ',')} {compared_images(finding.result)}, few for an interval" if counts else ""


def images_compared(finding: Finding) -> set[int]:
    """The numbers of images behind the comparisons of a finding."""
    told = (pair.comparison.difference.n for pair in finding.pairs if pair.comparison)
    return {n for n in told if n is not None}


def signed(value: float, unit: str) -> str:
    """A difference of two numbers of this unit."""
    if unit.startswith("share"):
        return f"{100 * value:+.1f} points"
    if unit.startswith(BUDGET):
        return f"{255 * value:+.2g}/255"
    if unit.startswith("squared"):
        return f"{value:+.3g} in {unit}"
    return f"{value:+.3g} {unit}" if unit.startswith("doublings") else f"{value:+.3g}"


def number_of(arm: Arm, unit: str) -> str:
    """An arm's number; of one that is only known to be larger, that it is."""
    return ("more than " if arm.beyond else "") + number(arm.value, unit)


def images_said(*arms: Arm) -> str:
    """How many images stand behind each number: of those that a robustness is of, each network gets its own right."""
    return from_to({result.n for arm in arms for result in arm.results}, ",")


def amount(arm: Arm, unit: str) -> str:
    """An arm's number with its interval and what it stands on."""
    n = f"n\u00a0=\u00a0{images_said(arm)}"  # not to be broken over two lines
    on = n if arm.seeds == 1 else f"{arm.seeds} seeds, {n} each"
    inside = f"{range_said(arm.interval, unit)}; {on}" if arm.interval else on
    if arm.unbiased:
        value, interval = arm.unbiased
        inside = f"{difference_unit(arm)}: {number(value, '')}, {range_said(interval, '')}; {on}"
    return f"{number_of(arm, unit)} ({inside})"


def sentence(finding: Finding) -> str:
    """What a finding allows to be said, and how many seeds are missing for more."""
    return statement(finding) + _missing_seeds(finding)


def statement(finding: Finding) -> str:
    """What a finding allows to be said, in one sentence: numbers that cannot be believed are named, and not ranked."""
    believed = [arm for arm in finding.arms if arm.believed]
    if len(believed) == len(finding.arms):
        return f"{_stated(finding)}."
    left = _grounds_of([arm for arm in finding.arms if not arm.believed])
    told = "; ".join(f"{ground} ({listed(labels)})" for ground, labels in left.items())
    if not believed:
        return f"No {finding.measure} here can be believed: {told}."
    return f"{_stated(finding.among(believed))}; left out of this: {told}."


def _stated(finding: Finding) -> str:
    """What arms allow to be said whose numbers can be believed."""
    arms = finding.arms
    if len(arms) == 1:
        said, few = arms[0].said(arms[0].label), arms[0].scope == "too few seeds" and not arms[0].exact
        has = f"have a mean {finding.measure}" if few else f"has {_a(finding.measure)}"
        return f"{_begun(said)} {has} of {amount(arms[0], finding.unit)}"
    if finding.by_chance:
        low, high = sorted((arms[0], arms[-1]), key=lambda arm: arm.value)
        ends = f"{number_of(low, finding.unit)} ({low.label}) to {number_of(high, finding.unit)} ({high.label})"
        return f"No {finding.measure} here is beyond what chance alone gives: they run from {ends}"
    if not any(finding.pair(arms[0], other) for other in arms[1:]):
        said = _best_untested(finding)
    else:
        said = _two(finding) if len(arms) == 2 else _many(finding)
    by = f"; compared by {difference_unit(arms[0])}" if finding.result.biased and finding.pairs and len(arms) > 2 else ""
    return f"{said}{by}{_too_few(finding)}"


def _best_untested(finding: Finding) -> str:
    """From where to where the numbers run, and which of the others are told apart, if any were tested."""
    arms, unit = finding.arms, finding.unit
    low, high = sorted((arms[0], arms[-1]), key=lambda arm: arm.value)
    kinds = {"families" if arm.scope == "family" else "checkpoints" for arm in arms}
    runs = (
        f"Among these {' and '.join(sorted(kinds, reverse=True))}, {finding.measure} runs from {number_of(low, unit)} "
        f"({low.label}) to {number_of(high, unit)} ({high.label})"
    )
    if not finding.pairs:
        return f"{runs}; no test was made between them"
    told = _apart_said(finding) or "none is told apart from another"
    return f"{runs}; the {_extreme(finding)} was not tested ({counted(arms[0].seeds, 'seed')}); of those that were, {told}"


def _extreme(finding: Finding) -> str:
    """Whether the first arm has the lowest or the highest number, as a word."""
    return "lowest" if finding.result.better == "lower" else "highest"


def _apart_said(finding: Finding) -> str:
    """Which arms are told apart, the better one first: "a is higher than b and c"; nothing where none is."""
    below: dict[str, list[str]] = {}
    for pair in finding.pairs:
        if pair.differs:
            is_what = f"{pair.first.label} is {'higher' if pair.above(pair.first) else 'lower'} than"
            below.setdefault(is_what, []).append(pair.second.label)
    said = [f"{is_what} {listed(_few(names))}" for is_what, names in below.items()]
    return listed(_few(said)) if said else ""


def _too_few(finding: Finding) -> str:
    """Says that so few images could not have shown any difference, however large; empty where they could have."""
    tests = [pair.comparison.difference for pair in finding.pairs if pair.comparison]
    if not tests or any(len(tests) * test.least_p < 1 - test.interval.level for test in tests):
        return ""
    many = f"{len(tests)} comparisons" if len(tests) > 1 else "the comparison"
    return f"; with so few images {many} could not have found any difference"


def _two(finding: Finding) -> str:
    first, second = finding.arms
    pair = finding.pairs[0]
    names = first.said(first.label), second.said(second.label)
    values = f"{number_of(first, finding.unit)} against {number_of(second, finding.unit)}"
    if pair.comparison is None and not pair.differs:
        return (
            f"{_begun(names[0])} and {names[1]} have the same {finding.measure}: {number(first.value, finding.unit)}, exactly"
        )
    above = pair.above(first)
    higher = "higher" if above else "lower"
    if pair.comparison is None:
        return f"{_begun(names[0])} has a {higher} {finding.measure} than {names[1]}: {values}, exactly"
    told = difference_said(pair.comparison, pair.unit, compared_images(finding.result))
    if pair.differs and finding.result.leaning:
        leans = finding.result.leaning[0 if above else 1]
        return f"{_begun(names[0])} {leans} than {names[1]}: {finding.measure} {values}, a difference of {told}"
    if pair.differs:
        return f"{_begun(names[0])} has a {higher} {finding.measure} than {names[1]}: {values}, a difference of {told}"
    return (
        f"On {finding.measure}, {names[0]} and {names[1]} are not distinguishable, which does not make them equal: {values}, "
        f"a difference of {told}"
    )


def _many(finding: Finding) -> str:
    """The arm at the top, from which others it is told apart, and from which not."""
    top, *others = finding.arms
    pairs = {other.label: finding.pair(top, other) for other in others}
    upwards = finding.result.better != "lower"
    apart = [name for name, pair in pairs.items() if pair and pair.differs and pair.above(top) == upwards]
    turned = [name for name, pair in pairs.items() if pair and pair.differs and pair.above(top) != upwards]
    alike = [name for name, pair in pairs.items() if pair and not pair.differs]
    left = _untested_said([other for other in others if not pairs[other.label]])
    extreme = _extreme(finding)
    equal = bool(alike) and all(pair.comparison is None for pair in pairs.values() if pair and not pair.differs)
    if not apart and not turned:
        return _none_apart(finding, alike, equal) + (f"; {top.label} was {left}" if left else "")
    said, measure, value = _begun(top.said(top.label)), finding.measure, amount(top, finding.unit)
    values = {other.label: number_of(other, finding.unit) for other in others}
    close = listed([f"{name} ({values[name]})" if len(alike) <= NAMED else name for name in alike]) if alike else ""
    best = finding.result.best if not turned else None
    if best and alike:
        parts = [f"{said} {best}, but not distinguishably from {close}, which does not make them equal: {measure} {value}"]
    elif best:
        parts = [f"{said} {best}: {measure} {value}"]
    else:
        parts = [f"{said} has the {extreme} {measure}, {value}"]
        if equal:
            parts[0] += f", exactly as {listed(alike)}"
        elif alike:
            parts[0] += f", but is not distinguishable from {close}, which does not make them equal"
    if apart:
        parts[0] += (
            f"{';' if alike else ','} told apart from {'all others' if len(apart) == len(others) else listed(_few(apart))}"
        )
    if turned:
        leans = (finding.result.leaning or ("is higher", "is lower"))[0 if upwards else 1]
        how = "" if finding.result.biased else "image by image "
        parts.append(f"but {how}{listed(turned)} {leans} than it")
    return "; ".join([*parts, left] if left else parts)


def _untested_said(untested: Sequence[Arm]) -> str:
    """Against which arms there was no test, and how many seeds these have; nothing where there are none."""
    if not untested:
        return ""
    seeds = {arm.seeds for arm in untested}
    of = f"{counted(seeds.pop(), 'seed')} each" if len(seeds) == 1 else "other numbers of seeds"
    return f"not tested against {listed([arm.label for arm in untested])} ({of})"


def _none_apart(finding: Finding, alike: Sequence[str], equal: bool) -> str:
    """What is said where the top is told apart from none that it was tested against, and what else is told apart."""
    top, unit = finding.arms[0], finding.unit
    if equal:
        who = "All" if len(alike) == len(finding.arms) - 1 else listed([top.label, *alike])
        return f"{who} have the same {finding.measure}: {number(top.value, unit)}, exactly"
    last = next(arm for arm in reversed(finding.arms) if arm.label in alike)
    rest = _apart_said(finding)
    return (
        f"{'On' if rest else 'Nothing stands out on'} {finding.measure}{',' if rest else ':'} from {top.label}, "
        f"{amount(top, unit)}, to {last.label}, {number_of(last, unit)}, none is distinguishable from the "
        f"{_extreme(finding)}, which does not make them equal{'; but ' * bool(rest)}{rest}"
    )


def trusted(finding: Finding) -> str:
    """How far a statement can be trusted, in a few words: seeds, images, what the probe says of its numbers, caveats."""
    parts = [_about(finding)]
    counts = {result.n for arm in finding.arms for result in arm.results}
    if not all(arm.exact for arm in finding.arms):
        parts.append(f"n\u00a0=\u00a0{from_to(counts, ',')} {finding.result.sampled}")
    compared = images_compared(finding)
    if few := few_compared(finding):
        parts.append(few)
    elif compared - counts:
        parts.append(f"compared on {from_to(compared, ',')} {compared_images(finding.result)}")
    parts += [ground for ground in [_grounds(finding)] if ground]
    doubted = [arm.label for arm in finding.arms if any(result.caveats for result in arm.results)]
    if doubted:
        parts.append(f"caveats on {'all' if len(doubted) == len(finding.arms) else listed(doubted)}")
    return f"{capitalised('; '.join(parts))}."


def _about(finding: Finding) -> str:
    """Whom it is about."""
    if all(arm.exact for arm in finding.arms):
        return "counted, not sampled"
    families = [arm for arm in finding.arms if arm.scope == "family"]
    rest = [arm for arm in finding.arms if arm.scope != "family"]
    if not families:
        one = all(arm.seeds == 1 for arm in rest)
        return "one seed each: about these checkpoints" if one else "too few seeds to speak for families"
    many = from_to({arm.seeds for arm in families})
    if not rest:
        return f"{many} seeds each: about these families"
    others = "the others' are of one checkpoint each" if all(a.seeds == 1 for a in rest) else "the others have too few seeds"
    return f"numbers of {listed([arm.label for arm in families])} are of families ({many} seeds), {others}"


def _grounds(finding: Finding) -> str:
    """What the probe says of its numbers where a few words hold for many of them, the rarest with their names."""
    told = _grounds_of(finding.arms)
    if len(told) == 1:
        return next(iter(told))
    if len(told) > 3 or "" in told:
        return ""  # each number has its own, which stands beside it
    return ", ".join(f"{ground} ({listed(labels)})" for ground, labels in told.items())


def _grounds_of(arms: Sequence[Arm]) -> dict[str, list[str]]:
    """What the probe says of its numbers, with the names of those of which it says it."""
    told: dict[str, list[str]] = {}
    for arm in arms:
        for ground in dict.fromkeys(result.standing().ground for result in arm.results):
            told.setdefault(ground, []).append(arm.label)
    return told


def _missing_seeds(finding: Finding) -> str:
    have = sorted({arm.seeds for arm in finding.arms if arm.scope != "family" and not arm.exact})
    if not have:
        return ""
    here = f"there {'is' if have == [1] else 'are'} {listed([str(count) for count in have])}"
    return f" A sentence about a family needs {finding.result.seeds_needed} seeds of it; here {here}."


def _few(names: Sequence[str]) -> list[str]:
    """The names; of very many the first, and how many more."""
    return [*names] if len(names) <= MANY else [*names[:NAMED], f"{len(names) - NAMED} others"]


def _begun(name: str) -> str:
    """A name at the beginning of a sentence: "this checkpoint of x" with a capital, x itself as it is written."""
    return capitalised(name) if name.startswith(("this checkpoint of ", "these ")) else name


def _a(word: str) -> str:
    return f"an {word}" if word[:1] in "aeiou" else f"a {word}"


def augmentation_said(ops: Sequence[Mapping[str, Any]]) -> str:
    """Operations on pictures by the name of the shipped list that they are, or one by one with all that was set."""
    from priorscope.core.errors import PriorscopeError
    from priorscope.data.augment import PRESETS, augment_config

    try:
        asked = augment_config({"ops": ops}).ops
    except PriorscopeError:  # stored by a version that knew other operations
        asked = None
    named = [name for name, preset in PRESETS.items() if preset.ops == asked]
    return named[0] if named else ", ".join(map(_operation_said, ops))


def _operation_said(op: Mapping[str, Any]) -> str:
    """One operation: what is certain is not said."""
    given = {name: value for name, value in op.items() if name != "op" and (name, value) != ("p", 1)}
    inner = given.pop("ops", None)
    said = [f"{name} {value}" for name, value in given.items()]
    if inner is not None:
        said.append("of " + ", ".join(map(_operation_said, inner)))
    return f"{op.get('op', '?')}" + (f" ({'; '.join(said)})" if said else "")
