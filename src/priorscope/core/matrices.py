"""Pieces that figures are made of where both axes are names: matrices, matrices in blocks, pictures in a grid."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.axis import Axis
from priorscope.core.charts import figure_data
from priorscope.core.figure import WIDTH, Figure, Row
from priorscope.core.palette import DIVERGING, INK, PAPER, RAMP


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

    Rows have `x`, `y` (names, in the order of their first appearance) and `value` (None or NaN: an empty cell); `x` and `y`
    here are the axes' titles. A diverging map has its middle at 0, or in the middle of the value's domain.
    """
    import altair as A

    columns, lines = (list(dict.fromkeys(str(row[axis]) for row in rows)) for axis in ("x", "y"))
    low, high = value.domain or _ends(rows, symmetric=diverging)
    ramp = DIVERGING if diverging else RAMP
    colours = A.Scale(
        domain=list(np.linspace(low, high, len(ramp)).round(9).tolist()), range=list(ramp), clamp=True, interpolate="rgb"
    )
    legend = A.Legend(title=value.title, orient="right", **value.number())
    across = A.Axis(labelAngle=-40 if max(map(len, columns), default=0) > 4 else 0, orient="bottom")
    base = A.Chart(figure_data()).encode(  # the names are given, because those of empty cells alone would be left out
        x=A.X("x:N", scale=A.Scale(domain=columns), title=x, axis=across), y=A.Y("y:N", scale=A.Scale(domain=lines), title=y)
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
        numbers = base.transform_filter("isValid(datum.value)").mark_text()  # of nothing it would say "null"
        chart = A.layer(cells, numbers.encode(text=A.Text("value:Q", format=value.format or ".2f"), color=ink))
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
    across, down = (len({row[axis] for row in rows}) * (side + 8) for axis in ("column", "line"))
    chart = (
        A.Chart(figure_data())
        .mark_image(width=side, height=side, smooth=False)
        .encode(
            x=A.X("column:N", sort=None, title=None, axis=A.Axis(orient="top", labelAngle=0, labelLimit=side)),
            y=A.Y("line:N", sort=None, title=None),
            url="url:N",
            tooltip=["line:N", "column:N"],
        )
        .properties(width=across, height=down)
    )
    return Figure.from_chart(name, title, chart, rows, n=n, protocol=protocol, alt=alt, drawn=drawn)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _ends(rows: Sequence[Row], *, symmetric: bool) -> tuple[float, float]:
    values = [float(row["value"]) for row in rows if row["value"] is not None and math.isfinite(row["value"])] or [0.0]
    if symmetric:
        most = max(abs(value) for value in values) or 1.0
        return -most, most
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
