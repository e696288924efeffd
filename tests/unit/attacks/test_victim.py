"""How a network is asked that is under attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.attacks.losses import LOSSES
from priorscope.attacks.victim import Victim
from priorscope.core.blocks import blocks


class Counted(nn.Module):
    """Notes how many pictures came at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x.flatten(1)[:, :2]


def test_larger_pictures_go_through_in_smaller_parts() -> None:
    """Of four times the pixels a quarter at a time; also where the network enlarges them itself."""
    for side, inside, most in ((32, None, 250), (64, None, 62), (32, 64, 62)):
        network = Counted()
        model = models.wrap(network, image_size=side, classes=2, input_size=inside)
        network.seen.clear()
        victim, images = Victim(model), torch.rand(130, 3, side, side)
        victim(images)
        victim.gradient(images, torch.zeros(130, dtype=torch.int64), LOSSES["margin"])
        parts = [len(rows) for rows in blocks(130, most)]
        assert network.seen == parts + parts


def test_a_victim_is_asked_with_repeatable_kernels_and_plain_attention_of_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, seen = list[str](), list[list[str]]()

    def entered(name: str) -> None:
        @contextmanager
        def block(device: torch.device) -> Iterator[None]:
            inside.append(f"{name} on {device.type}")
            yield
            inside.pop()

        monkeypatch.setattr(f"priorscope.attacks.victim.{name}", block)

    def network(x: Tensor) -> Tensor:
        seen.append(list(inside))
        return x.flatten(1)[:, :2]

    entered("repeatable")
    entered("plain_attention")
    victim, images = Victim(network), torch.rand(2, 3, 4, 4)
    victim(images)
    victim.gradient(images, torch.zeros(2, dtype=torch.int64), LOSSES["margin"])
    assert seen == [["repeatable on cpu"], ["repeatable on cpu", "plain_attention on cpu"]]
