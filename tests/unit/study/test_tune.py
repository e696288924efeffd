"""Equal tuning budgets: what trials try, what chooses, and how a study goes on when they are done; planted and tiny runs."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from in_process import Here

from priorscope import run as runs
from priorscope.core import folder, layout
from priorscope.core.config import content_key
from priorscope.core.epoch import read_history, write_history
from priorscope.core.errors import RequestError
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.fitting.made_from import inputs
from priorscope.study.cells import all_cells
from priorscope.study.executors import WORKER_BYTES, Ended, Resources
from priorscope.study.forecast import Forecast, forecast
from priorscope.study.plan import make_plan
from priorscope.study.rates import Rates, export, remember
from priorscope.study.run import run_study
from priorscope.study.schedule import Failure
from priorscope.study.steps import TrainStep
from priorscope.study.study import Study
from priorscope.study.tune import Spread, Tune

BASE = {
    "name": "made",
    "question": "Which?",
    "seeds": [0, 1],
    "base": {
        "data": {"source": {"name": "shapetex", "train": 96, "val": 40, "test": 50}},
        "model": {"name": "mlp/tiny", "width": 16, "blocks": 1},
        "train": {"epochs": 3, "batch_size": 32},
    },
    "tune": {"trials": 3, "epochs": 1, "over": {"optim": {"lr": {"log": [1e-4, 1e-2]}}}},
    "recipes": {"a": {}, "b": {"model": {"width": 8}}},
    "probes": [{"name": "accuracy"}],
}


def made(**changes) -> Study:
    return Study.parse({**BASE, **changes})


def tuned(**changes) -> Study:
    return made(tune={**BASE["tune"], **changes})


@pytest.mark.parametrize(("train", "wanted"), [({}, 2.0), ({"epochs": 5}, 4.0), ({"epochs": 2}, 5.0), ({"steps": 100}, 5.0)])
def test_a_trial_warms_up_for_as_large_a_part_as_the_run(train, wanted):
    """Of 10 epochs where the recipe does not say it; a warm-up that is tried is shortened as well."""
    base = {**BASE["base"], "optim": {"warmup": 5}, "train": {"batch_size": 32, **train}}

    def warmups(**tune) -> list[float]:
        study = made(base=base, recipes={"a": {}}, tune={"epochs": 4, **tune})
        return [cell.recipe.optim.warmup for cell in all_cells(study, {}).trials["a"]]

    assert warmups(over={"optim": {"lr": [0.1, 0.2]}}) == [wanted, wanted]
    assert warmups(over={"optim": {"warmup": [0, 5]}}) == [0, wanted]


class OnPaper(Here):
    """Writes what a training leaves behind, with a score on val that is planted; probes are not asked."""

    def __init__(self, scores) -> None:
        super().__init__()
        self.scores = scores
        self.takes: dict[str, Resources] = {}

    def start(self, id: str, work, takes: Resources) -> None:
        self.order.append(id)
        self.takes[id] = takes
        if hasattr(work, "recipe"):
            plant(work, self.scores(work.out.name))
        self.ended.append(Ended(id, 0.0, 3e9))


def plant(work, accuracy: float) -> None:
    """A finished run's folder, without a network."""
    made_from = inputs(work.recipe, content_key(folder.read_json(work.init / layout.MADE_FROM)) if work.init else None)
    folder.write_text(work.out / layout.RECIPE, work.recipe.toml())
    folder.write_json(work.out / layout.MADE_FROM, made_from)
    write_history(work.out, [planted_epoch(accuracy)])
    (work.out / layout.WEIGHTS).touch()
    folder.write_json(work.out / layout.ENVIRONMENT, {"key": "planted", "chosen_epoch": 1})


def chosen_rates(plan) -> dict[str, float]:
    return {step.cell.run: step.cell.recipe.optim.lr for step in plan.steps if isinstance(step, TrainStep)}


# What is tried ---------------------------------------------------------------------------------------------------------------


def test_a_range_is_met_at_both_ends_and_in_the_middle():
    log = Spread(log=(1e-4, 1e-2))
    assert (log.at(0), log.at(0.5), log.at(1)) == (1e-4, 1e-3, 1e-2)
    assert Spread(uniform=(0.0, 0.4)).at(0.25) == 0.1


