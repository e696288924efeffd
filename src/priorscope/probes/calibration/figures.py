"""The pictures of `priorscope.probes.calibration`: reliability, error beside chance, confidences, and what changes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from priorscope.core.axis import Axis, Scale
from priorscope.core.charts import family_colour, family_shape, figure_data
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, smallest
from priorscope.core.figure import WIDTH, Figure
from priorscope.core.palette import INK, MUTED
from priorscope.core.seeds import told_from_chance
from priorscope.probes.calibration import Calibration, Scores
from priorscope.probes.shared.confidences import Confidences, draw_confidences

Results = Sequence[tuple[Subject, Calibration]]
Rows = Sequence[dict[str, Any]]

SIDE = WIDTH // 2 - 80
NAMED = "A title names only whose ECE is beyond chance (5 %, Holm-corrected)."


def draw(results: Results) -> list[Figure]:
    """Error beside chance where there are several, else reliability first."""
    reliability, errors, confidences = draw_reliability(results), draw_errors(results), _draw_confidences(results)
    first = [errors, reliability] if len(results) > 1 else [reliability, errors]
    changed = any(len(result.scores) > 1 for _, result in results)
    return [*first, confidences, *([draw_conditions(results)] if changed else [])]


def draw_reliability(results: Results) -> Figure:
    """For each network the share right in each bin of confidence, over where a calibrated network's would lie."""
    rows: list[dict[str, Any]] = []
    for subject, result in results:
        bins = result.reliability()
        for i in np.flatnonzero(bins.n):
            row = {"subject": subject.name, "family": subject.family, "confidence": bins.confidence[i], "right": bins.right[i]}
            rows.append({**row, "low": bins.low[i], "high": bins.high[i], "answers": int(bins.n[i])})
    first = results[0][1]
    return Figure.from_chart(
        "reliability",
        _reliability_title(results),
        _beside(rows, "subject", partial(_bins_of, rows)),
        rows,
        n=f"{first.n:,} images",
        protocol=f"{first.split}, bins of equal width; a point's area is its number of answers. "
        f"Grey bars: 95 % of what a calibrated network would show in each bin. {NAMED}",
        alt="; ".join(f"{subject.name}: ECE {result.value:.1%}" for subject, result in results),
    )


def _bins_of(rows: Rows, base: Any, side: int | None) -> Any:
    """The bins of one network: the diagonal, where chance would put them, and where they are."""
    import altair as A

    side = side or 360
    axes: list[dict[str, Any]] = [
        {"scale": A.Scale(domain=[0, 1], nice=False), "axis": A.Axis(title=title, format=".0%")}
        for title in ("mean confidence of the bin", "share right")
    ]
    x, y = axes
    at, height = A.X("confidence:Q", **x), A.Y("right:Q", **y)
    diagonal = A.Chart(A.InlineData([{"at": 0}, {"at": 1}])).mark_line(color=MUTED, strokeDash=[3, 3], strokeWidth=1)
    ends = base.mark_bar(width=side / 40, color=MUTED, opacity=0.28).encode(x=at, y=A.Y("low:Q", **y), y2="high:Q")
    line = base.mark_line(strokeWidth=1).encode(x=at, y=height, color=family_colour(rows, legend=False))
    size = A.Size("answers:Q", scale=A.Scale(type="sqrt", range=[14, 260]), legend=None)
    points = base.mark_point(opacity=1, stroke=INK, strokeWidth=0.5, clip=False).encode(
        x=at,
        y=height,
        color=family_colour(rows),
        shape=family_shape(rows),
        size=size,
        tooltip=["subject:N", "confidence:Q", "right:Q", "low:Q", "high:Q", "answers:Q"],
    )
    return A.layer(diagonal.encode(x=A.X("at:Q", **x), y=A.Y("at:Q", **y)), ends, line, points).properties(
        width=side, height=side
    )


def _beside(rows: Rows, column: str, draw_one: Callable[[Any, int | None], Any]) -> Any:
    """One chart, or a small one for each value of a column, two beside each other.

    The rows are chosen below the layers: a choice made above them does not reach layers that have data of their own.
    """
    import altair as A

    base = A.Chart(figure_data())
    names = list(dict.fromkeys(str(row[column]) for row in rows))
    if len(names) == 1:
        return draw_one(base, None)
    parts = [
        draw_one(base.transform_filter(A.FieldEqualPredicate(field=column, equal=name)), SIDE).properties(
            title=A.TitleParams(name, fontSize=12)
        )
        for name in names
    ]
    return A.concat(*parts, columns=2, spacing=28)


def _not_calibrated(results: Results) -> Results:
    """The results whose error lies beyond its band, also by p-values that are corrected for the number of networks.

    One of 15 bins lies outside of its own bar by chance, so bins decide nothing.
    """
    sure = set(map(id, told_from_chance([result for _, result in results])))
    return [each for each in results if id(each[1]) in sure]


def _reliability_title(results: Results) -> str:
    """The title: how few to how many bins of the networks that are not calibrated lie outside of what chance allows."""
    off = _not_calibrated(results)
    if not off:
        return f"No sign that {'it is not' if len(results) == 1 else 'any network is not'} calibrated"
    counts = {who.name: (int(_outside(result).sum()), int((result.reliability().n > 0).sum())) for who, result in off}
    shares = {name: outside / max(bins, 1) for name, (outside, bins) in counts.items()}
    least, most = smallest(shares), largest(shares)
    outside, bins = counts[most.names[0]]
    if most.value == 0:
        return f"No bin alone lies outside of chance; together those of {most} do"
    if len(results) == 1:
        return f"{outside} of {bins} bins lie where chance does not put a calibrated network"
    if len(most.names) > 1 and most.equal:
        return f"{most} have the same share of bins outside of chance: {most.value:.0%}"
    if most.equal:
        return f"Of {most}, {outside} of {bins} bins lie outside of chance"
    return f"From {least.value:.0%} ({least}) to {most.value:.0%} ({most}) of the bins lie outside of chance"


