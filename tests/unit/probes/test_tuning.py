"""Trials read back: who is best, what the best of k is expected to be, and whether it stands at an end; logs are planted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from priorscope.core.contracts import Subject
from priorscope.core.environment import Environment
from priorscope.core.epoch import Epoch, Score
from priorscope.core.errors import RequestError
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.probes import load_result
from priorscope.probes.tuning import Tuning, best_trial, measure_tuning, val_accuracy
from priorscope.probes.tuning.best_of import expected_best
from priorscope.recipe import Recipe

KEPT_FIRST = Environment(key="planted", chosen_epoch=1)


@dataclass
class Planted:
    """A run with a log of two epochs, of which the first is kept and the second is better on val."""

    name: str
    accuracy: float
    settings: dict[str, Any]
    model: str = "mlp/tiny"
    environment: Environment = KEPT_FIRST
    evidence: Any = None

    @property
    def recipe(self) -> Recipe:
        return Recipe.of({"data": {"source": "shapetex"}, "model": self.model, "seed": 1000, "optim": self.settings})

    @property
    def history(self) -> list[Epoch]:
        kept, last = (planted_epoch(epoch=epoch, val=Score(1.0, self.accuracy * epoch, 200)) for epoch in (1, 2))
        return [] if self.environment.diverged else [kept, last]


RATES = {"mlp-t1": (0.1, 0.30), "mlp-t2": (0.01, 0.45), "mlp-t3": (0.001, 0.40), "cnn-t1": (0.01, 0.2), "cnn-t2": (0.03, 0.35),
         "cnn-t3": (0.1, 0.48)}  # fmt: skip


def trials(**changed: Planted) -> dict[str, Planted]:
    found = {name: Planted(name, right, {"lr": lr}, f"{name[:3]}/tiny") for name, (lr, right) in RATES.items()}
    return {**found, **{name.replace("_", "-"): run for name, run in changed.items()}}


def test_the_best_trial_of_each_arm_is_found_at_the_epoch_that_was_kept():
    result = measure_tuning(trials())
    assert [(arm.name, arm.family, arm.best.name, arm.best.accuracy, arm.images) for arm in result.arms] == [
        ("mlp", "mlp", "mlp-t2", 0.45, 200),
        ("cnn", "cnn", "cnn-t3", 0.48, 200),
    ]
    assert result.headline() == "The best of 3 trials on val: cnn 48.0% (lr 0.1); mlp 45.0% (lr 0.01)."


def test_the_curve_is_that_of_the_scores():
    (mlp, _) = measure_tuning(trials()).arms
    scores = [0.30, 0.45, 0.40]
    assert [best.value for best in mlp.curve] == [expected_best(scores, k) for k in (1, 2, 3)]
    assert all(best.interval.contains(best.value) for best in mlp.curve)


def test_a_best_value_with_none_beyond_it_is_named():
    result = measure_tuning(trials())
    assert result.caveats == (
        "The best trial of cnn has the largest optim.lr of the 3 that were tried (0.1): a better one may lie beyond.",
    )


def test_two_values_have_no_inside_to_speak_of():
    two = {name: run for name, run in trials().items() if name in ("cnn-t1", "cnn-t3")}
    assert measure_tuning(two).caveats == ()


def test_a_trial_that_diverged_was_wrong_on_every_image_and_is_named():
    lost = Planted("mlp-t1", 0.0, {"lr": 10.0}, environment=Environment(key="lost", diverged="The loss became nan"))
    result = measure_tuning(trials(mlp_t1=lost))
    assert result.arms[0].trials[0].accuracy == 0.0
    assert result.arms[0].curve[0].value == pytest.approx((0 + 0.45 + 0.40) / 3)
    assert "Diverged, and counted as wrong on every image: mlp-t1." in result.caveats


def test_unequal_numbers_of_trials_are_said():
    uneven = {name: run for name, run in trials().items() if name != "cnn-t1"}
    said = "The numbers of trials are unequal (mlp 3, cnn 2): compare at the smallest of them."
    assert said in measure_tuning(uneven).caveats


def test_of_equals_the_first_is_taken():
    assert best_trial([0.2, 0.5, 0.5, 0.1]) == 1


def test_what_was_measured_on_val_is_not_passed_off_as_something_else():
    assert {row.split for row in measure_tuning(trials()).metrics()} == {"val"}


def test_runs_of_other_names_are_trials_of_their_network():
    renamed = {f"run {i}": run for i, run in enumerate(trials().values())}
    assert [(arm.name, len(arm.trials)) for arm in measure_tuning(renamed).arms] == [("mlp/tiny", 3), ("cnn/tiny", 3)]


def test_titles_rank_what_differs_alone():
    def titles(*names: str) -> list[str]:
        right = {"mlp-t1": 0.3, "mlp-t2": 0.48, "cnn-t1": 0.3, "cnn-t2": 0.48}
        runs = {
            f"{arm}-t{at}": Planted(f"{arm}-t{at}", right[f"{arm}-t{at}"], {"lr": 0.1**at}) for arm in names for at in (1, 2)
        }
        return [figure.title for figure in measure_tuning(runs).charts()]

    end = "; too few values were tried to tell whether one stands at an end"
    assert titles("mlp") == ["The second half of its trials brings mlp 9.0 points on val", f"mlp reaches 48.0% on val{end}"]
    assert titles("mlp", "cnn") == [
        "The second half of its trials brings mlp and cnn 9.0 points on val",
        f"mlp and cnn each reach 48.0% on val{end}",
    ]


def test_what_is_no_finished_run_is_refused():
    with pytest.raises(RequestError, match="one does not say how it was trained"):
        measure_tuning({"one": object()})  # pyright: ignore[reportArgumentType]


def test_it_is_stored_and_drawn(tmp_path):
    result = measure_tuning(trials())
    back = load_result(result.save(tmp_path / "tuning.json"))
    assert back == result
    curve, by_setting = Tuning.draw([(Subject(name="6 runs", family="other"), result)])
    assert {(row["series"], row["x"]) for row in curve.rows} == {(arm, k) for arm in ("mlp", "cnn") for k in (1, 2, 3)}
    assert [row["trial"] for row in by_setting.rows if row["best"]] == ["mlp-t2", "cnn-t3"]
    assert by_setting.title == "cnn is best on val at 48.0%; cnn's best optim.lr stands at the end of what was tried"


def test_that_no_best_value_stands_at_an_end_is_said_of_three_values_or_more():
    inside = {name: run for name, run in trials().items() if name.startswith("mlp")}
    assert measure_tuning(inside).charts()[-1].title == "mlp reaches 45.0% on val; no best value stands at an end"
    one_of_two = {
        name: Planted(name, run.accuracy, {**run.settings, "warmup": at % 2}) for at, (name, run) in enumerate(inside.items())
    }
    title = measure_tuning(one_of_two).charts()[-1].title
    assert title == "mlp reaches 45.0% on val; too few values were tried to tell whether one stands at an end"


@pytest.mark.parametrize("history", [[], [planted_epoch(epoch=2)]])
def test_a_log_without_the_kept_epoch_is_refused(history):
    with pytest.raises(RequestError, match=r"mlp-t1 has no accuracy on val\."):
        val_accuracy("mlp-t1", KEPT_FIRST, history)
