"""Adversarial training against known answers: on a linear network the worst picture of a ball is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from priorscope.attacks.ball import picture_keys
from priorscope.core.epoch import Robust
from priorscope.core.errors import RequestError
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.fitting import fit
from priorscope.models import FAMILIES, create
from priorscope.recipe import Recipe
from priorscope.train.adversarial import AdversarialConfig, adversarial_loss, divergence, move, overfitted
from priorscope.train.budget import image_flops
from priorscope.train.checkpoint import RunState
from priorscope.train.config import TrainConfig
from priorscope.train.optim import OptimConfig

EPS = 0.05


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).double()


@pytest.fixture
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.3 + 0.4 * torch.rand(6, 3, 4, 4, generator=generator, dtype=torch.float64)


LABELS = torch.tensor([0, 1, 0, 1, 1, 0])
KEYS = picture_keys(0, torch.arange(6))


def mean(logits, wanted):
    return F.cross_entropy(logits, wanted)


def loss_of(config, linear, pictures, keys=KEYS):
    return adversarial_loss(linear, linear, pictures, LABELS, keys, config, 1.0, mean)


@pytest.mark.parametrize("settings", [{"kind": "pgd", "steps": 20, "step": 0.5}, {"kind": "fgsm", "step": 2.0}])
def test_on_two_linear_classes_the_moved_picture_is_the_worst_of_its_ball(linear, pictures, settings):
    """For logits w.x the loss is highest at x + eps * sign(w_other - w_own), wherever the walk began."""
    weight = linear[1].weight
    away = (weight[1 - LABELS] - weight[LABELS]).sign().view_as(pictures)
    worst = mean(linear(pictures + EPS * away), LABELS)
    found = loss_of(AdversarialConfig(eps=EPS, **settings), linear, pictures)
    assert found.item() == pytest.approx(worst.item(), rel=1e-6)


def test_in_l2_it_lies_at_the_balls_edge_along_the_gradient(linear, pictures):
    weight = linear[1].weight
    away = weight[1 - LABELS] - weight[LABELS]
    worst = mean(linear(pictures + EPS * (away / away.norm(dim=1, keepdim=True)).view_as(pictures)), LABELS)
    found = loss_of(AdversarialConfig(eps=EPS, norm="l2", steps=60, step=0.5), linear, pictures)
    assert found.item() == pytest.approx(worst.item(), rel=1e-4)


def test_trades_is_the_plain_loss_and_a_weighted_divergence(linear, pictures):
    """With two linear classes the answer is drawn furthest at one of the two corners along the difference of the weights."""
    away = EPS * (linear[1].weight[1] - linear[1].weight[0]).sign().view(1, 3, 4, 4)
    own = linear(pictures)
    corners = [linear(pictures + side * away) for side in (1, -1)]
    each = torch.tensor([[divergence(own[i : i + 1], c[i : i + 1]).item() for i in range(6)] for c in corners])
    found = loss_of(AdversarialConfig(kind="trades", eps=EPS, beta=3.0, steps=50, step=0.5), linear, pictures).item()
    drawn = (found - mean(own, LABELS).item()) / 3
    assert each.min(0).values.mean() * 0.999 <= drawn <= each.max(0).values.mean() * 1.001
    assert each.min() > 1e-4


def test_pictures_stay_in_the_ball_and_in_range_and_parameters_get_no_gradient(linear):
    edge = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).round()
    moved = move(linear, edge, KEYS, AdversarialConfig(), EPS, lambda logits: mean(logits, LABELS))
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved - edge).abs().max() <= EPS + 1e-12
    assert all(p.grad is None and p.requires_grad for p in linear.parameters())


def test_a_walk_is_the_pictures_own_in_any_batch(linear, pictures):
    config = AdversarialConfig(kind="fgsm", step=0.3)
    whole = move(linear, pictures, KEYS, config, EPS, lambda logits: mean(logits, LABELS) * 6)
    parts = [
        move(linear, pictures[rows], KEYS[rows], config, EPS, lambda logits, rows=rows: mean(logits, LABELS[rows]) * 3)
        for rows in (slice(0, 3), slice(3, 6))
    ]
    assert torch.equal(whole, torch.cat(parts))


def test_the_network_is_moved_against_in_evaluation_mode_and_learns_in_training_mode(pictures):
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 2)).double().train()
    before = network[0].num_batches_tracked.clone()
    loss_of(AdversarialConfig(steps=3), network, pictures).backward()
    assert network.training
    assert network[0].num_batches_tracked == before + 1
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("size", [2e-5, 3e4])
def test_in_half_precision_neither_a_small_nor_a_large_gradient_is_lost(size):
    """Two products of 2e-5 give a gradient of 4e-10, below float16's 6e-8; larger ones meet its end when made larger still."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, bias=False), nn.Linear(1, 2, bias=False))
    signs = torch.where(torch.arange(12) % 3 == 0, -1.0, 1.0)
    with torch.no_grad():
        network[1].weight.copy_(signs[None] * min(size, 1.0))
        network[2].weight.copy_(torch.tensor([[1.0], [-1.0]]) * size)
    images = torch.full((2, 3, 2, 2), 0.5)
    config = AdversarialConfig(kind="pgd", steps=2, step=1.0, eps=EPS)
    with torch.autocast("cpu", torch.float16):
        moved = move(network, images, KEYS[:2], config, EPS, lambda logits: (logits[:, 0] - logits[:, 1]).float().sum())
    assert torch.allclose(moved, images + EPS * signs.view(3, 2, 2), atol=1e-6)


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "trades"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "timm"])
def test_every_family_learns_from_pictures_moved_against_it(family, kind):
    """In both precisions: the moved pictures cost it more than as they were, and every parameter is asked."""
    model = create(f"{family}/tiny", image_size=32, num_classes=10)
    model.replace_head(10, seed=1)  # one that starts at zero would move nothing
    generator = torch.Generator().manual_seed(3)
    images, labels = torch.rand(8, 3, 32, 32, generator=generator), torch.arange(8) % 10
    with torch.no_grad():
        for _ in range(20):
            model(images)  # a network with batch statistics answers next to nothing before it has any
    keys = picture_keys(0, torch.arange(8))
    config = AdversarialConfig(kind=kind, eps=8 / 255, steps=1 if kind == "fgsm" else 3)
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            moved = move(model, images, keys, config, 8 / 255, lambda logits: mean(logits.float(), labels) * 8)
            loss = adversarial_loss(model, model, images, labels, keys, config, 1.0, lambda x, y: mean(x.float(), y))
        model.eval()
        with torch.no_grad():
            as_they_were, after = (mean(model(x), labels).item() for x in (images, moved))
        assert after > as_they_were
        model.train().zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_the_budget_grows_over_its_share_of_the_run():
    config = AdversarialConfig(eps=0.1, ramp=0.5)
    assert [round(config.budget(done), 4) for done in (0, 0.25, 0.5, 1)] == [0, 0.05, 0.1, 0.1]
    assert AdversarialConfig(eps=0.1).budget(0) == 0.1


