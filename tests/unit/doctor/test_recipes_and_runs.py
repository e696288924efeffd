"""Faults of recipes and runs, each reproduced; and nothing found where nothing is wrong."""

from __future__ import annotations

import shutil
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import priorscope as ps
from priorscope import run as runs
from priorscope.core import layout
from priorscope.core.environment import Environment
from priorscope.core.errors import RequestError
from priorscope.data import open as open_source
from priorscope.doctor import (
    grid_edge,
    learnt_nothing,
    loader_bound,
    loss_scale,
    masked,
    normalisation,
    one_token,
    options,
    partial_data,
    precision,
    schedule,
    windows,
)
from priorscope.doctor.examination import examine
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.doctor.sides import picture_side
from priorscope.looking.look import On, look
from priorscope.looking.networks import network_of_run
from priorscope.probes import probe_config
from priorscope.recipe import Recipe, find_recipe, shipped_recipes
from priorscope.train.budget import image_flops

from .conftest import WELL

TRUE_ALARMS = {
    "v-perceiver-io-cifar10": {"one_token"},
    "v-perceiver-io-stl10": {"one_token"},
    "v-perceiver-io-tinyimagenet": {"one_token"},
    "v-swin-cifar10": {"one_token", "windows"},
}
"""Published networks that are shipped with what was wrong with them, and say so in their opening comment."""


def network_of(recipe: Recipe):
    return ps.models.create(recipe.model, image_size=32, num_classes=10)


def changed(**tables) -> Recipe:
    return Recipe.of({**WELL, **{name: {**WELL.get(name, {}), **table} for name, table in tables.items()}})


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_no_false_alarm_on_a_shipped_recipe(name):
    recipe = Recipe.load(find_recipe(name))
    side = recipe.model.input_size or picture_side(recipe)
    found = [finding for check in (schedule, options, precision) for finding in check.look_at_recipe(recipe)]
    found += [finding for check in (one_token, windows) for finding in check.look_at_side(recipe, side)]
    assert {finding.check for finding in found} == TRUE_ALARMS.get(name, set())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped_recipes() if "pretrained" not in name])
def test_no_false_alarm_on_the_network_of_a_shipped_recipe(name):
    found = examine(name)
    assert {finding.check for finding in found.findings if finding.severity != "note"} == TRUE_ALARMS.get(name, set())


def test_nothing_is_found_where_nothing_is_wrong(well):
    found = examine(str(well))
    assert found.kind == "run"
    assert found.findings == ()
    assert {"dropout", "duplicates", "evaluation_mode", "normalisation", "partial_data", "schedule"} <= set(found.checks)


def test_one_token():
    recipe = changed(model={"name": "perceiver_io/v-cifar10", "width": 64})
    (finding,) = one_token.look_at_side(recipe, 32)
    assert finding.saw == (
        "perceiver_io/v-cifar10 at 32 pixels attends to a single token in places: "
        "cross_attend_block.cross_attn.norm.weight and 2 more get no gradient."
    )
    assert not [*one_token.look_at_side(changed(model={"name": "perceiver_io/tiny", "width": 64}), 32)]
    plain = {**WELL, "model": {"name": "tnt/tiny", "pixel": 8}}
    (finding,) = one_token.look_at_side(Recipe.of(plain), 32)
    assert "queries and keys of pixel attention" in finding.saw


def test_windows_that_never_shift():
    (finding,) = windows.look_at_side(Recipe.of({**WELL, "model": "swin/v-cifar10"}), 32)
    assert "windows of 8 on a map of 8, 4 on a map of 4, 2 on a map of 2, 1 on a map of 1: none of them shifts" in finding.saw
    for repaired in ("swin/shifted", "swin/tiny"):
        assert not [*windows.look_at_side(Recipe.of({**WELL, "model": repaired}), 32)]
    assert not [*windows.look_at_side(Recipe.of({**WELL, "model": "swin/v-cifar10"}), 64)]


@pytest.mark.parametrize(
    ("size", "model", "told"),
    [
        (32, "swin/v-cifar10", {"windows", "one_token"}),
        (64, "swin/v-cifar10", set()),
        (32, {"name": "swin/v-cifar10", "input_size": 64}, set()),
        (64, {"name": "swin/v-cifar10", "input_size": 32}, {"windows", "one_token"}),
    ],
)
def test_a_run_is_judged_by_the_side_that_its_backbone_saw(ill, tmp_path, size, model, told):
    def sized(_rows, environment):
        environment["model"]["image_size"] = size

    ill(sized, recipe=Recipe.of({**WELL, "model": model}))
    assert {"windows", "one_token"} & {finding.check for finding in examine(str(tmp_path)).findings} == told


