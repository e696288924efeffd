"""Pieces that figures are made of: values with intervals, curves with bands, and the channels by which a family looks alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from priorscope.core.axis import Axis
from priorscope.core.figure import HEIGHT, ROWS, WIDTH, Figure, Row
from priorscope.core.labels import NAME_HEIGHT, most_names, named_where_alike, names_apart
from priorscope.core.layout import arm_of_run
from priorscope.core.palette import MUTED, STYLES, Style, style_of

if TYPE_CHECKING:
    import altair as alt


def figure_data() -> alt.NamedData:
    """The data of an Altair chart that becomes a figure: the rows given to `Figure.from_chart`."""
    import altair as alt

    return alt.NamedData(ROWS)


def families_of(rows: Sequence[Row], column: str = "family") -> list[str]:
    """The families that rows name: in the order of `STYLES`, then those that it does not know."""
    named = dict.fromkeys(str(row[column]) for row in rows)
    known = [family for family in STYLES if family in named]
    return known + [family for family in named if family not in STYLES]


def family_colour(rows: Sequence[Row], *, legend: bool = True) -> alt.Color:
    """The colour channel of rows with a `family`, and a `kin` where several of one are drawn."""
    import altair as alt

    families = families_of(rows)
    scale = alt.Scale(domain=families, range=[style_of(family).light for family in families])
    shown: dict[str, Any] = {} if legend and len(families) > 1 else {"legend": None}
    return alt.Color("family:N", scale=scale, title=None, condition=_of_kin(rows, lambda style: style.light), **shown)


def family_shape(rows: Sequence[Row], *, legend: bool = True) -> alt.Shape:
    """The point-shape channel of such rows; its legend merges with the colour's."""
    import altair as alt

    families = families_of(rows)
    scale = alt.Scale(domain=families, range=[style_of(family).shape for family in families])
    shown: dict[str, Any] = {} if legend and len(families) > 1 else {"legend": None}
    return alt.Shape("family:N", scale=scale, title=None, condition=_of_kin(rows, lambda style: style.shape), **shown)


def family_dash(rows: Sequence[Row]) -> alt.StrokeDashValue:
    """The dash channel of such rows; by conditions and not by a scale, which would dash the legend's points too."""
    import altair as alt

    known = [family for family in families_of(rows) if family in STYLES]
    conditions = _of_kin(rows, lambda style: list(style.dash))
    conditions += [{"test": f"datum.family === '{family}'", "value": list(style_of(family).dash)} for family in known]
    return alt.StrokeDashValue(list(style_of("other").dash), condition=conditions)  # pyright: ignore[reportArgumentType]


def _of_kin(rows: Sequence[Row], look: Callable[[Style], Any]) -> Any:
    """How whatever is drawn beside the first of its family looks, as the conditions of a channel."""
    drawn = sorted({(str(row["family"]), int(row.get("kin", 0))) for row in rows})
    return [
        {"test": f"datum.family === '{family}' && datum.kin === {kin}", "value": look(style_of(family, kin))}
        for family, kin in drawn
        if kin > 0
    ]


def with_kin(rows: Sequence[Row], panel: str | None) -> list[Row]:
    """Rows with `kin`: the how-manieth recipe of its family in its panel a curve is of, from 0. Seeds of one look alike."""
    met: dict[tuple[str, str], dict[str, int]] = {}
    told: list[Row] = []
    for row in rows:
        there = met.setdefault((str(row[panel]) if panel else "", str(row["family"])), {})
        told.append({**row, "kin": there.setdefault(arm_of_run(str(row["series"])), len(there))})
    return told


def choose_family() -> tuple[alt.Parameter, alt.Opacity]:
    """A click on the legend brings one family forward (shift-click: several); the channel that fades the others."""
    import altair as alt

    chosen = alt.selection_point(name="chosen", fields=["family"], bind="legend")
    return chosen, alt.condition(chosen, alt.value(1.0), alt.value(0.12))  # pyright: ignore[reportReturnType]


def interval_dots(
    name: str,
    title: str,
    rows: Sequence[Row],
    *,
    axis: Axis,
    n: int | str,
    protocol: str,
    alt: str,
    reference: tuple[float, str] | None = None,
    panel: str | None = None,
) -> Figure:
    """A value with its interval per subject, one line each.

    Rows have `subject`, `family`, `value`, and `low`, `high` (both or neither None), and are drawn from top to bottom as given.
    `reference` is a value to compare with and its label (chance, say). `panel` names a column of the rows: one small chart for
    each value of it.
    """
    import altair as A

    chosen, faded = choose_family()
    base = A.Chart(figure_data()).encode(y=A.Y("subject:N", sort=None, title=None), opacity=faded)
    x = axis.channel(A.X, "value")
    tips = ["subject:N", "family:N", "value:Q", *_interval_tips(rows), *([f"{panel}:N"] if panel else [])]
    colour, shape = family_colour(rows), family_shape(rows)
    layers: list[Any] = []
    if reference is not None:
        layers += _reference_line(reference, "x")
    if _has_intervals(rows):
        ends = base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(x=axis.channel(A.X, "low"), x2="high:Q", color=colour)
        layers.append(ends)
    points = base.mark_point(size=80, opacity=1).encode(x=x, color=colour, shape=shape, tooltip=tips)
    layers.append(points.add_params(chosen))
    chart: Any = A.layer(*layers)
    height = 26 * len({row["subject"] for row in rows})
    chart = _panels(chart, rows, panel, height) if panel else chart.properties(height=height)
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=alt)


