"""A figure: a Vega-Lite chart with the data behind it, its n, its protocol and a text alternative.

A figure is declared once and shown everywhere: interactive in the page, as SVG in a notebook, as SVG, PDF or PNG for a paper,
as CSV for whoever wants the numbers. It says its answer in its title. Two themes, light and dark, hold for every figure,
and `palette` says what everything looks like.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home, write_bytes, write_text
from priorscope.core.palette import ACCENT, DIVERGING, GRID, INK, MUTED, PAPER, RAMP, in_dark

if TYPE_CHECKING:
    import altair as alt

Row = Mapping[str, Any]
"""One row of the data behind a figure: plain numbers, text and None."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
WIDTH, HEIGHT, PADDING = 640, 320, 12
"""Pixels of a figure that does not say its own size: on paper; in the page the width is the column's."""

ROOM = 24
"""Pixels on either side of a drawing for fonts that are wider than the one it was laid out for, as Linux's are."""

_DRAWING = re.compile(r'(<svg [^>]*?)width="(\d+)" height="(\d+)" viewBox="0 0 \2 \3">(<rect) width="\2" height="\3"( )')

ROWS = "rows"
"""What a figure's data is called in its spec."""

FORMATS = (".svg", ".pdf", ".png", ".html", ".csv")

THEME: Plain = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "title": {
        "anchor": "start",
        "color": INK,
        "fontSize": 15,
        "fontWeight": 600,
        "subtitleColor": MUTED,
        "subtitleFontSize": 12,
        "offset": 14,
        "frame": "group",
    },
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "titlePadding": 10,
        "labelPadding": 6,
        "labelLimit": 220,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "gridColor": GRID,
        "domain": False,
        "ticks": False,
    },
    "axisQuantitative": {"tickCount": 6},
    "axisDiscrete": {"grid": False},
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "labelFontWeight": 600, "titleFontSize": 12},
    "legend": {
        "orient": "top",
        "titleColor": MUTED,
        "labelColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 400,
        "symbolSize": 90,
        "symbolOpacity": 1,
        "columnPadding": 14,
        "columns": 5,
        "labelLimit": 200,
    },
    "line": {"strokeWidth": 2},
    "point": {"size": 70, "filled": True},
    "rule": {"color": MUTED},
    "text": {"color": INK, "fontSize": 11},
    "bar": {"color": ACCENT},
    "range": {"ramp": list(RAMP), "heatmap": list(RAMP), "diverging": list(DIVERGING)},
}
"""The one theme, in light colours; `in_dark` makes the other."""


def with_room(svg: str) -> str:
    """A drawing of vl-convert's, `ROOM` wider on both sides."""

    def wider(found: re.Match[str]) -> str:
        start, width, height, paper, rest = found.groups()
        side = f'width="{int(width) + 2 * ROOM}" height="{height}"'
        return f'{start}{side} viewBox="{-ROOM} 0 {int(width) + 2 * ROOM} {height}">{paper} x="{-ROOM}" {side}{rest}'

    return _DRAWING.sub(wider, svg, count=1)


