"""The gradient of a batch: whole or in parts, smoothed and mixed, against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import priorscope as ps
from priorscope.data.loader import Batch
from priorscope.train.config import TrainConfig
from priorscope.train.distributed import ALONE
from priorscope.train.gradient import Gradient, batch_loss
from priorscope.train.learner import Learner
from priorscope.train.loop import Position, train
from priorscope.train.optim import OptimConfig
from priorscope.train.precision import make_scaler

LABELS = torch.tensor([0, 2, 1, 2, 0, 1, 1])


def batch_of(targets=None) -> Batch:
    images = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(images, LABELS, torch.arange(7), targets)


def gradients(config, batch, **settings):
    """The loss and the gradient of a small network, as one vector."""
    model = ps.models.create("mlp/tiny", image_size=8, num_classes=3, width=8, blocks=1, **settings)
    loss = Gradient(model.train(), config, make_scaler(config.precision, torch.device("cpu")))(batch, 5)
    return float(loss), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("parts", [2, 3, 4, 7])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(parts):
    loss, whole = gradients(TrainConfig(precision="fp32", label_smoothing=0.1), batch_of())
    other, summed = gradients(TrainConfig(precision="fp32", label_smoothing=0.1, accumulate=parts), batch_of())
    assert other == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))


def test_soft_targets_are_cut_into_parts_with_their_pictures():
    targets = torch.rand(7, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
    loss, whole = gradients(TrainConfig(precision="fp32"), batch_of(targets))
    other, summed = gradients(TrainConfig(precision="fp32", accumulate=3), batch_of(targets))
    assert other == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))


def test_the_same_draws_give_the_same_dropout():
    one = gradients(TrainConfig(precision="fp32"), batch_of(), dropout=0.5)[1]
    torch.rand(3)
    assert torch.equal(gradients(TrainConfig(precision="fp32"), batch_of(), dropout=0.5)[1], one)


@pytest.mark.parametrize("soft", [False, True])
def test_smoothing_mixes_what_is_wanted_with_all_classes_alike(soft):
    """- sum over classes of ((1 - s) t + s / C) log p, in float64; t may be soft itself, as mixup makes it."""
    random = np.random.default_rng(0)
    logits = random.standard_normal((7, 3)) * 3
    target = random.dirichlet(np.ones(3), 7) if soft else np.eye(3)[LABELS.numpy()]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = -(((1 - 0.3) * target + 0.3 / 3) * log_p).sum(1).mean()
    given = torch.from_numpy(target).float() if soft else LABELS
    got = batch_loss(torch.from_numpy(logits).float(), given, 0.3)
    assert float(got) == pytest.approx(wanted, rel=1e-6)


def test_mixup_s_loss_is_the_mixture_of_two_losses():
    """lambda CE(y) + (1 - lambda) CE(y'), the form in which it was published."""
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    share, other = 0.3, LABELS.roll(1)
    one_hot = torch.eye(3)
    targets = share * one_hot[LABELS] + (1 - share) * one_hot[other]
    wanted = share * batch_loss(logits, LABELS, 0.1) + (1 - share) * batch_loss(logits, other, 0.1)
    torch.testing.assert_close(batch_loss(logits, targets, 0.1), wanted)


def test_half_precision_scales_the_loss_and_the_optimiser_undoes_it():
    config = TrainConfig(precision="fp16")
    model = ps.models.create("mlp/tiny", image_size=8, num_classes=3, width=8, blocks=1)
    scaler = make_scaler("fp16", torch.device("cpu"))
    Gradient(model, config, scaler)(batch_of(), 5)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    scaler.unscale_(optimiser)
    exact = gradients(TrainConfig(precision="fp32"), batch_of())[1]
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in model.parameters()]), exact, rtol=0.02, atol=2e-3)
    assert scaler.get_scale() > 1
    assert make_scaler("bf16", torch.device("cpu")).get_scale() == 1


class OneBatch:
    """Stands for a loader of one batch."""

    batch_size = 7

    def __len__(self) -> int:
        return 1

    def epoch(self, _epoch: int, start: int = 0):
        yield from [batch_of()][start:]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.999, 1.5, None])
@pytest.mark.parametrize(("changes", "exact"), [({}, 1e-5), ({"accumulate": 3}, 1e-5), ({"precision": "fp16"}, 2e-3)])
def test_a_gradient_is_clipped_to_its_largest_norm_over_all_weights(changes, exact, share):
    """A step of SGD on softmax regression is lr * g * min(1, c / ||g||), g in closed form in float64; `share` is c / ||g||."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    with torch.no_grad():
        model[1].weight.copy_(0.1 * torch.randn(3, 192, generator=torch.Generator().manual_seed(1)))
        model[1].bias.copy_(torch.tensor([0.5, -0.5, 0.0]))
    before = torch.cat([model[1].weight.detach(), model[1].bias.detach()[:, None]], 1).double().numpy()
    x = np.column_stack([batch_of().images.flatten(1).double().numpy(), np.ones(7)])
    odds = np.exp(x @ before.T)
    g = (odds / odds.sum(1, keepdims=True) - np.eye(3)[LABELS.numpy()]).T @ x / 7
    norm = np.linalg.norm(g)
    clip = None if share is None else float(share * norm)
    config = TrainConfig(steps=1, **{"precision": "fp32", **changes})
    optim = OptimConfig(name="sgd", lr=10.0, momentum=0.0, weight_decay=0.0, schedule="constant", clip=clip)
    learner = Learner(model, config, optim, ALONE, "cpu")
    (step,) = train(learner.gradient(config, 7, compile=False), OneBatch(), learner.optimiser, optim, 0, Position())
    assert step.lr == 10
    after = torch.cat([model[1].weight.detach(), model[1].bias.detach()[:, None]], 1).double().numpy()
    moved = 10 * g * min(1, share or 1)
    np.testing.assert_allclose(before - after, moved, rtol=0, atol=exact * np.abs(moved).max())


def test_a_step_that_overflows_leaves_no_momentum():
    """Float16's first steps do. Of fused SGD torch would keep memory that nobody wrote as the momentum."""
    model = ps.models.create("mlp/tiny", image_size=8, num_classes=3, width=8, blocks=1)
    config, optim = TrainConfig(precision="fp16"), OptimConfig(name="sgd", lr=0.1, weight_decay=0.0)
    learner = Learner(model, config, optim, ALONE, "cpu")
    before = [p.detach().clone() for p in model.parameters()]

    def step(gradient: float) -> None:
        scaled = float(learner.scaler.scale(torch.tensor(gradient)))
        for p in model.parameters():
            p.grad = torch.full_like(p, scaled)
        learner.scaler.step(learner.optimiser)
        learner.scaler.update()

    step(torch.inf)
    assert not learner.optimiser.state
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    step(3.0)
    momenta = [learner.optimiser.state[p]["momentum_buffer"] for p in model.parameters()]
    assert all((momentum == 3).all() for momentum in momenta)