def _outside(result: Calibration) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    bins = result.reliability()
    return (bins.n > 0) & ((bins.right < bins.low) | (bins.right > bins.high))


def draw_errors(results: Results) -> Figure:
    """Each network's calibration error as a point, over the band of its null level."""
    first = results[0][1]
    rows = [_error_row(subject, result.scores[0], subject.name) for subject, result in results]
    return _over_bands(
        "calibration-error",
        _error_title(results),
        rows,
        n=first.n,
        protocol=f"ECE on {first.split}, 15 bins of equal width; grey: central 95 % of a calibrated network's with the same "
        f"confidences. A point has no interval: a bootstrap of it would be biased. {NAMED}",
    )


def _error_title(results: Results) -> str:
    """The title: the smallest and the largest error beyond chance; no test says which of those is the largest."""
    if len(results) == 1:
        error = results[0][1].scores[0].error
        return f"Confidence is off by {error.value:.1%}, where chance alone gives {error.null_low:.1%} to {error.null_high:.1%}"
    errors = {who.name: result.scores[0].error for who, result in _not_calibrated(results)}
    if not errors:
        return "No network's error can be told from what chance alone makes of a calibrated one's"
    off = {name: error.value for name, error in errors.items()}
    least, most = smallest(off), largest(off)
    if most.equal:
        return f"{most.do('is', 'are each')} off by {most.value:.1%}, beyond what chance alone makes"
    return f"Beyond what chance alone makes, confidence is off by {least.value:.1%} ({least}) to {most.value:.1%} ({most})"


def _error_row(subject: Subject, score: Scores, line: str) -> dict[str, Any]:
    error = score.error
    at = {"subject": subject.name, "family": subject.family, "line": line, "panel": subject.name}
    return {**at, "value": error.value, "low": error.null_low, "high": error.null_high, "p": error.p_value}


def draw_conditions(results: Results) -> Figure:
    """What a temperature, several views, corruptions and attacks make of the error."""
    rows = [_error_row(subject, score, score.label) for subject, result in results for score in result.scores]
    for row, score in zip(rows, (score for _, result in results for score in result.scores), strict=True):
        row["condition"] = score.condition
        row["line"] = score.condition if score.temperature == 1 else f"{score.condition}, temperature"
    errors = {f"{row['panel']}, {row['line']}" if len(results) > 1 else row["line"]: row["value"] for row in rows}
    least, worst = smallest(errors), largest(errors)
    title = (
        f"The error is {worst.value:.1%}, whatever the condition"
        if worst.equal
        else f"The error is {least.value:.1%} at best ({least}) and {worst.value:.1%} at worst ({worst})"
    )
    first = results[0][1]
    return _over_bands(
        "calibration-conditions",
        title,
        rows,
        n=f"{first.n:,} images" + (", fewer under attack" if any(score.n < first.n for score in first.scores) else ""),
        protocol=f"ECE on {first.split}; temperatures fitted on val. Grey: central 95 % of a calibrated network's.",
        panels=len(results) > 1,
        scale="sqrt",
    )


def _over_bands(
    name: str, title: str, rows: Rows, *, n: int | str, protocol: str, panels: bool = False, scale: Scale = "linear"
) -> Figure:
    """Points over grey bands, one line each; `panels`: each network's lines in a chart of its own."""
    import altair as A

    most = 1.05 * max(max(row["value"], row["high"]) for row in rows)
    lines = list(dict.fromkeys(row["line"] for row in rows))
    error = Axis("expected calibration error", scale)
    axis: dict[str, Any] = {"axis": A.Axis(title=error.said(), format=".1%", tickCount=4 if panels else 6)}
    axis["scale"] = A.Scale(type=scale, domain=[0, most], nice=False)

    def draw_one(base: Any, side: int | None) -> Any:
        base = base.encode(y=A.Y("line:N", sort=lines, title=None))
        band = base.mark_bar(color=MUTED, opacity=0.3, height=14).encode(x=A.X("low:Q", **axis), x2="high:Q")
        points = base.mark_point(size=80, opacity=1).encode(
            x=A.X("value:Q", **axis),
            color=family_colour(rows),
            shape=family_shape(rows),
            tooltip=["subject:N", "line:N", "value:Q", "low:Q", "high:Q", "p:Q"],
        )
        return A.layer(band, points).properties(height=26 * len(lines), **({} if side is None else {"width": side - 60}))

    chart = _beside(rows, "panel", draw_one) if panels else draw_one(A.Chart(figure_data()), None)
    told = "; ".join(f"{row['line']} {row['value']:.1%} (chance {row['low']:.1%} to {row['high']:.1%})" for row in rows[:12])
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=told)


def _draw_confidences(results: Results) -> Figure:
    """How sure it is where it is right, and where it is wrong: from the same bins as the error."""
    networks: list[Confidences] = []
    for subject, result in results:
        bins = result.reliability()
        right = np.rint(bins.n * bins.right).astype(np.int64)
        wrong = bins.n - right
        networks.append(Confidences(subject, right, wrong, int(wrong.sum())))
    first = results[0][1]
    return draw_confidences("confidences", networks, n=first.n, protocol=f"{first.split}, bins of equal width")
