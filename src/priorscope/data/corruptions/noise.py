"""Noise: normal, Poisson, salt and pepper, and noise in proportion to brightness."""

from __future__ import annotations

import numpy as np

from priorscope.data.corruptions.fields import Bytes, Draws, as_bytes, normal, uniform, unit

CONSTANTS = {
    "gaussian_noise": (
        ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
        ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    ),
    "shot_noise": (((500.0,), (250.0,), (100.0,), (75.0,), (50.0,)), ((60.0,), (25.0,), (12.0,), (5.0,), (3.0,))),
    "impulse_noise": (
        ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    ),
    "speckle_noise": (
        ((0.06,), (0.10,), (0.12,), (0.16,), (0.20,)),
        ((0.15,), (0.20,), (0.35,), (0.45,), (0.60,)),
    ),
}
"""For each kind its five severities, first for pictures up to 64 pixels, then for larger ones."""


def gaussian_noise(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:
    """x + deviation * normal."""
    return as_bytes(unit(pictures) + constants[0] * normal(draws, pictures.shape[1:]))


def shot_noise(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:
    """Poisson(x * photons) / photons."""
    expected = unit(pictures) * constants[0]
    return as_bytes(np.stack([draw.poisson(own) for draw, own in zip(draws, expected, strict=True)]) / constants[0])


def impulse_noise(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:
    """A share of all values, channels apart, becomes 0 or 1 with equal chance."""
    chance = uniform(draws, (2, *pictures.shape[1:]))
    hit, white = chance[:, 0] < constants[0], chance[:, 1] < 0.5
    return np.where(hit, np.where(white, np.uint8(255), np.uint8(0)), pictures)


def speckle_noise(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:
    """x + x * deviation * normal."""
    x = unit(pictures)
    return as_bytes(x + x * constants[0] * normal(draws, pictures.shape[1:]))
