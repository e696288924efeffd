"""Plateaus against torch's own scheduler, and where the fall of each schedule begins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from priorscope.core.epoch import Score
from priorscope.core.errors import RequestError
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.train.optim import OptimConfig
from priorscope.train.schedule import PlateauConfig, check_warmup, fall_begins, learning_rate


def epochs(values, watch, per_epoch=10):
    """The log of a run whose val did so, an epoch a value."""
    scores = [Score(value, 0.5, 10) if watch == "loss" else Score(0.5, value, 10) for value in values]
    return [planted_epoch(step=i * per_epoch, val=score) for i, score in enumerate(scores, 1)]


@pytest.mark.parametrize("watch", ["loss", "accuracy"])
@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_plateau_lowers_the_rate_where_torch_s_scheduler_does(watch, patience, seed):
    """An independent peer on random curves: improving at first, then noise, with a floor."""
    random = np.random.default_rng(seed)
    curve = np.concatenate([np.linspace(2, 1, 8), np.full(30, 1.0)]) + 0.05 * random.standard_normal(38)
    values = (curve if watch == "loss" else 2 - curve).tolist()
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.1)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        mode="min" if watch == "loss" else "max",
        factor=0.3,
        patience=patience,
        threshold=0.01,
        min_lr=2e-4,
        eps=0,
    )
    config = OptimConfig(
        lr=0.1,
        schedule="plateau",
        plateau=PlateauConfig(watch=watch, factor=0.3, patience=patience, threshold=0.01, floor=2e-4),
    )
    for epoch in range(len(values) + 1):
        wanted = optimiser.param_groups[0]["lr"]
        got = learning_rate(config, 10 * epoch, 1000, 10, epochs(values[:epoch], watch))
        assert got == pytest.approx(wanted, rel=1e-12), epoch
        if epoch < len(values):
            optimiser.step()
            peer.step(values[epoch])
    assert optimiser.param_groups[0]["lr"] < 0.1


def test_warm_up_is_no_plateau():
    """Two epochs of warm-up in which val stands still: the count begins after them, and the rate is the full one."""
    config = OptimConfig(lr=1.0, schedule="plateau", warmup=2, plateau=PlateauConfig(patience=1))
    still = epochs([1.0] * 6, "loss")
    assert learning_rate(config, 5, 100, 10, still[:0]) == pytest.approx(0.3)
    assert learning_rate(config, 20, 100, 10, still[:2]) == 1.0
    assert learning_rate(config, 40, 100, 10, still[:4]) == 1.0  # the first epoch after it is a best, the next without gain
    assert learning_rate(config, 50, 100, 10, still[:5]) == pytest.approx(0.1)


def test_a_warm_up_longer_than_the_run_is_refused():
    """Five epochs of ten steps: a run of 50 steps just reaches the rate, one of 49 would not."""
    config = OptimConfig(lr=1.0, warmup=5)
    check_warmup(config, 50, 10)
    assert learning_rate(config, 49, 50, 10) == 1.0
    with pytest.raises(RequestError) as caught:
        check_warmup(config, 30, 10)
    assert caught.value.came == "optim.warmup = 5 epochs came with a run of 3: it would never reach optim.lr."
    assert caught.value.do == "--set optim.warmup=0.15, or a longer run"
    with pytest.raises(RequestError, match=r"a run of 4\.9:"):
        check_warmup(config, 49, 10)


def test_a_floor_above_the_rate_does_not_raise_it():
    config = OptimConfig(lr=1e-3, schedule="plateau", plateau=PlateauConfig(patience=0, floor=0.5))
    assert learning_rate(config, 90, 100, 10, epochs([1.0] * 9, "loss")) == 1e-3


@pytest.mark.parametrize(
    ("settings", "begins"),
    [
        ({"schedule": "constant"}, 100),
        ({"schedule": "plateau"}, 100),
        ({"schedule": "wsd"}, 80),
        ({"schedule": "wsd", "decay_share": 0.5}, 50),
        ({"schedule": "cosine", "warmup": 2}, 20),
        ({"schedule": "linear"}, 0),
    ],
)
def test_the_fall_begins_at_the_last_step_with_the_full_rate(settings, begins):
    config = OptimConfig(lr=0.3, **settings)
    assert fall_begins(config, 100, 10) == begins
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert all(rate < 0.3 for rate in rates[begins + 1 :])
    if begins < 100:
        assert rates[begins] == 0.3


def test_settings_of_a_plateau_stand_where_they_are_read():
    with pytest.raises(RequestError) as caught:
        OptimConfig.parse({"plateau": {"patience": 3}})
    assert caught.value.came == "optim.plateau came with the schedule cosine."
