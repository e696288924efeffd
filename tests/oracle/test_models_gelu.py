"""GELU in bfloat16 on a CPU, as it learns, against float64 and torch's own values."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from priorscope.models.kernels.gelu import FLAT
from priorscope.models.kernels.team import has_team
from priorscope.models.networks import fused
from priorscope.models.networks.fused import Gelu, gelu
from priorscope.models.networks.transformer import quicken

pytestmark = pytest.mark.skipif(not has_team(), reason="this torch does not compute with GNU's OpenMP")


def slope(x: Tensor) -> Tensor:
    """GELU's derivative, in float64."""
    exact = x.double().numpy()
    return torch.from_numpy(stats.norm.cdf(exact) + exact * stats.norm.pdf(exact))


def learnt(x: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = gelu(x)
    return y, torch.autograd.grad(y, x, upstream)[0]


def test_the_slope_is_that_of_float64_for_every_number() -> None:
    """Of bfloat16 there are 65,280 that are finite: to 2e-5, and a rounding of the result."""
    every = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    every = every[every.isfinite()]
    exact = slope(every)
    _, found = learnt(every, torch.ones_like(every))
    assert ((found.double() - exact).abs() <= 2e-5 + 2**-8 * exact.abs()).all()


@pytest.mark.parametrize("count", [1, 17, 1023, 1025, 70_001])
def test_any_number_of_values_is_done_whole(count: int) -> None:
    x, upstream = torch.randn(count).bfloat16(), torch.randn(count).bfloat16()
    _, found = learnt(x, upstream)
    exact = upstream.double() * slope(x)
    assert ((found.double() - exact).abs() <= 2e-5 * upstream.double().abs() + 2**-8 * exact.abs()).all()


@pytest.mark.parametrize(
    ("shape", "laid"),
    [
        ((3, 4, 5), Tensor.contiguous),
        ((2, 8, 5, 5), lambda x: x.to(memory_format=torch.channels_last)),
        ((6, 5), lambda x: x.mT),
        ((8, 6), lambda x: x[:, ::2]),
        ((0, 4), Tensor.contiguous),
    ],
    ids=["in order", "channels last", "turned", "every other", "none"],
)
def test_values_may_lie_in_any_order(shape: tuple[int, ...], laid: Callable[[Tensor], Tensor]) -> None:
    """The gradient too, whatever the order of either."""
    x = laid(torch.randn(shape).bfloat16())
    upstream = torch.randn(x.shape).bfloat16()
    y, found = learnt(x, upstream)
    assert torch.equal(y, nn.functional.gelu(x))
    torch.testing.assert_close(found.double(), upstream.double() * slope(x), rtol=2**-7, atol=1e-4)


def test_what_is_not_finite_stays_so() -> None:
    """A diverged step is seen: nothing of it is made a number."""
    x = torch.tensor([0.5, torch.nan, torch.inf, -torch.inf]).bfloat16()
    y, found = learnt(x, torch.full((4,), torch.nan).bfloat16())
    assert y[1].isnan()
    assert found.isnan().all()
    assert learnt(x[2:], torch.ones(2).bfloat16())[1].tolist() == [1.0, pytest.approx(0.0, abs=2e-5)]


def test_in_float32_and_where_nothing_learns_it_is_torchs_own() -> None:
    x = torch.randn(5, 7)
    with patch.object(fused._Gelu, "apply", side_effect=AssertionError):
        assert torch.equal(gelu(x.requires_grad_()), nn.functional.gelu(x))
        assert torch.equal(gelu(x.detach().bfloat16()), nn.functional.gelu(x.detach().bfloat16()))
        other = quicken(nn.GELU("tanh"))
        assert type(other) is Gelu
        assert torch.equal(other(x.bfloat16()), nn.functional.gelu(x.bfloat16(), approximate="tanh"))


def test_the_constant_is_where_it_is_said_to_be() -> None:
    ends = slope(torch.tensor([-FLAT, FLAT]).double())
    np.testing.assert_allclose(ends.numpy(), [0, 1], atol=8e-6)
