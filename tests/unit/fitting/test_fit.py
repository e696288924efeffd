"""Runs: the same recipe gives the same bytes wherever it was cut; val alone chooses; a folder says what it holds."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import priorscope as ps
from priorscope.core import layout
from priorscope.core.epoch import Score
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.machine import versions
from priorscope.core.stopping import Stopped
from priorscope.data.split import ArrayPixels, Split
from priorscope.data.stamp import weights_stamp
from priorscope.data.store import write_split
from priorscope.fitting import Status, attempt
from priorscope.fitting.adoption import adopt
from priorscope.fitting.init import init_changed
from priorscope.fitting.made_from import inputs
from priorscope.fitting.run_folder import begun
from priorscope.looking.networks import network
from priorscope.models import FAMILIES
from priorscope.models.published import weights_file
from priorscope.train import checkpoint, loop
from priorscope.train.init import Stored


class CutError(Exception):
    """Stands for a kill at some step."""


def cut_after(steps: int):
    left = [steps]

    def watch(_status: Status) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise CutError

    return watch


def changed(recipe, changes):
    """The recipe with some settings of its training laid over, the rest replaced."""
    train = {
        name: value
        for name, value in recipe.train.plain().items()
        if name != "epochs" or "steps" not in changes.get("train", {})
    }
    return recipe.replace(**{**changes, "train": {**train, **changes.get("train", {})}})


def lasting(history):
    """Rows without what the clock says."""
    return [epoch.model_dump(exclude={"seconds", "measured"}) for epoch in history]


def weights_of(path) -> bytes:
    return (path / layout.WEIGHTS).read_bytes()


@pytest.fixture
def whole(tiny, tmp_path):
    return ps.fit(tiny, tmp_path / "whole")


DROPOUT = {"model": {"name": "mlp/tiny", "width": 16, "blocks": 1, "dropout": 0.3}}
ADAPTIVE = {"rho": 0.5, "adaptive": True}
IN_CHUNKS = {"source": {"name": "shapetex", "train": 400, "val": 40, "test": 90}, "shuffle": "chunks", "augment": "mixup"}
"""Two chunks of 170 pictures and a smaller one."""


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        *[({}, steps) for steps in (1, 3, 4)],
        *[(DROPOUT, steps) for steps in (1, 3, 4)],
        *[({"model": "cnn/tiny"}, steps) for steps in (1, 3, 4)],
        *[({"optim": {"name": name, "lr": 0.003}}, 4) for name in ("adam", "sgd", "lion", "muon", "lamb", "timm/adopt")],
        ({"optim": {"lr": 0.003, "schedule": "linear", "warmup": 1}}, 2),
        ({"optim": {"lr": 0.003, "schedule": "wsd", "decay_share": 0.5}}, 4),
        ({**DROPOUT, "optim": {"lr": 0.003, "sam": {}, "clip": 0.5}}, 4),
        ({"model": "cnn/tiny", "optim": {"name": "sgd", "lr": 0.01, "sam": ADAPTIVE}}, 4),
        *[({"model": "cnn/tiny", "train": {"ema": 0.5}}, steps) for steps in (1, 3, 4)],
        ({"train": {"ema": 0.5, "choose": "last", "epochs": 3}}, 7),
        ({**DROPOUT, "train": {"accumulate": 3}}, 4),
        *[({"train": {"steps": 5, "choose": choose}}, steps) for choose in ("best", "last") for steps in (4, 5)],
        *[({"optim": {"lr": 1e-12}, "train": {"epochs": 6, "patience": 2}}, steps) for steps in (5, 8, 9)],
        *[({"train": {"finetune": {"mode": "head"}}}, steps) for steps in (1, 4)],
        ({"model": "cnn/tiny", "train": {"finetune": {"mode": "body", "factor": 0.1}}}, 4),
        ({"optim": {"name": "muon"}, "train": {"finetune": {"mode": "layers", "factor": 0.5}}}, 4),
        ({"train": {"precision": "fp16"}}, 4),
        *[({"data": IN_CHUNKS}, steps) for steps in (4, 13)],
    ],
)
def test_a_run_cut_anywhere_and_resumed_ends_bit_for_bit_the_same(tiny, tmp_path, monkeypatch, changes, steps):
    recipe = changed(tiny, changes)
    ps.fit(recipe, tmp_path / "a")
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(recipe, tmp_path / "b", watch=cut_after(steps))
    assert not (tmp_path / "b" / layout.ENVIRONMENT).exists()
    ps.fit(recipe, tmp_path / "b")
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b")
    assert lasting(ps.load(tmp_path / "a").history) == lasting(ps.load(tmp_path / "b").history)


def test_another_seed_gives_other_weights(tiny, tmp_path, whole):
    ps.fit(tiny.replace(seed=1), tmp_path / "other")
    assert weights_of(whole.path) != weights_of(tmp_path / "other")


def test_a_signal_saves_and_stops_and_the_run_goes_on(tiny, tmp_path, whole):
    sent = []

    def watch(_status: Status) -> None:
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as caught:
        ps.fit(tiny, tmp_path / "a", watch=watch)
    assert caught.value.exit_status == 143
    assert "is saved after" in str(caught.value)
    assert (tmp_path / "a" / layout.CHECKPOINT).exists()
    ps.fit(tiny, tmp_path / "a")
    assert weights_of(tmp_path / "a") == weights_of(whole.path)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("ends", [True, False])
def test_a_run_leaves_its_caller_as_many_threads_as_before(tiny, tmp_path, ends):
    """A run has its recipe's; what is measured after it in the same process has the machine's."""
    before, during = torch.get_num_threads(), []

    def watch(_status: Status) -> None:
        during.append(torch.get_num_threads())
        if not ends:
            raise CutError

    recipe = changed(tiny, {"train": {"threads": before + 1}})
    with nullcontext() if ends else pytest.raises(CutError):
        ps.fit(recipe, tmp_path / "a", watch=watch)
    assert set(during) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_finished_run_is_not_trained_again(tiny, whole):
    before = whole.path.joinpath(layout.WEIGHTS).stat().st_mtime_ns
    again = ps.fit(tiny, whole.path, watch=lambda _: pytest.fail("a step was taken"))
    assert again.path.joinpath(layout.WEIGHTS).stat().st_mtime_ns == before


def test_a_folder_of_another_recipe_is_refused(tiny, whole):
    with pytest.raises(RequestError, match="holds a run of another recipe"):
        ps.fit(tiny.replace(seed=5), whole.path)


def standing(folder):
    """Every file but locks, with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("gone", [layout.WEIGHTS, None])
