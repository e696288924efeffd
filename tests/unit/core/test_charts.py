"""Charts: that each panel and layer shows the rows that are its own."""

from __future__ import annotations

from priorscope.core.charts import Axis, heat_blocks, interval_dots


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
