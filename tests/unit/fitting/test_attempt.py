"""Runs made longer, branched, kept on the way, paid for; and what ends one in words with its last checkpoint whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import priorscope as ps
from priorscope import fitting
from priorscope.core import folder, layout, progress
from priorscope.core.epoch import Speed
from priorscope.core.errors import RequestError, WorkError
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.fitting import attempt
from priorscope.fitting.made_from import inputs
from priorscope.models.counting import info
from priorscope.train import loop, precision


class CutError(Exception):
    """Stands for a kill at some step."""


def cut_after(steps):
    left = [steps]

    def watch(_status):
        left[0] -= 1
        if left[0] == 0:
            raise CutError

    return watch


def with_train(recipe, optim=None, **train):
    """The recipe with other settings of its training; None leaves one out."""
    settings = {name: value for name, value in {**recipe.train.plain(), **train}.items() if value is not None}
    if {"steps", "flops"} & set(train):
        settings["epochs"] = 0
    return recipe.replace(train=settings, **({"optim": optim} if optim else {}))


def weights_of(run):
    return (run.path / layout.WEIGHTS).read_bytes()


def lasting(run):
    return [epoch.model_dump(exclude={"seconds", "measured"}) for epoch in run.history]


PLATEAU = {"lr": 0.02, "schedule": "plateau", "warmup": 1, "plateau": {"patience": 0, "threshold": 0.5}}


def test_a_run_on_a_plateau_is_cut_anywhere_and_goes_on_to_the_bit(tiny, tmp_path, monkeypatch):
    """The rate falls after most epochs; its state is the epochs in the checkpoint."""
    recipe = with_train(tiny, PLATEAU, epochs=5)
    whole = ps.fit(recipe, tmp_path / "whole")
    rates = [epoch.lr for epoch in whole.history]
    assert rates[1] == 0.02
    assert rates[-1] < 0.02
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    for steps in (7, 9, 10):
        out = tmp_path / str(steps)
        with pytest.raises(CutError):
            ps.fit(recipe, out, watch=cut_after(steps))
        run = ps.fit(recipe, out)
        assert weights_of(run) == weights_of(whole)
        assert lasting(run) == lasting(whole)


def test_a_run_whose_saves_take_long_saves_itself_less_often(tiny, tmp_path, monkeypatch):
    """By a planted clock a step takes 1 s and a save 0.5 s: the first is made after 10 s, the others 25 s apart, not 10."""
    now, saved = [0.0], []
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def save(_path, state, _parts):
        now[0] += 0.5
        saved.append(state.position.step + 3 * state.position.epoch)

    def watch(_status):
        now[0] += 1.0

    monkeypatch.setattr(attempt.checkpoint, "save", save)
    ps.fit(with_train(tiny, steps=70), tmp_path / "a", watch=watch)
    assert saved == [11, 37, 63]


EXTENSIBLE = [
    ({"lr": 0.003, "schedule": "constant", "warmup": 1}, {"epochs": 2}, {"epochs": 4}),
    ({"lr": 0.003, "schedule": "wsd", "decay_share": 0.5}, {"epochs": 4}, {"epochs": 6}),
    (PLATEAU, {"epochs": 2}, {"epochs": 4}),
    ({"lr": 0.003, "schedule": "constant"}, {"epochs": None, "steps": 4}, {"epochs": None, "steps": 7}),
    ({"lr": 0.003, "schedule": "constant"}, {"epochs": 2, "keep": 2}, {"epochs": 4, "keep": 4}),
    ({"lr": 0.003, "schedule": "constant"}, {"epochs": 2, "ema": 0.9}, {"epochs": 3, "ema": 0.9}),
]


@pytest.mark.parametrize(("optim", "short", "long"), EXTENSIBLE)
def test_a_run_made_longer_ends_where_one_of_its_length_ends(tiny, tmp_path, monkeypatch, optim, short, long):
    monkeypatch.setenv("HOME", str(tmp_path))
    shorter = ps.fit(with_train(tiny, optim, **short), tmp_path / "short")
    before = {path.name: path.read_bytes() for path in shorter.path.iterdir() if path.is_file()}
    whole = ps.fit(with_train(tiny, optim, **long), tmp_path / "whole")
    told = []
    longer = ps.fit(with_train(tiny, optim, **long), tmp_path / "longer", extend="~/short", watch=told.append)
    assert 0 < len(told) < whole.history[-1].step
    assert weights_of(longer) == weights_of(whole)
    assert lasting(longer) == lasting(whole)
    assert longer.key == whole.key
    assert longer.snapshots == whole.snapshots
    assert {path.name: path.read_bytes() for path in shorter.path.iterdir() if path.is_file()} == before


def test_an_extension_is_cut_and_goes_on_by_itself(tiny, tmp_path, monkeypatch):
    optim = {"lr": 0.003, "schedule": "constant"}
    shorter = ps.fit(with_train(tiny, optim, epochs=2), tmp_path / "short")
    recipe = with_train(tiny, optim, epochs=4)
    whole = ps.fit(recipe, tmp_path / "whole")
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(recipe, tmp_path / "longer", extend=shorter.path, watch=cut_after(3))
    shutil.rmtree(shorter.path)
    assert weights_of(ps.fit(recipe, tmp_path / "longer")) == weights_of(whole)


@pytest.mark.parametrize(
    ("short", "long", "said"),
    [
        ({"epochs": 2}, {"epochs": 4, "batch_size": 16}, "differs in recipe.train.batch_size."),
        ({"epochs": 2}, {"epochs": 4, "track": ["val"]}, "differs in recipe.train.track."),
        ({"epochs": 4}, {"epochs": 2}, "has 12 steps, and 6 were asked for."),
        ({"epochs": 2}, {"epochs": 2}, "has 6 steps, and 6 were asked for."),
        (
            {"epochs": 2},
            {"epochs": 4, "keep": 4},
            "keeps a snapshot after step 00000003, and the shorter one has none.",
        ),
    ],
)
def test_a_run_that_is_no_beginning_of_the_longer_one_is_refused(tiny, tmp_path, short, long, said):
    optim = {"lr": 0.003, "schedule": "constant"}
    shorter = ps.fit(with_train(tiny, optim, **short), tmp_path / "short")
    with pytest.raises(RequestError) as caught:
        ps.fit(with_train(tiny, optim, **long), tmp_path / "longer", extend=shorter.path)
    assert said in caught.value.came


def test_a_schedule_that_looks_ahead_cannot_be_made_longer(tiny, tmp_path):
    shorter = ps.fit(tiny, tmp_path / "short")
    with pytest.raises(RequestError) as caught:
        ps.fit(with_train(tiny, epochs=4), tmp_path / "longer", extend=shorter.path)
    assert caught.value.came.endswith(
        "holds no extend.pt, from which it could go on: the schedule cosine depends on the length."
    )


def test_a_run_that_is_longer_than_its_warm_up_alone_is_made(tiny, tmp_path, monkeypatch):
    """One that cut its warm-up short, which was allowed once, cannot be made longer."""
    warm = {"lr": 0.003, "schedule": "constant", "warmup": 3}
    with pytest.raises(RequestError, match=r"optim\.warmup = 3 epochs came with a run of 2: it would never reach optim\.lr"):
        ps.fit(with_train(tiny, warm, epochs=2), tmp_path / "warming")
    with monkeypatch.context() as patched:
        patched.setattr("priorscope.fitting.setup.check_warmup", lambda *_: None)
        shorter = ps.fit(with_train(tiny, warm, epochs=2), tmp_path / "warming")
    with pytest.raises(RequestError, match=r"Step 1 of the run in .* had the rate 0.0005, and would have 0.000333333"):
        ps.fit(with_train(tiny, warm, epochs=4), tmp_path / "longer-2", extend=shorter.path)


def test_a_budget_that_grows_with_the_run_cannot_be_made_longer(tiny, tmp_path):
    optim = {"lr": 0.003, "schedule": "constant"}
    moved = {"kind": "fgsm", "ramp": 0.5}
    shorter = ps.fit(with_train(tiny, optim, epochs=1, adversarial=moved), tmp_path / "short")
    with pytest.raises(RequestError, match=r"train\.adversarial\.ramp came with a run that is made longer"):
        ps.fit(with_train(tiny, optim, epochs=2, adversarial=moved), tmp_path / "longer", extend=shorter.path)


def test_the_network_sees_pictures_at_another_size_by_its_own_resize_alone(tiny, tmp_path):
    with pytest.raises(RequestError, match=r"data\.augment\.size = 64 came with pictures of 32 pixels") as caught:
        ps.fit(tiny.replace(data={**tiny.data.plain(), "augment": {"size": 64}}), tmp_path / "a")
    assert caught.value.do.startswith("model.input_size = 64, or: priorscope data convert")
    run = ps.fit(tiny.replace(model={**tiny.model.plain(), "input_size": 64}), tmp_path / "b")
    assert (run.model.image_size, run.model.input_size) == (32, 64)
    assert run.model.state_dict()["network.linear_in.weight"].shape[1] == 3 * 64 * 64


def test_a_folder_with_a_shorter_run_says_how_it_is_made_longer(tiny, tmp_path):
    optim = {"lr": 0.003, "schedule": "constant"}
    run = ps.fit(with_train(tiny, optim, epochs=1), tmp_path / "a")
    with pytest.raises(RequestError) as caught:
        ps.fit(with_train(tiny, optim, epochs=2), run.path)
    assert caught.value.came.endswith("holds a run of another length.")
    assert caught.value.do == (
        f"make it longer in another folder: priorscope train RECIPE --out {run.path}-longer --extend {run.path}"
    )


def test_snapshots_are_the_weights_of_their_steps(tiny, tmp_path):
    """Under a constant rate the weights after two of four epochs are those that a run of two epochs ends with."""
    optim = {"lr": 0.003, "schedule": "constant"}
    short = ps.fit(with_train(tiny, optim, epochs=2, choose="last"), tmp_path / "short")
    run = ps.fit(with_train(tiny, optim, epochs=4, choose="last", keep=2), tmp_path / "long")
    assert run.snapshots == (6, 12)
    then = run.at(epoch=2)
    for (name, value), other in zip(then.model.state_dict().items(), short.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    assert (then.name, then.history, then.environment.images_seen) == ("long@6", run.history[:2], 192)
    assert then.environment.flops == short.environment.flops
    assert then.key != run.key
    assert (then.environment.chosen_epoch, then.environment.seconds) == (2, run.history[1].seconds)
    assert run.at(step=12).weights.read_bytes() == weights_of(run)
    split = run.source.split("val")
    assert np.array_equal(then.evidence.logits(split), short.evidence.logits(split))
    assert not np.array_equal(then.evidence.logits(split), run.evidence.logits(split))
    for place, said in (({"epoch": 1}, "epoch 1"), ({"step": 5}, "5 steps")):
        with pytest.raises(RequestError, match=f"keeps no snapshot after {said}"):
            run.at(**place)
    with pytest.raises(RequestError, match=r"run\.at wants one place"):
        run.at()


def test_nothing_said_of_the_finished_weights_is_said_of_a_snapshot(tiny, tmp_path):
    run = ps.fit(with_train(tiny, choose="last", keep=2), tmp_path / "a")
    ps.probes.measure_accuracy(run.evidence, run.source).save(run.path / "results" / "accuracy" / "a.json")
    (headline,) = [result.headline() for result in run.results["accuracy"]]
    first = run.at(step=run.snapshots[0])
    assert first.results == {}
    said = first._repr_mimebundle_()["text/plain"]
    assert headline in run._repr_mimebundle_()["text/plain"]
    assert headline not in said
    assert f"of epoch {first.history[-1].epoch}" in said


def test_snapshots_hold_the_average_where_that_is_judged(tiny, tmp_path):
    run = ps.fit(with_train(tiny, ema=0.9, choose="last", keep=1), tmp_path / "a")
    assert run.at(step=6).weights.read_bytes() == weights_of(run)


def test_snapshots_of_a_killed_run_of_another_recipe_are_not_taken_for_its_own(tiny, tmp_path):
    """Killed before its first checkpoint and its first epoch, a run leaves its snapshots alone."""
    first = with_train(tiny, batch_size=8, steps=30, keep=30)
    with pytest.raises(CutError):
        ps.fit(first, tmp_path / "a", watch=cut_after(7))
    (tmp_path / "a" / layout.EXTEND).write_bytes(b"of another run")
    assert len(list((tmp_path / "a" / layout.SNAPSHOTS).iterdir())) == 7
    run = ps.fit(with_train(tiny, batch_size=8, steps=30, keep=2).replace(seed=5), tmp_path / "a")
    assert run.snapshots == (15, 30)
    assert not (tmp_path / "a" / layout.EXTEND).exists()


def test_snapshots_of_another_recipe_are_gone_from_a_run_that_is_made_longer_too(tiny, tmp_path):
    optim = {"lr": 0.003, "schedule": "constant"}
    shorter = ps.fit(with_train(tiny, optim, epochs=2, keep=2), tmp_path / "short")
    with pytest.raises(CutError):
        ps.fit(with_train(tiny, optim, steps=6, keep=6).replace(seed=5), tmp_path / "longer", watch=cut_after(2))
    longer = ps.fit(with_train(tiny, optim, epochs=4, keep=4), tmp_path / "longer", extend=shorter.path)
    assert longer.snapshots == (3, 6, 9, 12)
    assert longer.at(step=3).weights.read_bytes() == shorter.at(step=3).weights.read_bytes()


def test_what_another_run_left_makes_no_run_longer(tiny, tmp_path):
    optim = {"lr": 0.003, "schedule": "constant"}
    shorter = ps.fit(with_train(tiny, optim, epochs=2), tmp_path / "short")
    other = ps.fit(with_train(tiny, optim, epochs=2).replace(seed=1), tmp_path / "other")
    shutil.copy(other.path / layout.EXTEND, shorter.path / layout.EXTEND)
    with pytest.raises(RequestError, match=r"The extend\.pt in .* is not of the run there"):
        ps.fit(with_train(tiny, optim, epochs=4), tmp_path / "longer", extend=shorter.path)


def test_a_run_may_branch_off_a_snapshot(tiny, tmp_path):
    first = ps.fit(with_train(tiny, {"lr": 0.003, "schedule": "constant"}, epochs=2, keep=2), tmp_path / "first")
    init = {"kind": "run", "run": str(first.path), "step": 3}
    branch = ps.fit(tiny.replace(init=init, optim={"lr": 1e-12}), tmp_path / "branch")
    for value, other in zip(branch.model.state_dict().values(), first.at(step=3).model.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=1e-6)
    with pytest.raises(RequestError, match="keeps no snapshot after 4 steps"):
        ps.fit(tiny.replace(init={**init, "step": 4}), tmp_path / "other")


def test_a_branch_s_key_holds_the_weights_that_it_began_with(tiny, tmp_path):
    """The same folder name with another run in it is another beginning."""

    keys = []
    for seed in (0, 1):
        shutil.rmtree(tmp_path / "first", ignore_errors=True)
        ps.fit(tiny.replace(seed=seed), tmp_path / "first")
        keys.append(inputs(tiny.replace(init={"kind": "run", "run": str(tmp_path / "first")}), None)["init"])
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("init", "came"),
    [
        ({"step": 3}, "init.step came with init.kind = 'scratch'."),
        ({"kind": "timm"}, "init.kind = 'timm' came with nothing."),
        ({"kind": "run", "timm": "x"}, "init.kind = 'run' came with timm."),
    ],
)
def test_settings_of_a_beginning_stand_where_they_are_read(tiny, init, came):
    with pytest.raises(RequestError) as caught:
        ps.Recipe.of({**tiny.plain(), "init": init})
    assert caught.value.came == came


def test_two_beginnings_contradict_each_other(tiny):
    with pytest.raises(RequestError, match="two sets of weights to begin with"):
        ps.Recipe.of(
            {**tiny.plain(), "model": "timm/vit_small_patch16_224", "init": {"kind": "timm", "timm": "vit_small_patch16_224"}}
        )


def test_timm_s_weights_are_the_start_of_our_family_too(tiny, tmp_path):
    """A small ViT saved as timm saves: its blocks arrive in ours to the bit, with its own normalisation and a new head."""
    import timm
    from safetensors.torch import save_file

    config = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    theirs = timm.models.VisionTransformer(num_classes=7, **config)
    (tmp_path / "hub").mkdir()
    save_file(theirs.state_dict(), tmp_path / "hub" / "model.safetensors")
    card = {"num_classes": 7, "classifier": "head", "input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    told = {"architecture": "vit_tiny_patch16_224", "num_classes": 7, "model_args": config, "pretrained_cfg": card}
    (tmp_path / "hub" / "config.json").write_text(json.dumps(told))
    ours = {"name": "vit/tiny", "patch": 8, "width": 32, "depth": 1, "heads": 2}
    start = {"kind": "timm", "timm": f"local-dir:{tmp_path / 'hub'}"}
    recipe = tiny.replace(model=ours, init=start, train={"steps": 1, "batch_size": 32}, optim={"lr": 1e-12})
    run = ps.fit(recipe, tmp_path / "run")
    got = run.model.network.state_dict()
    for name, value in theirs.state_dict().items():
        if not name.startswith("head."):
            torch.testing.assert_close(got[name], value, rtol=0, atol=1e-6, msg=name)
    assert got["head.weight"].shape[0] == len(run.environment.network.classes)
    assert run.model.statistics.mean == pytest.approx((0.1, 0.2, 0.3))
    with pytest.raises(RequestError, match=r"timm's local-dir:.* does not fit mlp/tiny"):
        ps.fit(recipe.replace(model="mlp/tiny"), tmp_path / "other")


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_network_without_one_linear_head_is_trained_whole(tiny, tmp_path, name):
    """timm's resnetv2 ends in a convolution: all of it learns, and its head alone is refused."""
    recipe = with_train(tiny, {"name": name, "lr": 0.003}, steps=1).replace(model="timm/resnetv2_50")
    run = ps.fit(recipe, tmp_path / "a")
    assert run.model.head_path is None
    assert run.environment.flops == 3 * info(run.model).flops * 32
    fresh = ps.models.create("timm/resnetv2_50", image_size=32, num_classes=10, seed=recipe.seed)
    key = "network.head.fc.weight"
    assert not torch.equal(run.model.state_dict()[key], fresh.state_dict()[key])
    with pytest.raises(RequestError, match="has no single linear head"):
        ps.fit(with_train(recipe, finetune={"mode": "head"}), tmp_path / "b")


