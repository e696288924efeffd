"""Budgets that no change of pixels in [0, 1] can have: 8 for "8/255" is the commonest slip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from priorscope import models
from priorscope.attacks.budgets import check_budget
from priorscope.core.config import Config
from priorscope.core.errors import RequestError
from priorscope.data.split import ArrayPixels, Split
from priorscope.models.classifier import Classifier
from priorscope.probes.calibration import CalibrationConfig
from priorscope.probes.robustness import RobustnessConfig, measure_robustness
from priorscope.probes.transfer import TransferConfig, measure_transfer
from priorscope.train.adversarial import AdversarialConfig, move

SIDE = 4
MOST = math.sqrt(3 * SIDE * SIDE)


@pytest.mark.parametrize(
    ("config", "beside"),
    [(AdversarialConfig, {}), (CalibrationConfig, {"attack": "pgd"}), (RobustnessConfig, {}), (TransferConfig, {})],
)
def test_a_budget_of_255ths_that_lost_its_255_is_refused(config: type[Config], beside: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        config.parse({"eps": 8, **beside})
    assert caught.value.came == "A budget of 8 in linf came with pixels in [0, 1]."
    assert caught.value.wanted == "at most 1"
    assert caught.value.do == 'eps = "8/255"'
    assert config.parse({"eps": 1, **beside})
    assert config.parse({"eps": "8/255", **beside})


def test_every_budget_of_the_curve_counts() -> None:
    with pytest.raises(RequestError, match="A budget of 2 in linf"):
        RobustnessConfig.parse({"budgets": ["1/255", 2]})


@pytest.mark.parametrize("config", [AdversarialConfig, RobustnessConfig, TransferConfig])
def test_in_l2_more_than_1_is_a_budget(config: type[Config]) -> None:
    assert config.parse({"eps": 8, "norm": "l2"})


def test_in_l2_the_most_is_from_all_black_to_all_white() -> None:
    check_budget(MOST, "l2", SIDE)
    with pytest.raises(RequestError) as caught:
        check_budget(8, "l2", SIDE)
    assert caught.value.came == "A budget of 8 in l2 came with pictures of 4 pixels in [0, 1]."
    assert caught.value.wanted == "at most 6.928"


def network() -> Classifier:
    return models.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2)), image_size=SIDE, classes=2)


@pytest.mark.parametrize("asked", [{"eps": 7}, {"budgets": (0.5, 7)}])
def test_robustness_refuses_it_once_it_sees_the_pictures(asked: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="A budget of 7 in l2"):
        measure_robustness(network(), world(), norm="l2", **asked)


def test_transfer_refuses_it_once_it_sees_the_pictures() -> None:
    with pytest.raises(RequestError, match="A budget of 7 in l2"):
        measure_transfer({"one": network(), "other": network()}, world(), norm="l2", eps=7)


def test_adversarial_training_refuses_it_before_the_budget_has_grown() -> None:
    config = AdversarialConfig(eps=7, norm="l2", ramp=1)
    images = torch.full((2, 3, SIDE, SIDE), 0.5)
    with pytest.raises(RequestError, match="A budget of 7 in l2"):
        move(network(), images, torch.zeros(2, dtype=torch.int64), config, config.budget(0.01), lambda logits: logits.sum())


def world() -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
    return Split("made", "test", ArrayPixels(pixels), np.arange(20, dtype=np.int64) % 2, ("a", "b"))
