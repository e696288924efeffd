"""The pictures of `priorscope.probes.tuning`: the best of k trials, and every trial by each setting that was tried."""

from __future__ import annotations

from typing import Any

from priorscope.core.axis import Axis
from priorscope.core.charts import curves_with_band, family_colour, family_shape, figure_data
from priorscope.core.extremes import largest
from priorscope.core.figure import WIDTH, Figure
from priorscope.probes.tuning import TunedArm, Tuning

COLUMNS = 3


def draw_all(result: Tuning) -> list[Figure]:
    """The best of k against k, and the trials by what they set."""
    found = [draw_curve(result)]
    rows = _trial_rows(result)
    return [*found, draw_trials(result, rows)] if rows else found


def draw_curve(result: Tuning) -> Figure:
    """The expected best of k, arm by arm, and how lucky k trials can be; what is certain stands in the data beside."""
    rows: list[dict[str, Any]] = [
        {
            "series": arm.name,
            "family": arm.family,
            "x": best.k,
            "y": best.value,
            "low": best.spread[0],
            "high": best.spread[1],
            "surely_above": best.interval.low,
            "surely_below": best.interval.high,
            "end": arm.name if best.k == len(arm.trials) and len(result.arms) > 1 else None,
        }
        for arm in result.arms
        for best in arm.curve
    ]
    return curves_with_band(
        "tuning",
        _title(result),
        rows,
        x=Axis("trials", counts=True),
        y=Axis("expected best accuracy on val", format=".0%"),
        n=f"{sum(len(arm.trials) for arm in result.arms)} trials",
        protocol=f"Bands: where the best of k lies in 90 % of the choices among these trials. {result.protocol()}",
        alt="; ".join(
            f"{arm.name}: {arm.curve[0].value:.1%} with one trial, {arm.curve[-1].value:.1%} with {len(arm.trials)}"
            for arm in result.arms
        ),
    )


def _title(result: Tuning) -> str:
    """What the last trials still brought: whether the budget was enough."""
    most = largest({arm.name: _late_gain(arm) for arm in result.arms})
    half, points = "The second half of its trials brings", f"{100 * most.value:.1f} points"
    if most.equal:
        return f"{half} {most} {points} on val"
    return f"{half} {most} the most on val: {points}"


def _late_gain(arm: TunedArm) -> float:
    return arm.curve[-1].value - arm.curve[(len(arm.curve) + 1) // 2 - 1].value


def draw_trials(result: Tuning, rows: list[dict[str, Any]]) -> Figure:
    """Every trial: accuracy against each number that was tried, a panel a setting."""
    import altair as A

    parts: list[Any] = []
    for key in dict.fromkeys(row["setting"] for row in rows):
        own = [row["x"] for row in rows if row["setting"] == key]
        wide = min(own) > 0 and max(own) / min(own) >= 10
        x = A.X("x:Q", title=key, scale=A.Scale(type="log" if wide else "linear", zero=False, nice=False, padding=12),
                axis=A.Axis(format="~g", tickCount=4, labelOverlap=True))  # fmt: skip
        y = A.Y("y:Q", title="accuracy on val", scale=A.Scale(zero=False, padding=8), axis=A.Axis(format=".0%"))
        base = A.Chart(figure_data()).transform_filter(A.FieldEqualPredicate(field="setting", equal=key)).encode(x=x, y=y)
        tips = ["arm:N", "trial:N", "x:Q", "y:Q"]
        dots = base.mark_point(size=60, opacity=0.8).encode(color=family_colour(rows), shape=family_shape(rows), tooltip=tips)
        ring = base.transform_filter("datum.best").mark_point(size=260, filled=False, strokeWidth=2, opacity=1)
        parts.append(
            A.layer(dots, ring.encode(color=family_colour(rows), shape=A.value("circle"))).properties(
                width=WIDTH if len({row["setting"] for row in rows}) == 1 else WIDTH // 2 - 40, height=220
            )
        )
    best = largest({arm.name: arm.best.accuracy for arm in result.arms})
    is_best = best.do("reaches", "each reach") if best.equal else f"{best.do('is', 'are')} best on val at"
    edges = [f"{arm.name}'s best {edge.setting}" for arm in result.arms for edge in arm.edges]
    if edges:
        at_end = f"{', '.join(edges)} stands at the end of what was tried"
    elif all(arm.ends_told for arm in result.arms):
        at_end = "no best value stands at an end"
    else:
        at_end = "too few values were tried to tell whether one stands at an end"
    return Figure.from_chart(
        "tuning-trials",
        f"{is_best} {best.value:.1%}{' on val' * best.equal}; {at_end}",
        A.concat(*parts, columns=COLUMNS - 1, spacing=24),
        rows,
        n=f"{sum(len(arm.trials) for arm in result.arms)} trials",
        protocol=f"Ringed: the trial that is taken. {result.protocol()}",
        alt="; ".join(f"{row['trial']} at {row['setting']} {row['x']:g}: {row['y']:.1%}" for row in rows),
    )


def _trial_rows(result: Tuning) -> list[dict[str, Any]]:
    return [
        {"arm": arm.name, "family": arm.family, "trial": trial.name, "setting": key, "x": float(value), "y": trial.accuracy,
         "best": trial.name == arm.best.name}
        for arm in result.arms
        for trial in arm.trials
        for key, value in trial.settings.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]  # fmt: skip
