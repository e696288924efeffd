"""What a picture comes to does not depend on the batch, the worst picture found is kept, and it lies at the whole budget."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from priorscope.attacks import Norm, attack_of, attacks_of
from priorscope.attacks.ball import Found, lengths, pictures, whole
from priorscope.attacks.losses import margin, right
from priorscope.attacks.turns import run_attack, run_in_turn
from priorscope.attacks.victim import Victim

SIDE, CLASSES, N = 6, 4, 24


class Linear(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = scale * torch.randn(CLASSES, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).flatten(1) @ self.weight.to(x.dtype).T


def some(net: nn.Module) -> tuple[Tensor, Tensor]:
    images = 0.35 + 0.3 * torch.rand(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return images, net(images).argmax(1)


@pytest.mark.parametrize("name", ["decision", "fab-t"])
@pytest.mark.parametrize("leave", [True, False])
def test_rays_and_fab_give_a_picture_alone_what_they_give_it_among_others(name: str, leave: bool) -> None:
    """Of a batch in which one picture is fooled the others once paid its bisection's queries."""
    net = Linear()
    images, labels = some(net)
    (attack,) = attacks_of(name, CLASSES, steps=60 if name == "decision" else 6)
    attack = attack.replace(leave=leave)
    eps = 0.01
    together = run_attack(Victim(net), pictures(images, labels, eps), attack)
    assert 0 < int(together.broken.sum()) < N
    for row in range(0, N, 3):
        index = torch.tensor([row])
        alone = run_attack(Victim(net), pictures(images[index], labels[index], eps, index=index), attack)
        torch.testing.assert_close(alone.adversarial[0], together.adversarial[row], rtol=0, atol=1e-9)
        assert bool(alone.broken) == bool(together.broken[row])
        assert int(alone.steps) == int(together.steps[row])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["decision", "fab-t"])
def test_pictures_that_do_not_leave_early_lie_at_the_whole_budget(name: str, norm: Norm) -> None:
    net = Linear()
    images, labels = some(net)
    eps = {"linf": 0.01, "l2": 0.1}[norm] * (3 if name == "decision" else 1)
    attack = attacks_of(name, CLASSES, steps=40)[0].replace(leave=False)
    found = run_attack(Victim(net), pictures(images, labels, eps, norm=norm), attack)
    assert 0 < int(found.broken.sum()) < N
    assert (~right(net(found.adversarial), labels))[found.broken].all()
    torch.testing.assert_close(lengths(found.adversarial - images, norm), torch.full((N,), eps).double(), rtol=1e-6, atol=0)
    assert (margin(net(found.adversarial), labels, None) > margin(net(images), labels, None)).all()


def test_fab_leaves_a_standing_picture_nearer_to_the_boundary_than_it_was() -> None:
    """Where nothing was found at all, because a single step is not enough, the picture goes along that step."""
    net = Linear()
    images, labels = some(net)
    attack = attacks_of("fab-t", CLASSES, steps=1)[0]
    found = run_attack(Victim(net), pictures(images, labels, 1e-4), attack)
    assert not found.broken.any()
    torch.testing.assert_close(lengths(found.adversarial - images, "linf"), torch.full((N,), 1e-4).double(), rtol=1e-6, atol=0)


def test_an_ensemble_keeps_the_worse_picture_of_what_no_attack_breaks() -> None:
    """A weak attack after a strong one once took its picture's place."""
    net = Linear()
    images, labels = some(net)
    of = pictures(images, labels, 1e-4)
    strong, weak = attack_of("pgd-margin"), attack_of("pgd", steps=1, step=1e-3)
    for order in ((strong, weak), (weak, strong)):
        found = run_in_turn(Victim(net), of, order)
        assert not found.broken.any()
        alone = run_attack(Victim(net), of, strong)
        assert torch.equal(found.adversarial, alone.adversarial)


def test_a_picture_that_went_nowhere_stays_where_it_is() -> None:
    images = torch.full((2, 3, 2, 2), 0.5)
    of = pictures(images, torch.tensor([0, 0]), 0.1)
    moved = images.clone()
    moved[1, 0, 0, 0] = 0.51
    assert torch.equal(whole(moved, of)[0], images[0])
    assert float(whole(moved, of)[1, 0, 0, 0]) == pytest.approx(0.6)


def test_the_step_and_the_start_at_which_a_picture_fell_are_kept() -> None:
    """Along a straight way of a hundredth a step a picture at a distance of d falls after ceil(100 d) steps."""

    def gate(x: Tensor) -> Tensor:
        rise = x.mean((1, 2, 3))
        return torch.stack([0.5 + torch.zeros_like(rise), rise], 1)

    images = torch.stack([torch.full((1, 2, 2), value, dtype=torch.float64) for value in (0.495, 0.475, 0.455, 0.1)])
    attack = attack_of("pgd", steps=10, step=0.1, start="none", loss="margin")
    found: Found = run_attack(Victim(gate), pictures(images, torch.zeros(4, dtype=torch.int64), 0.1), attack)
    assert found.broken.tolist() == [True, True, True, False]
    assert found.steps[:3].tolist() == [1, 3, 5]
    assert found.start.tolist() == [0, 0, 0, 0]