def test_the_side_of_pictures_is_theirs_wherever_they_lie(tmp_path):
    """Of opened pictures their own, else what the source is set to or always has; where nothing tells it, no claim."""
    from priorscope.data import convert

    source = {**WELL["data"]["source"], "image_size": 24}
    made = Recipe.of({**WELL, "data": {"source": source}})
    assert picture_side(made) == 24
    convert(source, tmp_path / "a.beton")
    stored = Recipe.of({**WELL, "data": {"source": {"name": "beton", "path": str(tmp_path / "a.beton")}}})
    assert picture_side(stored, open_source(stored.data.source).split("train")) == 24
    assert picture_side(stored) == 24, "as its manifest says"
    (tmp_path / "a.beton.json").unlink()
    with pytest.raises(RequestError, match="Only the pictures of beton say how large they are"):
        picture_side(stored)
    assert picture_side(changed(data={"augment": {"size": 40}}), open_source(source).split("train")) == 40
    nowhere = {"source": {"name": "beton", "path": str(tmp_path / "none.beton")}}
    (tmp_path / "tnt.toml").write_text(Recipe.of({**WELL, "data": nowhere, "model": {"name": "tnt/tiny", "pixel": 8}}).toml())
    found = examine(str(tmp_path / "tnt.toml"))
    assert [(finding.check, finding.severity) for finding in found.findings] == [("pictures", "note"), ("network", "note")]


@pytest.mark.parametrize(
    ("tables", "setting"),
    [
        ({"model": {"resize": "area"}}, "model.resize = 'area'"),
        ({"optim": {"weight_decay": 0, "decay_norms_and_biases": True}}, "optim.decay_norms_and_biases"),
        ({"train": {"patience": 4}}, "train.patience = 4"),
        ({"train": {"patience": 3}}, "train.patience = 3"),
        ({"data": {"augment": {"interpolation": "area"}}}, "data.augment.interpolation = 'area'"),
        ({"data": {"augment": {"ops": ["flip", "pad-crop"], "interpolation": "nearest"}}}, "data.augment.interpolation"),
        ({"data": {"augment": {"ops": ["resized-crop"], "fill": "edge"}}}, "data.augment.fill = 'edge'"),
        ({"train": {"track_images": 7}}, "train.track_images = 7"),
        ({"data": {"augment": {"ops": [{"op": "flip", "p": 0}]}}}, "data.augment.ops[0] (flip)"),
        ({"data": {"augment": {"ops": ["flip", {"op": "jitter"}]}}}, "data.augment.ops[1] (jitter)"),
    ],
)
def test_a_setting_that_nothing_reads(tables, setting):
    (finding,) = options.look_at_recipe(changed(**tables))
    assert finding.saw.startswith(setting)


@pytest.mark.parametrize(
    "tables",
    [
        {"model": {"resize": "area", "input_size": 64}},
        {"optim": {"weight_decay": 0.1, "decay_norms_and_biases": True}},
        {"train": {"patience": 2}},
        {"data": {"augment": {"ops": ["resized-crop"], "interpolation": "area"}}},
        {"data": {"augment": {"size": 16, "interpolation": "area"}}},
        {"data": {"augment": {"ops": ["pad-crop"], "fill": [1.0, 0.5, 0.5]}}},
        {"data": {"augment": {"ops": [{"op": "choose", "ops": ["rotate"]}], "interpolation": "nearest", "fill": "edge"}}},
        {"train": {"track_images": 7, "track": ["train", "val"]}},
        {"data": {"augment": "flip-jitter"}},
    ],
)
def test_a_setting_that_is_read(tables):
    assert not [*options.look_at_recipe(changed(**tables))]


def test_a_warm_up_that_never_ends():
    (finding,) = schedule.look_at_recipe(changed(optim={"warmup": 4}))
    assert finding.severity == "fault"
    assert not [*schedule.look_at_recipe(changed(optim={"warmup": 3}))]


