"""The pictures of `priorscope.probes.corruptions`: the mean, every kind, and how errors grow with severity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from priorscope.core.axis import Axis
from priorscope.core.charts import family_colour, family_dash, figure_data, interval_dots, with_kin
from priorscope.core.comparison import Difference
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, smallest
from priorscope.core.figure import Figure, Row
from priorscope.core.matrices import heat_map
from priorscope.core.seeds import by_recipe, difference_of_seeds, interval_of_seeds
from priorscope.core.stats import Interval, ends, over_images
from priorscope.data.corruptions import SEVERITIES
from priorscope.probes.corruptions import Corruptions, by_group
from priorscope.probes.shared.lead import lead_of

Results = Sequence[tuple[Subject, Corruptions]]
ERROR = Axis("error", domain=(0.0, 1.0), format=".0%")
COLUMNS = 5


def draw_mean(results: Results) -> Figure:
    """The mean error of each recipe, with the error without a corruption beside it."""
    rows: list[dict[str, Any]] = []
    for panel, of in (("corrupted", _corrupted), ("without a corruption", _clean)):
        for subject, seeds in by_recipe(results):
            value, interval = of(seeds)
            who = {"subject": subject.name, "family": subject.family, "panel": panel}
            rows.append({**who, "value": value, **ends(interval)})
    first = results[0][1]
    return interval_dots(
        "corruption-error",
        _title(results, rows),
        rows,
        axis=ERROR,
        n=first.n,
        protocol=first.protocol(),
        alt="; ".join(f"{row['subject']} {row['panel']} {row['value']:.1%}" for row in rows),
        panel="panel",
    )


def _corrupted(seeds: Sequence[Corruptions]) -> tuple[float, Interval | None]:
    return float(np.mean([result.per_image() for result in seeds])), interval_of_seeds(seeds)


def _clean(seeds: Sequence[Corruptions]) -> tuple[float, Interval | None]:
    wrong = np.stack([~result.correct for result in seeds])
    return float(wrong.mean()), over_images(wrong)


def _title(results: Results, rows: Sequence[dict[str, Any]]) -> str:
    """Who errs least, if comparisons of all pairs on the same images say so."""
    values = {row["subject"]: row["value"] for row in rows if row["panel"] == "corrupted"}
    if len(values) == 1:
        return f"{next(iter(values.values())):.0%} of corrupted images are answered wrong"
    lead = lead_of(values, {subject.name: seeds for subject, seeds in by_recipe(results)}, _more_errors, "lower")
    best, last = f"{values[lead.best]:.0%}", f"{values[lead.last]:.0%}"
    return lead.title(
        claim=f"{lead.best} errs least on corrupted images",
        number=best,
        fact=f"of corrupted images {lead.best} answers {best} wrong",
        last=f"{lead.last} {last}",
    )


def _more_errors(some: Sequence[Corruptions], others: Sequence[Corruptions]) -> Difference | None:
    """How much more the one errs than the other; None if they were asked differently, or one seed stands against several."""
    asked = {(result.n, result.kinds, result.seed, result.split) for result in (*some, *others)}
    return difference_of_seeds(some, others) if len(asked) == 1 < some[0].n else None


def draw_kinds(results: Results) -> Figure:
    """Every kind's mean error over severities."""
    rows: list[dict[str, Any]] = []
    for subject, seeds in by_recipe(results):
        errors = np.mean([1 - result.right.mean((1, 2)) for result in seeds], axis=0)
        rows += [
            {"x": subject.name, "y": kind.replace("_", " "), "value": float(error)}
            for kind, error in zip(seeds[0].kinds, errors, strict=True)
        ]
    errors = {f"{row['y']} for {row['x']}": row["value"] for row in rows}
    worst, least = largest(errors), smallest(errors)
    first = results[0][1]
    hardest = {subject.name: group for subject, seeds in by_recipe(results) if (group := _hardest(seeds)) is not None}
    if hardest:
        title = _what_hurts(hardest)
    elif worst.equal:
        title = f"{worst.value:.0%} are wrong under every kind of corruption"
    else:
        title = f"By kind of corruption {least.value:.0%} to {worst.value:.0%} are wrong"
    return heat_map(
        "corruption-kinds",
        title,
        rows,
        x="",
        y="",
        value=ERROR,
        n=first.n,
        protocol=f"Mean over 5 severities on {first.split}; the last four kinds, where shown, are not in the mean. "
        "The table of results holds the intervals.",
        alt=f"The largest error: {worst}, {worst.value:.1%}.",
    )


