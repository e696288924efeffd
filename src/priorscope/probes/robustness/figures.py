"""The pictures of `priorscope.probes.robustness`: smallest budgets, accuracy against budget, and what the audit found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.attacks import Norm
from priorscope.attacks.budgets import shown
from priorscope.attacks.verdict import AuditVerdict
from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.comparison import Difference, beside_the_best, paired_proportions
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, named, smallest
from priorscope.core.matrices import heat_map
from priorscope.core.stats import Interval, ends, wilson
from priorscope.probes.robustness import Robustness, compare_smallest, median_budget, on_common
from priorscope.probes.shared.lead import lead_of

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

Results = Sequence[tuple[Subject, Robustness]]
Told = tuple[str, Robustness, float]
"""A network's name, its result, and its median on the images that are compared."""

UNIT: dict[Norm, tuple[float, str]] = {"linf": (255.0, "L-inf, in grey levels of 255"), "l2": (1.0, "L2, pixels in [0, 1]")}
"""What a budget is multiplied by on an axis, and what is then written beside it."""

NOT_BELIEVED: dict[AuditVerdict, str] = {
    "masked": "not to be believed: masked gradients",
    "weak attack: upper bound only": "an upper bound only: weak attack",
}
"""What titles say of a number that decides nothing about who withstands more."""


def draw_smallest(results: Results) -> Figure:
    """The median smallest budget of each network, on the images that all get right."""
    first = results[0][1]
    times, unit = UNIT[first.norm]
    values, n = _medians(results)
    rows: list[dict[str, Any]] = []
    for (subject, result), (value, between) in zip(results, values, strict=True):
        row = {"subject": subject.name, "family": subject.family, "value": value, **ends(between)}
        scaled = {name: max(v, _least(result)) * times if isinstance(v, float) else v for name, v in row.items()}
        rows.append({**scaled, "verdict": result.verdict})
    medians = [value for value, _ in values]
    return interval_dots(
        "smallest-budget",
        _title(results, medians),
        rows,
        axis=Axis(f"median smallest budget that breaks an image ({unit})", scale="log"),
        n=n,
        protocol=_protocol(results),
        alt="; ".join(f"{who.name} {_within(v, r)} ({r.verdict})" for (who, r), v in zip(results, medians, strict=True)),
    )


def _title(results: Results, medians: Sequence[float]) -> str:
    """Who of those whose number can be believed withstands most, if anyone does; the others are named apart."""
    told = [(who.name, result, median) for (who, result), median in zip(results, medians, strict=True) if result.n]
    if not told:
        return "No image is right, so that there is nothing to break"
    if len(results) == 1:
        return f"Half of the images break within {_within(medians[0], results[0][1])} ({results[0][1].verdict})"
    believed = [each for each in told if each[1].standing().believed]
    if not believed:
        return f"No number here says who withstands more: {_not_believed(results)}"
    said = _compared(believed) if _alike(results) else _side_by_side(believed)
    return "; ".join(part for part in (said, _not_believed(results)) if part)


def _compared(told: Sequence[Told]) -> str:
    """The largest median against every other network, image by image, with p-values corrected for the number of pairs."""
    (name, best, median), *others = sorted(told, key=lambda each: -each[2])
    within = f"break within {_within(median, best)}"
    if not others:
        return f"Half of the images of {name} {within}"
    verdicts = beside_the_best(best, [other for _, other, _ in others], compare_smallest)
    more, alike = (
        [other for (other, _, _), verdict in zip(others, verdicts, strict=True) if verdict == wanted]
        for wanted in ("lower", "not distinguishable")
    )
    if more:
        more_of_them = f"{named(more)} withstand{'s' if len(more) == 1 else ''} more"
        return f"Half of the images of {name} {within}, but image by image {more_of_them}"
    if len(alike) == len(others):
        last, least, lowest = others[-1]
        return (
            f"No network stands out: half of the images of {name} {within}, of {last} within {_within(lowest, least)}, and "
            f"none is distinguishable from {name}"
        )
    but = f", but not distinguishably from {named(alike)}" if alike else ""
    return f"{name} withstands most{but}: half of its images {within}"


def _side_by_side(told: Sequence[Told]) -> str:
    """The range of medians that no test compares."""
    ranked = sorted(told, key=lambda each: each[2])
    (low, least, lowest), (high, most, highest) = ranked[0], ranked[-1]
    if len(told) == 1:
        return f"Half of the images of {low} break within {_within(lowest, least)}"
    return (
        f"Not compared on the same images: half of them break within {_within(lowest, least)} ({low}) to "
        f"{_within(highest, most)} ({high})"
    )


def _not_believed(results: Results) -> str:
    """Whose numbers decide nothing, and why not."""
    whose = {why: [who.name for who, result in results if result.verdict == verdict] for verdict, why in NOT_BELIEVED.items()}
    return "; ".join(
        f"{names[0]}'s number is {why}" if len(names) == 1 else f"the numbers of {named(names)} are {why}"
        for why, names in whose.items()
        if names
    )


def _within(median: float, result: Robustness) -> str:
    """A median budget in words: "more than" the largest if half of the images stand at every budget tried."""
    return f"{'more than ' if result.standing().beyond and median >= result.budgets[-1] else ''}{shown(median, result.norm)}"


def _protocol(results: Results) -> str:
    """One network's protocol, or what those of many have in common."""
    first = results[0][1]
    if len(results) == 1 or not _alike(results):
        return first.protocol()
    return (
        f"{first.attack} = {'; '.join(first.attacks)}; {len(first.index):,} images of {first.split}; "
        "intervals over images, each of one checkpoint."
    )