def test_a_budget_of_computing_buys_whole_steps_and_the_schedule_knows_them(tiny, tmp_path):
    """Enough for 4.5 steps: the run is the one of 4 steps."""
    plain = ps.fit(with_train(tiny, steps=4), tmp_path / "steps")
    each = plain.environment.flops // 4
    run = ps.fit(with_train(tiny, flops=4.5 * each), tmp_path / "flops")
    assert weights_of(run) == weights_of(plain)
    assert run.environment.flops == 4 * each


def test_a_run_says_what_it_has_taken(tiny, tmp_path, monkeypatch):
    """At a planted rate of bare products: measured beside other work, the share of so small a network rounds to nothing."""
    monkeypatch.setattr("priorscope.train.counters.gemm_rate", lambda *_: 1e6)
    run = ps.fit(tiny, tmp_path / "a")
    macs = 3 * 32 * 32 * 16 + 2 * 2 * 16 * 16 + 16 * 10
    assert [(epoch.images, epoch.flops, epoch.macs) for epoch in run.history] == [
        (images, 6 * macs * images, 3 * macs * images) for images in (96, 192)
    ]
    for speed in (epoch.measured for epoch in run.history):
        assert speed.img_per_s > 0
        assert 0 <= speed.data_wait_share <= 1
        assert speed.gemm_share == pytest.approx(speed.img_per_s * 6 * macs / 1e6, rel=1e-3)
    environment = run.environment
    assert (environment.ranks, environment.parts, environment.compiled) == (1, 1, False)
    assert environment.flops == 6 * macs * 192


