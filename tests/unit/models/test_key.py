"""What names a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from priorscope import models
from priorscope.models.key import network_key


def test_naming_a_network_leaves_it_as_it_was() -> None:
    """A frozen batch norm in a training network stays frozen, and nothing is drawn from the stream that training draws from."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2))
    model = models.wrap(network, image_size=8, classes=2).train()
    network[1].eval()
    torch.manual_seed(0)
    before = [module.training for module in model.modules()], torch.get_rng_state()
    network_key(model)
    assert [module.training for module in model.modules()] == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_network_whose_family_counts_otherwise_now_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.create("mlp/tiny", image_size=8, num_classes=2)
    before = network_key(model)
    monkeypatch.setattr("priorscope.models.mlp.VERSION", 99)
    assert network_key(model) != before


def test_weights_of_every_type_are_named() -> None:
    model = models.create("mlp/tiny", image_size=8, num_classes=2)
    keys = {network_key(model.to(kind)) for kind in (torch.float32, torch.bfloat16)}
    assert len(keys) == 2