def inline_json(value: Any) -> str:
    """JSON that may stand inside a <script> element whatever its strings say: no tag or comment can begin in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def charting_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script (0.9 MB) that needs no network; it defines `vegaEmbed`."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed; window.vega = vega;").replace("</script", "<\\/script")


@dataclass(frozen=True)
class Figure:
    """A chart that answers one question.

    `name` is the stem of its files, `title` says the answer, `spec` is Vega-Lite with the data inlined, without title or
    theme, `rows` is the data drawn, `n` and `protocol` say what it stands on, `alt` says in words what it shows, and `command`
    makes it again.
    """

    name: str
    title: str
    spec: Plain
    rows: Sequence[Row] = field(repr=False)
    n: int | str
    protocol: str
    alt: str
    command: str = ""

    @classmethod
    def from_chart(
        cls,
        name: str,
        title: str,
        chart: alt.TopLevelMixin,
        rows: Sequence[Row],
        *,
        n: int | str,
        protocol: str,
        alt: str,
        command: str = "",
        drawn: Sequence[Row] | None = None,
    ) -> Figure:
        """A figure from an Altair chart whose data is `figure_data()`, which stands for `rows`.

        `drawn` is what is drawn where that is more than the numbers behind it: rows with pictures in them. The rows are put
        into the spec here and never pass through Altair, which would copy and check each of them many times.
        """
        spec = chart.to_dict()
        spec.pop("config", None)
        told = tuple(_plain(row) for row in rows)
        own = list(told) if drawn is None else [_plain(row) for row in drawn]
        spec["datasets"] = {**spec.get("datasets", {}), ROWS: own}
        return cls(name, title, spec, told, n, protocol, alt, command)

    def themed(self, *, dark: bool = False, title: bool = True) -> Plain:
        """The whole spec as it is drawn outside of the page: with size, theme, text alternative and, if asked, title."""
        spec = {**self.spec, "description": self.alt, "config": THEME, "padding": PADDING}
        if title:
            spec["title"] = {
                "text": textwrap.wrap(self.title, 72),
                "subtitle": textwrap.wrap(f"{_n(self.n)} {self.protocol}", 92),
            }
            room = max(0.0, WIDTH - _width_of(spec))  # beyond the end of narrow views a title would be cut off
            spec["padding"] = {"left": PADDING, "top": PADDING, "bottom": PADDING, "right": PADDING + room}
        if _sizes_itself(spec):
            spec.setdefault("width", WIDTH)
            spec.setdefault("height", HEIGHT)
        themed = in_dark(spec) if dark else spec
        return {**themed, "background": in_dark(PAPER) if dark else PAPER}

    def svg(self, *, dark: bool = False, title: bool = True) -> str:
        """The figure as SVG text, with the text alternative as its label."""
        import vl_convert

        drawn = with_room(vl_convert.vegalite_to_svg(self.themed(dark=dark, title=title)))
        return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(self.alt)}" ', 1)

    def csv(self) -> str:
        """The data behind the figure as CSV text."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({column: _cell(value) for column, value in row.items()} for row in self.rows)
        return text.getvalue()

    def html(self, *, dark: bool = False) -> str:
        """The figure as a page of its own: interactive, one file, no network."""
        return _PAGE.format(
            title=escape(self.title),
            ground=in_dark(PAPER) if dark else PAPER,
            script=charting_script(),
            spec=inline_json(self.themed(dark=dark)),
        )

    def save(self, path: Path | str, *, dark: bool = False) -> Path:
        """Writes the figure in the format that the path's ending names: .svg, .pdf, .png (twice the pixels), .html or .csv."""
        path = at_home(path)
        ending = path.suffix.lower()
        if ending not in FORMATS:
            raise RequestError(
                f"A figure cannot be saved as {path.name!r}.",
                f"a name that ends in one of: {', '.join(FORMATS)}",
                f"{path.stem}.svg",
            )
        if ending == ".csv":
            write_text(path, self.csv())
        elif ending == ".html":
            write_text(path, self.html(dark=dark))
        elif ending == ".svg":
            write_text(path, self.svg(dark=dark))
        else:
            write_bytes(path, _picture(self.themed(dark=dark), ending))
        return path

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows."""
        return {"image/svg+xml": self.svg(), "text/plain": f"{self.title} {self.alt}"}


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:">
<style>body{{margin:1rem;background:{ground}}}</style>
<div id="figure"></div>
<script>{script}</script>
<script>vegaEmbed("#figure", {spec}, {{actions: false, renderer: "svg"}});</script>
</html>
"""


def _n(n: int | str) -> str:
    return f"n = {n:,}." if isinstance(n, int) else f"{n.rstrip('.')}."


def _plain(row: Row) -> dict[str, Any]:
    """A row as JSON holds it: numpy's numbers as Python's, what is not finite as None."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in plain.items()}


def _cell(value: Any) -> Any:
    return "" if value is None else value


def _sizes_itself(spec: Plain) -> bool:
    """Whether a width may be put on the spec: views beside each other carry their own."""
    return not any(part in spec for part in ("hconcat", "vconcat", "concat", "facet", "repeat"))


def _width_of(spec: Plain) -> float:
    """Pixels that the views are wide; those that do not say it are as wide as a figure."""
    if "concat" in spec:
        views = spec["concat"]
        columns = min(int(spec.get("columns", len(views))), len(views))
        return sum(_width_of(view) for view in views[:columns]) + (columns - 1) * float(spec.get("spacing", 20))
    own = spec.get("width")
    return float(own) if isinstance(own, int | float) else WIDTH


def _picture(spec: Plain, ending: str) -> bytes:
    import vl_convert

    if ending == ".pdf":
        return vl_convert.vegalite_to_pdf(spec)
    return vl_convert.vegalite_to_png(spec, scale=2)
