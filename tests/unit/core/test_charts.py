"""Charts: that each panel and layer shows the rows that are its own."""

from __future__ import annotations

from priorscope.core.charts import Axis, interval_dots


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