def _hardest(seeds: Sequence[Corruptions]) -> str | None:
    """The group of corruptions with the largest mean error over the seeds; None if several share it, or there is only one."""
    groups = [by_group(result) for result in seeds]
    most = largest({group: float(np.mean([one[group] for one in groups])) for group in groups[0]})
    return most.names[0] if len(most.names) == 1 < most.of else None


def _what_hurts(hardest: Mapping[str, str]) -> str:
    """Which group of corruptions hurts which networks most, the group that hurts most of them first."""
    hurt: dict[str, list[str]] = {}
    for name, group in hardest.items():
        hurt.setdefault(group, []).append(name)
    (most, names), *others = sorted(hurt.items(), key=lambda item: -len(item[1]))
    if not others:
        return f"{most.capitalize()} hurts most" + (" whatever the network" if len(names) > 1 else "")
    shown = {group: ", ".join(names) if len(names) <= 2 else f"{len(names)} networks" for group, names in hurt.items()}
    return f"{most.capitalize()} hurts {shown[most]} most, " + ", ".join(f"{group} {shown[group]}" for group, _ in others)


def draw_severities(results: Results) -> Figure:
    """The error of each kind as severity grows."""
    rows: list[dict[str, Any]] = []
    rise: dict[str, float] = {}
    several = len(by_recipe(results)) > 1
    families = Counter(subject.family for subject, _ in by_recipe(results))
    for subject, seeds in by_recipe(results):
        first = seeds[0]
        for i, kind in enumerate(first.kinds):
            wrong = np.stack([~result.right[i] for result in seeds])  # (seeds, severities, images)
            series = {"series": f"{subject.name}, {kind}", "family": subject.family, "panel": kind.replace("_", " ")}
            for j, severity in enumerate(SEVERITIES):
                own = wrong[:, j]
                end = subject.name if severity == SEVERITIES[-1] and families[subject.family] > 1 else None
                rows.append({**series, "x": severity, "y": float(own.mean()), **ends(over_images(own)), "end": end})
            where = f"{f'for {subject.name} ' if several else ''}under {kind.replace('_', ' ')}"
            rise[where] = float(wrong[:, -1].mean() - wrong[:, 0].mean())
    most, first = largest(rise), results[0][1]
    by = f"by {100 * most.value:.0f} points"
    grows = f"From severity 1 to 5 the error grows {by if most.equal else f'most {most}: {by}'}"
    title = grows if most.value > 0 else "From severity 1 to 5 no error grows"
    drawn = with_kin(rows, "panel")
    return Figure.from_chart(
        "corruption-severity",
        title,
        _small_charts(drawn),
        rows,
        n=first.n,
        protocol=f"{first.split}; severity from left to right; 95 % intervals over images, or over seeds x images.",
        alt=f"Error against severity for {len(first.kinds)} kinds. {title}.",
        drawn=drawn,
    )


def _small_charts(rows: Sequence[Row]) -> Any:
    """One small chart a kind, five beside each other, all with the same axes."""
    import altair as A

    colour, dash, of = family_colour(rows), family_dash(rows), {"detail": "series:N"}

    def draw_one(kind: str, *, left: bool) -> Any:
        base = A.Chart(figure_data()).transform_filter(A.FieldEqualPredicate(field="panel", equal=kind))
        scale = A.Scale(domain=[0, 1], nice=False)
        share = A.Axis(title="error" if left else None, labels=left, format=".0%", values=[0, 0.5, 1])
        x = A.X("x:Q", scale=A.Scale(domain=[1, 5], nice=False), axis=A.Axis(title=None, format="d", values=[1, 3, 5]))
        band = base.mark_area(opacity=0.16).encode(
            x=x, y=A.Y("low:Q", scale=scale, axis=share), y2="high:Q", color=colour, **of
        )
        tips = ["series:N", "x:Q", "y:Q", "low:Q", "high:Q"]
        line = base.mark_line().encode(
            x=x, y=A.Y("y:Q", scale=scale, axis=share), color=colour, strokeDash=dash, tooltip=tips, **of
        )
        names = base.transform_filter("isValid(datum.end)").mark_text(align="right", dy=-5, fontSize=8, limit=90)
        named = names.encode(x=x, y=A.Y("y:Q", scale=scale, axis=share), text="end:N", color=colour)
        return A.layer(band, line, named).properties(width=94, height=80, title=A.TitleParams(kind, fontSize=11, offset=4))

    kinds = list(dict.fromkeys(row["panel"] for row in rows))
    return A.concat(*(draw_one(kind, left=i % COLUMNS == 0) for i, kind in enumerate(kinds)), columns=COLUMNS, spacing=14)
