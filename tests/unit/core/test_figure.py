from __future__ import annotations

import csv
import io
import itertools
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from priorscope.core.axis import Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.errors import RequestError
from priorscope.core.figure import ROOM, THEME, Figure, inline_json
from priorscope.core.matrices import gallery, heat_map
from priorscope.core.palette import DARK_OF, PAPER, SHADES, STYLES, in_dark, style_of

ROWS = [
    {"subject": "mlp-s0", "family": "mlp", "value": 0.5, "low": 0.4, "high": 0.6},
    {"subject": "cnn-s0", "family": "cnn", "value": 0.7, "low": 0.6, "high": 0.8},
]


def dots(name: str = "accuracy", title: str = "CNN is ahead") -> Figure:
    return interval_dots(
        name,
        title,
        ROWS,
        axis=Axis("accuracy", format=".0%"),
        n=100,
        protocol="Test split.",
        alt="Two dots.",
        reference=(0.1, "chance"),
    )


# Colours: measured, not believed ---------------------------------------------------------------------------------------------

# Machado, Oliveira & Fernandes, IEEE TVCG 15 (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}


def linear(colour: str) -> NDArray[np.float64]:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    x = to_xyz @ rgb / [0.95047, 1.0, 1.08883]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def colour_of(family: str, *, dark: bool, kin: int = 0) -> str:
    return style_of(family, kin).dark if dark else style_of(family, kin).light


def test_contrast_formula_against_known_values() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    np.testing.assert_allclose(lab(linear("#ff0000")), [53.24, 80.09, 67.20], atol=0.05)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("family", STYLES)
def test_family_colours_stand_out_from_the_ground(family: str, dark: bool) -> None:
    assert contrast(colour_of(family, dark=dark), in_dark(PAPER) if dark else PAPER) >= 3


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("family", STYLES)
def test_a_familys_shades_stand_out_and_stay_apart_in_grey_and_keep_its_hue(family: str, dark: bool) -> None:
    shades = [colour_of(family, dark=dark, kin=kin) for kin in range(len(SHADES))]
    ground = in_dark(PAPER) if dark else PAPER
    assert all(contrast(shade, ground) >= 3 for shade in shades)
    assert all(contrast(one, other) >= 1.25 for one, other in itertools.combinations(shades, 2))
    own = linear(shades[0])
    for shade, (i, j) in itertools.product(map(linear, shades[1:]), itertools.permutations(range(3), 2)):
        assert own[i] < own[j] or shade[i] >= shade[j]  # as much red before green before blue as its own
    assert colour_of(family, dark=dark, kin=len(SHADES)) == shades[0]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_no_two_families_look_alike_to_the_colour_blind(deficiency: str, dark: bool) -> None:
    seen = {f: lab(np.clip(DEFICIENCIES[deficiency] @ linear(colour_of(f, dark=dark)), 0, 1)) for f in STYLES}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 14, (one, other)  # 2.3 is just noticeable side by side


@pytest.mark.parametrize("dark", [False, True])
def test_text_of_the_theme_reads_on_its_ground(dark: bool) -> None:
    theme, ground = (in_dark(THEME), in_dark(PAPER)) if dark else (THEME, PAPER)
    for colour in (
        theme["axis"]["labelColor"],
        theme["axis"]["titleColor"],
        theme["legend"]["labelColor"],
        theme["title"]["subtitleColor"],
    ):
        assert contrast(colour, ground) >= 4.5


def test_families_differ_without_colour() -> None:
    looks = {(style.shape, style.dash) for style in STYLES.values()}
    assert len(looks) == len(STYLES)
    assert len({style.dash for style in STYLES.values()}) == len(STYLES)


def test_what_is_drawn_beside_another_of_its_family_differs_from_it_without_colour() -> None:
    """Ten recipes of a family: ten pairs of a shape and dashes."""
    for family in STYLES:
        looks = {(style.shape, style.dash) for style in (style_of(family, kin) for kin in range(len(STYLES)))}
        assert len(looks) == len(STYLES)


