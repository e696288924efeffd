"""Charts: that each panel and layer shows the rows that are its own."""

from __future__ import annotations

import re

import numpy as np
import pytest

from priorscope.core.axis import Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.matrices import heat_blocks


def test_a_panel_shows_its_own_rows_beside_a_line_to_compare_with(tmp_path):
    """Four points in two panels are four points on paper, and two lines: the line has data of its own."""
    rows = [
        {"subject": name, "family": name, "panel": panel, "value": value, "low": value - 0.1, "high": value + 0.1}
        for name, panel, value in (("mlp", "a", 0.1), ("cnn", "a", 0.2), ("mlp", "b", 0.3), ("cnn", "b", 0.4))
    ]
    figure = interval_dots("x", "t", rows, axis=Axis("v"), n=1, protocol="p", alt="a", reference=(0.25, "half"), panel="panel")
    drawn = figure.save(tmp_path / "x.svg").read_text()
    assert drawn.count('aria-roledescription="point"') == 4
    assert drawn.count(">half<") == 2


def test_blocks_stand_apart_and_each_is_named():
    """Nine networks of two layers: 9 x 9 blocks of four cells, and no name left out, however many there are."""
    names = [f"net-{i}" for i in range(9)]
    rows = [
        {"down": down, "y": y, "across": across, "x": x, "value": 1.0 if (down, y) == (across, x) else 0.0}
        for down in names
        for y in ("in", "out")
        for across in names
        for x in ("in", "out")
    ]
    figure = heat_blocks("f", "t", rows, value=Axis("CKA", domain=(0, 1)), n=1, protocol="p", alt="a")
    svg = figure.svg()
    assert all(svg.count(f">{name}<") == 2 for name in names)
    lefts = sorted({row["left"] for row in figure.spec["datasets"]["rows"]})
    assert lefts[:4] == [0, 1, 3.5, 4.5]
    assert len(lefts) == 18


def curve(name: str, height: float, panel: str = "a") -> list[dict[str, object]]:
    return [
        {
            "series": f"{name} {panel}",
            "family": "mlp",
            "panel": panel,
            "x": x,
            "y": height,
            "low": None,
            "high": None,
            "end": end,
        }
        for x, end in ((0.0, None), (1.0, name))
    ]


def ends(figure) -> dict[str, float]:
    return {row["end"]: row["end_y"] for row in figure.spec["datasets"]["rows"] if row["end"] is not None}


def test_names_beside_curves_move_apart_and_no_further():
    """Three curves end at 0.5 on an axis of 320 pixels: names 13 apart, the middle one stays; a lone name stays where it is."""
    rows = [row for name in ("one", "two", "three") for row in curve(name, 0.5)] + curve("far", 0.9)
    unit = Axis("y", domain=(0.0, 1.0))
    figure = curves_with_band("f", "t", rows, x=unit, y=unit, n=1, protocol="p", alt="a")
    told = ends(figure)
    assert told["far"] == pytest.approx(0.9)
    assert np.diff(sorted(told[name] for name in ("one", "two", "three"))) == pytest.approx(13 / 320)
    assert np.median([told[name] for name in ("one", "two", "three")]) == pytest.approx(0.5)
    assert all("end_y" not in row for row in figure.rows)
    low = [row for name in ("one", "two", "three") for row in curve(name, 0.0)]
    told = ends(curves_with_band("f", "t", low, x=unit, y=unit, n=1, protocol="p", alt="a"))
    assert sorted(told.values()) == pytest.approx([0, 13 / 320, 26 / 320])


@pytest.mark.parametrize(
    ("scale", "domain", "height"),
    [("log", (1.0, 1000.0), np.log), ("sqrt", (0.0, 100.0), np.sqrt), ("symlog", (0.0, 1000.0), np.log1p)],
)
def test_names_move_apart_on_every_scale(scale, domain, height):
    """13 of 320 pixels lie between neighbours, whatever numbers these pixels stand for."""
    rows = [row for name in ("one", "two", "three") for row in curve(name, 10.0)]
    axis = Axis("y", scale=scale, domain=domain)
    told = ends(curves_with_band("f", "t", rows, x=Axis("x"), y=axis, n=1, protocol="p", alt="a"))
    pixels = 320 * (height(sorted(told.values())) - height(domain[0])) / (height(domain[1]) - height(domain[0]))
    assert np.diff(pixels) == pytest.approx(13)
    assert np.median(list(told.values())) == pytest.approx(10)