def test_a_refused_training_changes_nothing(tiny, whole, gone):
    """Also where weights are gone, or a record is torn: it is another's run all the same."""
    if gone:
        (whole.path / gone).unlink()
    else:
        (whole.path / layout.ENVIRONMENT).write_text("{")
    (whole.path / ".tmp-01234567-mine").touch()
    before = standing(whole.path)
    with pytest.raises(RequestError, match="holds a run of another recipe"):
        ps.fit(tiny.replace(seed=5), whole.path)
    assert standing(whole.path) == before


def test_a_recipe_that_people_wrote_is_not_written_over(tiny, tmp_path):
    (tmp_path / "recipe.toml").write_text(f"# Mine.\n{tiny.toml()}")
    recipe = ps.Recipe.load(tmp_path / "recipe.toml")
    with pytest.raises(RequestError) as refused:
        ps.fit(recipe, tmp_path)
    assert str(refused.value) == (
        f"{tmp_path / 'recipe.toml'} was written by no run, and a run there would write over it.\n"
        "  wanted: an empty folder, or a run of this recipe\n"
        "  try:    choose another folder with --out"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]
    (tmp_path / "recipe.toml").write_text(recipe.toml())  # as a start leaves it that was stopped at once
    assert ps.fit(recipe, tmp_path).history


def test_a_study_s_folder_takes_no_run_and_is_none(tiny, tmp_path):
    (tmp_path / "study.toml").write_text('question = "Which?"\n')
    with pytest.raises(RequestError, match="holds a study"):
        ps.fit(tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]
    for ask in (ps.load, lambda path: network(str(path), None)):
        with pytest.raises(RequestError) as refused:
            ask(tmp_path)
        assert refused.value.came == f"{tmp_path} is a study."
        assert refused.value.do == f"its runs are {tmp_path / 'runs'}/*"


