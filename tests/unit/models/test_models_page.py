"""docs/models.md says what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from priorscope.models import FAMILIES, presets

ROOT = Path(__file__).parents[3]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "models_page.py"))
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_every_preset_has_one_line() -> None:
    lines = [line.split("|")[1].strip(" `") for line in PAGE.splitlines() if line.startswith("| `")]
    assert [name for name in lines if "/" in name] == presets()


def test_every_family_says_what_its_file_says() -> None:
    for family in FAMILIES:
        assert SCRIPT["section"](family) in PAGE, f"{family}: run python scripts/models_page.py"


def test_every_setting_of_a_model_stands_on_the_page_and_says_what_it_does() -> None:
    """Those that all have, once; a family's own, with its words, in its section."""
    assert SCRIPT["shared"]() in PAGE.partition("## mlp\n")[0], "run python scripts/models_page.py"
    for family in FAMILIES:
        section = PAGE.partition(f"## {family}\n")[2].partition("\n## ")[0]
        assert SCRIPT["own"](family) in section, f"{family}: run python scripts/models_page.py"
        silent = [name for name, field in FAMILIES.config(family).model_fields.items() if not field.description]
        assert silent == ["name"], family
    rows = PAGE.splitlines()
    assert (
        "| `permute.patch` | not set | pixels change places within patches of this side; not set: in the whole image |" in rows
    )
    assert "| `act` | `gelu` | the activation function (`gelu`, `relu`) |" in rows
    assert "| `depth` | by the name | how many blocks |" in rows


@pytest.mark.parametrize("name", [f"{family}/tiny" for family in FAMILIES if family != "timm"])
def test_a_preset_counts_what_its_line_says(name: str) -> None:
    assert SCRIPT["row"](name) in PAGE.splitlines(), "run python scripts/models_page.py"


def test_published_counts_stand_on_the_page() -> None:
    """As their authors state them, and the closed form of multiply-adds: d m + 2 k m^2 a block + m C."""
    line = next(line for line in PAGE.splitlines() if line.startswith("| `mlp/b12-w1024`"))
    assert "| 113,343,498 |" in line
    macs = 12_288 * 1024 + 12 * 8 * 1024**2 + 1024 * 10
    assert f"| {macs / 1e6:.3g} M | {2 * macs / 1e6:.3g} M |" in line
    assert any(line.startswith("| `perceiver/v-stl10-xl` | 96 | 10 | 4,428,262 |") for line in PAGE.splitlines())


@pytest.mark.slow
def test_the_whole_page_is_what_the_code_makes() -> None:
    assert SCRIPT["page"]() == PAGE, "run python scripts/models_page.py"
