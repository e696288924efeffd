"""Parameterisations against their definitions: there and back, closed forms, ranges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from priorscope.synthesis.forms import Fourier, Natural, Palette, Pixels, ZNormalised, as_bytes, as_images, form_of, plain_start

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])


def pictures(n: int = 6, side: int = 32, seed: int = 0) -> Tensor:
    """Smooth coloured pictures, well inside (0, 1)."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 5, 5, generator=draw) * 0.8 + 0.1
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True)


@pytest.mark.parametrize("side", [8, 9, 32, 224])
@pytest.mark.parametrize("form", ["natural", "fourier", "pixels"])
def test_there_and_back(form: str, side: int) -> None:
    images = pictures(side=side)
    made = form_of(form, images, MEAN, STD, held=False)
    assert torch.allclose(made.decode(made.encode(images)), images, atol=2e-6)


def test_a_spectrum_is_the_sum_of_its_waves() -> None:
    """Grey data: one number of the spectrum is a cosine in the logit, of the amplitude that its definition says."""
    side = 8
    form = Fourier(side, Palette(torch.full((3,), 0.5), torch.eye(3)))
    numbers = torch.zeros(1, 3, side, side // 2 + 1, 2)
    numbers[0, 1, 2, 1, 0] = 0.3  # 2 periods down, 1 period across, in the second colour
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    amplitude = 2 * 0.3 / side / math.hypot(2 / side, 1 / side)  # twice: the other half of the spectrum mirrors it
    wave = amplitude * torch.cos(2 * torch.pi * (2 * y + x) / side)
    decoded = form.decode(numbers)[0]
    assert torch.allclose(decoded[1], wave.sigmoid(), atol=1e-6)
    assert torch.allclose(decoded[0], torch.full((side, side), 0.5))


def test_no_numbers_are_a_plain_picture_of_the_mean_colour() -> None:
    images = pictures()
    for form in ("natural", "fourier"):
        made = form_of(form, images, MEAN, STD)
        start = plain_start(made, images)
        assert start.abs().max() < 1e-4
        wanted = images.mean((0, 2, 3)).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        assert torch.allclose(made.decode(torch.zeros_like(start)), wanted, atol=1e-6)


def test_natural_numbers_of_real_pictures_have_a_mean_square_of_one_at_each_frequency() -> None:
    images = pictures(64)
    squares = Natural(32, Palette.of(images), images, held=True).encode(images).square().mean((0, 1, 4))
    for ring in rings(32):
        assert float(squares[ring].mean()) == pytest.approx(1, abs=2e-3)


def rings(side: int) -> list[Tensor]:
    """Which numbers belong to 0, 1, ... side / 2 periods a picture; the corners beyond to the last."""
    down, across = torch.fft.fftfreq(side, 1 / side)[:, None], torch.fft.rfftfreq(side, 1 / side)[None]
    ring = torch.hypot(down, across).round().clamp(max=side // 2)
    return [ring == r for r in range(side // 2 + 1)]


def test_frequencies_with_more_contrast_than_real_pictures_are_held_and_the_others_are_left() -> None:
    images = pictures(64)
    numbers = torch.randn(2, 3, 32, 17, 2, generator=torch.Generator().manual_seed(0))
    loud = rings(32)[3]
    numbers *= 0.1
    numbers[0, :, loud] *= 50
    held, before = numbers.clone(), numbers.clone()
    Natural(32, Palette.of(images), images, held=True).project(held)
    assert float(held[0, :, loud].square().mean()) == pytest.approx(1, rel=1e-5)
    assert torch.allclose(held[0, :, loud] / held[0, :, loud].norm(), before[0, :, loud] / before[0, :, loud].norm(), atol=1e-6)
    assert torch.equal(held[0, :, ~loud], before[0, :, ~loud])
    assert torch.equal(held[1], before[1])
    Natural(32, Palette.of(images), images, held=False).project(numbers)
    assert torch.equal(numbers, before)


def test_the_palette_is_the_root_of_the_colours_covariance() -> None:
    images = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    images[:, 1] = 0.5 * images[:, 0] + 0.2
    palette = Palette.of(images)
    ratio = (palette.root @ palette.root.T) / torch.cov(images.transpose(0, 1).flatten(1))
    assert torch.allclose(ratio / ratio[0, 0], torch.ones(3, 3), atol=5e-3)  # up to one factor
    assert float(palette.root.norm(dim=0).max()) == pytest.approx(1)
    grey = Palette.of(torch.full((4, 3, 8, 8), 0.5))
    assert grey.root.isfinite().all()
    assert torch.linalg.matrix_rank(grey.root) == 3


def test_pixels_are_clamped_and_zoomings_cannot_be_darker_than_the_mean() -> None:
    numbers = torch.tensor([-0.2, 0.5, 1.7]).view(1, 3, 1, 1)
    Pixels().project(numbers)
    assert numbers.flatten().tolist() == [0.0, 0.5, 1.0]
    form = ZNormalised(MEAN, STD)
    darkest = form.decode(form.encode(torch.zeros(1, 3, 4, 4)))
    assert torch.allclose(darkest.mean((0, 2, 3)), MEAN + 1e-4 * STD)
    assert torch.allclose(form.decode(form.encode(torch.ones(1, 3, 4, 4))).mean((0, 2, 3)), MEAN + STD)


def test_bytes_there_and_back() -> None:
    images = pictures()
    rounded = as_bytes(images)
    assert rounded.shape == (6, 32, 32, 3)
    assert (as_images(rounded, images.device) - images).abs().max() <= 0.5 / 255 + 1e-6
    assert (as_bytes(as_images(rounded, images.device)) == rounded).all()