@pytest.mark.parametrize(
    ("length", "warmup", "said"),
    [
        ({"steps": 20}, 2.5, "optim.warmup = 2.5 epochs came with 20 steps, which are 2.5 epochs."),
        ({"steps": 20}, 2.4, None),
        ({"flops": 10.0}, 1.25, "optim.warmup = 1.25 epochs came with 10 steps, which are 1.25 epochs."),
        ({"flops": 10.0}, 1.2, None),
    ],
)
def test_a_warm_up_that_never_ends_in_a_run_that_counts_steps_or_operations(length, warmup, said):
    """400 pictures in batches of 50 are 8 steps an epoch."""
    recipe = changed(train={"epochs": 0, "steps": 1}, optim={"warmup": warmup})
    network = network_of(recipe)
    if "flops" in length:  # given here in steps
        length = {"flops": length["flops"] * 50 * image_flops(network, recipe.train, recipe.optim)}
    recipe = recipe.replace(train={**WELL["train"], "epochs": 0, **length})
    found = [*schedule.look_at_training(recipe, open_source(recipe.data.source).split("train"), network)]
    assert [finding.saw for finding in found] == ([said] if said else [])


def test_a_schedule_an_epoch_late(ill):
    def late(rows, _environment):
        rates = [row["lr"] for row in rows]
        for row, before in zip(rows[1:], rates, strict=False):
            row["lr"] = before

    (finding,) = schedule.look_at_run(ill(late))
    assert finding.saw.startswith("At the end of epoch 2 the rate was 0.003; the recipe's cosine schedule has 0.00")


@pytest.mark.parametrize("length", [{"steps": 3}, {"steps": 9}, {"flops": 2e9}])
def test_a_run_that_counts_steps_or_operations_has_the_rates_that_it_asked_for(length, tmp_path):
    train = {name: value for name, value in WELL["train"].items() if name != "epochs"}
    recipe = Recipe.of({**WELL, "optim": {**WELL["optim"], "warmup": 0.2}, "train": {**train, **length}})
    assert not [*schedule.look_at_run(ps.fit(recipe, tmp_path / "run"))]


def test_an_accuracy_on_other_data_is_no_partial_score(ill):
    def other(rows, _environment):
        assert rows

    run = ill(other, "run")
    data = '{name = "shapetex", test = 40}'
    list(look(probe_config("accuracy"), [network_of_run(run.path)], On.named(data)))
    assert list((run.path / "results/accuracy").glob("*.json"))
    assert not [*partial_data.look_at_run(run)]


def test_normalisation_by_the_mean_of_the_pictures_own_deviations(ill):
    """What all three predecessors did: (0.2023, 0.1994, 0.2010) is that of CIFAR-10."""
    pixels = open_source(WELL["data"]["source"]).split("train").pixels.array / 255

    def wrong(_rows, environment):
        environment["model"]["statistics"]["std"] = pixels.std((1, 2)).mean(0).tolist()

    (finding,) = normalisation.look_at_run(ill(wrong))
    assert finding.severity == "fault"
    std = pixels.std((0, 1, 2))
    assert f"its training pictures have mean ({pixels[..., 0].mean():.3f}" in finding.saw
    assert f"deviation ({std[0]:.3f}, {std[1]:.3f}, {std[2]:.3f})" in finding.saw


def test_pictures_that_were_not_normalised(ill):
    def none(_rows, environment):
        environment["model"]["statistics"] = None

    (finding,) = normalisation.look_at_run(ill(none))
    assert "mean (0.000, 0.000, 0.000), deviation (1.000, 1.000, 1.000)" in finding.saw


def test_a_score_of_some_of_the_images(ill):
    """As a notebook scored that skipped the batch that was not whole: 96 of 100."""

    def partial(rows, _environment):
        for row in rows:
            row["val"]["n"] = 100 // 32 * 32

    (finding,) = partial_data.look_at_run(ill(partial, "run"))
    assert finding.saw == "run: epoch 1 scored 96 of the 100 images of val."


def test_a_loss_divided_twice_and_a_loss_of_a_run_that_diverged(ill):
    """A run's own loss is a mean over images: 7,435 is no sum."""

    def divided(rows, _environment):
        for row in rows:
            row["val"]["loss"] /= 50

    def diverged(rows, _environment):
        rows[1]["val"]["loss"] = 7435.0

    (small,) = loss_scale.look_at_run(ill(divided, "a"))
    (large,) = loss_scale.look_at_run(ill(diverged, "b"))
    assert "it was divided once too often" in small.means
    assert large.saw == "b, val: the loss of epoch 2 is 7435."
    assert large.means.startswith("the network diverged")
    assert large.do.startswith("a lower learning rate")