def test_a_folder_in_the_home_may_be_named_so(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = ps.fit(tiny, "~/a")
    assert run.path == tmp_path / "a"
    assert ps.load("~/a").key == run.key
    later = ps.fit(tiny.replace(init={"kind": "run", "run": "~/a"}), "~/b")
    assert later.environment.began_with is not None
    assert init_changed(later.environment, later.recipe.init) is False
    assert weights_file("~/a/weights.safetensors") == run.weights
    assert weights_stamp("~/a/weights.safetensors") == weights_stamp(run.weights)


def test_a_run_whose_record_is_gone_is_known_by_its_key(tiny, whole, tmp_path):
    """What it was made from is written again by the same command."""
    run = shutil.copytree(whole.path, tmp_path / "copy")
    for torn in (None, "{"):
        (run / "made_from.json").unlink()
        if torn:
            (run / "made_from.json").write_text(torn)
        with pytest.raises(RequestError, match="holds a run of another recipe"):
            ps.fit(tiny.replace(seed=7), run)
        assert ps.fit(tiny, run).key == whole.key
        assert (run / "made_from.json").read_bytes() == (whole.path / "made_from.json").read_bytes()


def test_a_recipe_refused_for_its_data_leaves_the_folder_free(tiny, tmp_path):
    data = tiny.data.plain()
    with pytest.raises(RequestError, match=r"^A subset of 1000000 was asked for"):
        ps.fit(tiny.replace(data={**data, "subset": 10**6}), tmp_path / "run")
    assert not begun(tmp_path / "run")
    assert ps.fit(tiny, tmp_path / "run").history


def test_a_run_whose_weights_are_gone_is_carried_out_again(tiny, whole):
    before = weights_of(whole.path)
    (whole.path / layout.WEIGHTS).unlink()
    again = ps.fit(tiny, whole.path)
    assert weights_of(again.path) == before


def test_an_unfinished_or_missing_run_cannot_be_loaded(tiny, tmp_path):
    with pytest.raises(RequestError, match="holds no run"):
        ps.load(tmp_path / "nothing")
    with pytest.raises(CutError):
        ps.fit(tiny, tmp_path / "cut", watch=cut_after(2))
    with pytest.raises(RequestError, match="unfinished run"):
        ps.load(tmp_path / "cut")


def test_a_damaged_checkpoint_is_named_and_the_folder_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(tiny, tmp_path / "a", watch=cut_after(4))
    path = tmp_path / "a" / layout.CHECKPOINT
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WorkError) as caught:
        ps.fit(tiny, tmp_path / "a")
    assert caught.value.came.startswith(f"The checkpoint {path} is damaged:")
    assert (
        caught.value.do
        == "delete checkpoint.pt to train this run from its beginning, then the same command again (train: with --resume)"
    )
    path.unlink()
    ps.fit(tiny, tmp_path / "a")


def test_a_checkpoint_of_a_device_that_is_not_here_is_read_all_the_same(tiny, tmp_path, monkeypatch, whole):
    """`device = "auto"` may have meant a GPU when the run began: its tensors are tagged with it in the file."""
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "_package_registry", [(0, lambda _: "cuda:7", lambda *_: None)])
        with pytest.raises(CutError):
            ps.fit(tiny, tmp_path / "a", watch=cut_after(4))
    with pytest.raises(RuntimeError, match=r"on (a )?CUDA"):
        torch.load(tmp_path / "a" / layout.CHECKPOINT, weights_only=True)
    ps.fit(tiny, tmp_path / "a")
    assert weights_of(tmp_path / "a") == weights_of(whole.path)