def _alike(results: Results) -> bool:
    """Whether all were measured in the same way, and all get some of the same images right."""
    if len({result.asked() for _, result in results}) > 1:
        return False
    common = set.intersection(*(set(r.index[r.correct].tolist()) for _, r in results))
    return bool(common)


def _medians(results: Results) -> tuple[list[tuple[float, Interval | None]], str]:
    """Each network's median and the number of images: those that all get right, or its own if they were not measured alike."""
    own, fewest = [(r.value, r.interval) for _, r in results], min(r.n for _, r in results)
    if len(results) == 1:
        return own, f"{fewest:,} images that it gets right"
    if not _alike(results):
        return own, f"{fewest:,} images or more, those that each gets right"
    rows = on_common([result for _, result in results])
    medians = [
        median_budget(r.stood[at], r.smallest[at], r.budgets[-1], r.seed) for (_, r), at in zip(results, rows, strict=True)
    ]
    return medians, f"{len(rows[0]):,} images that all networks get right"


def _least(result: Robustness) -> float:
    """Below every budget that was tried: a value of 0 has no place on a logarithmic axis."""
    return min(level for level in result.budgets if level > 0) / 2**4


def draw_curve(results: Results) -> Figure:
    """The share of images that are right at each budget."""
    first = results[0][1]
    times, unit = UNIT[first.norm]
    rows: list[dict[str, Any]] = []
    for subject, result in results:
        total = len(result.index)
        for eps, count in zip(result.budgets, result.right_at.tolist(), strict=True):
            row = {"series": subject.name, "family": subject.family, "x": eps * times, "y": count / total}
            rows.append({**row, **ends(wilson(count, total))})
    return curves_with_band(
        "robustness-curve",
        _curve_title(results),
        rows,
        x=Axis(f"budget ({unit})", scale="sqrt", domain=(0.0, max(first.budgets) * times)),
        y=SHARE,
        n=f"{len(first.index):,} images",
        protocol=_protocol(results),
        alt="; ".join(f"{who.name} {r.accuracy_at(r.eps):.1%} at {shown(r.eps, r.norm)} ({r.verdict})" for who, r in results),
        reference=(1 / first.classes, "chance"),
    )


def _curve_title(results: Results) -> str:
    """Who of those whose number can be believed is right most often at the budget of the verdict, if anyone is."""
    first = results[0][1]
    at = f"At {shown(first.eps, first.norm)}"
    if len(results) == 1:
        return f"{at} {first.accuracy_at(first.eps):.0%} of the images are right ({first.verdict})"
    able = {who.name: result for who, result in results if result.standing().believed}
    believed = {name: result.accuracy_at(result.eps) for name, result in able.items()}
    if not believed:
        return f"{at} no number says who is right more often: {_not_believed(results)}"
    best, worst = largest(believed), smallest(believed)
    if best.value == 0 and len(believed) == len(results):
        said = f"{at} no network is right on any image"
    elif best.equal:
        said = f"{at} {best.do('is', 'are each')} right on {best.value:.0%}"
    elif len({(result.eps, *result.asked()) for _, result in results}) > 1:
        said = f"{at} from {worst.value:.0%} ({worst}) to {best.value:.0%} ({best}) are right, not all attacked in one way"
    else:
        lead = lead_of(believed, able, _more_right, "higher")
        number, of_last = f"{believed[lead.best]:.0%}", f"{believed[lead.last]:.0%}"
        said = lead.title(
            claim=f"{at} {lead.best} is right most often",
            number=f"{number} ({able[lead.best].verdict})",
            fact=f"{at[:1].lower()}{at[1:]} {lead.best} is right on {number}",
            last=f"{lead.last} on {of_last}",
        )
    return "; ".join(part for part in (said, _not_believed(results)) if part)


def _more_right(one: Robustness, other: Robustness) -> Difference | None:
    """How much more often the one is right at the budget of the verdict; None where single images do not say so.

    A published protocol whose curve rises again keeps the budget at which an image first fell alone.
    """
    if not np.array_equal(one.index, other.index):
        return None
    first, second = (result.correct & (result.smallest > result.eps * (1 + 1e-6)) for result in (one, other))
    if (float(first.mean()), float(second.mean())) != (one.accuracy_at(one.eps), other.accuracy_at(other.eps)):
        return None
    return paired_proportions(first, second)


def draw_audit(results: Results) -> Figure:
    """What each check of the audit found, of those that had an image to look at."""
    found = [(subject.name, result, check) for subject, result in results for check in result.checks if check.n]
    rows = [{"x": check.name, "y": name, "value": check.share} for name, _, check in found]
    worst = max((check for *_, check in found), key=lambda check: check.share)
    accused = list(dict.fromkeys(name for name, _, check in found if check.finding != "fine"))
    title = (
        "No check speaks against any of these numbers"
        if not accused
        else f"Not to be believed as they are: {', '.join(accused)}"
    )
    first, looked = found[0][1], [check.n for *_, check in found]
    return heat_map(
        "robustness-audit",
        title,
        rows,
        x="check",
        y="",
        value=Axis("share of images", domain=(0.0, 1.0), format=".1%"),
        n=f"{min(looked):,} to {max(looked):,} audited images a check",
        protocol=f"What each check found at {shown(first.eps, first.norm)} beyond {first.attack}; "
        "the table of results says each in words.",
        alt=f"The largest share: {worst.sentence}",
    )
