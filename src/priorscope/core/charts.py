"""Pieces that figures are made of: values with intervals, curves with bands, matrices, pictures in a grid.

And the channels by which a family looks the same in all of them.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from priorscope.core.figure import DIVERGING, INK, MUTED, PAPER, RAMP, ROWS, STYLES, WIDTH, Figure, Row, colour_of, style_of

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
    """The colour channel of rows with a `family`."""
    import altair as alt

    families = families_of(rows)
    scale = alt.Scale(domain=families, range=[colour_of(family) for family in families])
    shown: dict[str, Any] = {} if legend and len(families) > 1 else {"legend": None}
    return alt.Color("family:N", scale=scale, title=None, **shown)


def family_shape(rows: Sequence[Row], *, legend: bool = True) -> alt.Shape:
    """The point-shape channel of rows with a `family`; its legend merges with the colour's."""
    import altair as alt

    families = families_of(rows)
    scale = alt.Scale(domain=families, range=[style_of(family).shape for family in families])
    shown: dict[str, Any] = {} if legend and len(families) > 1 else {"legend": None}
    return alt.Shape("family:N", scale=scale, title=None, **shown)


def family_dash(rows: Sequence[Row]) -> alt.StrokeDashValue:
    """The dash channel of rows with a `family`; by conditions and not by a scale, which would dash the legend's points too."""
    import altair as alt

    known = [family for family in families_of(rows) if family in STYLES]
    conditions = [{"test": f"datum.family === '{family}'", "value": list(style_of(family).dash)} for family in known]
    return alt.StrokeDashValue(list(style_of("other").dash), condition=conditions)  # pyright: ignore[reportArgumentType]


def choose_family() -> tuple[alt.Parameter, alt.Opacity]:
    """A click on the legend brings one family forward (shift-click: several); the channel that fades the others."""
    import altair as alt

    chosen = alt.selection_point(name="chosen", fields=["family"], bind="legend")
    return chosen, alt.condition(chosen, alt.value(1.0), alt.value(0.12))  # pyright: ignore[reportReturnType]


Scale = Literal["linear", "log", "symlog", "sqrt"]


@dataclass(frozen=True)
class Axis:
    """A quantitative axis: its title with the unit, its scale, its ends (not set: the data's) and d3's number format.

    `counts` says that there is nothing between whole numbers.
    """

    title: str
    scale: Scale = "linear"
    domain: tuple[float, float] | None = None
    format: str | None = None
    counts: bool = False

    def number(self) -> dict[str, Any]:
        return ({} if self.format is None else {"format": self.format}) | ({"tickMinStep": 1} if self.counts else {})

    def channel(self, kind: type[Any], column: str) -> Any:
        import altair as alt

        ends: dict[str, Any] = (
            {"nice": True, "padding": 8} | ({} if self.scale == "log" else {"zero": False})
            if self.domain is None
            else {"domain": list(self.domain), "nice": False}
        )
        axis = alt.Axis(title=self.title, **self.number())
        return kind(f"{column}:Q", axis=axis, scale=alt.Scale(type=self.scale, **ends))


