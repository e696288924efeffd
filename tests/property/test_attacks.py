"""What holds for every attack, whatever the network, the norm and the budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from priorscope.attacks import PRESETS, Norm, attacks_of
from priorscope.attacks.ball import lengths, pictures
from priorscope.attacks.losses import right
from priorscope.attacks.turns import run_attack
from priorscope.attacks.victim import Victim

SIDE, CLASSES, N = 5, 4, 12
BUDGET = st.one_of(st.just(0.0), st.floats(1e-4, 1.0))


class Net(nn.Module):
    """A random network with a kink, its logits of any scale; in float64, so that no answer hangs on the size of a batch."""

    def __init__(self, seed: int, scale: float) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 10), nn.ReLU(), nn.Linear(10, CLASSES)).double()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * self.body(x.double())).float()


def case(seed: int, scale: float) -> tuple[Net, Tensor, Tensor]:
    """A network, pictures that touch 0 and 1 in places, and labels of which some are wrong before any attack."""
    net = Net(seed, scale)
    images = (torch.rand(N, 3, SIDE, SIDE) * 1.4 - 0.2).clamp(0, 1)
    labels = net(images).argmax(1)
    labels[0] = (labels[0] + 1) % CLASSES
    return net, images, labels


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", sorted(PRESETS))
@example(
    seed=70522, eps=1.0, scale=1e-3, leave=True
)  # once kept the picture after a checkpoint's restart, not the one that fooled
@settings(max_examples=15)
@given(seed=st.integers(0, 2**20), eps=BUDGET, scale=st.sampled_from([1e-3, 1.0, 1e3]), leave=st.booleans())
def test_an_attack_stays_in_its_ball_and_tells_the_truth(
    name: str, norm: Norm, seed: int, eps: float, scale: float, leave: bool
) -> None:
    net, images, labels = case(seed, scale)
    (attack,) = attacks_of(name, CLASSES)
    attack = attack.replace(steps=min(attack.steps, 6), leave=leave and attack.leave)
    found = run_attack(Victim(net, chunk=5), pictures(images, labels, eps, norm=norm), attack, seed)
    assert float(found.adversarial.min()) >= 0
    assert float(found.adversarial.max()) <= 1
    assert (lengths(found.adversarial - images, norm) <= eps * (1 + 1e-4) + 2e-6).all()
    fooled = ~right(net(found.adversarial), labels)
    assert (fooled >= found.broken).all()
    clean = right(net(images), labels)
    if attack.judge == "any":
        assert found.broken[~clean].all()
    if eps == 0:
        assert found.broken.tolist() == (~clean).tolist()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**20), first=st.floats(0.001, 0.3), factor=st.floats(1, 4))
def test_more_attacks_and_larger_budgets_never_break_less(seed: int, first: float, factor: float) -> None:
    import numpy as np

    from priorscope.attacks.search import find_smallest
    from priorscope.attacks.turns import run_in_turn

    net, images, labels = case(seed, 1.0)
    one, two = attacks_of("quick", CLASSES)
    alone = run_in_turn(Victim(net), pictures(images, labels, first), [one], seed).broken
    both = run_in_turn(Victim(net), pictures(images, labels, first), [one, two], seed).broken
    assert (both >= alone).all()

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return images[rows], labels[rows]

    budgets = tuple(sorted({0.0, first / 2, first, first * factor}))
    found = find_smallest(Victim(net), fetch, np.arange(N), [one, two], budgets, first, seed=seed)
    standing = np.array([found.standing(eps) for eps in budgets])
    assert (np.diff(standing.astype(int), axis=0) <= 0).all()
    assert (standing[budgets.index(first)] <= ~both.numpy()).all()
    assert (found.low <= found.high).all()
