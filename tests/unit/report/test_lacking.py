"""What a study asks for and is not there: planted gaps are counted, and a complete study has none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fake_study import accuracy, write_run, write_study

from priorscope.report import write_markdown, write_report
from priorscope.report.joined import read_sources


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two recipes of three seeds, one with a grid of two; accuracy is asked of all, its flipped views of one seed's."""
    out = write_study(tmp_path / "s", {"mlp": 0.5, "cnn": 0.7}, probes=("accuracy",))
    for width in (16, 32):
        write_run(out / f"runs/wide-width={width}-s0", "mlp", 0, {"accuracy": accuracy(0.5, width)})
    recipe = '[recipes.wide]\nseeds = [0]\n[recipes.wide.grid]\n"model.width" = [16, 32]\n'
    probes = '[[probes]]\nprobe = {name = "accuracy"}\n[[probes]]\nprobe = {name = "accuracy", k = 3}\n'
    probes += 'recipes = ["mlp"]\nseeds = [1]\n'
    (out / "study.toml").write_text((out / "study.toml").read_text().replace("probes = []\n", "") + recipe + probes)
    add(out / "runs/mlp-s1", k=3)
    return out


def add(run: Path, **settings: int) -> None:
    """Another answer of a run, to accuracy asked with these settings."""
    folder = run / "results/accuracy"
    for ending in ("json", "npz"):
        shutil.copy(folder / f"0123456789abcdef.{ending}", folder / f"fedcba9876543210.{ending}")
    stored = json.loads((folder / "fedcba9876543210.json").read_text())
    stored["about"]["config"] |= settings
    (folder / "fedcba9876543210.json").write_text(json.dumps(stored))


def test_of_a_complete_study_nothing_is_missing(study: Path) -> None:
    assert read_sources([study]).lacking == ()
    assert "Unfinished" not in write_report([study], study / "page.html").read_text()


def test_runs_and_results_that_are_missing_are_counted(study: Path) -> None:
    shutil.rmtree(study / "runs/cnn-s2")
    (study / "runs/wide-width=32-s0/environment.json").unlink()
    (study / "runs/mlp-s1/results/accuracy/fedcba9876543210.json").unlink()
    lacking = ("2 of 8 runs are not finished", "3 of 9 results are missing")
    assert read_sources([study]).lacking == lacking
    text = write_report([study], study / "page.html").read_text()
    assert f"<b>Unfinished:</b> {', '.join(lacking)}." in text
    assert "7 (4 recipes, 3 seeds), 1 of them not finished" in text
    write_markdown([study], study / "page.md")
    assert f"**Unfinished**: {lacking[0]} and {lacking[1]}." in (study / "page.md").read_text()


def test_another_probe_s_answer_does_not_stand_for_one_that_is_missing(study: Path) -> None:
    (study / "runs/mlp-s1/results/accuracy/fedcba9876543210.json").unlink()
    add(study / "runs/mlp-s0", k=3)
    assert read_sources([study]).lacking == ("1 of 9 results is missing",)


def test_a_run_that_was_cut_short_says_so_without_a_study(study: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "alone", "mlp", 0, {})
    assert read_sources([run]).lacking == ()
    (run / "environment.json").unlink()
    assert read_sources([run]).lacking == ("the run is not finished",)
    (study / "runs/mlp-s0/environment.json").unlink()
    (study / "study.toml").unlink()
    assert read_sources([study]).lacking == ("1 of 8 runs is not finished",)