def test_the_mean_loss_is_summed_in_float64_also_where_the_device_has_none():
    class OnApple:
        device = torch.device("mps")

        def double(self):
            raise TypeError("Cannot convert a MPS Tensor to float64")

        def cpu(self):
            return torch.tensor(0.1)

    state = checkpoint.RunState("key")
    for _ in range(1000):
        step = loop.Step(loop.Position(), loop.Position(0, 1), 0, OnApple(), 0.1, 7, False)
        state.count(step)
    assert state.mean_loss() == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_val_alone_chooses_the_epoch(tiny, tmp_path, monkeypatch):
    """Tracked test scores rise while val falls: the first epoch must be kept, whatever test says."""
    told = {"val": iter([0.9, 0.1]), "test": iter([0.1, 0.9]), "train": iter([0.1, 0.9])}

    def score(_model, split, _ranks):
        value = next(told[split.name])
        return Score(loss=1 - value, accuracy=value, n=len(split))

    monkeypatch.setattr(attempt, "score", score)
    kept = {}
    monkeypatch.setattr(checkpoint.RunState, "end_epoch", spy(checkpoint.RunState.end_epoch, kept))
    recipe = tiny.replace(train={**tiny.train.plain(), "track": ["train", "test"]})
    run = ps.fit(recipe, tmp_path / "a")
    assert run.environment.chosen_epoch == 1
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, kept[1][name], rtol=0, atol=0)
    last = ps.load(tmp_path / "a").history[-1]
    assert last.scores["test"].accuracy == 0.9


def spy(end_epoch, kept):
    def noting(self, epoch, weights):
        kept[epoch.epoch] = weights()
        return end_epoch(self, epoch, weights)

    return noting


def test_tracking_changes_no_weight(tiny, tmp_path, whole):
    recipe = tiny.replace(train={**tiny.train.plain(), "track": ["test", "conflict", "shape-only"], "track_images": 20})
    run = ps.fit(recipe, tmp_path / "a")
    assert weights_of(run.path) == weights_of(whole.path)
    assert {name: run.history[0].scores[name].n for name in ("val", "test", "conflict", "shape-only")} == {
        "val": 40,
        "test": 20,
        "conflict": 20,
        "shape-only": 20,
    }


def test_the_curve_of_train_is_that_of_the_unaugmented_images_in_evaluation_mode(tiny, tmp_path):
    recipe = tiny.replace(
        train={**tiny.train.plain(), "choose": "last", "track_images": 96},
        data={**tiny.data.plain(), "augment": "flip-crop"},
        model={"name": "mlp/tiny", "dropout": 0.5},
    )
    run = ps.fit(recipe, tmp_path / "a")
    result = ps.probes.measure_accuracy(run.model, run.source, split="train")
    assert run.history[-1].scores["train"].accuracy == pytest.approx(result.value)
    assert run.history[-1].scores["train"].loss == pytest.approx(result.loss, rel=1e-5)


def test_a_run_may_begin_with_another_s_weights_and_another_head(tiny, tmp_path, whole):
    start = {"kind": "run", "run": str(whole.path)}
    same = ps.fit(tiny.replace(init=start, optim={"lr": 1e-12}), tmp_path / "same")
    for (name, value), other in zip(same.model.state_dict().items(), whole.model.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({}, False),
        ({"init": {"head": "new"}}, True),
        ({"names": ("0", "1")}, False),
        ({"names": ("b", "a")}, True),
        ({"names": ("a", "c")}, True),
    ],
)
def test_a_head_for_other_classes_is_made_anew_and_no_other(changes, fresh, tmp_path):
    """Before: classes a and b. As many of other names, or in another order, are other classes; numbers stand in for names."""

    def recipe(store, **more):
        return ps.Recipe.of({"data": {"source": str(store)}, "model": {"name": "mlp/tiny", "width": 8, "blocks": 1}, **more})

    before = ps.fit(recipe(two_classes(tmp_path / "a.beton"), train={"epochs": 1}), tmp_path / "before")
    store = two_classes(tmp_path / "b.beton", changes.get("names", ("a", "b")))
    start = {"kind": "run", "run": str(before.path), **changes.get("init", {})}
    after = ps.fit(recipe(store, init=start, train={"epochs": 1}, optim={"lr": 1e-12}), tmp_path / "after")
    body, head = "network.linear_in.weight", "network.linear_out.weight"
    was, is_now = before.model.state_dict(), after.model.state_dict()
    assert torch.allclose(was[body], is_now[body], atol=1e-6)
    assert torch.allclose(was[head], is_now[head], atol=1e-6) != fresh


