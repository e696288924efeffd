"""The pictures of `priorscope.probes.scaling`: error against compute, what it is spent on, batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.axis import Axis
from priorscope.core.charts import family_colour, family_dash, family_shape, figure_data, interval_dots
from priorscope.core.extremes import named, smallest
from priorscope.core.figure import HEIGHT, WIDTH, Figure
from priorscope.core.palette import INK, MUTED
from priorscope.core.stats import ends
from priorscope.probes.scaling import AMOUNTS, Fit, Scaling

if TYPE_CHECKING:
    from priorscope.probes.scaling.batches import Batch

Rows = list[dict[str, Any]]

SCATTER = 600
"""Points beside the front that are drawn at most, evenly chosen: every number is in the result's arrays."""


def draw_all(result: Scaling) -> list[Figure]:
    """Error against compute, the exponents side by side, allocation, batch sizes."""
    figures = [draw_error(result)]
    if any(fit.allocation for fit in result.fits):
        figures.append(draw_allocation(result))
    return [*figures, *([draw_batches(result)] if result.batches else [])]


def draw_error(result: Scaling) -> Figure:
    """Every run, the front, the curve with its band, and the held-out point; both axes logarithmic."""
    import altair as A

    rows = [*_tried(result), *(row for fit in result.fits for row in [*_front(fit), *_curve(fit)])]
    unit = "operations" if result.count == "operations" else "multiply-adds"
    x = A.X(
        "x:Q",
        scale=A.Scale(type="log", padding=10, nice=False),
        axis=A.Axis(title=f"training compute ({unit})", format="~e", tickCount=6),
    )
    heights = [float(row[name]) for row in rows for name in ("y", "low", "high") if row[name] is not None]
    ends = A.Scale(type="log", domain=[0.9 * min(heights), min(1.0, 1.1 * max(heights))], nice=False)
    y = A.Y("y:Q", scale=ends, axis=A.Axis(title="share wrong", format=".2~g"))
    base = A.Chart(figure_data()).encode(x=x)
    colour = family_colour(rows)
    tips = ["family:N", "model:N", "x:Q", "y:Q"]

    def only(kind: str) -> Any:
        return base.transform_filter(A.FieldEqualPredicate(field="kind", equal=kind))

    band = (
        only("curve").mark_area(opacity=0.16).encode(y=A.Y("low:Q", scale=ends, title="share wrong"), y2="high:Q", color=colour)
    )
    tried = only("tried").mark_point(size=14, opacity=0.35, color=MUTED, filled=True).encode(y=y, tooltip=tips)
    line = only("curve").mark_line().encode(y=y, color=colour, strokeDash=family_dash(rows))
    points = only("front").mark_point(size=70, opacity=1)
    points = points.encode(y=y, color=colour, shape=family_shape(rows), tooltip=tips)
    reach = (
        only("held out")
        .mark_rule(strokeWidth=2, color=INK)
        .encode(y=A.Y("low:Q", scale=ends, title="share wrong"), y2="high:Q")
    )
    cross = only("held out").mark_point(shape="cross", size=140, opacity=1, color=INK).encode(y=y, tooltip=tips)
    layers = [("curve", band), ("tried", tried), ("curve", line), ("front", points), ("held out", reach), ("held out", cross)]
    there = {row["kind"] for row in rows}  # a layer of nothing has no extent, of which a browser warns
    chart = A.layer(*(layer for kind, layer in layers if kind in there)).properties(width=WIDTH, height=HEIGHT)
    return Figure.from_chart(
        "scaling",
        _title(result),
        chart,
        rows,
        n=f"{result.n} runs",
        protocol=f"Grey: beaten by something cheaper; curve and band: the law through the front and its interval, drawn where "
        f"it is identified; cross: the largest point as the cheaper ones predict it. {result.protocol()}",
        alt=result.headline(),
    )


def _title(result: Scaling) -> str:
    known = [(fit, fit.exponent) for fit in result.fits if fit.identified and fit.exponent]
    if not known:
        return f"{_fall_title(result.fits)}; a law is not identified"
    (best, steepest), *others = sorted(known, key=lambda each: -each[1].value)
    if not others:
        floor = f" to {best.floor.value:.1%}" if best.floor else ""
        return f"The error of {best.family} falls as compute^-{steepest.value:.2f}{floor}"
    if all(steepest.low > other.high for _, other in others):
        return f"The error of {best.family} falls fastest, as compute^-{steepest.value:.2f}"
    last, flattest = others[-1]
    return (
        f"No error falls surely fastest: from compute^-{steepest.value:.2f} ({best.family}) to compute^-{flattest.value:.2f} "
        f"({last.family})"
    )


def _fall_title(fits: Sequence[Fit]) -> str:
    """How far error falls along a front: of several fronts, the one that ends lowest. A single point is not a fall."""
    falls = [fit for fit in fits if len(fit.front) > 1]
    if not falls:
        return "Error does not fall with compute here"
    lowest = min(falls, key=lambda fit: fit.front[-1].error)
    flat = [fit.family for fit in fits if len(fit.front) == 1]
    return (
        f"Over {lowest.decades:.1f} decades of compute the error{f' of {lowest.family}' if len(fits) > 1 else ''} falls to "
        f"{lowest.front[-1].error:.1%}{f', that of {named(flat)} does not' if flat else ''}"
    )