def test_recipes_of_a_family_are_told_apart_in_a_drawing_and_seeds_are_not() -> None:
    """Two seeds of one MLP, one of another, a CNN: three looks on paper, two of them those of the families."""
    rows = [
        {"series": name, "family": name[:3], "x": x, "y": x * height, "low": None, "high": None}
        for height, name in enumerate(("mlp-s0", "mlp-s1", "mlp-wide-s0", "cnn-s0"), 1)
        for x in (0.0, 1.0)
    ]
    axis = Axis("y")
    drawn = curves_with_band("f", "t", rows, x=axis, y=axis, n=1, protocol="p", alt="a").svg()
    lines = re.findall(
        r'roledescription="line mark" d="[^"]*" stroke="(#\w+)" stroke-width="2" stroke-dasharray="([^"]*)"', drawn
    )
    own = [(style.light, ",".join(map(str, style.dash))) for style in (STYLES["mlp"], style_of("mlp", 1), STYLES["cnn"])]
    assert sorted(lines) == sorted([own[0], *own])


def test_an_unknown_family_looks_like_other() -> None:
    assert style_of("resnet") == STYLES["other"]


def test_dark_replaces_every_colour_and_nothing_else() -> None:
    spec = {"a": [PAPER, "#123456", 3], "b": {"c": STYLES["mlp"].light}, "text": "mlp"}
    assert in_dark(spec) == {"a": [DARK_OF[PAPER], "#123456", 3], "b": {"c": STYLES["mlp"].dark}, "text": "mlp"}
    assert len(set(DARK_OF.values()) & set(DARK_OF)) == 0, "a dark colour that is also a light one would be replaced twice"


# Figures -------------------------------------------------------------------------------------------------------------------


def test_importing_figures_imports_no_charting_library() -> None:
    code = "import sys, priorscope.core.charts; print([m for m in ('altair', 'vl_convert', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_equal_charts_give_equal_specs_whatever_was_drawn_before() -> None:
    first = dots()
    curves_with_band(
        "c",
        "c",
        [{"series": "a", "family": "mlp", "x": 1, "y": 1.0, "low": 0.0, "high": 2.0}],
        x=Axis("epoch"),
        y=Axis("loss"),
        n=1,
        protocol="p",
        alt="a",
    )
    assert json.dumps(first.spec) == json.dumps(dots().spec)


@pytest.mark.parametrize(
    ("ending", "begins"),
    [("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG"), ("html", b"<!doctype"), ("csv", b"subject,")],
)
def test_saves_in_every_format(tmp_path: Path, ending: str, begins: bytes) -> None:
    path = dots().save(tmp_path / f"figure.{ending}")
    assert path.read_bytes().startswith(begins)


def test_refuses_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refused:
        dots().save(tmp_path / "figure.gif")
    assert str(refused.value) == (
        "A figure cannot be saved as 'figure.gif'.\n"
        "  wanted: a name that ends in one of: .svg, .pdf, .png, .html, .csv\n  try:    figure.svg"
    )


def test_csv_holds_the_data_drawn() -> None:
    read = list(csv.DictReader(io.StringIO(dots().csv())))
    assert [{**row, "value": float(row["value"]), "low": float(row["low"]), "high": float(row["high"])} for row in read] == ROWS


def test_rows_are_plain_whatever_numpy_made_of_them() -> None:
    rows = [{**ROWS[0], "value": np.float32(0.5), "low": np.float64("nan"), "high": float("inf"), "seeds": np.int64(3)}]
    figure = interval_dots("f", "t", rows, axis=Axis("v"), n=1, protocol="p", alt="a")
    assert figure.rows == ({"subject": "mlp-s0", "family": "mlp", "value": 0.5, "low": None, "high": None, "seeds": 3},)
    assert json.loads(inline_json(figure.spec))["datasets"]["rows"] == list(figure.rows)


def test_csv_leaves_what_is_not_known_empty() -> None:
    rows = [{"a": 1, "b": None}, {"a": 'x "y", z', "c": 2.5}]
    figure = Figure("n", "t", {}, rows, 1, "p", "a")
    assert list(csv.reader(io.StringIO(figure.csv()))) == [["a", "b", "c"], ["1", "", ""], ['x "y", z', "", "2.5"]]


def test_svg_says_the_title_the_n_and_the_alternative() -> None:
    svg = dots(title="CNN is ahead by 20 points").svg()
    assert "CNN is ahead by 20 points" in svg
    assert "n = 100. Test split." in svg
    assert 'aria-label="Two dots."' in svg
    assert f'fill="{STYLES["mlp"].light}"' in svg


def test_a_drawing_has_room_for_wider_fonts_on_both_sides_and_paper_behind_all_of_it() -> None:
    svg = dots().svg()
    width, height, left, whole, high = (
        int(found) for found in re.search(r'width="(\d+)" height="(\d+)" viewBox="(-?\d+) 0 (\d+) (\d+)"', svg).groups()
    )
    assert (width, height) == (whole, high)
    assert left == -ROOM
    assert f'<rect x="{-ROOM}" width="{width}" height="{height}" fill=' in svg
    assert float(re.search(r"translate\((\d+),", svg)[1]) < width - 2 * ROOM