def two_classes(store, names=("a", "b")):
    """A store of pictures of two classes, in the parts that a run needs."""
    pictures = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    val = store.with_name(f"{store.stem}-val.beton")
    for part, path, siblings in (("val", val, {}), ("train", store, {"val": val.name})):
        write_split(Split("made", part, ArrayPixels(pictures), np.arange(20) % 2, names), path, siblings=siblings)
    return store


@pytest.mark.parametrize(("name", "setting"), [("dial/conv", "solved_for"), ("perceiver_io/v-cifar10", "query_width")])
def test_weights_for_a_body_of_other_classes_say_what_to_type(tmp_path, name, setting):
    from safetensors.torch import save_file

    from priorscope.models import create

    save_file(create(name, image_size=32, num_classes=10).state_dict(), tmp_path / "ten.safetensors")
    stored = Stored(tmp_path / "ten.safetensors", 10)
    with pytest.raises(RequestError, match=rf"--set model\.{setting}=10"):
        stored.put_into(create(name, image_size=32, num_classes=20), 0)
    model = create(name, image_size=32, num_classes=20, **{setting: 10})
    stored.put_into(model, 0)
    assert model.num_classes == 20


def test_a_new_head_is_asked_of_weights_that_are_trained(tiny):
    with pytest.raises(RequestError, match=r"init\.head = 'new' came with init\.kind = 'scratch'"):
        ps.Recipe.of({**tiny.plain(), "init": {"head": "new"}})


def test_a_diverged_run_stops_with_its_place(tiny, tmp_path):
    recipe = tiny.replace(optim={"lr": 1e30, "name": "sgd"})
    with pytest.raises(WorkError, match="The loss became nan in epoch 1, step 2, on the training pictures") as caught:
        ps.fit(recipe, tmp_path / "a")
    from priorscope.data.loader import Loader

    order = Loader(ps.data.open(recipe.data.source).split("train"), batch_size=32, shuffle=True).order(0)
    assert f"pictures {order[32:64].tolist()}. The last good checkpoint stands nowhere" in caught.value.came
    assert "smaller learning rate" in caught.value.do


def test_a_diverged_run_keeps_its_last_good_checkpoint(tiny, tmp_path, monkeypatch):
    """Weights ruined in the second epoch: the checkpoint of the step before stays, and the error names its place."""
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(loop, "learning_rate", lambda _optim, step, *_: 1e30 if step == 3 else 1e-3)
    with pytest.raises(WorkError) as caught:
        ps.fit(tiny.replace(optim={"name": "sgd"}), tmp_path / "a")
    assert "in epoch 2, step 2, on" in caught.value.came
    assert "The last good checkpoint stands before step 2 of epoch 2." in caught.value.came
    kept = torch.load(tmp_path / "a" / layout.CHECKPOINT, weights_only=True)
    assert kept["position"] == (1, 1)


RATES = [0.003 * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]


def test_weights_that_an_update_ruined_are_not_saved_over_good_ones(tiny, tmp_path, monkeypatch, whole):
    """The fourth step's loss is finite, its update is not: the checkpoint before it stays, and the run goes on there."""
    with monkeypatch.context() as patched:
        patched.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
        patched.setattr(loop, "learning_rate", lambda _optim, step, *_: math.nan if step == 3 else RATES[step])
        with pytest.raises(WorkError, match="The weights became nan or infinite in epoch 2, step 1, on the training") as caught:
            ps.fit(tiny, tmp_path / "a")
    assert caught.value.came.endswith("The last good checkpoint stands before step 1 of epoch 2.")
    assert torch.load(tmp_path / "a" / layout.CHECKPOINT, weights_only=True)["position"] == (1, 0)
    ps.fit(tiny, tmp_path / "a")
    assert weights_of(tmp_path / "a") == weights_of(whole.path)