def test_whole_ends_give_whole_numbers_each_as_often():
    drawn = Counter(Spread(uniform=(1, 4)).at((i + 0.5) / 4000) for i in range(4000))
    assert drawn == {1: 1000, 2: 1000, 3: 1000, 4: 1000}
    assert {type(value) for value in drawn} == {int}
    assert {Spread(log=(1, 64)).at(share) for share in (0.0, 1.0)} == {1, 64}


def test_trials_are_the_same_for_every_recipe_and_more_begin_with_the_fewer():
    over = {"optim.lr": Spread(log=(1e-4, 1e-2)), "model.width": (8, 16, 32)}
    few, many = (Tune(trials=n, over=over).tried(over, "a") for n in (3, 12))
    assert many[:3] == few
    assert len({trial["optim.lr"] for trial in many}) == 12
    assert Tune(trials=3, over=over, seed=1001).tried(over, "a") != few
    names = [cell for steps in (make_plan(made(), Path("nowhere")),) for cell in chosen_rates(steps).items()]
    rates = dict(names)
    assert [rates[f"a-t{i}"] for i in (1, 2, 3)] == [rates[f"b-t{i}"] for i in (1, 2, 3)]


def test_a_stream_belongs_to_its_setting():
    """One more setting does not move the numbers of another."""
    one = {"optim.lr": Spread(log=(1e-4, 1e-2))}
    two = {"optim.weight_decay": Spread(log=(1e-3, 1.0)), **one}
    assert [t["optim.lr"] for t in Tune(trials=4).tried(two, "a")] == [t["optim.lr"] for t in Tune(trials=4).tried(one, "a")]


def test_lists_without_a_number_are_tried_whole_and_in_order():
    over = {"optim.lr": (0.1, 0.2), "model.width": (8, 16)}
    whole = Tune().tried(over, "a")
    assert [tuple(trial.values()) for trial in whole] == [(0.1, 8), (0.1, 16), (0.2, 8), (0.2, 16)]


def test_lists_with_a_number_are_drawn_from_without_trying_anything_twice():
    over = {"optim.lr": (0.1, 0.2, 0.3), "model.width": (8, 16)}
    drawn = [tuple(trial.values()) for trial in Tune(trials=5).tried(over, "a")]
    assert len(set(drawn)) == 5
    assert [tuple(trial.values()) for trial in Tune(trials=4).tried(over, "a")] == drawn[:4]


def test_both_spellings_of_a_setting_mean_the_same():
    assert tuned(over={"optim.lr": {"log": [1e-4, 1e-2]}}) == made()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tune": {**BASE["tune"], "split": "test"}}, "[tune] came with split = 'test'."),
        ({"tune": {**BASE["tune"], "seed": 1}}, "The trials of made have the seed 1, which a is compared with."),
        ({"tune": {"trials": 3, "over": {"data.subset": [10, 20, 30]}}}, "change 'data.subset'"),
        ({"tune": {"over": {"optim.lr": [0.1, 0.2], "train.track": [["test"], ["val"]]}}}, "change 'train.track'"),
        ({"tune": {"trials": 3, "over": {"train.epochs": [1, 2, 3]}}}, "change 'train.epochs'"),
        ({"tune": {"trials": 3, "over": {"data.source.seed": [1, 2, 3]}}}, "change 'data.source.seed'"),
        ({"tune": {"over": {"train": [{"epochs": 1}, {"epochs": 9}]}}}, "change 'train'"),
        ({"tune": {"over": {"data": [{"source": {"seed": 1}}, {"source": {"seed": 2}}]}}}, "change 'data'"),
        ({"tune": {"trials": 3, "over": {"optim.lrr": [1, 2, 3]}}}, "optim.lr = ... (did you mean that?)"),
        ({"tune": {"trials": 9, "over": {"optim.lr": [1, 2, 3]}}}, "9 trials were asked of recipe 'a' of made"),
        ({"tune": {"trials": 1, "over": {"optim.lr": [1, 2, 3]}}}, "tune.trials"),
        ({"tune": {"over": {"optim.lr": {"log": [1e-4, 1e-2]}}}}, "nothing says how many"),
        ({"tune": {"trials": 3}}, "Nothing says what the trials of recipe 'a' of made try."),
        ({"tune": {"trials": 3, "over": {"optim.lr": {"log": [0, 1]}}}}, "[0, 1] is no range."),
        ({"tune": {"trials": 3, "over": {"optim.lr": {"log": [1, 2], "uniform": [1, 2]}}}}, "both or neither"),
        ({"recipes": {"a": {"grid": {"optim.lr": [1, 2]}}}}, "'optim.lr' stands in the grid and in the trials"),
        ({"recipes": {"a": {}, "b": {"tune": "c"}}}, "'c' is not a recipe with trials of this study"),
        ({"recipes": {"a": {"tune": {"off": True, "like": "b"}}}}, "more than one of over, like and off"),
        ({"recipes": {"a": {"tune": "b"}}, "tune": None}, "the study has no [tune]"),
        (
            {"tune": {"over": {"optim.lr": [1, 2]}}, "recipes": {"a": {}, "b": {"tune": {"over": {"optim.lr": [1, 2, 3]}}}}},
            "The recipes of made have unequal numbers of trials: a 2, b 3.",
        ),
    ],
)
def test_what_would_not_be_fair_or_cannot_be_is_refused(tmp_path, change, said):
    with pytest.raises(RequestError) as caught:
        make_plan(made(**change), tmp_path)
    assert said in str(caught.value)


