"""The pictures of `priorscope.probes.robustness`: smallest budgets, accuracy against budget, and what the audit found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from priorscope.attacks import Norm
from priorscope.attacks.budgets import shown
from priorscope.core.charts import SHARE, Axis, curves_with_band, interval_dots
from priorscope.core.comparison import compare
from priorscope.core.contracts import Subject
from priorscope.core.matrices import heat_map
from priorscope.core.stats import Interval, wilson
from priorscope.probes.robustness import Robustness, compare_smallest, median_budget, on_common

if TYPE_CHECKING:
    from priorscope.core.figure import Figure


UNIT: dict[Norm, tuple[float, str]] = {"linf": (255.0, "L-inf, in grey levels of 255"), "l2": (1.0, "L2, pixels in [0, 1]")}
"""What a budget is multiplied by on an axis, and what is then written beside it."""


def draw_smallest(results: Sequence[tuple[Subject, Robustness]]) -> Figure:
    """The median smallest budget of each network, on the images that all get right."""
    first = results[0][1]
    times, unit = UNIT[first.norm]
    values, n = _medians(results)
    rows: list[dict[str, Any]] = []
    for (subject, result), (value, between) in zip(results, values, strict=True):
        row = {"subject": subject.name, "family": subject.family, "value": value, "low": None, "high": None}
        if between is not None:
            row |= {"low": between.low, "high": between.high}
        scaled = {name: max(v, _least(result)) * times if isinstance(v, float) else v for name, v in row.items()}
        rows.append({**scaled, "verdict": result.verdict})
    which = "that all networks get right" if len(results) > 1 else "that it gets right"
    return interval_dots(
        "smallest-budget",
        _title(results),
        rows,
        axis=Axis(f"median smallest budget that breaks an image ({unit})", scale="log"),
        n=f"{n:,} images {which}",
        protocol=_protocol(results),
        alt="; ".join(f"{row['subject']} {row['value']:.3g} ({row['verdict']})" for row in rows),
    )


def _title(results: Sequence[tuple[Subject, Robustness]]) -> str:
    """Who withstands more than all others, if anyone does: a paired difference that is not there is not claimed."""
    values, _ = _medians(results)
    ranked = sorted(range(len(results)), key=lambda i: -values[i][0])
    best, first = results[ranked[0]], results[0][1]
    within = f"{'more than ' if values[ranked[0]][0] >= best[1].budgets[-1] else ''}{shown(values[ranked[0]][0], first.norm)}"
    if len(results) == 1:
        return f"Half of the images break within {within} ({first.verdict})"
    if not _alike(results):
        return f"Half of the images of {best[0].name} break within {within}"
    second = results[ranked[1]]
    said = compare(compare_smallest(best[1], second[1])).verdict
    if said == "higher":
        return f"{best[0].name} withstands most: half of its images break within {within}"
    return f"{best[0].name} and {second[0].name} withstand most, and are not distinguishable"


def _protocol(results: Sequence[tuple[Subject, Robustness]]) -> str:
    """One network's protocol, or what those of many have in common."""
    first = results[0][1]
    if len(results) == 1 or not _alike(results):
        return first.protocol()
    return (
        f"{first.attack} = {'; '.join(first.attacks)}; {len(first.index):,} images of {first.split}; "
        "intervals over images, each of one checkpoint."
    )


def _alike(results: Sequence[tuple[Subject, Robustness]]) -> bool:
    """Whether all were measured in one way, on some images that all get right."""
    if len({(r.norm, r.attacks, r.budgets, r.split) for _, r in results}) > 1:
        return False
    common = set.intersection(*(set(r.index[r.correct].tolist()) for _, r in results))
    return bool(common)


def _medians(results: Sequence[tuple[Subject, Robustness]]) -> tuple[list[tuple[float, Interval | None]], int]:
    """Each network's median on the images that all get right; on its own where they were not measured alike."""
    if len(results) == 1 or not _alike(results):
        return [(r.value, r.interval) for _, r in results], min(r.n for _, r in results)
    rows = on_common([result for _, result in results])
    medians = [
        median_budget(r.stood[at], r.smallest[at], r.budgets[-1], r.seed) for (_, r), at in zip(results, rows, strict=True)
    ]
    return medians, len(rows[0])


def _least(result: Robustness) -> float:
    """Below every budget that was tried: a value of 0 has no place on a logarithmic axis."""
    return min(level for level in result.budgets if level > 0) / 2**4


def draw_curve(results: Sequence[tuple[Subject, Robustness]]) -> Figure:
    first = results[0][1]
    times, unit = UNIT[first.norm]
    rows: list[dict[str, Any]] = []
    for subject, result in results:
        total = len(result.index)
        for eps, count in zip(result.budgets, result.right_at.tolist(), strict=True):
            between = wilson(count, total)
            rows.append(
                {
                    "series": subject.name,
                    "family": subject.family,
                    "x": eps * times,
                    "y": count / total,
                    "low": between.low,
                    "high": between.high,
                }
            )
    shares = [(result.accuracy_at(result.eps), subject.name, result.verdict) for subject, result in results]
    share, name, verdict = max(shares)
    at = shown(first.eps, first.norm)
    title = (
        f"At {at} no network is right on any image"
        if share == 0
        else f"At {at} {name} is right most often: {share:.0%} ({verdict})"
    )
    return curves_with_band(
        "robustness-curve",
        title,
        rows,
        x=Axis(f"budget ({unit})", scale="sqrt", domain=(0.0, max(first.budgets) * times)),
        y=SHARE,
        n=f"{len(first.index):,} images",
        protocol=_protocol(results),
        alt="; ".join(f"{who} {kept:.1%} at {shown(first.eps, first.norm)} ({what})" for kept, who, what in shares),
        reference=(1 / first.classes, "chance"),
    )


def draw_audit(results: Sequence[tuple[Subject, Robustness]]) -> Figure:
    audited = [(subject, result) for subject, result in results if result.checks]
    rows = [{"x": c.name, "y": s.name, "value": c.share} for s, r in audited for c in r.checks]
    worst = max((c for _, r in audited for c in r.checks), key=lambda c: c.share)
    accused = [subject.name for subject, result in audited if result.verdict in ("suspect", "masked")]
    title = (
        "No check speaks against any of these numbers"
        if not accused
        else f"Not to be believed as they are: {', '.join(accused)}"
    )
    first, looked = audited[0][1], [c.n for _, r in audited for c in r.checks]
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