@pytest.mark.parametrize(
    ("rate", "what"), [(math.nan, "The weights became nan or infinite"), (1e30, "The loss on val became nan")]
)
def test_a_run_whose_last_update_ruined_it_is_not_kept(tiny, tmp_path, monkeypatch, rate, what):
    monkeypatch.setattr(loop, "learning_rate", lambda _optim, step, *_: rate if step == 5 else 1e-3)
    with pytest.raises(WorkError, match=f"{what} in epoch 2, step 3"):
        ps.fit(tiny, tmp_path / "a")
    assert not (tmp_path / "a" / layout.ENVIRONMENT).exists()


def test_a_run_of_steps_ends_within_an_epoch_and_says_so(tiny, tmp_path):
    """Five steps of 32 images: one epoch of three, and two of the next; the rate falls over the five."""
    run = ps.fit(changed(tiny, {"train": {"steps": 5, "choose": "last"}}), tmp_path / "a")
    assert [(epoch.epoch, epoch.step, epoch.images) for epoch in run.history] == [(1, 3, 96), (2, 5, 160)]
    assert run.environment.images_seen == 160
    assert run.history[-1].lr == pytest.approx(0.003 * 0.5 * (1 + math.cos(math.pi * 4 / 5)))


def test_as_many_steps_as_epochs_hold_train_the_same(tiny, tmp_path, whole):
    run = ps.fit(changed(tiny, {"train": {"steps": 6}}), tmp_path / "a")
    assert weights_of(run.path) == weights_of(whole.path)


def test_patience_ends_a_run_and_keeps_the_best_epoch(tiny, tmp_path, monkeypatch):
    """Val: 0.2, 0.6, 0.5, 0.6 at a higher loss: with patience 2 the fourth epoch is the last, and the second is kept."""
    told = iter([(0.2, 2.0), (0.6, 1.0), (0.5, 0.9), (0.6, 1.1), (0.9, 0.1)])

    def score(_model, split, _ranks):
        accuracy, loss = next(told) if split.name == "val" else (0.5, 1.0)
        return Score(loss, accuracy, len(split))

    monkeypatch.setattr(attempt, "score", score)
    done = []
    recipe = changed(tiny, {"train": {"epochs": 9, "patience": 2}})
    run = ps.fit(recipe, tmp_path / "a", watch=lambda status: done.append(status.done))
    assert len(run.history) == 4
    assert run.environment.chosen_epoch == 2
    assert run.environment.images_seen == 4 * 96
    assert done[-1] == 1


@pytest.mark.parametrize("train", [{"epochs": 6, "patience": 2}, {"steps": 5}, {"epochs": 2}])
def test_a_run_killed_between_its_last_step_and_its_end_takes_no_step_more(tiny, tmp_path, monkeypatch, train):
    recipe = changed(tiny, {"optim": {"lr": 1e-12}, "train": train})
    whole = ps.fit(recipe, tmp_path / "a")
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(attempt.Attempt, "finish", cut_after(1))
        with pytest.raises(CutError):
            ps.fit(recipe, tmp_path / "b")
    ps.fit(recipe, tmp_path / "b", watch=lambda _: pytest.fail("a step was taken"))
    assert weights_of(tmp_path / "b") == weights_of(whole.path)
    assert len(ps.load(tmp_path / "b").history) == len(whole.history)


