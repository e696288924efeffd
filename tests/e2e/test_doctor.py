"""The doctor as a user calls it: what it prints, and the status that it ends with."""

from __future__ import annotations

import json

import pytest


def test_a_shipped_recipe_and_a_study_are_well(studied):
    told = json.loads(studied("doctor", "shapetex-cnn", "--json"))
    assert (told["subject"], told["kind"]) == ("shapetex-cnn", "recipe")
    assert [finding for finding in told["findings"] if finding["severity"] != "note"] == []
    said = studied("doctor", "out")
    assert "out (study): 0 faults" in said


def test_a_script_with_a_fault_ends_with_1_and_says_what_to_do(shell):
    (shell.folder / "train.py").write_text(
        "for epoch in range(9):\n    fit(net)\n    net.eval()\n    scheduler.step(epoch - 1)\n"
    )
    said = shell("doctor", "train.py", status=1)
    assert "fault: train.py:4 steps its schedule with an epoch's number: scheduler.step(epoch - 1). [schedule]" in said
    assert "  try:   scheduler.step(), once after each epoch" in said
    assert "train.py (script): 2 faults, 0 warnings, 0 notes" in said


def test_a_log_with_a_warning_ends_with_0(shell):
    (shell.folder / "log.json").write_text(
        json.dumps([{"test_acc": 0.66, "test_loss": 1}, {"test_acc": 0.6, "test_loss": 1.1}])
    )
    assert "log.json (log): 0 faults, 1 warning" in shell("doctor", "log.json")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("doctor shapetex-mpl", "'shapetex-mlp' (did you mean that?)"),
        ("doctor nowhere/at/all.toml", "There is no file"),
        ("doctor shapetex-mlp --instruments", "'shapetex-mlp' came with --instruments"),
        ("doctor shapetex-mlp --set optim.rl=1", "did you mean that"),
    ],
)
def test_a_wrong_request_ends_with_2(shell, command, said):
    assert said in shell(*command.split(), status=2)


@pytest.mark.slow
def test_the_instruments_and_this_machine(shell):
    answers = json.loads(shell("doctor", "--instruments", "--json"))
    assert all(answer["ok"] for answer in answers)
    assert {"accuracy", "cue_conflict", "robustness", "transfer"} <= {answer["probe"] for answer in answers}
    assert json.loads(shell("doctor", "--json"))["facts"]["fp32_gflops"] > 0