# The plan --------------------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_would_follow_the_trials(tmp_path):
    plan = make_plan(made(), tmp_path)
    assert [step.id for step in plan.to_do()] == [
        *(f"train {arm}-t{i}" for arm in "ab" for i in (1, 2, 3)),
        "tuning of all trials",
    ]
    assert plan.missing["train a-s0"] == "after the best of the 3 trials of a is known"
    assert plan.missing["accuracy of a-s1"] == "after train a-s1"
    assert [step.id for step in plan.following()] == [
        *(f"train {arm}-s{seed}" for arm in "ab" for seed in (0, 1)),
        *(f"accuracy of {arm}-s{seed}" for arm in "ab" for seed in (0, 1)),
    ]


def test_a_trial_foretells_the_others_and_what_follows_by_its_length(tmp_path, monkeypatch):
    """A trial of one epoch took 4 s: the three of its recipe take 12 s, and its two runs of three epochs 24 s."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    plan = make_plan(made(), tmp_path / "out")
    assert forecast(plan, workers=1).unknown == len(plan.steps)
    remember(next(step for step in plan.steps if step.id == "train a-t1"), 4.0, 2e9)
    found = forecast(plan, workers=1)
    assert (found.seconds, found.memory, found.unknown) == (36.0, 2e9, len(plan.steps) - 5)


def test_a_training_costs_all_its_attempts_by_the_epochs_it_came_to_and_one_that_diverged_says_nothing(tmp_path, monkeypatch):
    """Two epochs in 40 s, of which the attempt that ended took 4: two seeds take 80 s, and of six epochs 240 s."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    plan = make_plan(made(tune=None, probes=[]), tmp_path / "out")
    step = next(step for step in plan.steps if step.id == "train a-s0")
    write_history(step.out, [])
    folder.write_json(step.out / layout.ENVIRONMENT, {"key": "lost", "diverged": "The loss became NaN"})
    remember(step, 4.0, 2e9)
    assert forecast(plan, workers=1).unknown == len(plan.steps)
    write_history(step.out, [planted_epoch(epoch=number) for number in (1, 2)])
    folder.write_json(step.out / layout.ENVIRONMENT, {"key": "done", "chosen_epoch": 2, "seconds": 40.0})
    remember(step, 4.0, 2e9)
    assert forecast(plan, workers=1).seconds == 80
    longer = made(tune=None, probes=[], recipes={"a": {"train": {"epochs": 6}}})
    assert forecast(make_plan(longer, tmp_path / "other"), workers=1).seconds == 240


