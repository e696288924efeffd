"""Plans: what a study means, what is done, and why the rest is not; no torch on the way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib

import pytest
from in_process import Here
from jsonschema import Draft202012Validator

from priorscope.core.config import read_toml
from priorscope.core.errors import RequestError, WorkError
from priorscope.data.augment import augment_config
from priorscope.study.askable import check_askable
from priorscope.study.cells import cells
from priorscope.study.keeping import check_folder
from priorscope.study.plan import make_plan
from priorscope.study.run import StudyOutcome, run_study
from priorscope.study.schedule import Failure
from priorscope.study.steps import ProbeStep, TrainStep, difference
from priorscope.study.study import Study, assign_study, find_study, shipped_studies

WRITTEN = """question = "Which?"
[base]
model = "mlp/tiny"
data = {source = "shapetex"}
[recipes.a]
[[probes]]
name = "accuracy"
"""

BASE = {
    "name": "made",
    "question": "Which?",
    "seeds": [0, 1],
    "base": {"data": {"source": {"name": "shapetex", "train": 96}}, "model": "mlp/tiny"},
    "recipes": {"a": {}, "b": {"extends": "a", "data": {"source": {"cue": "shape"}}}},
    "probes": [{"name": "accuracy"}, {"name": "cue_conflict", "recipes": ["a"]}],
}


TUNED = {"trials": 2, "epochs": 1, "over": {"model.width": [8, 16]}}


def made(**changes) -> Study:
    return Study.parse({**BASE, **changes})


def test_a_recipe_is_laid_over_what_it_extends_and_the_base():
    found = {cell.run: cell.recipe for cell in cells(made())}
    assert list(found) == ["a-s0", "a-s1", "b-s0", "b-s1"]
    assert found["b-s1"].data.source.plain() == {**found["a-s1"].data.source.plain(), "cue": "shape"}
    assert found["b-s1"].seed == 1


def test_a_recipe_may_extend_a_shipped_one():
    recipes = {"mine": {"extends": "shapetex-cnn", "train": {"epochs": 2}}}
    (cell,) = cells(made(recipes=recipes, probes=[], seeds=[4]))
    assert (cell.recipe.model.name, cell.recipe.train.epochs, cell.recipe.optim.lr, cell.seed) == ("cnn/tiny", 2, 0.002, 4)
    with pytest.raises(RequestError, match="shapetex-cnn"):
        cells(made(recipes={"mine": {"extends": "shapetex-cn"}}, probes=[]))


def test_a_recipe_may_have_seeds_of_its_own():
    recipes = {"a": {}, "b": {"extends": "a", "seeds": [7]}}
    assert [cell.run for cell in cells(made(recipes=recipes, probes=[]))] == ["a-s0", "a-s1", "b-s7"]


def test_a_grid_makes_a_cell_of_every_combination():
    study = made(recipes={"a": {"grid": {"optim.lr": [0.1, 0.2], "model.width": [8, 16]}}}, probes=[])
    found = {cell.run: (cell.recipe.optim.lr, cell.recipe.model.width) for cell in cells(study) if cell.seed == 0}
    assert found == {
        "a-lr=0.1-width=8-s0": (0.1, 8),
        "a-lr=0.1-width=16-s0": (0.1, 16),
        "a-lr=0.2-width=8-s0": (0.2, 8),
        "a-lr=0.2-width=16-s0": (0.2, 16),
    }


def test_another_source_or_beginning_replaces_the_one_below():
    recipes = {
        "mine": {"extends": "s-finetune-imagenet", "data": {"source": "cifar10"}, "init": {"kind": "recipe", "recipe": "pre"}},
        "pre": {},
    }
    (mine, _) = cells(made(recipes=recipes, probes=[], seeds=[0]))
    assert mine.recipe.data.source.plain() == {"name": "cifar10"}
    assert mine.recipe.init.plain() == {"kind": "recipe", "recipe": "pre"}


def test_over_lies_on_every_recipe_whatever_it_extends():
    recipes = {"mine": {"extends": "shapetex-cnn", "grid": {"train.epochs": [3, 4]}}, "a": {"train": {"epochs": 9}}}
    study = made(recipes=recipes, probes=[], seeds=[0], over={"train": {"batch_size": 7}, "data": {"source": {"train": 99}}})
    found = [cell.recipe for cell in cells(study)]
    assert [recipe.train.epochs for recipe in found] == [3, 4, 9]
    assert {(recipe.train.batch_size, recipe.data.source.train) for recipe in found} == {(7, 99)}


AXES = [
    ("data.augment", ["none", "flip-crop"], "none", "flip-crop"),
    ("data.augment", [{"ops": ["flip", {"op": "pad-crop", "pad": 2}]}], "ops=flip+op=pad-crop,pad=2", ...),
    ("data.subset", [30, 60], "30", "60"),
    ("data.source", ["cifar10", {"name": "imagenet", "res": 64}], "cifar10", "imagenet,res=64"),
    ("model.dropout", [0.0, 0.1], "0.0", "0.1"),
    ("model.blocks", [1, 2], "1", "2"),
    ("model", ["mixer/tiny", {"patch": 8, "depth": 2}], "mixer_tiny", "patch=8,depth=2"),
    ("model.patch", [4, 8], "4", "8"),
    ("train.batch_size", [10, 20], "10", "20"),
    ("optim.name", ["sgd", "lion"], "sgd", "lion"),
]


@pytest.mark.parametrize(("key", "values", "first", "last"), AXES, ids=[f"{axis[0]}-{axis[2]}" for axis in AXES])
def test_every_kind_of_setting_can_be_an_axis(key, values, first, last):
    """And is what the recipe of its cell says, beside another axis."""
    model = {"name": "mixer/tiny"} if key == "model.patch" or values[-1] == {"patch": 8, "depth": 2} else {"name": "mlp/tiny"}
    recipes = {"a": {"model": model, "grid": {key: values, "optim.lr": [0.1, 0.2]}}}
    found = cells(made(recipes=recipes, probes=[], seeds=[0]))
    assert len(found) == 2 * len(values)
    short = key.rpartition(".")[2]
    assert found[0].run == f"a-{short}={first}-lr=0.1-s0"
    assert last is ... or found[-1].run == f"a-{short}={last}-lr=0.2-s0"
    for cell, value in zip(found[::2], values, strict=True):
        at = cell.recipe.plain()
        if key == "data.augment":
            assert cell.recipe.data.augment == augment_config(value)
            continue
        for part in key.split("."):
            at = at[part]
        assert at == value or (at["name"] == value if isinstance(value, str) else value.items() <= at.items())


def test_an_axis_of_models_keeps_what_the_recipe_says_of_all():
    grid = {"model": ["mixer/tiny", "vit/tiny"], "model.patch": [4, 8]}
    recipes = {"a": {"model": {"name": "mixer/tiny", "dropout": 0.3}, "grid": grid}}
    found = [cell.recipe.model for cell in cells(made(recipes=recipes, probes=[], seeds=[0]))]
    assert [(model.name, model.patch, model.dropout) for model in found] == [
        *(("mixer/tiny", 4, 0.3), ("mixer/tiny", 8, 0.3), ("vit/tiny", 4, 0.3), ("vit/tiny", 8, 0.3)),
    ]


def test_steps_form_a_graph(tmp_path):
    recipes = {"fine": {"init": {"kind": "recipe", "recipe": "pretrain"}}, "pretrain": {}}
    study = made(recipes=recipes, probes=[{"name": "accuracy"}])
    plan = make_plan(study, tmp_path)
    order = [step.id for step in plan.steps if isinstance(step, TrainStep)]
    assert order.index("train pretrain-s0") < order.index("train fine-s0")
    steps = {step.id: step for step in plan.steps}
    assert steps["train fine-s0"].needs == ("train pretrain-s0",)
    assert steps["accuracy of fine-s1"].needs == ("train fine-s1",)


def test_a_later_run_depends_on_what_it_begins_with(tmp_path):
    recipes = {"pretrain": {}, "fine": {"init": {"kind": "recipe", "recipe": "pretrain"}}}
    one = {step.id: step.key for step in make_plan(made(recipes=recipes, probes=[]), tmp_path).steps}
    changed = {**recipes, "pretrain": {"optim": {"lr": 0.5}}}
    other = {step.id: step.key for step in make_plan(made(recipes=changed, probes=[]), tmp_path).steps}
    assert one["train fine-s0"] != other["train fine-s0"]


def test_the_runs_that_saw_one_cue_are_found_by_their_content(tmp_path):
    plan = make_plan(made(), tmp_path)
    step = next(step for step in plan.steps if isinstance(step, ProbeStep) and step.id == "cue_conflict of a-s1")
    assert {cue: twin.cell.run for cue, twin in step.companions.items()} == {"shape": "b-s1"}
    assert set(step.needs) == {"train a-s1", "train b-s1"}


def test_a_probe_about_several_runs_is_one_step_that_needs_them_all(tmp_path):
    recipes = {"a": {}, "b": {"extends": "a", "model": "cnn/tiny"}, "c": {"extends": "a"}}
    plan = make_plan(made(recipes=recipes, probes=[{"name": "transfer", "recipes": ["a", "b"]}]), tmp_path)
    (step,) = (step for step in plan.steps if isinstance(step, ProbeStep))
    assert step.id == "transfer of a, b"
    assert step.needs == ("train a-s0", "train a-s1", "train b-s0", "train b-s1")
    assert step.out == tmp_path / "joint" / "transfer" / f"{step.key}.json"
    assert list(step.made_from["weights"]) == ["a-s0", "a-s1", "b-s0", "b-s1"]


def test_a_probe_may_ask_about_other_data_than_the_runs_own(tmp_path):
    def step(**more):
        plan = make_plan(made(probes=[{"name": "accuracy", "recipes": ["a"], **more}]), tmp_path)
        return next(step for step in plan.steps if isinstance(step, ProbeStep))

    own, other = step(), step(data={"name": "shapetex", "train": 48})
    assert other.made_from["data"] == {**own.made_from["data"], "train": 48}
    assert own.id == "accuracy of a-s0"
    assert other.id == f"accuracy of a-s0 ({other.key[:6]})"
    assert own.key != other.key


def test_a_run_that_begins_with_a_missing_seed_is_told_so(tmp_path):
    recipes = {"pretrain": {"seeds": [0]}, "fine": {"init": {"kind": "recipe", "recipe": "pretrain"}}}
    with pytest.raises(RequestError, match="fine-s1 begins with the recipe 'pretrain', which is run with the seeds 0 only"):
        make_plan(made(recipes=recipes, probes=[]), tmp_path)


GRID = {"grid": {"optim.lr": [0.1, 0.2]}}


@pytest.mark.parametrize(
    ("recipes", "said"),
    [
        (
            {"pre": GRID, "fine": {"init": {"kind": "recipe", "recipe": "pre"}}},
            "fine-s0 begins with the recipe 'pre', which has a grid.\n"
            "  wanted: a recipe with one cell\n"
            "  try:    name a recipe without a grid",
        ),
        (
            {"a": GRID, "a-lr=0.1": {"optim": {"lr": 0.3}}},
            "Two runs of made are called 'a-lr=0.1-s0'.\n"
            "  wanted: a name of its own for every run\n"
            "  try:    rename one of the recipes",
        ),
    ],
    ids=["a beginning with a grid", "two runs of one name"],
)
def test_grids_that_leave_a_run_unclear_are_refused(tmp_path, recipes, said):
    with pytest.raises(RequestError) as caught:
        make_plan(made(recipes=recipes, probes=[]), tmp_path)
    assert str(caught.value) == said


def test_a_probe_may_look_at_some_seeds(tmp_path):
    plan = make_plan(made(probes=[{"name": "accuracy", "seeds": [1]}]), tmp_path)
    assert [step.id for step in plan.steps if isinstance(step, ProbeStep)] == ["accuracy of a-s1", "accuracy of b-s1"]
    with pytest.raises(RequestError, match="looks at no run"):
        make_plan(made(probes=[{"name": "accuracy", "seeds": [7]}]), tmp_path)


def test_a_budget_is_laid_over_a_study_and_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'question = "?"\nseeds = [0, 1]\n[base]\nmodel = "mlp/tiny"\ndata = {source = "shapetex"}\ntrain = {epochs = 9}\n'
        "[recipes.a]\n[budgets.smoke]\nseeds = [0]\nbase = {train = {epochs = 1}}\n"
    )
    full, smoke = Study.load(str(path)), Study.load(str(path), budget="smoke")
    assert (smoke.name, smoke.seeds) == ("mine-smoke", (0,))
    assert [cell.recipe.train.epochs for cell in cells(smoke)] == [1]
    assert [cell.recipe.train.epochs for cell in cells(full)] == [9, 9]
    assert Study.load(str(path), budget="full") == full
    with pytest.raises(RequestError, match="'smoke' \\(did you mean that\\?\\)"):
        Study.load(str(path), budget="smok")
    path.write_text(path.read_text().partition("[budgets")[0])
    with pytest.raises(RequestError, match="mine came with --budget smoke, and has no budgets") as refused:
        Study.load(str(path), budget="smoke")
    assert refused.value.do == "leave out --budget"


def test_keys_change_with_what_matters_and_only_with_that(tmp_path):
    def keys(**changes):
        return {step.id: step.key for step in make_plan(made(**changes), tmp_path).steps}

    one = keys()
    assert keys(question="Another?", promise="x") == one
    seeds = keys(seeds=[0, 1, 2])
    assert {name: seeds[name] for name in one} == one
    probe = keys(probes=[{"name": "accuracy", "k": 3}, *BASE["probes"][1:]])
    assert {name for name in one if probe.get(name) != one[name]} == {f"accuracy of {run}-s{s}" for run in "ab" for s in (0, 1)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipes": {"a": {"modell": "x"}}}, "did you mean"),
        ({"recipes": {"a": {"model": "mlp/tinny"}}}, "mlp/tiny"),
        ({"recipes": {"a": {"extends": "z"}}}, "'z' is not a recipe of this study"),
        ({"recipes": {"a": {"extends": "b"}, "b": {"extends": "a"}}}, "extends itself: a -> b -> a"),
        ({"recipes": {"a": {"init": {"kind": "recipe", "recipe": "z"}}}}, "'z' is not a recipe of this study"),
        ({"recipes": {"a/b": {}}}, "cannot name a folder"),
        ({"recipes": {}}, "recipes"),
        ({"seeds": []}, "seeds"),
        ({"probes": [{"name": "acuracy"}]}, "accuracy"),
        ({"probes": [{"name": "transfer"}]}, "compares 'a' and 'b', which learnt from different data"),
        ({"probes": [{"name": "accuracy", "data": "shapetexx"}]}, "shapetex"),
        ({"probes": [{"name": "accuracy", "recipes": ["z"]}]}, "'z' is not a recipe of this study"),
        ({"base": {"data": {"source": "shapetexx"}}}, "shapetex"),
        ({"base": {"data": {"source": "shapetex"}, "train": {"epochs": 0}, "model": "mlp/tiny"}}, "epochs"),
        ({"recipes": {"a": {"grid": {"seed": [1, 2]}}}}, "The grid of recipe 'a' of made has an axis of seeds."),
        ({"recipes": {"a": {"grid": {"optim.lr": []}}}}, "The axis 'optim.lr' in the grid of recipe 'a' of made has no value."),
        (
            {"recipes": {"a": {"grid": {"data.subset": [20, 30]}}}, "over": {"data": {"subset": 10}}},
            "is laid over every recipe",
        ),
        (
            {"recipes": {"a": {"grid": {"optim": [{"lr": 0.1}, {"lr": 0.2}]}}}, "over": {"optim": {"lr": 0.3}}},
            "'optim.lr' stands",
        ),
        ({"claims": ["a > b in accuracy"], "probes": []}, "which the claim 'a > b in accuracy' is about: there is none"),
        ({"base": {"data": {"source": 1}}}, "In recipe 'a' of made: 1 does not name a data source."),
        (
            {"base": {"data": {"source": {"name": "cifar100", "size": 1}}}, "recipes": {"a": {"model": "mlp/tiny"}}},
            "In recipe 'a' of made: 'size' is not a setting in data source cifar100.",
        ),
        ({"base": {"data": {"source": "shapetex"}, "model": [1]}}, "In recipe 'a' of made: [1] does not name a model family."),
        ({"base": {**BASE["base"], "train": 1}}, "train = 1 was refused in recipe 'a' of made."),
        ({"base": {**BASE["base"], "train": 1}, "tune": TUNED}, "train = 1 was refused in recipe 'a' of made."),
        ({"base": {**BASE["base"], "optim": 1}, "tune": TUNED}, "optim = 1 was refused in recipe 'a' of made."),
        ({"probes": [{"name": "accuracy", "data": 1}]}, "1 does not name a data source."),
        ({"probes": [{"probe": 1}]}, "1 does not name a probe."),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(tmp_path, change, said):
    with pytest.raises(RequestError) as caught:
        make_plan(made(**change), tmp_path)
    assert said in str(caught.value)


COMPARED = {
    "recipes": {"a": {}, "b": {"extends": "a"}, "c": {"extends": "a", "grid": {"optim.lr": [0.1, 0.2]}}},
    "probes": [
        {"name": "accuracy"},
        {"name": "robustness", "recipes": ["a", "b"]},
        {"name": "transfer"},
        {"name": "calibration", "recipes": ["a", "b"]},
    ],
}


@pytest.mark.parametrize(
    "claim",
    [
        "a > b in accuracy",
        "c-lr=0.1 < c-lr=0.2 in accuracy",
        "a > b in minimal_linf, margin 0.2/255",
        "a = b in minimal_linf, margin 0.1 doublings",
        "a < b in ece, margin 0.001 squared",
    ],
)
def test_a_claim_about_what_is_compared_is_planned(tmp_path, claim):
    assert make_plan(made(**COMPARED, claims=[claim]), tmp_path).to_do()


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("c > a in accuracy", "'c' is not a recipe, or cell of a grid, of this study"),
        ("a > b-x in accuracy", "'b-x' is not a recipe, or cell of a grid, of this study"),
        ("a > a in accuracy", "compares 'a' with itself"),
        ("a > b in acuracy", "'accuracy' (did you mean that?)"),
        ("a > b in minimal_l2", "name = 'robustness', norm = 'l2'"),
        ("a > c-lr=0.1 in robustness", "which looks at a and c-lr=0.1"),
        ("a > c-lr=0.1 in calibration", "which looks at a and c-lr=0.1"),
        (
            "a < b in ece, margin 0.01",
            "can never be decided: no two networks are compared in the unit of its margin.\n"
            "  wanted: a margin in squared ECE, debiased\n  try:    margin M squared",
        ),
        ("a > b in minimal_linf, margin 1 squared", "a margin in doublings of the budget\n  try:    margin M doublings"),
        ("a > b in accuracy, margin 2 points", "a margin in the unit of the accuracy, without a word\n  try:    margin M"),
        ("a > b in transfer", "says one thing of many networks together"),
        ("a beats b", "is no claim"),
    ],
)
def test_a_claim_that_cannot_be_decided_is_refused(tmp_path, claim, said):
    with pytest.raises(RequestError) as caught:
        make_plan(made(**COMPARED, claims=[claim]), tmp_path)
    assert said in str(caught.value)


def test_what_two_entries_ask_alike_is_one_step(tmp_path):
    asked = ({"name": "accuracy"}, {"name": "accuracy", "recipes": ["a"]}, {"name": "accuracy", "k": 3, "seeds": [0]})
    plan = make_plan(
        made(probes=[*asked, {"name": "transfer", "recipes": ["a"]}, {"name": "transfer", "recipes": ["a"]}]), tmp_path
    )
    names = [step.id.partition(" (")[0] for step in plan.steps if isinstance(step, ProbeStep)]
    assert names == [*(f"accuracy of {run}" for run in ("a-s0", "a-s1", "b-s0", "b-s1", "a-s0", "b-s0")), "transfer of a"]


def test_a_recipe_of_a_shipped_one_s_name_may_extend_that():
    recipes = {"shapetex-cnn": {"extends": "shapetex-cnn", "train": {"epochs": 2}}, "b": {"extends": "shapetex-cnn"}}
    found = [cell.recipe for cell in cells(made(recipes=recipes, probes=[], seeds=[0]))]
    assert [(recipe.model.name, recipe.train.epochs, recipe.optim.lr) for recipe in found] == [("cnn/tiny", 2, 0.002)] * 2
    with pytest.raises(RequestError, match="extends itself: a -> a"):
        cells(made(recipes={"a": {"extends": "a"}}, probes=[]))


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["runs", "joint", "tuning", "stale"])
def test_a_folder_of_something_else_is_left_as_it_is(tmp_path, name, fresh):
    kept = tmp_path / name / "mine" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(RequestError, match=f"holds {name} of no study, and 'made' would take away"):
        run_study(made(), tmp_path, fresh=fresh, executor=Here())
    (tmp_path / "study.toml").write_text(made(name="other").toml())
    with pytest.raises(RequestError, match="holds the study 'other', and 'made' would take away"):
        run_study(made(), tmp_path, fresh=fresh, executor=Here())
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {kept, tmp_path / "study.toml"}


@pytest.mark.parametrize("fresh", [False, True])
def test_a_project_whose_study_stands_beside_its_runs_is_left_as_it_is(tmp_path, fresh):
    """People write a study where they train: its file is theirs, also where it has a name, and so is `runs`."""
    for text in (WRITTEN, f'name = "made"\n{WRITTEN}', 'name = "made"\n' + WRITTEN.partition("[[probes]]")[0]):
        (tmp_path / "study.toml").write_text(text)
        (tmp_path / "runs" / "mine").mkdir(parents=True, exist_ok=True)
        with pytest.raises(RequestError) as refused:
            run_study(made(), tmp_path, fresh=fresh, executor=Here())
        assert refused.value.came.startswith(f"{tmp_path} holds a study.toml that no study wrote, and 'made' would take away")
        assert {path.name for path in tmp_path.rglob("*")} == {"study.toml", "runs", "mine"}
        assert (tmp_path / "study.toml").read_text() == text


def test_what_a_study_writes_is_its_own_copy(tmp_path):
    for study in (made(), made(probes=[]), Study.load("quickstart")):
        (tmp_path / "study.toml").write_text(study.toml())
        check_folder(study, tmp_path)


def test_the_folder_of_a_run_takes_no_study(tmp_path):
    (tmp_path / "recipe.toml").write_text("seed = 0\n")
    with pytest.raises(RequestError, match="holds a run, and 'made' would take away"):
        run_study(made(), tmp_path, executor=Here())


def test_a_changed_study_of_one_name_goes_on_in_its_folder(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "study.toml").write_text(made(question="Another?", seeds=[7]).toml())
    check_folder(made(), tmp_path)


def test_what_failed_is_counted_apart_from_what_was_left_out_for_it(tmp_path):
    left_out = {f"accuracy of {run}-s0": Failure("Its run is not there.", f"train {run}-s0") for run in "ab"}
    failed = {"train a-s0": Failure("No disk."), **left_out, "train b-s0": Failure("Left out, the light was.")}
    with pytest.raises(WorkError) as told:
        StudyOutcome(tmp_path, 6, failed).check()
    assert told.value.came.splitlines()[0] == "2 of 6 steps failed: train a-s0, train b-s0; left out because of this: 2 more."
    assert "No disk." in told.value.came
    StudyOutcome(tmp_path, 6, {}).check()


def test_what_cannot_be_planned_deletes_nothing(tmp_path):
    kept = tmp_path / "runs" / "a-s0" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    (tmp_path / "study.toml").write_text(made().toml())
    with pytest.raises(RequestError, match="'z' is not a recipe of this study"):
        run_study(made(recipes={"a": {"extends": "z"}}), tmp_path, fresh=True, executor=Here())
    assert kept.exists()


def test_recipes_that_begin_with_each_other_are_refused(tmp_path):
    recipes = {"a": {"init": {"kind": "recipe", "recipe": "b"}}, "b": {"init": {"kind": "recipe", "recipe": "a"}}}
    with pytest.raises(RequestError, match="each start from the other"):
        make_plan(made(recipes=recipes, probes=[]), tmp_path)


def test_what_two_entries_ask_of_different_seeds_are_two_steps(tmp_path):
    entries = [{"name": "similarity", "seeds": seeds} for seeds in ([0], [1], [0, 1])]
    plan = make_plan(made(recipes={"a": {}, "b": {"extends": "a"}}, probes=entries), tmp_path)
    asked = [step.id for step in plan.steps if isinstance(step, ProbeStep)]
    assert asked == [f"similarity of all runs, {which}" for which in ("seed 0", "seed 1", "seeds 0 and 1")]


def test_a_table_in_a_grid_hides_no_setting_that_it_does_not_hold():
    grid = {"model": [{"width": 8}, {"width": 16}]}
    (first, second) = cells(made(recipes={"a": {"grid": grid}}, probes=[], seeds=[0], over={"model": {"blocks": 1}}))
    assert (first.recipe.model.width, second.recipe.model.width) == (8, 16)


def test_set_finds_a_probe_by_its_name(tmp_path):
    values = assign_study(BASE, "probes.accuracy.k=3")
    assert Study.parse(values).probes[0].probe.k == 3
    (tmp_path / "study.toml").write_text(made().toml())
    assert Study.load(str(tmp_path / "study.toml"), ["probes.accuracy.k=3"]).probes[0].probe.k == 3
    with pytest.raises(RequestError, match=r"with --set seedss=\[1\]"):
        Study.load(str(tmp_path / "study.toml"), ["seedss=[1]"])
    assert assign_study(BASE, "base.optim.lr=1/8")["base"]["optim"]["lr"] == "1/8"
    with pytest.raises(RequestError, match="'acuracy' is not a probe of this study"):
        assign_study(BASE, "probes.acuracy.k=3")


@pytest.mark.parametrize(
    ("written", "settings", "budget", "came"),
    [
        ("budgets = 1", [], "smoke", "budgets = 1 was refused"),
        ("budgets.smoke = 1", [], "smoke", "budgets.smoke = 1 was refused"),
        ("budgets.smoke.base = 1", [], "smoke", "base = 1 was refused"),
        ("budgets.smoke.recipes = 1", [], "smoke", "recipes = 1 was refused"),
        ("budgets.smoke.recipes.a = 1", [], "smoke", "recipes.a = 1 was refused"),
        ("probes = 1", ["probes.accuracy.k=3"], None, "probes = 1 was refused"),
        ("probes = [1]", ["probes.accuracy.k=3"], None, "probes.0 = 1 was refused"),
        ("", ["recipes=1", "recipes.a.model=1"], None, "'recipes' is a value, not a table."),
        ("", ["train.epochs=1"], None, "'train' is not a setting"),
    ],
)
def test_a_value_where_a_study_has_a_table_is_refused(tmp_path, written, settings, budget, came):
    path = tmp_path / "a.toml"
    path.write_text(f'question = "?"\nbase.model = "mlp/tiny"\nrecipes.a.seeds = [1]\n{written}\n')
    with pytest.raises(RequestError) as caught:
        Study.load(str(path), settings, budget)
    assert caught.value.came.startswith(came)


def test_a_setting_of_recipes_is_told_its_name_in_a_study():
    for setting, meant in {"train.epochs=1": "train.epochs", "epochs=1": "train.epochs", "lr=1": "optim.lr"}.items():
        with pytest.raises(RequestError) as caught:
            Study.load("quickstart", [setting])
        assert caught.value.do == f"base.{meant} = ... (did you mean that?)"
    with pytest.raises(RequestError) as caught:
        Study.load("quickstart", ["recipes.mlp.lr=1"])
    assert caught.value.do == "recipes.mlp.optim.lr = ... (did you mean that?)"


def test_differences_are_named_by_their_path():
    assert difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == "a.b 1 -> 3"


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_can_be_planned_and_promises_something(name, tmp_path):
    study = Study.load(name)
    assert study.promise
    assert "smoke" in study.budgets
    assert make_plan(study, tmp_path).to_do()


@pytest.mark.parametrize(
    ("name", "budget"), [(name, budget) for name in shipped_studies() for budget in Study.load(name).budgets]
)
def test_every_budget_of_a_shipped_study_can_be_planned(name, budget, tmp_path):
    less = make_plan(Study.load(name, budget=budget), tmp_path)
    check_askable(less)
    assert 0 < len(less.steps) <= len(make_plan(Study.load(name), tmp_path).steps)


def test_a_budget_may_name_another_source(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'question = "?"\n[base]\nmodel = "mlp/tiny"\n[recipes.a]\ndata = {source = {name = "imagenet", res = 64}}\n'
        '[budgets.smoke.recipes]\na = {data = {source = {name = "shapetex", train = 99}}}\n'
    )
    (cell,) = cells(Study.load(str(path), budget="smoke"))
    assert (cell.recipe.data.source.name, cell.recipe.data.source.train) == ("shapetex", 99)


def test_a_study_goes_to_toml_and_back(tmp_path):
    path = tmp_path / "made.toml"
    path.write_text(made().toml())
    assert Study.load(str(path)) == made()


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_is_valid_by_the_schema(name):
    Draft202012Validator(Study.model_json_schema()).validate(read_toml(find_study(name)))


def test_the_schema_takes_what_a_study_may_say_and_flags_what_is_refused():
    schema = Draft202012Validator(Study.model_json_schema())
    text = """