def test_a_run_that_learnt_nothing(ill):
    def chance(rows, _environment):
        for row in rows:
            row["val"] |= {"accuracy": 0.12, "loss": 2.305}

    (finding,) = learnt_nothing.look_at_run(ill(chance, "run"))
    assert finding.saw == "run is right on 12.0% of 100 images of val (7.0% to 19.8%); one guess in 10 is 10.0%."


def test_of_an_epoch_that_the_log_has_lost_nothing_is_said(ill):
    def lost(rows, environment):
        del rows[environment["chosen_epoch"] - 1]

    run = ill(lost, "lost")
    assert not [*learnt_nothing.look_at_run(run)]
    assert not [*grid_edge.look_at_study([run])]


def waiting(*shares, seconds=20.0):
    """What makes a run's epochs of so many seconds wait for such shares of them."""

    def wait(rows, _environment):
        for number, (row, share) in enumerate(zip(rows, shares, strict=True), 1):
            row["measured"]["data_wait_share"], row["seconds"] = share, number * seconds

    return wait


def test_a_run_that_waited(ill):
    (finding,) = loader_bound.look_at_run(ill(waiting(0.9, 0.5, 0.4, 0.6), "run"))
    assert finding.saw == "run waited for its pictures for 50% of its time (30 s; most in one epoch: 60%)."
    assert not [*loader_bound.look_at_run(ill(waiting(0.9, 0.05, 0.0, 0.01), "other"))]
    assert not [*loader_bound.look_at_run(ill(waiting(0.9, 0.5, 0.4, 0.6, seconds=0.1), "short"))]


def test_what_a_run_logs_of_its_waiting_is_what_is_looked_at(tmp_path, monkeypatch):
    """A loader that takes a hundredth of a second a batch beside a network that takes a thousandth."""
    from priorscope.data.loader import Loader

    made = Loader.epoch

    def slowly(self, epoch, start=0):
        for batch in made(self, epoch, start):
            time.sleep(0.01)
            yield batch

    monkeypatch.setattr(Loader, "epoch", slowly)
    monkeypatch.setattr(loader_bound, "LEAST_SECONDS", 0.0)
    run = ps.fit(changed(model={"width": 16, "blocks": 1}, train={"epochs": 3}, optim={"warmup": 0}), tmp_path / "run")
    (finding,) = loader_bound.look_at_run(run)
    assert finding.saw.startswith("run waited for its pictures for ")


def test_a_masked_number_that_is_stored(ill):
    from priorscope.doctor.instruments.planted import grey_world, linear
    from priorscope.probes.robustness import measure_robustness

    run = ill(name="run")
    blind = measure_robustness(linear(1000.0)[0], grey_world(60), attack="pgd", audit_images=60)
    blind.save(run.path / layout.RESULTS / "robustness" / "a.json")
    (finding,) = masked.look_at_run(runs.load(run.path))
    assert finding.severity == "fault"
    assert "pgd: masked" in finding.saw
    weak = measure_robustness(linear(1000.0)[0], grey_world(60), attack="fgsm", audit_images=60)
    weak.save(run.path / layout.RESULTS / "robustness" / "a.json")
    (finding,) = masked.look_at_run(runs.load(run.path))
    assert finding.severity == "fault"
    assert "weak attack" in finding.saw
    assert "the gradient is 0 in every pixel" in finding.saw


def grid(ill, accuracies: dict[float, float]) -> list[runs.Run]:
    found = []
    for lr, accuracy in accuracies.items():
        for seed in (0, 1):

            def change(rows, environment, accuracy=accuracy, seed=seed):
                rows[environment["chosen_epoch"] - 1]["val"]["accuracy"] = accuracy + 0.01 * seed

            found.append(ill(change, f"lr={lr}-s{seed}", Recipe.of({**WELL, "seed": seed, "optim": {"lr": lr}})))
    return found


