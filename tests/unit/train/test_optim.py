"""Schedules against closed forms, weight decay where it belongs, optimisers against plain float64 arithmetic."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from priorscope.core.errors import RequestError
from priorscope.train.optim import OptimConfig, learning_rate, make_optimiser, parameter_groups


def test_cosine_falls_from_the_full_rate_to_near_zero_and_never_reaches_it():
    config = OptimConfig(lr=0.1)
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[50] == pytest.approx(0.05)
    assert rates[99] == pytest.approx(0.05 * (1 + math.cos(math.pi * 0.99)))
    assert rates[99] > 0
    assert all(a > b for a, b in pairwise(rates))


def test_warm_up_rises_linearly_to_the_full_rate_and_is_part_of_the_run():
    config = OptimConfig(lr=1.0, warmup=2)
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert rates[:20] == pytest.approx([(i + 1) / 20 for i in range(20)])
    assert rates[20] == 1.0
    assert rates[60] == pytest.approx(0.5)


def test_constant_stays():
    assert {learning_rate(OptimConfig(lr=0.3, schedule="constant"), step, 10, 5) for step in range(10)} == {0.3}


def test_decay_reaches_matrices_and_spares_vectors_unless_asked():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decayed, spared = parameter_groups(model, OptimConfig(weight_decay=0.1))
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in spared["params"]] == [1, 1, 1, 1]
    (all_of_them,) = parameter_groups(model, OptimConfig(weight_decay=0.1, decay_norms_and_biases=True))
    assert len(all_of_them["params"]) == 6


def test_weight_decay_really_arrives():
    """At a gradient of zero AdamW multiplies a weight by (1 - lr * decay), and SGD takes the decay for the gradient."""
    for name, steps in (("adamw", 3), ("sgd", 1)):
        layer = nn.Linear(4, 4, bias=False)
        before = layer.weight.detach().clone()
        optimiser = make_optimiser(layer, OptimConfig(name=name, lr=0.1, weight_decay=0.5, momentum=0.9))
        for _ in range(steps):
            layer.weight.grad = torch.zeros_like(layer.weight)
            optimiser.step()
        factor = (1 - 0.05) ** steps if name == "adamw" else 1 - 0.1 * 0.5 * 1.9  # Nesterov's first step counts 1 + momentum
        torch.testing.assert_close(layer.weight.detach(), before * factor)


def test_adamw_is_the_published_update():
    """Loshchilov and Hutter 2019, algorithm 2, in float64."""
    config = OptimConfig(lr=0.01, weight_decay=0.1, momentum=0.8, beta2=0.95)
    layer = nn.Linear(3, 2, bias=False)
    w = layer.weight.detach().double().numpy().copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    optimiser = make_optimiser(layer, config)
    random = np.random.default_rng(0)
    for t in range(1, 6):
        g = random.standard_normal(w.shape)
        layer.weight.grad = torch.from_numpy(g).float()
        optimiser.step()
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        w = w - 0.01 * 0.1 * w
        w = w - 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
    np.testing.assert_allclose(layer.weight.detach().numpy(), w, rtol=2e-5)


@pytest.mark.parametrize(
    ("settings", "named"), [({"lr": 0}, "lr"), ({"lrr": 1}, "lr ="), ({"name": "adamv"}, "adamw"), ({"clip": -1}, "clip")]
)
def test_what_cannot_be_is_refused(settings, named):
    with pytest.raises(RequestError, match=named):
        OptimConfig.parse(settings)