SHARE = Axis("share", domain=(0.0, 1.0), format=".0%")
"""An axis from 0 % to 100 %."""


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

    Rows have `series` (one curve each), `family` (its colour), `x`, `y`, and `low`, `high` (None where there is no band).
    Where a row has an `end` that is not None, the curve's name is written beside it: for curves of one family, which look the
    same. `reference` is a height to compare with and its label. `panel` as in `interval_dots`; `own_x` says that the panels' x
    are different things, which share no axis.
    """
    import altair as A

    chosen, faded = choose_family()
    base = A.Chart(figure_data()).encode(x=x.channel(A.X, "x"), detail="series:N")
    colour, shape = family_colour(rows), family_shape(rows)
    layers: list[Any] = _reference_line(reference, "y") if reference is not None else []
    if _has_intervals(rows):
        dim = A.condition(chosen, A.value(0.16), A.value(0.03))
        band = base.mark_area(line=False).encode(y=y.channel(A.Y, "low"), y2="high:Q", color=colour, opacity=dim)
        layers.append(band)
    layers.append(base.mark_line().encode(y=y.channel(A.Y, "y"), color=colour, strokeDash=family_dash(rows), opacity=faded))
    tips = ["series:N", "family:N", "x:Q", "y:Q", *_interval_tips(rows)]
    dots = base.mark_point(size=46 if points else 0.5).encode(
        y=y.channel(A.Y, "y"), color=colour, shape=shape, opacity=faded, tooltip=tips
    )
    layers.append(dots)
    if any(row.get("end") is not None for row in rows):
        names = base.transform_filter("isValid(datum.end)").mark_text(align="left", dx=8, limit=120)
        layers.append(names.encode(y=y.channel(A.Y, "y"), text="end:N", color=colour, opacity=faded))
    chart: Any = A.layer(*layers).add_params(chosen)
    chart = _panels(chart, rows, panel, 220, own_x) if panel else chart
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=alt)


def heat_map(
    name: str,
    title: str,
    rows: Sequence[Row],
    *,
    x: str,
    y: str,
    value: Axis,
    n: int | str,
    protocol: str,
    alt: str,
    diverging: bool = False,
) -> Figure:
    """A matrix of values as colours and numbers.

    Rows have `x`, `y` (names, in the order of their first appearance) and `value`; `x` and `y` here are the axes' titles. A
    diverging map has its middle at 0, or in the middle of the value's domain.
    """
    import altair as A

    columns, lines = (list(dict.fromkeys(str(row[axis]) for row in rows)) for axis in ("x", "y"))
    low, high = value.domain or _ends(rows, symmetric=diverging)
    ramp = DIVERGING if diverging else RAMP
    colours = A.Scale(
        domain=list(np.linspace(low, high, len(ramp)).round(9).tolist()), range=list(ramp), clamp=True, interpolate="rgb"
    )
    legend = A.Legend(title=value.title, orient="right", **value.number())
    base = A.Chart(figure_data()).encode(
        x=A.X("x:N", sort=None, title=x, axis=A.Axis(labelAngle=-40 if max(map(len, columns)) > 4 else 0, orient="bottom")),
        y=A.Y("y:N", sort=None, title=y),
    )
    cells = base.mark_rect(stroke=PAPER, strokeWidth=1).encode(
        color=A.Color("value:Q", scale=colours, legend=legend), tooltip=["y:N", "x:N", "value:Q"]
    )
    chart: Any = cells
    if len(columns) <= 12 and len(lines) <= 24:
        far = (
            f"abs(datum.value - {(low + high) / 2!r}) > {0.32 * (high - low)!r}"
            if diverging
            else f"datum.value > {(low + high) / 2!r}"
        )
        ink = A.when(far).then(A.value(PAPER)).otherwise(A.value(INK))
        chart = A.layer(cells, base.mark_text().encode(text=A.Text("value:Q", format=value.format or ".2f"), color=ink))
    chart = chart.properties(height=len(lines) * (30 if len(lines) <= 24 else 12))
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=alt)


def heat_blocks(
    name: str,
    title: str,
    rows: Sequence[Row],
    *,
    value: Axis,
    n: int | str,
    protocol: str,
    alt: str,
) -> Figure:
    """Matrices of values as colours, laid out as blocks of one: `down` and `across` name a row's block, `y` and `x` its cell.

    Blocks and cells come in the order of their first appearance, cells from left to right and from top to bottom.
    """
    import altair as A

    lines, tops = _laid_out([(str(row["down"]), str(row["y"])) for row in rows])
    columns, lefts = _laid_out([(str(row["across"]), str(row["x"])) for row in rows])
    drawn = [
        {**row, "left": left, "right": left + 1, "top": top, "bottom": top + 1}
        for row in rows
        for left, top in [(columns[str(row["across"]), str(row["x"])], lines[str(row["down"]), str(row["y"])])]
    ]
    low, high = value.domain or _ends(rows, symmetric=False)
    colours = A.Scale(
        domain=np.linspace(low, high, len(RAMP)).round(9).tolist(), range=list(RAMP), clamp=True, interpolate="rgb"
    )

    def axis(names: dict[str, float], **how: Any) -> A.Axis:
        labels = json.dumps({f"{middle:g}": name for name, middle in names.items()})
        named = f"{labels}[format(datum.value, '~g')]"
        ticks = list(names.values())  # counted, because of more than the theme's count Vega draws every second one
        return A.Axis(values=ticks, tickCount=len(ticks), labelExpr=named, title=None, grid=False, **how)

    width, height = (max(end.values()) + 1 for end in (columns, lines))
    chart = (
        A.Chart(figure_data())
        .mark_rect()
        .encode(
            x=A.X("left:Q", scale=A.Scale(domain=[0, width], nice=False), axis=axis(lefts, labelAngle=-40)),
            y=A.Y("top:Q", scale=A.Scale(domain=[0, height], nice=False, reverse=True), axis=axis(tops)),
            x2="right:Q",
            y2="bottom:Q",
            color=A.Color("value:Q", scale=colours, legend=A.Legend(title=value.title, orient="right", **value.number())),
            tooltip=["down:N", "y:N", "across:N", "x:N", "value:Q"],
        )
        .properties(height=round(WIDTH * height / width * 0.8))
    )
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=alt, drawn=drawn)


def _laid_out(cells: Sequence[tuple[str, str]]) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Where each cell of blocks begins, blocks apart by a cell and a half; and the middle of each block."""
    starts: dict[tuple[str, str], float] = {}
    ends: dict[str, tuple[float, float]] = {}
    at, last = 0.0, None
    for block, cell in dict.fromkeys(cells):
        at += 1.5 if last is not None and block != last else 0.0
        starts[block, cell] = at
        ends[block] = (ends.get(block, (at, at))[0], at + 1)
        at, last = at + 1, block
    return starts, {block: (first + end) / 2 for block, (first, end) in ends.items()}


