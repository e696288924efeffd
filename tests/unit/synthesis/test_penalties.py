"""Penalties on pictures whose penalty is known."""

from __future__ import annotations

import pytest
import torch

from priorscope.synthesis.penalties import glare, total_variation, z_penalty


def plain(*colour: float, side: int = 8) -> torch.Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, side, side).clone()


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
def test_total_variation_of_a_plain_colour_is_exactly_zero_and_so_is_its_gradient(power: float) -> None:
    x = plain(0.1, 0.7, 0.3).requires_grad_()
    value = total_variation(x, power)
    assert value.tolist() == [0.0]
    value.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() == 0


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_total_variation_is_the_same_for_stripes_in_both_directions(power: float) -> None:
    stripes = torch.zeros(1, 3, 8, 8)
    stripes[..., ::2] = 0.5
    across, down = total_variation(stripes, power), total_variation(stripes.transpose(2, 3), power)
    assert across.item() == down.item()
    assert across.item() == pytest.approx(0.5**power * 7 * 7 / 64)  # 49 pixels have a neighbour below and one to the right


def test_total_variation_of_a_ramp_is_its_slope_whatever_the_side() -> None:
    for side in (32, 224):
        ramp = (torch.arange(side) / 1000).expand(1, 3, side, side)
        assert total_variation(ramp, 1.0).item() == pytest.approx(1e-3 * (1 - 1 / side) ** 2, rel=1e-4)


def test_glare_is_0_for_grey_and_1_at_both_ends() -> None:
    assert glare(plain(0.5, 0.5, 0.5)).item() == 0
    assert glare(plain(0.0, 1.0, 0.0)).item() == 1
    assert glare(plain(0.25, 0.75, 0.25)).item() == pytest.approx(0.5**6)


def test_zoomings_total_variation_sees_colours_and_rows_and_no_columns() -> None:
    """24 for a plain colour (0, 1, 0) of 4 pixels, 0 for vertical stripes: what the study's own code gave when it was run."""
    colour = plain(0.0, 1.0, 0.0, side=4)
    assert z_penalty(colour).item() == pytest.approx(1e-7 * 16 + 1e-8 * 24)
    stripes = torch.zeros(1, 3, 4, 4)
    stripes[..., ::2] = 1
    assert z_penalty(stripes).item() == pytest.approx(1e-7 * 24)  # the sixth powers alone
    assert z_penalty(stripes.transpose(2, 3)).item() > 1.5e-7 + 1e-7 * 24


def test_every_penalty_gives_one_number_a_picture_and_a_true_gradient() -> None:
    x = torch.rand(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for penalty in (lambda x: total_variation(x, 1.5), total_variation, glare, z_penalty):
        assert penalty(x).shape == (2,)
        assert torch.autograd.gradcheck(penalty, (x,))
