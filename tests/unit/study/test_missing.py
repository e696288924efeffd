"""Why a step of a finished study is to be done again: what somebody took away of it, or asks otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from in_process import Here

from priorscope.study.plan import make_plan
from priorscope.study.run import run_study
from priorscope.study.study import Study

TRAIN, PROBE = "train a-s0", "accuracy of a-s0"


def made(**probe) -> Study:
    return Study.parse(
        {
            "name": "made",
            "question": "?",
            "base": {"data": {"source": {"name": "shapetex", "train": 40, "val": 20, "test": 20}}, "train": {"epochs": 1}},
            "recipes": {"a": {"model": "mlp/tiny"}},
            "probes": [{"name": "accuracy", **probe}],
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    run_study(made(), out, executor=Here()).check()
    assert make_plan(made(), out).missing == {}
    return out


@pytest.fixture
def out(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("what", "spoil", "missing"),
    [
        ("runs/a-s0", shutil.rmtree, {TRAIN: "not begun", PROBE: "not measured"}),
        ("runs/a-s0/environment.json", Path.unlink, {TRAIN: "not finished", PROBE: f"after {TRAIN}"}),
        ("runs/a-s0/environment.json", torn, {TRAIN: "not finished", PROBE: f"after {TRAIN}"}),
        ("runs/a-s0/weights.safetensors", Path.unlink, {TRAIN: "its weights are gone", PROBE: f"after {TRAIN}"}),
        ("runs/a-s0/results/accuracy/*.json", Path.unlink, {PROBE: "not measured"}),
        ("runs/a-s0/results/accuracy/*.json", torn, {PROBE: "its result is damaged"}),
        ("runs/a-s0/results/accuracy/*.npz", Path.unlink, {PROBE: "its arrays are gone"}),
    ],
)
def test_what_is_gone_or_torn_is_named(out, what, spoil, missing):
    (path,) = out.glob(what)
    spoil(path)
    assert make_plan(made(), out).missing == missing


def test_what_is_asked_otherwise_is_named(out):
    (step,) = (step for step in make_plan(made(k=3), out).steps if not hasattr(step, "cell"))
    assert make_plan(made(k=3), out).missing == {step.id: "changed: probe.k 5 -> 3"}


def test_a_plan_from_nothing_looks_at_nothing_that_is_there(out):
    """Another recipe, too, is not begun then, where it is said to have changed otherwise."""
    for study in (made(), made(k=3)):
        plan = make_plan(study, out, fresh=True)
        assert list(plan.missing.values()) == ["not begun", "not measured"]
        assert [step.out for step in plan.steps] == [step.out for step in make_plan(study, out).steps]
