"""The pictures of `priorscope.probes.cost`: accuracy against each cost, latency, memory, and training's curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import curves_with_band, family_colour, family_shape, figure_data, interval_dots
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, named, smallest
from priorscope.core.figure import WIDTH, Figure
from priorscope.core.palette import MUTED
from priorscope.core.seeds import by_recipe
from priorscope.core.stats import ends, over_images
from priorscope.core.wording import amount_said
from priorscope.probes.cost import Cost

Results = Sequence[tuple[Subject, Cost]]
Rows = list[dict[str, Any]]

COSTS: dict[str, Callable[[Cost], float | None]] = {
    "multiply-adds an image": lambda cost: cost.macs,
    "parameters": lambda cost: cost.parameters,
    "latency, smallest batch (ms)": lambda cost: 1000 * cost.times.latencies[0].median,
    "peak memory, training step (MiB)": lambda cost: cost.training_bytes / 2**20,
}


def draw(results: Results) -> list[Figure]:
    """The fronts where there are several networks, then what each costs."""
    logged = any(result.times.log for _, result in results)
    fronts = [draw_fronts(results)] if len(by_recipe(results)) > 1 else []
    return [*fronts, draw_latency(results), draw_memory(results), *([draw_training(results)] if logged else [])]


def draw_fronts(results: Results) -> Figure:
    """Accuracy against four costs; a line joins the networks that no other one beats in both."""
    import altair as A

    rows = _front_rows(results)
    parts: list[Any] = []
    for cost in COSTS:
        base = A.Chart(figure_data()).transform_filter(A.FieldEqualPredicate(field="cost", equal=cost))
        x = A.X(
            "x:Q",
            scale=A.Scale(type="log", padding=12),
            axis=A.Axis(title=cost, format="~g" if "(" in cost else "~s", tickCount=3),
        )
        scale = A.Scale(zero=False, padding=8)
        y = A.Y("y:Q", scale=scale, axis=A.Axis(title="accuracy", format=".0%"))
        front = base.transform_filter("datum.front").mark_line(interpolate="step-after", color=MUTED, strokeDash=[4, 3])
        ends = base.mark_rule(strokeWidth=2).encode(
            x=x, y=A.Y("low:Q", scale=scale, title="accuracy"), y2="high:Q", color=family_colour(rows)
        )
        tips = ["subject:N", "x:Q", "y:Q", "low:Q", "high:Q"]
        points = base.mark_point(size=80, opacity=1).encode(
            x=x, y=y, color=family_colour(rows), shape=family_shape(rows), tooltip=tips
        )
        names = base.mark_text(align="left", dx=8, dy=-8, limit=90).encode(x=x, y=y, text="subject:N")
        line = front.encode(x=x, y=y, order="x:Q")
        parts.append(A.layer(line, ends, points, names).properties(width=WIDTH // 2 - 70, height=190))
    first = results[0][1]
    return Figure.from_chart(
        "cost-fronts",
        _front_title(rows),
        A.concat(*parts, columns=2, spacing=28),
        rows,
        n=f"{len(first.correct):,} images of {first.split}",
        protocol=f"Dashed: who is not beaten in both, by point estimates. {first.protocol()}",
        alt="; ".join(f"{row['subject']}: {row['y']:.1%} right for {amount_said(row['x'])} {row['cost']}" for row in rows[:8]),
    )


def _front_rows(results: Results) -> Rows:
    rows: Rows = []
    for name, of in COSTS.items():
        own: Rows = []
        for subject, seeds in by_recipe(results):
            values = [value for value in map(of, seeds) if value is not None]
            right = np.stack([result.correct for result in seeds])
            row = {"subject": subject.name, "family": subject.family, "cost": name, "x": float(np.mean(values))}
            own.append({**row, "y": float(right.mean()), **ends(over_images(right))})
        rows += [{**row, "front": not any(_beats(other, row) for other in own)} for row in own]
    return rows


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether `one` is no worse than `other` in cost and accuracy, and better in at least one of them."""
    return one["x"] <= other["x"] and one["y"] >= other["y"] and (one["x"], one["y"]) != (other["x"], other["y"])


def _front_title(rows: Rows) -> str:
    always = [
        name
        for name in dict.fromkeys(row["subject"] for row in rows)
        if all(row["front"] for row in rows if row["subject"] == name)
    ]
    never = [
        name
        for name in dict.fromkeys(row["subject"] for row in rows)
        if not any(row["front"] for row in rows if row["subject"] == name)
    ]
    if never:
        are = "is" if len(never) == 1 else "are each"
        return f"By every one of four costs {named(never)} {are} beaten by some other network"
    if always:
        return f"By none of four costs does another network beat {named(always)}"
    return "Who gives most accuracy for its cost depends on which cost is counted"


