"""Runs that another study's folder holds finished are taken over; what is not exactly the same run is trained."""

from __future__ import annotations

import json

import pytest
from in_process import Here

from priorscope.cli import main
from priorscope.core import layout
from priorscope.core.config import content_key
from priorscope.core.errors import RequestError
from priorscope.core.folder import write_json
from priorscope.core.seeds import by_recipe
from priorscope.report.reading import read_study
from priorscope.study.plan import make_plan
from priorscope.study.run import run_study
from priorscope.study.sharing import finished_runs
from priorscope.study.study import Study

BASE = {
    "name": "made",
    "question": "Which?",
    "seeds": [0],
    "base": {
        "data": {"source": {"name": "shapetex", "train": 60, "val": 20, "test": 20}},
        "model": {"name": "mlp/tiny", "width": 8, "blocks": 1},
        "train": {"epochs": 1, "batch_size": 30},
    },
    "recipes": {"a": {}, "b": {"optim": {"lr": 0.01}}},
    "probes": [{"name": "accuracy"}],
}


def made(**changes) -> Study:
    return Study.parse({**BASE, **changes})


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "out"
    assert run_study(made(), out, executor=Here()).failed == {}
    return out


def asked(study: Study, out, shared) -> list[str]:
    """The steps that were carried out."""
    executor = Here()
    assert run_study(study, out, executor=executor, shared=shared).failed == {}
    return executor.order


def test_equal_runs_are_taken_and_what_is_measured_on_them_is_measured_here(first, tmp_path):
    recipes = {"mine": {}, "other": {"optim": {"lr": 0.02}}}
    done = asked(made(name="second", recipes=recipes), tmp_path / "out", [first])
    assert done == ["train other-s0", "accuracy of mine-s0", "accuracy of other-s0"]
    for name in ("weights.safetensors", "steps.jsonl", "recipe.toml", "environment.json", "made_from.json"):
        assert (tmp_path / "out/runs/mine-s0" / name).read_bytes() == (first / "runs/a-s0" / name).read_bytes()
    assert asked(made(name="second", recipes=recipes), tmp_path / "out", []) == []


def test_cells_of_a_grid_are_not_seeds_of_one_recipe(tmp_path):
    study = made(recipes={"a": {"grid": {"optim.lr": [0.01, 0.02]}}}, seeds=[0, 1])
    assert run_study(study, tmp_path / "out", executor=Here()).failed == {}

    def arms() -> list[tuple[str, int]]:
        read = read_study(tmp_path / "out")
        found = by_recipe([(outcome.subject, outcome.result) for run in read.runs for outcome in run.outcomes])
        return [(subject.name, len(seeds)) for subject, seeds in found]

    assert arms() == [("a-lr=0.01", 2), ("a-lr=0.02", 2)]
    for path in (tmp_path / "out/runs").glob("*/results/*/*.json"):  # as results were written once
        stored = json.loads(path.read_text())
        stored["about"]["subject"]["recipe"] = "a"
        path.write_text(json.dumps(stored))
    assert arms() == [("a-lr=0.01", 2), ("a-lr=0.02", 2)]


def test_a_folder_of_runs_and_a_run_can_be_named_as_well(first, tmp_path):
    assert asked(made(), tmp_path / "a", [first / "runs"]) == ["accuracy of a-s0", "accuracy of b-s0"]
    assert asked(made(), tmp_path / "b", [first / "runs" / "b-s0"]) == ["train a-s0", "accuracy of a-s0", "accuracy of b-s0"]


def test_a_run_that_is_not_finished_or_whose_record_is_damaged_is_not_taken(first, tmp_path):
    import shutil

    shutil.copytree(first, tmp_path / "first")
    (tmp_path / "first/runs/a-s0/environment.json").unlink()
    (tmp_path / "first/runs/b-s0/made_from.json").write_text("{")
    order = asked(made(), tmp_path / "out", [tmp_path / "first"])
    assert sorted(order) == ["accuracy of a-s0", "accuracy of b-s0", "train a-s0", "train b-s0"]


def test_another_seed_is_another_run(first, tmp_path):
    assert "train a-s1" in asked(made(seeds=[1]), tmp_path / "out", [first])


def test_a_run_that_is_taken_waits_for_the_one_that_it_began_with(tmp_path):
    """It is copied once, though it is not done before the other is, and stands then: its log tells of that training."""
    study, log = made(recipes={"a": {}, "b": {"init": {"kind": "recipe", "recipe": "a"}}}), "runs/b-s0/steps.jsonl"
    assert run_study(study, tmp_path / "first", executor=Here()).failed == {}
    assert asked(study, tmp_path / "out", [tmp_path / "first/runs/b-s0"])[0] == "train a-s0"
    assert (tmp_path / "out" / log).read_bytes() == (tmp_path / "first" / log).read_bytes()


@pytest.mark.parametrize("written", range(5))
def test_a_copy_that_was_cut_short_is_no_run(first, tmp_path, monkeypatch, written):
    from priorscope.core import folder

    whole, left = folder.write_bytes, [written]

    def write(path, content):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        whole(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "write_bytes", write)
        with pytest.raises(KeyboardInterrupt):
            run_study(made(), tmp_path / "out", executor=Here(), shared=[first])
    assert "train a-s0" in make_plan(made(), tmp_path / "out").missing
    assert not layout.is_finished(tmp_path / "out/runs/a-s0")
    assert asked(made(), tmp_path / "out", [first]) == ["accuracy of a-s0", "accuracy of b-s0"]


def test_trials_of_a_tuned_study_are_runs_too(tmp_path):
    trial = tmp_path / "out" / "tuning" / "a-t1"
    write_json(trial / layout.MADE_FROM, {"recipe": "a trial's"})
    (trial / layout.RECIPE).touch()
    write_json(trial / layout.ENVIRONMENT, {})
    (trial / layout.WEIGHTS).touch()
    assert finished_runs([tmp_path / "out"]) == {content_key({"recipe": "a trial's"}): trial}


def test_a_place_without_runs_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"holds no run\."):
        run_study(made(), tmp_path / "out", shared=[tmp_path])


def test_the_plan_says_where_a_run_would_come_from(first, tmp_path, capsys):
    (tmp_path / "study.toml").write_text(made().toml())
    with pytest.raises(SystemExit) as ended:
        main(["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "o"), "--plan", "--json", "--runs", str(first)])
    assert ended.value.code == 0
    why = {step["step"]: step["why"] for step in json.loads(capsys.readouterr().out)["steps"]}
    assert why["train a-s0"] == f"in {first / 'runs' / 'a-s0'}"
    assert why["accuracy of a-s0"] == "not measured"