def test_the_display_is_told_the_pace(tiny, tmp_path, monkeypatch):
    from priorscope.cli.train import ended, going

    monkeypatch.setattr(attempt, "SHOW_EVERY_SECONDS", 0.0)
    told = []
    ps.fit(tiny, tmp_path / "a", watch=told.append)
    paces = [status.pace for status in told]
    assert [round(pace.epoch, 3) for pace in paces] == [0.333, 0.667, 1, 1.333, 1.667, 2]
    assert {pace.epochs for pace in paces} == {2}
    assert paces[-1].seconds_left == 0
    assert np.mean([pace.loss for pace in paces[:3]]) == pytest.approx(told[2].ended.train_loss, rel=1e-6)
    line = going(attempt.Pace(1.5, 10, 0.4321, Speed(12345.6, 0.034, 0.71), 3725))
    assert line == "epoch 1.5 of 10, loss 0.432, 12,346 img/s, 3% waiting, 71% of GEMM, 1:02:05 left"
    assert ended(planted_epoch(0.815, epoch=3, train_loss=0.5, seconds=61.2)) == "epoch 3: loss 0.500, val 81.5%, 1:01"


def test_epochs_are_handed_to_trackers_once_even_where_a_run_is_cut(tiny, tmp_path, monkeypatch):
    got = []

    class Kept:
        def __init__(self, names, _out, _about, history):
            got.append(("opened", list(names), len(history)))

        def epoch(self, epoch):
            got.append(epoch.epoch)

        def close(self):
            got.append("closed")

    monkeypatch.setattr(attempt, "Exporters", Kept)
    monkeypatch.setattr(fitting, "Exporters", Kept)
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(tiny, tmp_path / "a", watch=cut_after(5), exporters=["tensorboard"])
    ps.fit(tiny, tmp_path / "a", exporters=["tensorboard"])
    assert got == [("opened", ["tensorboard"], 0), 1, "closed", ("opened", ["tensorboard"], 1), 2, "closed"]
    ps.fit(tiny, tmp_path / "a", exporters=["tensorboard"])
    assert got[6:] == [("opened", ["tensorboard"], 2), "closed"], "a finished run hands over what it has"