def draw_latency(results: Results) -> Figure:
    """How long one image takes, by batch size."""
    rows: Rows = []
    for subject, seeds in by_recipe(results):
        for each in zip(*(result.times.latencies for result in seeds), strict=False):
            median, low, high = (float(np.mean([getattr(one, name) for one in each])) for name in ("median", "p10", "p90"))
            batch = each[0].batch
            rows.append(
                {
                    "series": subject.name,
                    "family": subject.family,
                    "x": batch,
                    "y": 1000 * median / batch,
                    "low": 1000 * low / batch,
                    "high": 1000 * high / batch,
                }
            )
    first = results[0][1]
    most = max(one.batch for one in first.times.latencies)
    rates = {row["series"]: 1000 / row["y"] for row in rows if row["x"] == most} or {rows[-1]["series"]: 1000 / rows[-1]["y"]}
    quickest, slowest = largest(rates), smallest(rates)
    rate = f"{quickest.value:,.0f} images a second"
    if len(by_recipe(results)) == 1:
        title = f"At a batch of {most} an image takes {1000 / quickest.value:.3g} ms: {rate}"
    elif quickest.equal:
        title = f"At a batch of {most} {quickest.do('answers', 'each answer')} {rate}"
    else:
        title = f"At a batch of {most} networks answer {slowest.value:,.0f} ({slowest}) to {rate} ({quickest})"
    return curves_with_band(
        "latency",
        title,
        rows,
        x=Axis("batch size", scale="log", domain=(min(row["x"] for row in rows), 1.5 * most), format="d"),
        y=Axis("milliseconds an image", scale="log", format="~g"),
        n=f"{first.times.latencies[0].repeats} calls a point at most",
        protocol=f"Median; the band holds four of five calls. {first.protocol()}",
        alt="; ".join(f"{row['series']} {row['y']:.3g} ms at a batch of {row['x']}" for row in rows[:12]),
    )


def draw_memory(results: Results) -> Figure:
    """What the weights, an answer and a training step take of the memory."""
    kinds: dict[str, Callable[[Cost], int]] = {
        "weights": lambda cost: cost.weight_bytes,
        "peak, inference": lambda cost: cost.inference_bytes,
        "peak, training step": lambda cost: cost.training_bytes,
    }
    rows: Rows = [
        {
            "subject": subject.name,
            "family": subject.family,
            "panel": kind,
            "value": float(np.mean([of(result) for result in seeds])) / 2**20,
            **ends(None),
        }
        for kind, of in kinds.items()
        for subject, seeds in by_recipe(results)
    ]
    first = results[0][1]
    steps = {row["subject"]: row["value"] for row in rows if row["panel"] == "peak, training step"}
    least, most = smallest(steps), largest(steps)
    takes = f"A training step on {first.memory_batch} images takes"
    title = (
        f"{takes} {most.value:,.0f} MiB"
        if most.equal
        else f"{takes} {least.value:,.0f} MiB ({least}) to {most.value:,.0f} MiB ({most})"
    )
    return interval_dots(
        "memory",
        title,
        rows,
        axis=Axis("MiB", scale="log", format="~g"),
        n=f"Batches of {first.memory_batch}",
        protocol="Float32, AdamW: the most that torch's allocator held at once, weights included.",
        alt="; ".join(f"{row['subject']} {row['panel']} {row['value']:.1f} MiB" for row in rows),
        panel="panel",
    )


def draw_training(results: Results) -> Figure:
    """Accuracy on val against the seconds of training."""
    rows: Rows = []
    finals: list[tuple[float, float, str]] = []
    for subject, result in results:
        best = 0.0
        for seconds, accuracy in result.times.log:
            best = max(best, accuracy)
            rows.append({"series": subject.name, "family": subject.family, "x": seconds, "y": best})
        if result.times.log:
            finals.append((best, result.times.log[-1][0], subject.name))
    best, seconds, _ = min(finals)
    first = smallest({who: next(row["x"] for row in rows if row["series"] == who and row["y"] >= best) for _, _, who in finals})
    if len(finals) == 1:
        title = f"Training of {seconds:,.0f} seconds reaches {best:.1%} on val; it was there after {first.value:,.0f}"
    elif first.equal:
        title = f"{first} each reach the {best:.0%} on val that all reach after {first.value:,.0f} seconds"
    else:
        are_first = f"{first.do('is', 'are')} the first to reach the {best:.0%} on val that all reach"
        title = f"{are_first}: after {first.value:,.0f} seconds"
    machines = {result.times.training_hardware for _, result in results if result.times.log}
    return curves_with_band(
        "training-time",
        title,
        rows,
        x=Axis("seconds of training, validation included", scale="sqrt"),
        y=Axis("best accuracy on val so far", domain=SHARE.domain, format=".0%"),
        n=f"{len(finals)} run{'s' * (len(finals) > 1)}",
        protocol=f"From each run's log; trained on {' and on '.join(sorted(machines)) or 'an unnamed machine'}.",
        alt="; ".join(f"{who} {value:.1%} after {took:,.0f} s" for value, took, who in finals),
        points=False,
    )