def test_one_step_that_holds_while_ten_fall_is_called_overfitting():
    assert overfitted(fgsm=0.9, pgd=0.01, before=[0.3])
    assert not overfitted(fgsm=0.45, pgd=0.32, before=[0.3])
    assert not overfitted(fgsm=0.05, pgd=0.01, before=[0.3])  # the network was lost altogether: another fault
    assert not overfitted(fgsm=0.9, pgd=0.01, before=[])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "fgsm", "steps": 3}, "adversarial.steps = 3 came with fgsm"),
        ({"kind": "pgd", "beta": 6}, "adversarial.beta came with pgd"),
    ],
)
def test_what_would_be_ignored_is_refused(settings, said):
    recipe = {"data": {"source": "shapetex"}, "model": "mlp/tiny", "train": {"adversarial": settings}}
    with pytest.raises(RequestError, match=said):
        Recipe.of(recipe)


def test_what_is_not_set_is_the_kind_s_own():
    fgsm, trades = AdversarialConfig(kind="fgsm"), AdversarialConfig(kind="trades", beta=None)
    assert (fgsm.walk, trades.walk, trades.beta) == ((1, 1.25), (10, 0.25), 6)
    assert AdversarialConfig(kind="pgd", steps=None, step=None).walk == (10, 0.25)
    assert fgsm.replace(kind="pgd") == AdversarialConfig()
    assert trades.replace(kind="pgd").beta is None
    assert AdversarialConfig(kind="pgd", step=0.5).replace(kind="trades").walk == (10, 0.5)
    saved = AdversarialConfig.without_defaults(fgsm.plain())
    assert AdversarialConfig.parse({**saved, "kind": "trades"}) == trades