def test_the_average_is_what_is_scored_and_kept(tiny, tmp_path):
    """At a decay near 0 it is the weights themselves; at a high one another network, and the curve is of that network."""
    run = ps.fit(changed(tiny, {"train": {"ema": 0.9, "choose": "last"}}), tmp_path / "a")
    plain = ps.fit(changed(tiny, {"train": {"choose": "last"}}), tmp_path / "b")
    near = ps.fit(changed(tiny, {"train": {"ema": 1e-9, "choose": "last"}}), tmp_path / "c")
    assert run.history[-1].train_loss == plain.history[-1].train_loss
    torch.testing.assert_close(near.model.head.weight, plain.model.head.weight, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(run.model.head.weight, plain.model.head.weight, rtol=1e-3)
    result = ps.probes.measure_accuracy(run.model, run.source, split="val")
    assert run.history[-1].val.loss == pytest.approx(result.loss, rel=1e-5)


def test_a_head_trained_alone_leaves_the_body_as_it_was(tiny, tmp_path):
    """To the bit, batch statistics with it; and the head is made anew where the classes differ."""
    first = ps.fit(tiny.replace(model="cnn/tiny"), tmp_path / "first")
    start = {"kind": "run", "run": str(first.path)}
    recipe = changed(tiny, {"model": "cnn/tiny", "init": start, "train": {"finetune": {"mode": "head"}, "choose": "last"}})
    run = ps.fit(recipe, tmp_path / "head")
    before, after = first.model.state_dict(), run.model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["network.head.weight"]


def test_every_family_can_be_named_in_a_run_s_inputs(tiny):
    """By the version that its module names, which is 1 where none does."""
    for family in FAMILIES:
        recipe = tiny.replace(model="timm/resnet10t" if family == "timm" else f"{family}/tiny")
        version = getattr(FAMILIES.load(family), "VERSION", 1)
        assert inputs(recipe, None)["versions"][f"family {family}"] == version


def test_the_run_folder_holds_what_it_says(whole):
    found = {path.name for path in whole.path.iterdir() if path.name != ".lock"}
    assert found == {"recipe.toml", "made_from.json", "environment.json", "steps.jsonl", "weights.safetensors"}
    environment = whole.environment
    assert environment.data.fingerprint == whole.source.split("train").fingerprint
    assert environment.network.parameters == whole.model.parameter_count()
    assert environment.images_seen == 2 * 96
    assert {name: getattr(environment, name) for name in versions()} == versions()
    assert ps.Recipe.load(whole.path / "recipe.toml") == whole.recipe
    assert json.loads((whole.path / "steps.jsonl").read_text().splitlines()[1])["epoch"] == 2


def test_a_full_disk_is_named_and_the_last_checkpoint_kept(tiny, tmp_path, monkeypatch, whole):
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(tiny, tmp_path / "a", watch=cut_after(2))
    kept = (tmp_path / "a" / layout.CHECKPOINT).read_bytes()
    real = os.fsync

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match="the disk is full"):
        ps.fit(tiny, tmp_path / "a")
    monkeypatch.setattr(os, "fsync", real)
    assert (tmp_path / "a" / layout.CHECKPOINT).read_bytes() == kept
    ps.fit(tiny, tmp_path / "a")
    assert weights_of(tmp_path / "a") == weights_of(whole.path)


def test_a_copied_run_folder_is_the_same_run(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "copy")
    assert ps.load(tmp_path / "copy").key == whole.key


@pytest.mark.real_data
def test_published_weights_become_a_run_whose_accuracy_is_the_published_measurement(real_data, tmp_path):
    """81.03 % on all 10,000 JPEG images: measured beside the weights by those who collected them."""
    run = adopt(real_data / "weights" / "resnet20-12fca82f.th", tmp_path / "a")
    result = ps.probes.measure_accuracy(run.evidence, run.source)
    assert result.value == pytest.approx(0.8103, abs=0.0005)
    assert any("JPEG" in caveat for caveat in run.source.caveats)


@pytest.mark.parametrize(
    ("train", "came"),
    [
        ({"steps": 5, "epochs": 2}, "train.epochs = 2 came with train.steps = 5."),
        ({"batch_size": 4, "accumulate": 5}, "A batch of 4 cannot go through in 5 parts."),
    ],
)
def test_settings_of_training_that_contradict_each_other_are_refused(tiny, train, came):
    with pytest.raises(RequestError) as caught:
        ps.Recipe.of({**tiny.plain(), "train": train})
    assert caught.value.came == came


def test_training_all_of_a_network_is_the_same_whether_said_or_not(tiny):
    said = ps.Recipe.of({**tiny.plain(), "train": {"finetune": {"mode": "full"}}})
    assert said.digest() == ps.Recipe.of({**tiny.plain(), "train": {}}).digest()


def test_sharpness_aware_steps_want_gradients_of_their_own_size(tiny):
    with pytest.raises(RequestError, match=r"came with train\.precision = 'fp16'"):
        ps.Recipe.of({**tiny.plain(), "train": {"precision": "fp16"}, "optim": {"sam": {}}})


