"""The pages that set our networks beside published ones: what they are made of, and that they are made of that."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import pytest

import priorscope as ps
from priorscope.core.contracts import About
from priorscope.core.epoch import write_history
from priorscope.recipe import Recipe, shipped_recipes

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "results_pages.py"))


@pytest.mark.parametrize(("path", "text"), list(SCRIPT["pages"]()), ids=lambda value: getattr(value, "stem", ""))
def test_every_page_says_what_is_stored(path: Path, text: str) -> None:
    assert text == path.read_text(encoding="utf-8"), "run python scripts/results_pages.py"


def test_every_command_of_a_page_names_a_recipe_that_is_shipped() -> None:
    systems = tomllib.loads(SCRIPT["PUBLISHED"].read_text(encoding="utf-8"))
    named = {row[key] for system in systems.values() for row in system["rows"] for key in ("ours", "command") if key in row}
    assert named <= set(shipped_recipes())


@pytest.mark.parametrize(("published", "where"), [(79.9, "above"), (80.1, "around"), (81.9, "around"), (82.1, "below")])
def test_a_published_figure_stands_in_our_interval_or_beside_it(published: float, where: str) -> None:
    assert SCRIPT["standing"]({"published": published}, {"test": {"low": 0.80, "high": 0.82}}) == where


def test_a_system_s_line_counts_its_rows_and_claims() -> None:
    rows = [{"ours": "a", "published": 50.0}, {"ours": "a", "published": 90.0}, {"published": 1.0}, {"value": "3 %"}]
    verdicts = [("supported", ""), ("contradicted", ""), ("contradicted", ""), ("not decidable here", "data")]
    claims = [{"verdict": verdict, "lacks": lacks} for verdict, lacks in verdicts]
    known = [{"recipe": "a", "test": {"low": 0.80, "high": 0.82}}]
    told = SCRIPT["systems_beside"]({"v": {"short": "V", "rows": rows, "claims": claims}}, known)
    assert told.splitlines()[-1] == "| [V](v.md) | 4 | 1 | 0 | 1 | 1 | 1 | 4 | 1 | 2 | 1 | 0 |"


def test_tables_stand_between_their_marks_and_nowhere_else() -> None:
    page = "a\n<!-- one -->\nold\n<!-- end of one -->\nb\n"
    assert SCRIPT["filled"](page, {"one": "new", "two": "other"}) == page.replace("old", "new")


def test_a_record_holds_what_the_seeds_of_a_recipe_gave(tmp_path: Path, tiny: Recipe) -> None:
    right: list[int] = []
    for seed in (0, 1):
        run = ps.fit(tiny.replace(seed=seed), out=tmp_path / f"shapetex-mlp-s{seed}")
        result = ps.probes.measure_accuracy(run.model, run.source)
        result.save(run.path / "results" / "accuracy" / "all.json", About(config={"split": "test"}))
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


def test_an_epoch_that_stood_still_does_not_count(tmp_path: Path, tiny: Recipe) -> None:
    """Four epochs of a minute and one of an hour are five minutes."""
    run = ps.fit(tiny, out=tmp_path / "shapetex-mlp-s0")
    ps.measure(run, "accuracy")
    (first, *_) = run.history
    ends = (60.0, 120.0, 180.0, 3780.0, 3840.0)
    write_history(run.path, [first.replace(epoch=i, seconds=end) for i, end in enumerate(ends, 1)])
    (record,) = SCRIPT["collect"]([tmp_path])
    assert record["minutes"] == [5.0]


def test_seeds_read_on_two_days_make_the_interval_of_seeds_read_together(tmp_path: Path, tiny: Recipe) -> None:
    for seed in (0, 1):
        run = ps.fit(tiny.replace(seed=seed), out=tmp_path / f"day {seed}" / f"shapetex-mlp-s{seed}")
        for views in ({}, {"views": {"name": "six"}}):
            result = ps.probes.measure_accuracy(run.model, run.source, **views)
            result.save(run.path / "results" / "accuracy" / f"{len(views)}.json", About(config={"split": "test", **views}))
    (tmp_path / "both").mkdir()
    for seed in (0, 1):
        (tmp_path / "both" / f"shapetex-mlp-s{seed}").symlink_to(tmp_path / f"day {seed}" / f"shapetex-mlp-s{seed}")
    (first,), (second,), (both,) = (SCRIPT["collect"]([tmp_path / name]) for name in ("day 0", "day 1", "both"))
    assert SCRIPT["joined"](first, second) == both
    assert SCRIPT["joined"](second, first) == both
    assert SCRIPT["joined"](both, second) == both
    assert SCRIPT["joined"](None, first) == first
    assert SCRIPT["joined"]({**first, "epochs": 3}, second) == second, "another recipe's seeds stand for themselves"
    answerless = {key: value for key, value in first["test"].items() if key != "answers"}
    assert SCRIPT["joined"]({**first, "test": answerless}, second) == second
