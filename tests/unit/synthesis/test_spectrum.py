"""The radial spectrum on pictures whose spectrum is known."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.synthesis.spectrum import FLOOR, radial_power, spectrum_distance


@pytest.mark.parametrize("side", [32, 64])
def test_white_noise_has_its_variance_at_every_frequency_and_side(side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, side, side, 3)).astype(np.uint8)
    power = radial_power(noise)
    assert power.shape == (40, side // 2)
    assert np.allclose(power.mean(0), np.log10((256**2 - 1) / 12 / 255**2), atol=0.08)


def test_a_wave_has_its_power_at_its_own_frequency() -> None:
    x = np.arange(32)
    wave = np.broadcast_to((127.5 + 100 * np.cos(2 * np.pi * 5 * x / 32))[None, :, None], (32, 32, 3))
    power = radial_power(np.rint(wave).astype(np.uint8)[None])[0]
    assert power.argmax() == 4  # the first is 1 period
    assert np.delete(power, 4).max() < power[4] - 4


def test_a_plain_picture_lies_at_the_floor() -> None:
    assert (radial_power(np.full((1, 16, 16, 3), 77, np.uint8)) == np.log10(FLOOR)).all()


def test_distance_is_root_mean_square_decibels() -> None:
    real = np.array([[0.0, 1.0], [2.0, 3.0]])
    assert spectrum_distance(np.array([[1.0, 2.0], [1.3, 2.0], [2.0, 3.0]]), real) == pytest.approx([0, 3 / np.sqrt(2), 10])