def curves_with_band(
    name: str,
    title: str,
    rows: Sequence[Row],
    *,
    x: Axis,
    y: Axis,
    n: int | str,
    protocol: str,
    alt: str,
    points: bool = True,
    reference: tuple[float, str] | None = None,
    panel: str | None = None,
    own_x: bool = False,
) -> Figure:
    """Curves with a band around each.

    Rows have `series` (one curve each), `family` (its hue), `x`, `y`, and `low`, `high` (None where there is no band).
    Where several of one family meet in a panel, recipes have shades, shapes and dashes of their own, and the name of each curve
    is written beside its end. A row's own `end` is written beside it in place of that; names that would cover each other move
    apart. `reference` is a height to compare with and its label. `panel` as in `interval_dots`; `own_x` says that the panels' x
    are different things, which share no axis.
    """
    import altair as A

    named = with_kin(named_where_alike(rows, panel), panel)
    height = max(220 if panel else HEIGHT, NAME_HEIGHT * most_names(named, panel))
    placed = names_apart(named, y, height, panel)
    chosen, faded = choose_family()
    base = A.Chart(figure_data()).encode(x=x.channel(A.X, "x"), detail="series:N")
    colour, shape, dash = family_colour(placed), family_shape(placed), family_dash(placed)
    layers: list[Any] = _reference_line(reference, "y") if reference is not None else []
    if _has_intervals(rows):
        dim = A.condition(chosen, A.value(0.16), A.value(0.03))
        band = base.mark_area(line=False).encode(y=y.channel(A.Y, "low"), y2="high:Q", color=colour, opacity=dim)
        layers.append(band)
    layers.append(base.mark_line().encode(y=y.channel(A.Y, "y"), color=colour, strokeDash=dash, opacity=faded))
    tips = ["series:N", "family:N", "x:Q", "y:Q", *_interval_tips(rows)]
    dots = base.mark_point(size=46 if points else 0.5).encode(
        y=y.channel(A.Y, "y"), color=colour, shape=shape, opacity=faded, tooltip=tips
    )
    layers.append(dots)
    if any(row.get("end") is not None for row in placed):
        names = base.transform_filter("isValid(datum.end)").mark_text(align="left", dx=8, limit=160, clip=False)
        layers.append(names.encode(y=y.channel(A.Y, "end_y"), text="end:N", color=colour, opacity=faded))
    chart: Any = A.layer(*layers).add_params(chosen)
    chart = _panels(chart, placed, panel, height, own_x) if panel else chart.properties(height=height)
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=alt, drawn=placed)


def _reference_line(reference: tuple[float, str], axis: Literal["x", "y"]) -> list[Any]:
    """A thin dashed line at a value, with its label at the end."""
    import altair as A

    value, label = reference
    base = A.Chart(A.InlineData([{"at": value, "label": label}]))
    line = base.mark_rule(strokeDash=[3, 3], strokeWidth=1, color=MUTED)
    if axis == "x":
        text = base.mark_text(align="left", baseline="top", dx=4, dy=-12, color=MUTED, clip=False)
        return [line.encode(x="at:Q"), text.encode(x="at:Q", y=A.value(0), text="label:N")]
    text = base.mark_text(align="right", baseline="bottom", dy=-4, color=MUTED, clip=False)
    return [line.encode(y="at:Q"), text.encode(y="at:Q", x=A.value("width"), text="label:N")]


def _has_intervals(rows: Sequence[Row]) -> bool:
    return any(row.get("low") is not None for row in rows)


def _interval_tips(rows: Sequence[Row]) -> list[str]:
    return ["low:Q", "high:Q"] if _has_intervals(rows) else []


def _panels(chart: Any, rows: Sequence[Row], panel: str, height: int, own_x: bool = False) -> Any:
    """One small chart for each value of a column, two beside each other; they share their axes, but for an x of their own."""
    import altair as A

    def only(name: str) -> Any:
        """The layers with the rows of one panel, names of curves if it has any; a line to compare with stays as it is."""
        part = chart.copy()
        rows_of = A.FieldEqualPredicate(field=panel, equal=name)
        named = any(row.get("end") is not None for row in rows if str(row[panel]) == name)
        own = [each for each in part.layer if isinstance(each.data, A.InlineData)]
        drawn = [each for each in part.layer if each in own or named or each.encoding.text is A.Undefined]
        part.layer = [each if each in own else each.transform_filter(rows_of) for each in drawn]
        return part.properties(width=WIDTH // 2 - 80, height=height, title=A.TitleParams(name, fontSize=12))

    parts = [only(name) for name in dict.fromkeys(str(row[panel]) for row in rows)]
    with warnings.catch_warnings():
        # Every part brings the same choice of families; Altair makes one of them, as wanted, and warns that it did.
        warnings.filterwarnings("ignore", "Automatically deduplicated selection parameter")
        return A.concat(*parts, columns=2, spacing=28).resolve_scale(x="independent" if own_x else "shared", y="shared")