@pytest.mark.parametrize("torn", [True, False])
def test_a_finished_run_whose_weights_are_torn_or_gone_says_what_makes_them_and_that_does(torn, tiny, tmp_path):
    run = ps.fit(tiny, tmp_path / "a")
    whole = run.weights.read_bytes()
    if torn:
        run.weights.write_bytes(whole[:1000])
    else:
        run.weights.unlink()
        with pytest.raises(RequestError, match="has lost its weights") as lost:
            _ = ps.load(run.path).model
        assert lost.value.do.endswith(f"priorscope train {run.path / layout.RECIPE} --out {run.path}")
    ps.fit(tiny, tmp_path / "a")
    assert run.weights.read_bytes() == whole


def test_memory_that_runs_out_splits_the_batch_for_the_rest_of_the_run_and_its_resumption(tiny, tmp_path, monkeypatch):
    """From the third step on only 10 pictures fit. The rows say so, and a resumed run goes on in as many parts, to the bit."""
    from priorscope.train.gradient import Gradient

    whole = Gradient._in_parts
    most, asked = [32, 32, 10], []

    def cramped(self, batch, draws, done):
        asked.append(self.parts)
        if -(-len(batch.images) // self.parts) > (most.pop(0) if len(most) > 1 else most[0]):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, batch, draws, done)

    monkeypatch.setattr(Gradient, "_in_parts", cramped)
    run = ps.fit(tiny, tmp_path / "a")
    assert asked == [1, 1, 1, 2, 4, 4, 4, 4]
    assert [epoch.parts for epoch in run.history] == [4, 4]
    assert run.environment.parts == 4
    most[:], asked[:] = [32, 32, 10], []
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(tiny, tmp_path / "b", watch=cut_after(5))
    assert asked == [1, 1, 1, 2, 4, 4, 4]
    most[:], asked[:] = [99], []
    assert weights_of(ps.fit(tiny, tmp_path / "b")) == weights_of(run)
    assert asked == [4, 4]


def test_a_run_goes_on_in_the_precision_that_it_began_with(tiny, tmp_path, monkeypatch):
    """Here on a processor that has bfloat16, and then on one that has not."""
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(precision, "has_fast_bf16", lambda _: True)
    recipe = with_train(tiny, precision="auto")
    with pytest.raises(CutError):
        ps.fit(recipe, tmp_path / "a", watch=cut_after(2))
    monkeypatch.setattr(precision, "has_fast_bf16", lambda _: False)
    moved, short, plain = (
        ps.fit(tried, tmp_path / name)
        for name, tried in (("a", recipe), ("b", with_train(tiny, precision="bf16")), ("c", recipe))
    )
    assert [run.environment.precision for run in (moved, short, plain)] == ["bf16", "bf16", "fp32"]
    assert weights_of(moved) == weights_of(short) != weights_of(plain)


def kept_after(out, steps):
    content = torch.load(out / layout.CHECKPOINT, weights_only=True)
    assert content["position"] == divmod(steps, 3)
    assert not (out / layout.ENVIRONMENT).exists()


def test_memory_that_runs_out_in_a_look_at_val_is_named_and_the_checkpoint_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with monkeypatch.context() as patched:

        def cramped(*_):
            raise MemoryError

        patched.setattr(attempt, "score", cramped)
        with pytest.raises(WorkError, match=r"Memory ran out: no further message") as caught:
            ps.fit(tiny, tmp_path / "a")
        assert caught.value.do.endswith("the same command again (train: with --resume) goes on from the last checkpoint")
    kept_after(tmp_path / "a", 2)
    assert weights_of(ps.fit(tiny, tmp_path / "a")) == weights_of(ps.fit(tiny, tmp_path / "b"))


class FullDisk:
    """A file on a disk that holds only so many bytes more."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        self._room -= len(memoryview(data).cast("B"))
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


@pytest.mark.parametrize("room", [0, 100, 20_000])
def test_a_disk_that_fills_while_a_checkpoint_is_written_is_named_and_the_last_one_kept(tiny, tmp_path, monkeypatch, room):
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(tiny, tmp_path / "a", watch=cut_after(3))
    real = Path.open

    def opened(path, *args, **kwargs):
        file = real(path, *args, **kwargs)
        return FullDisk(file, room) if path.name.endswith(layout.CHECKPOINT) and args == ("wb",) else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        with pytest.raises(WorkError) as caught:
            ps.fit(tiny, tmp_path / "a")
    assert caught.value.came == f"Cannot write {tmp_path / 'a' / layout.CHECKPOINT}: the disk is full."
    kept_after(tmp_path / "a", 2)
    assert not list((tmp_path / "a").glob(f"{folder.TEMPORARY}*"))
    ps.fit(tiny, tmp_path / "a")


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures in classes, and a recipe that trains on them."""
    from PIL import Image

    random = np.random.default_rng(0)
    for name, count in (("train", 40), ("val", 10), ("test", 10)):
        for index in range(count):
            path = tmp_path / "pictures" / name / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return ps.Recipe.of(
        {
            "data": {"source": str(tmp_path / "pictures")},
            "model": {"name": "mlp/tiny", "width": 16, "blocks": 1},
            "train": {"epochs": 2, "batch_size": 10, "track": ["val"]},
        }
    )


def test_data_that_changed_since_the_run_began_is_named_and_the_checkpoint_kept(pictures, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(pictures, tmp_path / "a", watch=cut_after(3))
    before = (tmp_path / "a" / layout.CHECKPOINT).read_bytes()
    changed = tmp_path / "pictures" / "train" / "a" / "0.png"
    original = changed.read_bytes()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(changed)
    os.utime(changed, (1, 1))
    with pytest.raises(
        WorkError, match=r"The training data has changed since the run in .* its fingerprint was \w+, and is \w+"
    ):
        ps.fit(pictures, tmp_path / "a")
    assert (tmp_path / "a" / layout.CHECKPOINT).read_bytes() == before
    changed.write_bytes(original)
    ps.fit(pictures, tmp_path / "a")


@pytest.mark.parametrize("resumed", [False, True])
def test_pictures_that_change_while_a_run_learns_are_noticed(pictures, tmp_path, monkeypatch, resumed):
    """The stamp is of the files as they were when the run began, and a run that goes on has it from its checkpoint."""
    from priorscope.fitting.run_folder import data_changed

    file = tmp_path / "pictures" / "test" / "a" / "0.png"

    def change(_status):
        file.write_bytes(file.read_bytes() + b"more")
        if resumed:
            raise CutError

    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    if resumed:
        with pytest.raises(CutError):
            ps.fit(pictures, tmp_path / "a", watch=cut_after(2))
        with pytest.raises(CutError):
            ps.fit(pictures, tmp_path / "a", watch=change)
        run = ps.fit(pictures, tmp_path / "a")
    else:
        run = ps.fit(pictures, tmp_path / "a", watch=change)
    assert data_changed(run.environment, pictures.data.source)


def test_a_checkpoint_without_a_stamp_goes_on_with_one(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    whole = ps.fit(pictures, tmp_path / "whole")
    with pytest.raises(CutError):
        ps.fit(pictures, tmp_path / "a", watch=cut_after(2))
    kept = torch.load(tmp_path / "a" / layout.CHECKPOINT, weights_only=True)
    assert kept.pop("files") is not None
    torch.save(kept, tmp_path / "a" / layout.CHECKPOINT)
    run = ps.fit(pictures, tmp_path / "a")
    assert run.environment.data.files == whole.environment.data.files
    assert weights_of(run) == weights_of(whole)


def test_data_that_vanishes_before_a_run_goes_on_is_named_and_the_checkpoint_kept(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(CutError):
        ps.fit(pictures, tmp_path / "a", watch=cut_after(3))
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    with pytest.raises(ps.PriorscopeError, match="pictures"):
        ps.fit(pictures, tmp_path / "a")
    (tmp_path / "elsewhere").rename(tmp_path / "pictures")
    ps.fit(pictures, tmp_path / "a")


@pytest.mark.parametrize("quality", [None, 90], ids=["pixels", "JPEG"])
def test_a_store_that_is_cut_short_in_the_middle_of_a_run_is_named_and_the_checkpoint_kept(
    pictures, tmp_path, monkeypatch, quality
):
    from priorscope.data.conversion import convert

    store = tmp_path / "p.beton"
    convert(str(tmp_path / "pictures"), store, quality=quality)
    recipe = ps.Recipe.of({**pictures.plain(), "data": {"source": str(store)}})
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    whole = store.read_bytes()

    def cut_at_the_end_of_an_epoch(status):
        if status.ended:
            os.truncate(store, len(whole) // 2)

    with pytest.raises(WorkError, match="The file of the pictures was cut short while it was read: "):
        ps.fit(recipe, tmp_path / "a", watch=cut_at_the_end_of_an_epoch)
    assert torch.load(tmp_path / "a" / layout.CHECKPOINT, weights_only=True)["position"] == (1, 0)
    store.write_bytes(whole)
    ps.fit(recipe, tmp_path / "a")


@pytest.mark.parametrize("where", ["display", "tracker"])
def test_what_fails_beside_the_pictures_is_not_laid_to_them(tiny, tmp_path, monkeypatch, where):
    """A display whose pipe is broken, a tracker whose disk is full: their own errors, not "the pictures cannot be read"."""

    def broken(*_):
        raise BrokenPipeError("nobody reads")

    if where == "tracker":
        monkeypatch.setattr(attempt.Exporters, "epoch", broken)
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        ps.fit(tiny, tmp_path / "a", watch=broken if where == "display" else lambda _: None)


def test_pictures_that_cannot_be_read_any_more_are_named_and_the_checkpoint_kept(tiny, tmp_path, monkeypatch):
    """A disk of the network goes away under the fourth step."""
    from priorscope.train.watched import WatchedLoader

    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    whole = WatchedLoader.epoch

    def epoch(self, number, start=0):
        yield from whole(self, number, start) if number == 0 else []
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/net/pictures.beton")

    with monkeypatch.context() as patched:
        patched.setattr(WatchedLoader, "epoch", epoch)
        with pytest.raises(WorkError) as caught:
            ps.fit(tiny, tmp_path / "a")
    assert caught.value.came.startswith(
        f"The pictures cannot be read any more: [Errno {errno.ESTALE}] {os.strerror(errno.ESTALE)}"
    )
    assert caught.value.do == "put it back: the same command again (train: with --resume) goes on from the last checkpoint"
    kept_after(tmp_path / "a", 3)
    ps.fit(tiny, tmp_path / "a")


GOLDEN = {
    "plain": ({}, [(3.637641350428263, 4.120341663833548), (2.1344414552052817, 3.9779980923217066)]),
    "dropout, mixed, clipped": (
        {
            "model": {"name": "mlp/tiny", "width": 16, "blocks": 1, "dropout": 0.3},
            "augment": "mixup",
            "optim": {"name": "sgd", "lr": 0.01, "warmup": 1, "clip": 0.5},
            "train": {"label_smoothing": 0.1, "accumulate": 2},
        },
        [(2.847968339920044, 2.329660726372927), (2.508462349573771, 2.3274241404316527)],
    ),
    "sharpness-aware, averaged": (
        {"model": "cnn/tiny", "optim": {"lr": 0.003, "sam": {}, "schedule": "wsd"}, "train": {"ema": 0.9}},
        [(2.305744171142578, 2.302590993570855), (2.246960401535034, 2.3026418215748565)],
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_training_numbers_change_with_their_version_alone(tiny, tmp_path, case):
    """Losses of version 1, in float32, as measured when it was written; other processors round otherwise in the last bits."""
    assert loop.VERSION == 1, "measure the numbers below again"
    changes, wanted = GOLDEN[case]
    settings = {name: value for name, value in changes.items() if name in ("model", "optim")}
    recipe = tiny.replace(
        **settings,
        data={**tiny.data.plain(), "augment": changes.get("augment", "none")},
        train={**tiny.train.plain(), "precision": "fp32", **changes.get("train", {})},
    )
    run = ps.fit(recipe, tmp_path / "a")
    for epoch, (train_loss, val_loss) in zip(run.history, wanted, strict=True):
        assert epoch.train_loss == pytest.approx(train_loss, rel=1e-4)
        assert epoch.val.loss == pytest.approx(val_loss, rel=1e-4)
