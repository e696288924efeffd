"""Faults of networks and of training loops, each reproduced."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope import models
from priorscope.doctor import dropout, evaluation_mode, evaluation_noise, normalisation
from priorscope.doctor.evaluation_mode import watching


class Net(nn.Module):
    """A small network with dropout and batch norm, whose dropout may be forgotten in the forward pass."""

    def __init__(self, uses_dropout: bool = True) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(48, 16), nn.Linear(16, 3)
        self.norm, self.dropout = nn.BatchNorm1d(16), nn.Dropout(0.5)
        self.uses_dropout = uses_dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.relu(self.first(x.flatten(1))))
        return self.last(self.dropout(x) if self.uses_dropout else x)


class LeftInEvaluation(Net):
    """Its `train` forgets to call the base class, so that nothing inside hears of it."""

    def train(self, mode: bool = True) -> LeftInEvaluation:
        super().train(False)
        self.training = mode
        return self


class AlwaysDrops(Net):
    """Calls the function, whose `training` is true unless told otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(torch.relu(self.first(x.flatten(1)))))


def wrapped(net: nn.Module, **settings) -> models.classifier.Classifier:
    return models.wrap(net, image_size=4, classes=3, **settings)


def train(net: nn.Module, again: bool, epochs: int = 5, batches: int = 4) -> None:
    """The loop of the Perceiver study, and the same with the line that it lacks."""

    def evaluate() -> None:
        net.eval()
        with torch.no_grad():
            net(torch.rand(8, 3, 4, 4))

    net.train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(epochs):
        if again:
            net.train()
        for _ in range(batches):
            optimiser.zero_grad()
            net(torch.rand(8, 3, 4, 4)).sum().backward()
            optimiser.step()
        evaluate()


def test_a_network_left_in_evaluation_mode_after_the_first_epoch():
    net = Net()
    with watching(net) as watch:
        train(net, again=False)
    (finding,) = watch.findings()
    assert finding.saw == (
        "In 16 of 20 training passes, from number 5 on, 2 of 2 submodules that behave differently in training were in "
        "evaluation mode."
    )
    assert not net._forward_hooks


@pytest.mark.parametrize("name", ["perceiver/tiny", "tnt/tiny", "vit/tiny"])
def test_a_network_of_ours_left_in_evaluation_mode(name):
    net = models.create(name, image_size=32, num_classes=3, dropout=0.2).eval()
    with watching(net) as watch:
        net(torch.rand(2, 3, 32, 32)).sum().backward()
    (finding,) = watch.findings()
    assert "In 1 of 1 training passes" in finding.saw


def test_a_network_that_is_put_back_is_well():
    net = Net()
    with watching(net) as watch:
        train(net, again=True)
    assert watch.passes == 20
    assert watch.findings() == []


def test_an_evaluation_with_gradients_is_no_training():
    """Slow, and well: no gradient flows through it."""
    net = Net()
    with watching(net) as watch:
        net.train()
        net(torch.rand(8, 3, 4, 4)).sum().backward()
        net.eval()
        net(torch.rand(8, 3, 4, 4)).sum()
    assert watch.passes == 1
    assert watch.findings() == []


def test_a_train_that_does_not_reach_its_parts():
    network = wrapped(LeftInEvaluation())
    modes = [module.training for module in network.modules()]
    (finding,) = evaluation_mode.look_at_network(network)
    assert "2 of 2 submodules of LeftInEvaluation" in finding.saw
    assert [module.training for module in network.modules()] == modes
    assert not [*evaluation_mode.look_at_network(wrapped(Net()))]


@pytest.mark.parametrize("net", [Net(uses_dropout=False), LeftInEvaluation()])
def test_dropout_that_does_nothing(net):
    (finding,) = dropout.look_at_network(wrapped(net))
    assert finding.severity == "fault"
    assert "Dropout dropout 0.5" in finding.saw


@pytest.mark.parametrize("name", ["mlp/tiny", "perceiver/v-cifar10", "swin/v-lr-cifar10", "tnt/tiny", "vit/tiny", "mixer/tiny"])
def test_dropout_of_our_families_drops(name):
    settings = {} if name in ("perceiver/v-cifar10", "swin/v-lr-cifar10") else {"dropout": 0.2}
    network = models.create(name, image_size=32, num_classes=10, **settings)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert not [*dropout.look_at_network(network)]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_looking_leaves_batch_statistics_and_the_random_state_as_they_were():
    network = wrapped(Net())
    mean, state = network.network.norm.running_mean.clone(), torch.get_rng_state()
    assert not [*dropout.look_at_network(network)]
    assert torch.equal(network.network.norm.running_mean, mean)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_drops_in_evaluation():
    (finding,) = evaluation_noise.look_at_network(wrapped(AlwaysDrops()))
    assert finding.severity == "fault"
    assert "gave the same 8 images logits that differ by up to" in finding.saw
    assert not [*evaluation_noise.look_at_network(wrapped(Net()))]


def test_a_timm_network_fed_with_another_data_set_s_normalisation():
    import timm

    vit = timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=3)
    cifar = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
    (finding,) = normalisation.look_at_network(models.wrap(vit, image_size=16, classes=3, **cifar))
    assert "its weights were trained with mean (0.500, 0.500, 0.500), deviation (0.500, 0.500, 0.500)" in finding.saw
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    assert not [*normalisation.look_at_network(models.wrap(vit, image_size=16, classes=3, **half))]