def test_html_cannot_be_broken_by_a_name(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "subject": "</script><script>alert(1)</script><!--"}]
    figure = interval_dots("f", "<b>t</b>", rows, axis=Axis("v"), n=1, protocol="p", alt="a")
    text = figure.save(tmp_path / "f.html").read_text()
    assert "<script>alert" not in text
    assert text.count("</script>") == 2
    assert "<title>&lt;b&gt;t&lt;/b&gt;</title>" in text


def test_inline_json_reads_back_equal_and_holds_no_markup() -> None:
    value = {"name": "</script><!--<b>&\u2028\u2029", "n": [1, 2.5, None]}
    text = inline_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>\u2028\u2029")


def test_a_notebook_shows_a_picture() -> None:
    bundle = dots()._repr_mimebundle_()  # pyright: ignore[reportPrivateUsage]
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"] == "CNN is ahead Two dots."


# Pieces --------------------------------------------------------------------------------------------------------------------


def marks(svg: str, kind: str) -> int:
    return svg.count(f'aria-roledescription="{kind}"')


def test_dots_draw_one_point_and_one_rule_a_row() -> None:
    svg = dots().svg()
    assert marks(svg, "point") == 2
    assert marks(svg, "rule mark") == 2 + 1  # and the reference


def test_panels_split_the_rows() -> None:
    rows = [{**row, "at": at} for at in ("clean", "noisy") for row in ROWS]
    figure = interval_dots("f", "t", rows, axis=Axis("v"), n=1, protocol="p", alt="a", panel="at")
    svg = figure.svg()
    assert marks(svg, "point") == 4
    assert ">clean<" in svg
    assert ">noisy<" in svg


def test_curves_draw_one_line_a_series_and_a_band_where_there_is_one() -> None:
    rows = [
        {"series": series, "family": "mlp", "x": x, "y": 0.1 * x, "low": 0.0, "high": 0.2 * x}
        for series in ("a", "b")
        for x in (1, 2, 3)
    ]
    draw = partial(curves_with_band, "f", "t", x=Axis("epoch"), y=Axis("loss"), n=1, protocol="p", alt="a")
    with_band = draw(rows=rows).svg()
    assert marks(with_band, "line mark") == 2
    assert marks(with_band, "area mark") == 2
    bare = draw(rows=[{**row, "low": None, "high": None} for row in rows]).svg()
    assert marks(bare, "area mark") == 0


def test_a_heat_map_says_every_number() -> None:
    rows = [
        {"x": x, "y": y, "value": value}
        for (x, y), value in zip(itertools.product("ab", "cd"), (0.11, 0.22, 0.33, 0.44), strict=True)
    ]
    svg = heat_map("f", "t", rows, x="target", y="source", value=Axis("rate"), n=1, protocol="p", alt="a").svg()
    for number in ("0.11", "0.22", "0.33", "0.44"):
        assert f">{number}<" in svg


def test_a_heat_map_of_one_value_is_drawn() -> None:
    svg = heat_map(
        "f", "t", [{"x": "a", "y": "b", "value": 0.5}], x="x", y="y", value=Axis("rate"), n=1, protocol="p", alt="a"
    ).svg()
    assert ">0.50<" in svg


def test_an_empty_cell_of_a_heat_map_says_nothing_and_keeps_its_names() -> None:
    cells = (("a", "c", None), ("a", "d", float("nan")), ("b", "c", 0.25), ("b", "d", None))
    rows = [{"x": x, "y": y, "value": value} for x, y, value in cells]
    svg = heat_map("f", "t", rows, x="target", y="source", value=Axis("rate"), n=1, protocol="p", alt="alt").svg()
    assert "null" not in svg
    assert all(f">{text}<" in svg for text in ("0.25", "a", "b", "c", "d"))
    assert heat_map("f", "t", [], x="", y="", value=Axis("rate"), n=1, protocol="p", alt="alt").svg().startswith("<svg")


def test_a_gallery_shows_the_pixels_as_they_are(tmp_path: Path) -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    figure = gallery("f", "t", [("mlp", "disc", pixels)], n=1, protocol="p", alt="a", side=64)
    assert figure.rows == ({"line": "mlp", "column": "disc"},)
    with Image.open(figure.save(tmp_path / "f.png")) as picture:
        seen = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255)} <= seen
