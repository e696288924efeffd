"""The tables of settings in docs say what the configs say, and every setting says what it does."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "settings_pages.py"))


@pytest.mark.parametrize(("path", "text"), list(SCRIPT["pages"]()), ids=lambda value: getattr(value, "stem", ""))
def test_every_page_shows_the_settings_as_the_code_has_them(path: Path, text: str) -> None:
    assert text == path.read_text(encoding="utf-8"), "run python scripts/settings_pages.py"


@pytest.mark.parametrize(("whose", "shown"), [(whose, shown) for _, whose, shown in SCRIPT["settings"]()])
def test_every_setting_says_what_it_does(whose: str, shown: list[tuple[str, FieldInfo]]) -> None:
    assert [name for name, field in shown if not field.description] == [], whose


def test_every_probe_with_settings_has_a_table() -> None:
    assert {"a recipe", "accuracy", "robustness", "transfer", "fewshot"} <= {whose for _, whose, _ in SCRIPT["settings"]()}
    rows = (SCRIPT["DOCS"] / "robustness.md").read_text(encoding="utf-8").splitlines()
    assert "| `attack` | `quick` | the name of an attack or of an ensemble |" in rows


def test_the_words_that_a_setting_takes_are_told_once() -> None:
    rows = (SCRIPT["DOCS"] / "training.md").read_text(encoding="utf-8").splitlines()
    assert "| `train.device` | `cpu` | where it trains; auto: on a GPU if there is one (`auto`, `cpu`, `cuda`, `mps`) |" in rows
    assert (
        "| `optim.schedule` | `cosine` | how the rate moves after warm-up: cosine, constant, linear, wsd or plateau |" in rows
    )