def test_a_step_takes_its_threads_the_memory_of_its_like_and_a_gpu_where_its_recipe_may_train_on_one(tmp_path, monkeypatch):
    """`b` was measured at another length, the others nowhere; probes look where runs learnt, and time is the processor's."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    recipes = {
        "a": {"train": {"device": "auto", "threads": 2}},
        "b": {"train": {"device": "cuda"}},
        "c": {"train": {"epochs": 2}, "model": {"width": 24}},
    }
    study = made(tune=None, recipes=recipes, seeds=[0], probes=[{"name": "accuracy"}, {"name": "cost"}])
    plan = make_plan(study, tmp_path / "out")
    longer = {"b": {"train": {"device": "cuda", "epochs": 7}}}
    remember(make_plan(made(tune=None, recipes=longer, seeds=[0]), tmp_path / "longer").steps[0], 9.0, 5e9)
    executor = OnPaper(lambda _: 0.5)
    run_study(study, tmp_path / "out", executor=executor)
    assert {step.id for step in plan.steps} == set(executor.takes)
    assert [executor.takes[f"train {name}-s0"] for name in "abc"] == [
        Resources(2, WORKER_BYTES, gpu=True),
        Resources(1, 5e9, gpu=True),
        Resources(1, WORKER_BYTES),
    ]
    assert [executor.takes[f"accuracy of {name}-s0"] for name in "abc"] == [
        Resources(2, WORKER_BYTES, gpu=True),
        Resources(1, WORKER_BYTES, gpu=True),
        Resources(1, WORKER_BYTES),
    ]
    assert executor.takes["cost of a-s0"] == Resources(2, WORKER_BYTES, alone=True)


def test_the_memory_of_a_step_counts_for_the_next_like_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    executor = OnPaper(lambda _: 0.5)
    run_study(made(tune=None, recipes={"a": {}}, seeds=[0, 1], probes=[]), tmp_path / "out", executor=executor)
    assert [takes.memory for takes in executor.takes.values()] == [WORKER_BYTES, 3e9]


def test_what_steps_left_on_the_disk_foretells_what_others_will_leave(tmp_path, monkeypatch):
    """A run of 5,000 bytes and a result of 300 with 4,000 of evidence: two seeds leave 18,600. What lay there before is old."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    plan = make_plan(made(tune=None), tmp_path / "out")
    steps = {step.id: step for step in plan.steps}
    train, probe = steps["train a-s0"], steps["accuracy of a-s0"]
    for path, size in (
        (train.out / layout.WEIGHTS, 4000), (train.out / layout.SNAPSHOTS / "1.safetensors", 1000),
        (train.out / layout.EVIDENCE / "old.npy", 700), (train.out / layout.EVIDENCE / "new.npy", 4000),
        (probe.out, 200), (probe.out.with_suffix(".npz"), 100),
    ):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    os.utime(train.out / layout.EVIDENCE / "old.npy", (1.0, 1.0))
    remember(train, 4.0, 2e9)
    remember(probe, 60.0, 2e9)
    found = forecast(make_plan(made(tune=None), tmp_path / "other"), workers=1)
    assert (found.disk, found.unknown) == (18_600, len(plan.steps) - 4)


def test_costs_from_before_the_disk_was_measured_foretell_time_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    plan = make_plan(made(tune=None, probes=[]), tmp_path / "out")
    remember(plan.steps[0], 4.0, 2e9)
    path = tmp_path / "cache" / "rates.json"
    stored = folder.read_json(path)
    old = {key: {name: cost[name] for name in ("seconds", "memory")} for key, cost in stored["rates"].items()}
    folder.write_json(path, {**stored, "rates": old})
    assert forecast(plan, workers=1).disk is None
    assert forecast(plan, workers=1).seconds > 0


