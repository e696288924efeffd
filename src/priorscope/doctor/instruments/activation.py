"""Activation maximisation of a linear network: its favourite picture is white where weights are positive, else black."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import SIDE, grey_world, linear
from priorscope.probes.activation import measure_activation

IMAGES = 16


def known_answers() -> Iterator[Answer]:
    """The picture, the logit that it reaches, a twin that must give it the same probability, and one that takes a for b."""
    import torch

    (network, _), (twin, _), (turned, _) = linear(0.1), linear(0.1), linear(0.1)
    with torch.no_grad():
        own = next(turned.parameters())
        own.copy_(own.flip(0))
    weights = next(network.parameters()).detach().numpy()
    how: dict[str, Any] = {"form": "pixels", "optimiser": "adam", "steps": 200, "shift": 0.0, "zoom": 0.0, "turn": 0.0}
    three = {"one": network, "twin": twin, "turned": turned}
    result = measure_activation(three, grey_world(IMAGES), starts=1, images=IMAGES, **how)
    wanted = np.where(weights > 0, 255, 0).reshape(2, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    yield Answer(
        probe="activation",
        question="share of pixels of a linear network's favourite picture that are as its weights say",
        expected=1.0,
        got=float((result.pictures[0, :, 0] == wanted).mean()),
        within=0,
    )
    best = float(np.maximum(weights[0], 0).sum())
    yield Answer(
        probe="activation",
        question="logit of that picture",
        expected=best,
        got=float(result.score[0, 0, 0]),
        within=1e-4 * best,
    )
    yield Answer(
        probe="activation",
        question="probability that a twin gives the picture's class, as the network's own",
        expected=float(result.probability[0, 0].mean()),
        got=float(result.probability[1, 0].mean()),
        within=0,
    )
    yield Answer(
        probe="activation",
        question="probability that a network whose classes are turned round gives it, as what the own one leaves",
        expected=1 - float(result.probability[0, 0].mean()),
        got=float(result.probability[2, 0].mean()),
        within=1e-6,
    )
