"""The second count of multiply-adds: by hand, and equal to torch's on every family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope import models
from priorscope.models.arithmetic import macs_as_run
from priorscope.models.counting import info

FAMILIES = [f"{family}/tiny" for family in models.FAMILIES if "tiny" in models.FAMILIES.load(family).PRESETS]


class Products(nn.Module):
    """A convolution in groups, one transposed, fused attention, a linear map and a matrix times a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3)
        self.down = nn.Conv2d(6, 12, 4, stride=4, groups=2)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.down(self.up(x)).flatten(2).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None, :, :8])[:, 0]
        scale = torch.stack([token.T @ torch.ones(len(token)) for token in mixed])
        return self.head(tokens.mean(1)) + scale.mean()


def test_every_product_is_counted_once() -> None:
    network = models.wrap(Products(), image_size=8, classes=[str(i) for i in range(10)])
    up = 3 * 8 * 8 * (2 * 2 * 2)  # a kernel of 2 x 2 for 2 outputs at each of 64 places of 3 inputs
    down = 12 * 4 * 4 * (3 * 4 * 4)  # 16 places, 12 outputs, 3 inputs of the group
    attention = 16 * 16 * (12 + 8)
    vector = 8 * 16
    assert macs_as_run(network) == up + down + attention + vector + 12 * 10


@pytest.mark.parametrize("name", FAMILIES)
def test_agrees_with_torchs_counter(name: str) -> None:
    model = models.create(name, image_size=32, num_classes=10)
    assert macs_as_run(model) == info(model).macs


def test_products_in_bfloat16_count_alike() -> None:
    model = models.create("mlp/tiny", image_size=32, num_classes=10)
    wanted = macs_as_run(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert macs_as_run(model) == info(model).macs == wanted > 0


def test_nothing_of_the_network_changes() -> None:
    model = models.create("cnn/tiny", image_size=32, num_classes=10).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    macs_as_run(model)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Encoders(nn.Module):
    """Attention and an encoder layer of torch's own, which evaluation runs as one kernel each."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT.repeat(1, 1, 6)[..., :16]
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head(self.layer(mixed).mean(1))


def test_attention_of_torchs_own_counts_in_evaluation() -> None:
    tokens, width = 16, 16
    attention = 4 * tokens * width * width + 2 * tokens * tokens * width
    wanted = 2 * attention + 2 * tokens * width * 32 + width * 10
    model = models.wrap(Encoders(), image_size=4, classes=10)
    assert macs_as_run(model) == info(model).macs == wanted