def test_names_of_curves_that_all_end_at_the_same_value_move_apart():
    rows = [row for name in ("one", "two") for row in curve(name, 0.0)]
    told = ends(curves_with_band("f", "t", rows, x=Axis("x"), y=Axis("y"), n=1, protocol="p", alt="a"))
    assert told["one"] != told["two"]


def test_a_scale_that_numbers_do_not_show_is_named():
    import altair

    assert Axis("error", scale="sqrt").channel(altair.X, "x").to_dict()["axis"]["title"] == "error, square-root scale"
    assert Axis("error").channel(altair.X, "x").to_dict()["axis"]["title"] == "error"


def test_curves_of_one_family_in_a_panel_bear_their_names():
    """Two MLPs meet in panel a; in panel b each curve has its own colour. Where there are too many, none is named."""
    plain = {"family": "mlp", "low": None, "high": None}
    rows = [
        {**plain, "series": name, "family": name.rstrip("12"), "panel": panel, "x": x, "y": 0.1 * len(name) + x}
        for name, panel in (("mlp1", "a"), ("mlp2", "a"), ("cnn", "a"), ("mlp1", "b"), ("cnn", "b"))
        for x in (0.5, 0.0)
    ]
    axis = Axis("y", domain=(0.0, 1.0))
    figure = curves_with_band("f", "t", rows, x=axis, y=axis, n=1, protocol="p", alt="a", panel="panel")
    named = [(row["series"], row["panel"], row["x"]) for row in figure.spec["datasets"]["rows"] if row.get("end")]
    assert named == [("mlp1", "a", 0.5), ("mlp2", "a", 0.5)]
    assert all("end" not in row for row in figure.rows)
    for count, told in ((24, 24), (25, 0)):  # 13 pixels a name, 320 of height
        crowd = [{**plain, "series": f"mlp{i}", "x": x, "y": 0.5} for i in range(count) for x in (0.0, 1.0)]
        figure = curves_with_band("f", "t", crowd, x=axis, y=axis, n=1, protocol="p", alt="a")
        assert sum(bool(row.get("end")) for row in figure.spec["datasets"]["rows"]) == told


def test_a_name_of_several_curves_stands_once_in_each_panel():
    rows = [row for height in (0.2, 0.4) for panel in "ab" for row in curve("untrained", height, panel)]
    unit = Axis("y", domain=(0.0, 1.0))
    figure = curves_with_band("f", "t", rows, x=unit, y=unit, n=1, protocol="p", alt="a", panel="panel")
    assert figure.svg().count(">untrained<") == 2
    assert ends(figure) == {"untrained": pytest.approx(0.3)}


def test_a_title_fits_above_views_that_are_narrower_than_it():
    """Five small charts, and a gallery of one column: the longest line of title and subtitle ends within the picture."""
    import altair as A

    from priorscope.core.figure import ROWS, Figure
    from priorscope.core.matrices import gallery

    part = A.Chart(A.NamedData(ROWS)).mark_point().encode(x="x:Q").properties(width=94, height=80)
    words = "From severity 1 to 5 the error of a network grows most under contrast: by 66 points"
    charts = A.concat(*[part] * 5, columns=5, spacing=14)
    narrow = gallery("g", words, [("a", "b", np.zeros((8, 8, 3), np.uint8))], n=1, protocol=words * 2, alt="a")
    for figure in (Figure.from_chart("f", words, charts, [{"x": 1}], n=1, protocol="p", alt="a"), narrow):
        svg = figure.svg()
        title = re.search(r'role-title".*', svg, re.DOTALL)
        assert title
        longest = max(len(line) for line in re.findall(r">([^<>]{20,})<", title[0]))
        assert longest >= 60
        width = float(re.search(r'width="([0-9.]+)"', svg)[1])  # type: ignore[index]
        assert 8.2 * longest < width