def test_only_published_weights_may_be_taken_without_training(tiny):
    with pytest.raises(RequestError, match=r"train\.epochs = 0 trains nothing") as caught:
        ps.Recipe.of({**tiny.plain(), "train": {"epochs": 0}})
    assert caught.value.wanted == "one or more, or published weights: init.published, init.timm or model.pretrained"


UNTRAINED = {
    "data": {"source": "shapetex"},
    "model": "B_1-Wi_16",
    "init": {"kind": "published", "published": "some_weights"},
    "train": {"epochs": 0},
}


@pytest.mark.parametrize(
    "setting",
    [
        "train.ema=0.9",
        "train.label_smoothing=0.1",
        "train.patience=2",
        "train.keep=3",
        "train.adversarial={}",
        "train.accumulate=2",
        "train.compile=always",
        "train.batch_size=64",
        "train.choose=last",
        "optim.clip=1",
        "optim.lr=0.1",
        "optim.name=lion",
        "data.augment=flip",
        "data.subset=100",
        "data.shuffle=chunks",
    ],
)
def test_what_nothing_reads_is_refused_where_nothing_is_trained(setting):
    name = setting.partition("=")[0]
    with pytest.raises(RequestError) as caught:
        ps.Recipe.of(UNTRAINED, [setting])
    assert caught.value.came == f"{name} came with train.epochs = 0, and nothing would read it."
    assert ps.Recipe.of(UNTRAINED, [setting, "train.epochs=9"])


def test_what_is_read_where_nothing_is_trained_may_be_said():
    told = ["train.device=auto", "train.threads=2", "train.precision=fp32", "train.track=[]", "seed=3"]
    recipe = ps.Recipe.of(UNTRAINED, told)
    assert ps.Recipe.of(recipe.plain()) == recipe, "a complete recipe says every default"


def published_by_timm(folder, classes):
    """A small ViT, and what timm calls the folder in which it is published."""
    import timm
    from timm.models import save_for_hf

    peer = timm.create_model("test_vit", img_size=32, num_classes=classes).eval()
    save_for_hf(peer, folder, model_args={"img_size": 32, "num_classes": classes})
    return peer, f"local-dir:{folder}"


def as_it_is(tiny, place, pretrained):
    """A recipe of no step that takes timm's weights, by either of the two ways of asking for them."""
    model = {"name": f"timm/{place}", "pretrained": pretrained}
    init = {} if pretrained else {"init": {"kind": "timm", "timm": place}}
    return ps.Recipe.of({"data": tiny.data.plain(), "model": model, **init, "train": {"epochs": 0}})


@pytest.mark.parametrize("pretrained", [True, False])
def test_what_timm_publishes_may_be_taken_as_it_is(pretrained, tiny, tmp_path):
    """As a run of no step, which probes and pages read: timm's numbers, its own normalisation, its own head."""
    peer, place = published_by_timm(tmp_path / "hub", 10)
    run = ps.fit(as_it_is(tiny, place, pretrained), tmp_path / "run")
    mean, std = (torch.tensor(peer.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(run.model.eval()(x), peer((x - mean) / std))
    assert run.history == []
    assert ps.probes.measure_accuracy(run.model, run.source).n == 90


@pytest.mark.parametrize("pretrained", [True, False])
def test_an_untrained_head_is_refused_where_nothing_is_trained(pretrained, tiny, tmp_path):
    _, place = published_by_timm(tmp_path / "hub", 7)
    recipe = as_it_is(tiny, place, pretrained)
    with pytest.raises(RequestError, match=r"tells 7 classes apart, shapetex has 10, and train\.epochs = 0 trains no other"):
        ps.fit(recipe, tmp_path / "run")


@pytest.mark.parametrize("error", [PermissionError("not yours"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(error, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(tiny, tmp_path / "a", watch=cut_after(4))

    def refuse(*_args, **_named):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", refuse)
        with pytest.raises(WorkError, match="cannot be read now") as caught:
            ps.fit(tiny, tmp_path / "a")
    assert "delete" not in caught.value.do
    ps.fit(tiny, tmp_path / "a")