def test_what_it_costs_is_counted():
    model, optim = create("mlp/tiny", image_size=8, num_classes=2), OptimConfig()
    plain = image_flops(model, TrainConfig(), optim)
    forward = plain // 3
    pgd = TrainConfig(adversarial=AdversarialConfig(steps=10))
    trades = TrainConfig(adversarial=AdversarialConfig(kind="trades", steps=10))
    assert image_flops(model, pgd, optim) == plain + 20 * forward
    assert image_flops(model, trades, optim) == 2 * plain + 21 * forward


def test_a_run_says_what_one_step_and_ten_leave_and_chooses_by_the_ten(tmp_path):
    recipe = {
        "data": {"source": {"name": "shapetex", "train": 120, "val": 40, "test": 30}},
        "model": {"name": "mlp/tiny", "width": 16, "blocks": 1},
        "train": {"epochs": 3, "batch_size": 40, "adversarial": {"kind": "fgsm", "eps": "2/255", "ramp": 0.5}},
    }
    run = fit(Recipe.of(recipe), tmp_path / "run")
    found = [epoch.robust for epoch in run.history]
    assert [(robust.n, robust.eps, robust.overfitted) for robust in found] == [(40, 2 / 255, False)] * 3
    for robust, epoch in zip(found, run.history, strict=True):
        assert robust.pgd <= robust.fgsm + 1e-9
        assert robust.pgd <= epoch.val.accuracy + 1e-9
    assert found[run.environment.chosen_epoch - 1].pgd == max(robust.pgd for robust in found)


def test_the_epoch_that_ten_steps_leave_most_of_is_chosen():
    """The second is right more often as long as nobody moves its pictures."""
    state = RunState("key")
    for epoch, (accuracy, pgd) in enumerate(((0.5, 0.4), (0.9, 0.1)), start=1):
        robust = Robust(eps=0.03, n=40, fgsm=pgd, pgd=pgd, overfitted=False)
        state.end_epoch(planted_epoch(accuracy, epoch=epoch, robust=robust), lambda epoch=epoch: {"w": epoch})
    assert state.best_epoch == 1
    assert state.epochs_without_gain() == 1


def test_trades_of_answers_that_are_all_but_certain_has_a_gradient():
    """In float32 a probability e^-120 is 0, and 0 log 0 has none of its own."""
    wanted = torch.tensor([[120.0, 0.0, -5.0]], requires_grad=True)
    logits = torch.tensor([[118.0, 1.0, -5.0]], requires_grad=True)
    divergence(wanted, logits).backward()
    assert wanted.grad.isfinite().all()
    assert logits.grad.isfinite().all()


def test_the_divergence_is_kullback_and_leiblers():
    wanted, logits = (torch.randn(5, 4, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    p, q = wanted.double().softmax(1), logits.double().softmax(1)
    assert divergence(wanted, logits).item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-5)