def _tried(result: Scaling) -> Rows:
    rows = np.unique(np.linspace(0, len(result.compute) - 1, min(SCATTER, len(result.compute))).round().astype(int))
    return [
        {
            "kind": "tried",
            "family": result.fits[int(result.family[row])].family,
            "model": "final" if result.final[row] else "earlier epoch, on val",
            "x": float(result.compute[row]),
            "y": float(result.error[row]),
            **ends(None),
        }
        for row in rows.tolist()
    ]


def _front(fit: Fit) -> Rows:
    own = {"family": fit.family}
    rows: Rows = [
        {"kind": "front", **own, "model": best.model, "x": best.compute, "y": best.error, **ends(None)} for best in fit.front
    ]
    if fit.held_out is not None and fit.identified:
        told = fit.held_out.predicted
        where = {"x": fit.held_out.compute, "y": told.value, **ends(told.interval())}
        rows.append({"kind": "held out", **own, "model": "predicted from the cheaper runs", **where})
    return rows


def _curve(fit: Fit) -> Rows:
    """The law, where there is one."""
    if not fit.identified or fit.law is None:
        return []
    at = fit.law.at([compute for compute, *_ in fit.band]).tolist()
    return [
        {"kind": "curve", "family": fit.family, "model": "law", "x": compute, "y": y, "low": low, "high": high}
        for (compute, low, high), y in zip(fit.band, at, strict=True)
    ]


def draw_allocation(result: Scaling) -> Figure:
    """Parameters, different images and images shown of what stands on the front."""
    import altair as A

    rows: Rows = [
        {"family": fit.family, "amount": said, "model": best.model, "x": best.compute, "y": float(getattr(best, name))}
        for fit in result.fits
        for name, said in AMOUNTS.items()
        for best in fit.front
    ]
    parts: list[Any] = []
    for said in AMOUNTS.values():
        base = A.Chart(figure_data()).transform_filter(A.FieldEqualPredicate(field="amount", equal=said))
        x = A.X(
            "x:Q",
            scale=A.Scale(type="log", padding=10, nice=False),
            axis=A.Axis(title="training compute", format="~e", tickCount=3, labelOverlap=True),
        )
        y = A.Y("y:Q", scale=A.Scale(type="log", padding=10, nice=False), axis=A.Axis(title=said, format="~s", tickCount=4))
        points = base.mark_point(size=60, opacity=1)
        parts.append(
            points.encode(
                x=x, y=y, color=family_colour(rows), shape=family_shape(rows), tooltip=["family:N", "model:N", "x:Q", "y:Q"]
            ).properties(width=WIDTH // 3 - 70, height=190)
        )
    return Figure.from_chart(
        "scaling-allocation",
        _allocation_title(next(fit for fit in result.fits if fit.allocation)),
        A.concat(*parts, columns=3, spacing=20),
        rows,
        n=f"{result.n} runs",
        protocol="Of the runs that nothing cheaper beats; slopes of logarithms over the front, with intervals in the table.",
        alt="; ".join(
            f"{fit.family}: {AMOUNTS[name]} grow as compute^{grown.value:.2f} ({grown.low:.2f} to {grown.high:.2f})"
            for fit in result.fits
            for name, grown in fit.allocation.items()
        ),
    )


def _allocation_title(fit: Fit) -> str:
    said = [
        f"{AMOUNTS[name]} grow as compute^{grown.value:.2f} ({grown.low:.2f} to {grown.high:.2f})"
        for name, grown in fit.allocation.items()
        if name != "seen"
    ]
    if not said:
        return f"On the front of {fit.family} compute buys passes over the data, neither size nor data"
    return f"On the front of {fit.family} {', '.join(said)}"


def draw_batches(result: Scaling) -> Figure:
    """Error by batch size, at equal samples and at equal steps."""
    rows: Rows = [
        {
            "subject": f"{one.model}, {one.amount:,} {one.held}: batch {one.batch}",
            "family": one.family,
            "value": one.error,
            "low": one.low,
            "high": one.high,
            "panel": f"equal {one.held}",
        }
        for one in result.batches
    ]
    return interval_dots(
        "scaling-batches",
        _batch_title(result.batches),
        rows,
        axis=Axis("share wrong", format=".0%"),
        n=f"{result.images:,} images of {result.split}",
        protocol="Each batch size at the learning rate and warm-up that are best on val of those tried; intervals over seeds x "
        "images, or over images of one run.",
        alt="; ".join(f"{row['panel']}, {row['subject']}: {row['value']:.1%}" for row in rows),
        panel="panel",
    )


def _batch_title(compared: tuple[Batch, ...]) -> str:
    held = compared[0].held
    own = [one for one in compared if (one.model, one.held, one.amount) == (compared[0].model, held, compared[0].amount)]
    best = smallest({str(one.batch): one.error for one in own})
    spans = {str(one.batch): (one.low, one.high) for one in own}
    batches, told = ("a batch" if len(best.names) == 1 else "batches"), f"{best.value:.1%} ({own[0].model})"
    if best.equal:
        return f"At equal {held} {batches} of {best} err alike: {told}"
    reach = max(spans[name][1] for name in best.names)
    sure = "" if all(low > reach for name, (low, _) in spans.items() if name not in best.names) else ", within the intervals"
    return f"At equal {held} {batches} of {best.do('errs', 'err')} least{sure}: {told}"