def gallery(
    name: str,
    title: str,
    pictures: Sequence[tuple[str, str, NDArray[np.uint8]]],
    *,
    n: int | str,
    protocol: str,
    alt: str,
    side: int = 72,
) -> Figure:
    """Pictures in a grid: each is the name of its line, the name of its column and its pixels (uint8, H x W x 3 or H x W).

    Small pictures are shown with their pixels as squares, not smoothed: what is seen is what the network saw. The data behind
    it are the names; the pixels are in the spec.
    """
    import altair as A

    rows = [{"line": line, "column": column} for line, column, _ in pictures]
    drawn = [{**row, "url": _png(pixels)} for row, (_, _, pixels) in zip(rows, pictures, strict=True)]
    chart = (
        A.Chart(figure_data())
        .mark_image(width=side, height=side, smooth=False)
        .encode(
            x=A.X("column:N", sort=None, title=None, axis=A.Axis(orient="top", labelAngle=0, labelLimit=side)),
            y=A.Y("line:N", sort=None, title=None),
            url="url:N",
            tooltip=["line:N", "column:N"],
        )
        .properties(width={"step": side + 8}, height={"step": side + 8})
    )
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=alt, drawn=drawn)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _ends(rows: Sequence[Row], *, symmetric: bool) -> tuple[float, float]:
    values = [float(row["value"]) for row in rows if row["value"] is not None] or [0.0]
    if symmetric:
        most = max(abs(value) for value in values) or 1.0
        return -most, most
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _reference_line(reference: tuple[float, str], axis: Literal["x", "y"]) -> list[Any]:
    """A thin dashed line at a value, with its label at the end."""
    import altair as A

    value, label = reference
    base = A.Chart(A.InlineData([{"at": value, "label": label}]))
    line = base.mark_rule(strokeDash=[3, 3], strokeWidth=1, color=MUTED)
    if axis == "x":
        text = base.mark_text(align="left", baseline="top", dx=4, dy=-12, color=MUTED)
        return [line.encode(x="at:Q"), text.encode(x="at:Q", y=A.value(0), text="label:N")]
    text = base.mark_text(align="right", baseline="bottom", dy=-4, color=MUTED)
    return [line.encode(y="at:Q"), text.encode(y="at:Q", x=A.value("width"), text="label:N")]


def _has_intervals(rows: Sequence[Row]) -> bool:
    return any(row.get("low") is not None for row in rows)


def _interval_tips(rows: Sequence[Row]) -> list[str]:
    return ["low:Q", "high:Q"] if _has_intervals(rows) else []


def _panels(chart: Any, rows: Sequence[Row], panel: str, height: int, own_x: bool = False) -> Any:
    """One small chart for each value of a column, two beside each other; they share their axes, but for an x of their own."""
    import altair as A

    def only(name: str) -> Any:
        """The layers with the rows of one panel; what has data of its own, a line to compare with, stays as it is."""
        part = chart.copy()
        rows_of = A.FieldEqualPredicate(field=panel, equal=name)
        part.layer = [each if isinstance(each.data, A.InlineData) else each.transform_filter(rows_of) for each in part.layer]
        return part.properties(width=WIDTH // 2 - 80, height=height, title=A.TitleParams(name, fontSize=12))

    parts = [only(name) for name in dict.fromkeys(str(row[panel]) for row in rows)]
    with warnings.catch_warnings():
        # Every part brings the same choice of families; Altair makes one of them, as wanted, and warns that it did.
        warnings.filterwarnings("ignore", "Automatically deduplicated selection parameter")
        return A.concat(*parts, columns=2, spacing=28).resolve_scale(x="independent" if own_x else "shared", y="shared")