def test_the_best_of_a_grid_on_its_edge(ill):
    """The learning rates that were tried on Mixers, with their accuracies on Tiny ImageNet in the order of the grid."""
    (finding,) = grid_edge.look_at_study(grid(ill, {1e-4: 0.1, 1e-3: 0.15, 1e-2: 0.18}))
    assert finding.saw == (
        "Of the values of optim.lr that were tried (0.0001: 10.5%, 0.001: 15.5%, 0.01: 18.5% of val), the best, 0.01, "
        "is the largest (2 runs of it)."
    )
    assert finding.do == "try 0.1 as well"


def test_a_tie_with_an_inner_value_is_no_edge(ill):
    assert not [*grid_edge.look_at_study(grid(ill, {1e-4: 1.0, 1e-3: 1.0, 1e-2: 1.0}))]


def test_the_best_of_a_grid_inside_it(ill):
    assert not [*grid_edge.look_at_study(grid(ill, {1e-4: 0.1, 1e-3: 0.2, 1e-2: 0.18}))]


def varied(table: str, key: str, values: tuple[float, ...]) -> list[Any]:
    """Runs that differ in one setting, each better than the one before."""
    return [
        SimpleNamespace(
            recipe=SimpleNamespace(plain=lambda value=value: {table: {key: value}, "optim": {"lr": 0.1}}),
            history=[planted_epoch(at / 10)],
            environment=Environment(key="a", chosen_epoch=1),
        )
        for at, value in enumerate(values, 1)
    ]


@pytest.mark.parametrize(
    ("table", "key", "values"),
    [
        ("data", "subset", (100, 200, 400)),
        ("train", "epochs", (1, 2, 4)),
        ("train", "steps", (4, 2, 1)),
        ("train", "track_images", (10, 20, 40)),
        ("train", "adversarial", ({"eps": 0.02}, {"eps": 0.01}, {"eps": 0.0})),
        ("model", "dropout", (0.2, 0.1, 0.0)),
    ],
)
def test_how_much_is_learnt_is_no_grid_and_nothing_lies_below_0(table, key, values):
    assert not [*grid_edge.look_at_study(varied(table, key, values))]


@pytest.mark.parametrize(("values", "said"), [((1, 2, 4), "8"), ((-1, 0, 2), "4"), ((1, 0, -1), "-2"), ((0, 0.1, 0.2), "0.4")])
def test_what_is_advised_lies_beyond_the_best(values, said):
    (finding,) = grid_edge.look_at_study(varied("model", "scale", values))
    assert finding.do == f"try {said} as well"


@pytest.mark.parametrize(("named", "rate", "told"), [("bf16", 8e8, 1), ("fp16", 8e8, 1), ("bf16", 9e10, 0), ("auto", 8e8, 0)])
def test_a_type_that_the_processor_emulates_is_told(monkeypatch, named, rate, told):
    monkeypatch.setattr(precision, "matrix_rate", lambda dtype: 8e10 if dtype == torch.float32 else rate)
    found = [*precision.look_at_recipe(changed(train={"precision": named}))]
    assert len(found) == told
    for finding in found:
        assert finding.saw == f"This processor multiplies 0.8 GFLOP/s in train.precision = '{named}', and 80 in float32."
        assert "100 times as long" in finding.means


def test_a_study_is_looked_at_run_by_run_and_together(ill, tmp_path):
    grid(ill, {1e-4: 0.5, 1e-3: 0.6, 1e-2: 0.7})
    found = examine(str(tmp_path))
    assert found.kind == "study"
    assert "grid_edge" in {finding.check for finding in found.findings}
    assert "schedule" in {finding.check for finding in found.findings}  # the copied rows are of another rate


def test_a_run_that_is_not_finished_or_damaged_is_told_and_the_others_are_looked_at(ill, tmp_path):
    whole = grid(ill, {1e-4: 0.5, 1e-3: 0.6, 1e-2: 0.7})
    shutil.copytree(whole[0].path, tmp_path / "tuning" / "a-t1")
    (tmp_path / "tuning/a-t1" / layout.ENVIRONMENT).unlink()
    (whole[0].path / layout.ENVIRONMENT).unlink()
    (whole[1].path / layout.ENVIRONMENT).write_text("{")
    found = examine(str(tmp_path))
    fault, note = (finding for finding in found.findings if finding.check == "runs")
    assert (fault.severity, note.severity) == ("fault", "note")
    assert fault.saw.startswith(f"{whole[1].path / layout.ENVIRONMENT} is damaged")
    assert note.saw == f"2 runs of {tmp_path} are not finished: {whole[0].name}, a-t1."
    assert "schedule" in {finding.check for finding in found.findings}  # of the other four, whose rows are of another rate


