"""How long a run is, what it keeps, and what a step of it costs."""

from __future__ import annotations

import pytest

import priorscope as ps
from priorscope.core.errors import RequestError
from priorscope.train.budget import image_flops
from priorscope.train.config import TrainConfig
from priorscope.train.optim import OptimConfig
from priorscope.train.precision import check_precision


@pytest.mark.parametrize(
    ("train", "came"),
    [
        ({"flops": 1e9, "epochs": 2}, "train.epochs = 2 came with train.flops = 1e+09."),
        ({"flops": 1e9, "steps": 2}, "train.steps = 2 came with train.flops = 1e+09."),
        ({"epochs": 2, "keep": 3}, "train.keep = 3 came with train.epochs = 2."),
        ({"steps": 4, "keep": 5}, "train.keep = 5 came with train.steps = 4."),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(train, came):
    with pytest.raises(RequestError) as caught:
        TrainConfig.parse(train)
    assert caught.value.came == came


@pytest.mark.parametrize("said", [{"compile": "never"}, {"shard": False}, {"finetune": {"mode": "full"}}])
def test_what_is_done_anyway_has_one_spelling(said):
    assert TrainConfig.parse(said).digest() == TrainConfig().digest()


def test_a_budget_pays_for_whole_steps():
    config = TrainConfig.parse({"flops": 1050.0})
    assert config.with_steps(100.0).total(7) == 10
    assert config.with_steps(1050.0).total(7) == 1
    with pytest.raises(RequestError) as caught:
        config.with_steps(1051.0)
    assert caught.value.came == "train.flops = 1050 does not pay for one step, which takes 1051."
    assert TrainConfig(epochs=3).with_steps(100.0) == TrainConfig(epochs=3)
    many = TrainConfig.parse({"flops": 1050.0, "keep": 11, "precision": "fp32"})
    assert many.with_steps(95.0) == TrainConfig.parse({"steps": 11, "keep": 11, "precision": "fp32"})
    with pytest.raises(RequestError) as caught:  # ten steps have no eleven snapshots
        many.with_steps(100.0)
    assert caught.value.came == "train.keep = 11 came with train.steps = 10."


@pytest.mark.parametrize(
    ("train", "steps"),
    [
        ({"epochs": 4, "keep": 4}, (10, 20, 30, 40)),
        ({"epochs": 10, "keep": 3}, (30, 70, 100)),
        ({"steps": 25, "keep": 2}, (12, 25)),
        ({"steps": 25}, ()),
    ],
)
def test_snapshots_are_evenly_spaced_and_the_last_is_the_end(train, steps):
    config = TrainConfig.parse(train)
    assert config.snapshots(10, config.total(10)) == steps


def test_a_step_of_an_mlp_costs_its_closed_form():
    """Two operations a multiply-add, three passes; d = 3 * 32 * 32, width 16, one block of expansion 2, 10 classes."""
    model = ps.models.create("mlp/tiny", image_size=32, num_classes=10, width=16, blocks=1, expansion=2)
    macs = 3 * 32 * 32 * 16 + 2 * 2 * 16 * 16 + 16 * 10
    assert image_flops(model, TrainConfig(), OptimConfig()) == 3 * 2 * macs
    assert image_flops(model, TrainConfig(), OptimConfig.parse({"sam": {}})) == 6 * 2 * macs
    head = TrainConfig.parse({"finetune": {"mode": "head"}})
    assert image_flops(model, head, OptimConfig()) == 2 * macs + 2 * 16 * 10


def test_tf32_is_refused_where_no_processor_has_it():
    import torch

    with pytest.raises(RequestError) as caught:
        check_precision("tf32", torch.device("cpu"))
    assert caught.value.came == "train.precision = 'tf32' came with the device cpu, which has no such products."
    check_precision("tf32", torch.device("cuda"))
