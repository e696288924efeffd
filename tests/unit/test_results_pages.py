"""The pages that set our networks beside published ones: what they are made of, and that they are made of that."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import pytest

import priorscope as ps
from priorscope.recipe import Recipe, shipped_recipes

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "results_pages.py"))


@pytest.mark.parametrize(("path", "text"), list(SCRIPT["pages"]()), ids=lambda value: getattr(value, "stem", ""))
def test_every_page_says_what_is_stored(path: Path, text: str) -> None:
    assert text == path.read_text(encoding="utf-8"), "run python scripts/results_pages.py"


def test_every_command_of_a_page_names_a_recipe_that_is_shipped() -> None:
    systems = tomllib.loads(SCRIPT["PUBLISHED"].read_text(encoding="utf-8"))
    named = {row[key] for system in systems.values() for row in system["rows"] for key in ("ours", "command") if key in row}
    assert named <= set(shipped_recipes())


def test_a_record_holds_what_the_seeds_of_a_recipe_gave(tmp_path: Path, tiny: Recipe) -> None:
    right: list[int] = []
    for seed in (0, 1):
        run = ps.fit(tiny.replace(seed=seed), out=tmp_path / f"shapetex-mlp-s{seed}")
        result = ps.probes.measure_accuracy(run.model, run.source)
        result.save(run.path / "results" / "accuracy" / "all.json", {"config": {"split": "test"}})
        right.append(int(result.per_image().sum()))
    (record,) = SCRIPT["collect"]([tmp_path])
    assert record["recipe"] == "shapetex-mlp"
    assert record["seeds"] == [0, 1]
    assert record["epochs"] == 2
    assert record["test"]["right"] == right
    assert record["test"]["over"] == "seeds x images"
    assert record["test"]["low"] < sum(right) / 2 / record["test"]["n"] < record["test"]["high"]
    assert record["six views"] is None
    assert f"{50 * sum(right) / record['test']['n']:.1f} %" in SCRIPT["table"]([record])
