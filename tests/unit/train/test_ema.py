"""The average of the weights against the same sum in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import priorscope as ps
from priorscope.train.ema import Average, decay_at


def test_a_young_average_follows_fast():
    assert [decay_at(0.5, step) for step in (0, 1, 7, 8, 100)] == pytest.approx([0.1, 2 / 11, 8 / 17, 0.5, 0.5])
    assert decay_at(0.9999, 100_000) == 0.9999


def test_the_average_is_the_weighted_sum_of_all_weights():
    model = ps.models.create("cnn/tiny", image_size=16, num_classes=3)
    average = Average(model, 0.3)
    random = np.random.default_rng(0)
    name = "network.stem.weight"
    wanted = model.state_dict()[name].double().numpy().copy()
    for step in range(6):
        values = random.standard_normal(wanted.shape)
        with torch.no_grad():
            model.network.stem.weight.copy_(torch.from_numpy(values))
        average.follow(step)
        decay = min(0.3, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * values
    np.testing.assert_allclose(average.model.state_dict()[name].numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_batch_statistics_are_averaged_and_counts_copied():
    model = ps.models.create("cnn/tiny", image_size=16, num_classes=3).train()
    average = Average(model, 0.9)
    before = {name: value.clone() for name, value in average.model.state_dict().items()}
    model(torch.rand(8, 3, 16, 16))
    average.follow(0)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            assert torch.equal(average.model.state_dict()[name], value)
        elif "running" in name:
            torch.testing.assert_close(average.model.state_dict()[name], 0.1 * before[name] + 0.9 * value)
    assert torch.equal(average.model.mean, model.mean)
    assert not average.model.training
    assert not any(p.requires_grad for p in average.model.parameters())


def test_the_average_goes_on_in_the_same_tensors_after_loading():
    model = ps.models.create("mlp/tiny", image_size=8, num_classes=3)
    average = Average(model, 0.9)
    average.load_state_dict({name: torch.zeros_like(value) for name, value in average.state_dict().items()})
    average.follow(0)
    torch.testing.assert_close(average.model.head.weight, 0.9 * model.head.weight.detach())