def test_an_epoch_foretells_nothing_where_steps_set_the_length(tmp_path, monkeypatch):
    """Nine steps were three epochs and took 30 s: nine at another rate take 30 s as well."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    base = {**BASE["base"], "train": {"steps": 9, "batch_size": 32}}
    recipes = {"a": {}, "b": {"optim": {"lr": 0.3}}}
    plan = make_plan(made(tune=None, base=base, recipes=recipes, probes=[], seeds=[0]), tmp_path / "out")
    step = next(step for step in plan.steps if step.id == "train a-s0")
    write_history(step.out, [planted_epoch(epoch=number) for number in (1, 2, 3)])
    folder.write_json(step.out / layout.ENVIRONMENT, {"key": "done", "chosen_epoch": 3, "seconds": 30.0})
    remember(step, 4.0, 2e9)
    assert forecast(plan, workers=1).seconds == 60


def test_times_of_another_machine_are_scaled_by_how_fast_each_multiplies(tmp_path, monkeypatch):
    """Three seconds at 2e11 multiply-adds a second are six at 1e11; what was measured here goes before, as it is."""
    speed = 2e11
    monkeypatch.setattr("priorscope.study.rates._yardstick", lambda: speed)
    monkeypatch.setattr("priorscope.study.rates.processor", lambda: "there")
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "there"))
    plan = make_plan(made(tune=None, recipes={"a": {}}, seeds=[0], probes=[]), tmp_path / "out")
    remember(plan.steps[0], 3.0, 2e9)
    assert forecast(plan).seconds == 3
    folder.write_json(tmp_path / "package" / "studies" / "rates.json", export(plan.steps))

    speed = 1e11
    monkeypatch.setattr("priorscope.study.rates.processor", lambda: "here")
    assert forecast(plan).unknown == 1, "a cache that came with another machine says nothing of this one"
    monkeypatch.setattr("priorscope.study.rates.files", lambda _: tmp_path / "package")
    assert forecast(plan) == Forecast(6.0, 2e9, 0, 0)
    remember(plan.steps[0], 5.0, 1e9)
    assert forecast(plan) == Forecast(5.0, 1e9, 0, 0)


@pytest.mark.parametrize(
    "stored", [[], {}, {"gemm": 1e11}, {"gemm": 1e11, "rates": {"a": {"seconds": 1}}}, {"gemm": 1, "rates": 2}]
)
def test_a_cache_of_another_make_says_nothing(stored, tmp_path):
    folder.write_json(tmp_path / "rates.json", stored)
    assert Rates.read(tmp_path / "rates.json") == Rates()


def test_more_cores_shorten_no_step_and_no_chain_of_steps(tmp_path, monkeypatch):
    """Two trainings of 8 s, each looked at in 3 s: 22 s after each other, 11 s on two cores and on any more."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("priorscope.study.forecast.cores", lambda: 8)
    plan = make_plan(made(tune=None, recipes={"a": {}}), tmp_path / "out")
    remember(next(step for step in plan.steps if step.id == "train a-s0"), 8.0, 2e9)
    remember(next(step for step in plan.steps if step.id == "accuracy of a-s0"), 3.0, 1e9)
    assert [forecast(plan, workers).seconds for workers in (1, 2, 4)] == [22, 11, 11]