question = "?"
probes = [{name = "robustness", eps = "8/255", recipes = ["a"]}]
[tune]
trials = 2
over.optim.lr = {log = [1e-4, 1e-2]}
[recipes]
a = {extends = "shapetex-mlp", tune = false}
b = {extends = "a", tune = "c"}
c = {extends = "a", tune = {over = {"optim.lr" = [0.1, 0.2], optim.clip = {uniform = [1, 2]}}}}
"""
    study = tomllib.loads(text)
    assert cells(Study.parse({"name": "s", **study}))
    schema.validate(study)
    schema.validate(tomllib.loads(made().toml()))
    less = {
        "base": {"train": {"epochs": 1}},
        "recipes": {"a": {"model": {"width": 9}}},
        "probes": [{"name": "accuracy", "k": 2}],
    }
    schema.validate({**study, "budgets": {"smoke": less}})
    for probe in (
        "accuracy",
        {"name": "acuracy"},
        {"eps": 1},
        {"name": "accuracy", "eps": 1},
        {"name": "accuracy", "recipe": "a"},
    ):
        assert not schema.is_valid({**study, "probes": [probe]}), probe
        assert not schema.is_valid({**study, "budgets": {"smoke": {"probes": [probe]}}}), probe
    for part in ("base", "over"):
        assert schema.is_valid({**study, part: {"optim": {"lr": 0.1}}})
        assert not schema.is_valid({**study, part: {"optim": {"rate": 0.1}}})
    for wrong in ({"data": {"souce": "cifar10"}}, {"model": {"name": "mlp/tiny", "heads": 2}}, {"train": {"epoch": 1}}):
        assert not schema.is_valid({**study, "recipes": {"a": {"extends": "shapetex-mlp", **wrong}}}), wrong
    for wrong in ({"tune": True}, {"tune": {"likes": "b"}}, {"seeds": []}):
        assert not schema.is_valid({**study, "recipes": {"a": {"extends": "shapetex-mlp", **wrong}}})


def test_planning_and_listing_import_no_torch(tmp_path):
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    code = """
import sys, json
from priorscope.cli import main
lines = ["study quickstart --plan --json", "study list", "data list", "models list", "schema", "schema study"]
for line in lines:
    try:
        main(line.split())
    except SystemExit as end:
        assert not end.code, line
heavy = ("torch", "timm", "numba", "pyarrow", "altair")
print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.splitlines()[-1]) == []


@pytest.mark.parametrize("part", ["base", "over"])
def test_a_seed_beside_the_study_s_seeds_is_refused(part):
    with pytest.raises(RequestError, match=f"{part} sets a seed") as caught:
        Study.parse({"name": "a", "question": "?", part: {"seed": 7}, "recipes": {"a": {"model": "mlp/tiny"}}})
    assert "seeds = [7]" in caught.value.do