def test_pictures_of_different_sizes_are_a_fault(tmp_path):
    for grey, kind in enumerate(("cat", "dog")):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for at in range(8):
            Image.fromarray(np.full((16 + at, 16, 3), grey, np.uint8)).save(tmp_path / "pets" / kind / f"{at}.png")
    own = {**WELL["data"], "source": {"name": "folder", "path": str(tmp_path / "pets")}}
    (tmp_path / "r.toml").write_text(Recipe.of({**WELL, "data": own}).toml())
    (fault,) = (finding for finding in examine(str(tmp_path / "r.toml")).findings if finding.severity == "fault")
    assert fault.saw == "pets/train holds pictures of different sizes."
    assert "res = 64" in fault.do


def test_a_path_at_which_nothing_is_is_said():
    with pytest.raises(RequestError) as refused:
        examine("runs/zz")
    assert refused.value.came == "There is nothing at 'runs/zz'."
    assert "the folder of a run or a study" in refused.value.wanted


def test_what_cannot_be_looked_at_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path))
    found = examine("v-mixer-cifar10")
    (note,) = found.findings
    assert (note.severity, note.check) == ("note", "pictures")
    assert "There is no CIFAR-10" in note.saw


def test_nothing_is_fetched_from_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("priorscope.data.hub.fetch_tables", None)
    recipe = Recipe.of({**WELL, "data": {"source": {"name": "parquet", "path": "hf://owner/name"}}})
    (tmp_path / "r.toml").write_text(recipe.toml())
    said = [finding.saw for finding in examine(str(tmp_path / "r.toml")).findings]
    assert any("parquet is on the hub" in saw for saw in said)


def test_settings_are_laid_over_a_recipe_and_refused_elsewhere(well):
    with pytest.raises(RequestError, match="--set came with no subject"):
        examine(None, ["optim.lr=1"])
    assert "one_token" in {f.check for f in examine("shapetex-mlp", ["model=perceiver_io/v-cifar10"]).findings}
    with pytest.raises(RequestError, match="--set came with a run"):
        examine(str(well), ["optim.lr=1"])


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(RequestError, match="holds neither a run nor a study"):
        examine(str(tmp_path))
    with pytest.raises(RequestError, match="did you mean"):
        examine("shapetex-mpl")


def test_the_statistics_threshold_is_wider_than_a_subset_and_narrower_than_the_fault():
    source = open_source({"name": "shapetex", "train": 2000, "val": 20, "test": 20})
    whole, part = source.split("train"), source.split("train").subset(1000)
    assert normalisation.largest_difference(part.statistics, whole.statistics) < normalisation.MOST / 2
    pixels = whole.pixels.array / 255
    wrong = whole.statistics.replace(std=tuple(pixels.std((1, 2)).mean(0).tolist()))
    assert normalisation.largest_difference(wrong, whole.statistics) > normalisation.MOST
    assert np.isfinite(normalisation.largest_difference(whole.statistics, wrong))


@pytest.mark.parametrize(
    ("setting", "saw"),
    [
        ("train.precision=tf32", "train.precision = 'tf32' came with the device cpu"),
        ("optim.name=timm/nope", "'nope'"),
        ("optim.name=timm/sgd --set optim.beta2=0.9", "optim.beta2 came with timm/sgd."),
        ("data.subset=999999", "999999"),
        ("model.name=vit/tiny --set model.patch=5", "patches of 5"),
    ],
)
def test_what_train_refuses_at_once_is_a_fault(setting, saw, tmp_path):
    (tmp_path / "r.toml").write_text(Recipe.of(WELL).toml())
    settings = setting.split(" --set ")
    with pytest.raises(RequestError) as refused:
        ps.fit(Recipe.load(tmp_path / "r.toml", settings), tmp_path / "run")
    (fault,) = (finding for finding in examine(str(tmp_path / "r.toml"), settings).findings if finding.severity == "fault")
    assert saw in fault.saw
    assert (fault.check, fault.saw, fault.do) == ("refused", refused.value.came, refused.value.do)


def test_a_study_without_runs_is_a_study(tmp_path):
    (tmp_path / "study.toml").touch()
    with pytest.raises(RequestError, match="holds no finished run"):
        examine(str(tmp_path))