def test_sam_takes_every_step_twice_and_foretells_nothing_of_steps_without(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    recipes = {"a": {}, "b": {"optim": {"sam": {"rho": 0.05}}}, "c": {"optim": {"lr": 0.3}}}
    plan = make_plan(made(tune=None, recipes=recipes, probes=[], seeds=[0]), tmp_path / "out")
    remember(next(step for step in plan.steps if step.id == "train a-s0"), 4.0, 2e9)
    found = forecast(plan, workers=1)
    assert found.seconds == pytest.approx(8, abs=0.01)
    assert found.unknown == 1


def test_trials_are_shorter_look_at_val_alone_and_have_a_seed_of_their_own(tmp_path):
    steps = {step.id: step for step in make_plan(made(), tmp_path).steps}
    trial, run = steps["train a-t1"].cell.recipe, steps["train a-s0"].cell.recipe
    assert (trial.train.epochs, trial.train.track, trial.seed) == (1, (), 1000)
    assert (run.train.epochs, run.train.track, run.seed) == (3, ("train", "val"), 0)
    assert steps["train a-t1"].out == tmp_path / "tuning" / "a-t1"


def test_the_best_trial_on_val_is_trained_with_every_seed(tmp_path):
    scores = {"a-t1": 0.3, "a-t2": 0.5, "a-t3": 0.4, "b-t1": 0.2, "b-t2": 0.2, "b-t3": 0.1}
    before = chosen_rates(make_plan(made(), tmp_path))
    executor = OnPaper(lambda name: scores.get(name, 0.9))
    run_study(made(), tmp_path, executor=executor)
    found = chosen_rates(make_plan(made(), tmp_path))
    assert found["a-s0"] == found["a-s1"] == before["a-t2"]
    assert found["b-s0"] == found["b-s1"] == before["b-t1"], "of equals the first"
    assert not make_plan(made(), tmp_path).open


def test_a_recipe_goes_on_as_soon_as_its_own_trials_are_done(tmp_path):
    executor = OnPaper(lambda _: 0.5)
    run_study(made(), tmp_path, executor=executor)
    assert executor.order.index("train a-t3") < executor.order.index("train a-s0") < executor.order.index("accuracy of b-s0")
    assert len(executor.order) == len(set(executor.order)) == 6 + 1 + 4 + 4


def test_more_trials_keep_the_first_and_move_no_run_unless_they_choose_another(tmp_path):
    run_study(made(), tmp_path, executor=OnPaper(lambda name: {"a-t2": 0.5, "b-t1": 0.5}.get(name, 0.3)))
    more = OnPaper(lambda name: {"b-t5": 0.8}.get(name, 0.3))
    run_study(tuned(trials=5), tmp_path, executor=more)
    assert sorted(one for one in more.order if one.startswith("train")) == [
        *("train a-t4", "train a-t5", "train b-s0", "train b-s1", "train b-t4", "train b-t5"),
    ]
    assert sorted(path.name.rpartition("-")[0] for path in (tmp_path / "stale").iterdir()) == ["b-s0", "b-s1"]


def test_a_twin_takes_over_what_another_chose_and_one_may_stay_as_written(tmp_path):
    recipes = {"a": {}, "twin": {"tune": "a", "model": {"permute": {}}}, "plain": {"tune": False, "optim": {"lr": 0.5}}}
    study = made(recipes=recipes, probes=[])
    run_study(study, tmp_path, executor=OnPaper(lambda name: 0.7 if name == "a-t3" else 0.1))
    found = chosen_rates(make_plan(study, tmp_path))
    assert found["twin-s1"] == found["a-s1"] == found["a-t3"]
    assert found["plain-s0"] == 0.5
    assert not any(name.startswith(("twin-t", "plain-t")) for name in found)


def test_every_cell_of_a_grid_is_tuned(tmp_path):
    study = made(recipes={"a": {"grid": {"model.width": [8, 16]}}}, probes=[])
    run_study(study, tmp_path, executor=OnPaper(lambda name: 0.7 if name in ("a-width=8-t1", "a-width=16-t2") else 0.1))
    found = chosen_rates(make_plan(study, tmp_path))
    assert found["a-width=8-s0"] == found["a-width=8-t1"]
    assert found["a-width=16-s0"] == found["a-width=16-t2"] != found["a-width=8-s0"]


def test_what_begins_with_a_tuned_recipe_is_tuned_after_it(tmp_path):
    study = made(recipes={"pre": {}, "fine": {"init": {"kind": "recipe", "recipe": "pre"}}}, probes=[])
    plan = make_plan(study, tmp_path)
    assert plan.missing["train fine-t1"] == "after train pre-s0"
    assert "train fine-t1" in plan.open
    assert {step.id for step in plan.to_do()} == {"train pre-t1", "train pre-t2", "train pre-t3"}
    executor = OnPaper(lambda name: 0.7 if name.endswith("t2") else 0.1)
    run_study(study, tmp_path, executor=executor)
    order = [executor.order.index(name) for name in ("train pre-t2", "train pre-s0", "train fine-t1", "train fine-s0")]
    assert order == sorted(order)


def test_a_plan_from_nothing_has_no_trials_that_are_done(tmp_path):
    run_study(made(), tmp_path, executor=OnPaper(lambda _: 0.5))
    assert not make_plan(made(), tmp_path).open
    anew, first = make_plan(made(), tmp_path, fresh=True), make_plan(made(), tmp_path / "elsewhere")
    assert (anew.missing, anew.open) == (first.missing, first.open)


def test_a_trial_that_fails_leaves_out_what_it_would_choose(tmp_path):
    class Failing(OnPaper):
        def start(self, id: str, work, takes: Resources) -> None:
            if id == "train b-t2":
                self.ended.append(Ended(id, 0.0, 0.0, "A disk is full."))
            else:
                super().start(id, work, takes)

    outcome = run_study(made(), tmp_path, executor=Failing(lambda _: 0.5))
    assert outcome.failed["train b-t2"] == Failure("A disk is full.")
    said = "Left out, because it needs 'train b-t2', which failed."
    assert outcome.failed["train b-s1"] == Failure(said, needs="train b-t2")
    kept = folder.read_json(tmp_path / "failures.json")["failures"]
    assert {"step": "train b-t2", "error": "A disk is full."} in kept
    assert {"step": "train b-s1", "error": said, "needs": "train b-t2"} in kept
    assert "train a-s0" not in outcome.failed
    assert run_study(made(), tmp_path, executor=OnPaper(lambda _: 0.5)).failed == {}


# The whole -------------------------------------------------------------------------------------------------------------------


def test_a_tuned_study_from_trials_to_results(tmp_path):
    study = tuned(over={"optim.lr": {"log": [1e-4, 1e-1]}})
    outcome = run_study(study, tmp_path, executor=Here())
    outcome.check()
    judged = {}
    for name in ("a-t1", "a-t2", "a-t3"):
        log = read_history(tmp_path / "tuning" / name)
        assert all(epoch.scores.keys() == {"val"} for epoch in log), "a trial looks at val alone"
        judged[name] = log[0].val.accuracy
    best = max(judged, key=lambda name: judged[name])
    lr = runs.load(tmp_path / "tuning" / best).recipe.optim.lr
    assert runs.load(tmp_path / "runs" / "a-s1").recipe.optim.lr == lr
    (stored,) = (tmp_path / "joint" / "tuning").glob("*.json")
    result = json.loads(stored.read_text())["result"]
    assert [len(arm["trials"]) for arm in result["arms"]] == [3, 3]
    assert result["arms"][0]["curve"][2]["value"] == judged[best]
    again = Here()
    assert run_study(study, tmp_path, executor=again).asked == 0
    assert again.order == []


def test_a_trial_that_diverges_is_done_and_the_study_goes_on(tmp_path):
    over = {"optim.lr": [0.001, 1e30], "optim.name": ["sgd"]}
    study = made(tune={"over": over}, recipes={"a": {}}, seeds=[0], probes=[])
    run_study(study, tmp_path, executor=Here()).check()
    said = folder.read_json(tmp_path / "tuning" / "a-t2" / layout.ENVIRONMENT)["diverged"]
    assert said.startswith("The loss ")
    assert runs.load(tmp_path / "runs" / "a-s0").recipe.optim.lr == 0.001
    assert make_plan(study, tmp_path).to_do() == []


@pytest.mark.parametrize("length", [None, 0, 20])
def test_a_trial_whose_log_is_gone_or_torn_is_done_again(tmp_path, length):
    """It chose its settings for what follows, which stays: what is trained again is the same."""
    study = made(recipes={"a": {}}, seeds=[0], probes=[])
    run_study(study, tmp_path, executor=Here()).check()
    log, chosen = tmp_path / "tuning" / "a-t1" / layout.STEPS, chosen_rates(make_plan(study, tmp_path))
    before = read_history(log.parent)[0].val
    if length is None:
        log.unlink()
    else:
        os.truncate(log, length)
    plan = make_plan(study, tmp_path)
    assert plan.missing["train a-t1"] == "its log is damaged"
    assert plan.open == {"train a-s0"}
    run_study(study, tmp_path, executor=Here()).check()
    assert read_history(log.parent)[0].val == before
    again = make_plan(study, tmp_path)
    assert (chosen_rates(again), again.missing) == (chosen, {})


def test_a_study_that_only_asks_otherwise_is_written_down_though_nothing_is_to_be_done(tmp_path):
    """Its page answers its question and its claims, and is not written again where these stayed."""
    plain, written = made(tune=None, recipes={"a": {}}, probes=[]), []
    for study in (plain, plain, plain.replace(question="Which, again?")):
        run_study(study, tmp_path, executor=OnPaper(lambda _: 0.5))
        written.append((tmp_path / "study.toml").stat().st_mtime_ns)
    assert written[0] == written[1] < written[2]
