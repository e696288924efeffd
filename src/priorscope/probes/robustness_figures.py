"""The pictures of `priorscope.probes.robustness`: smallest budgets, accuracy against budget, and what the audit found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from priorscope.attacks import NORMS
from priorscope.core.charts import SHARE, Axis, curves_with_band, heat_map, interval_dots
from priorscope.core.contracts import Subject
from priorscope.core.stats import Interval, wilson
from priorscope.probes.robustness import Robustness, median_budget, on_common, shown

if TYPE_CHECKING:
    from priorscope.core.figure import Figure


def draw_smallest(results: Sequence[tuple[Subject, Robustness]]) -> Figure:
    rows: list[dict[str, Any]] = []
    first = results[0][1]
    values, n = _medians(results)
    for (subject, result), (value, between) in zip(results, values, strict=True):
        rows.append(
            {
                "subject": subject.name,
                "family": subject.family,
                "value": max(value, _least(result)),
                "low": max(between.low, _least(result)) if between else None,
                "high": max(between.high, _least(result)) if between else None,
                "verdict": result.verdict,
            }
        )
    best = max(rows, key=lambda row: row["value"])
    title = (
        f"{best['subject']} withstands most: half of its images break within {shown(best['value'], first.norm)}"
        if len(results) > 1
        else f"Half of the images break within {shown(best['value'], first.norm)} ({first.verdict})"
    )
    which = "that all networks get right" if len(results) > 1 else "that it gets right"
    return interval_dots(
        "smallest-budget",
        title,
        rows,
        axis=Axis(f"median smallest budget that breaks an image ({NORMS[first.norm]}, pixels in [0, 1])", scale="log"),
        n=f"{n:,} images {which}",
        protocol=first.protocol(),
        alt="; ".join(f"{row['subject']} {shown(row['value'], first.norm)} ({row['verdict']})" for row in rows),
    )


def _medians(results: Sequence[tuple[Subject, Robustness]]) -> tuple[list[tuple[float, Interval | None]], int]:
    """Each network's median on the images that all get right; on its own where they were not measured alike."""
    alike = len({(r.norm, r.attacks, r.budgets, r.split) for _, r in results}) == 1
    if len(results) == 1 or not alike or min(r.n for _, r in results) == 0:
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
    rows: list[dict[str, Any]] = []
    for subject, result in results:
        total = len(result.index)
        for eps, count in zip(result.budgets, result.right_at.tolist(), strict=True):
            between = wilson(count, total)
            rows.append(
                {
                    "series": subject.name,
                    "family": subject.family,
                    "x": eps,
                    "y": count / total,
                    "low": between.low,
                    "high": between.high,
                }
            )
    shares = [(result.accuracy_at(result.eps), subject.name, result.verdict) for subject, result in results]
    share, name, verdict = max(shares)
    return curves_with_band(
        "robustness-curve",
        f"At {shown(first.eps, first.norm)} the most that is left is {share:.0%}, of {name} ({verdict})",
        rows,
        x=Axis(f"budget ({NORMS[first.norm]}, pixels in [0, 1])", scale="symlog" if max(first.budgets) > 1 else "sqrt"),
        y=SHARE,
        n=f"{len(first.index):,} images",
        protocol=first.protocol(),
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
    first = audited[0][1]
    return heat_map(
        "robustness-audit",
        title,
        rows,
        x="check",
        y="",
        value=Axis("share of images", domain=(0.0, 1.0), format=".1%"),
        n=f"{first.n:,} images right without an attack",
        protocol=f"What each check found at {shown(first.eps, first.norm)} beyond {first.attack}; "
        "the table of results says each in words.",
        alt=f"The largest share: {worst.sentence}",
    )
