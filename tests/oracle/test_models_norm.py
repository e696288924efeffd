"""LayerNorm in bfloat16 on a CPU, as it learns, against float64 and torch's own values."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from timm.layers import norm as timm_norm
from torch import Tensor, nn

from priorscope.models.networks import norm
from priorscope.models.networks.norm import LayerNorm, _LayerNorm
from priorscope.models.networks.transformer import TimmLayerNorm, quicken


@pytest.fixture(autouse=True)
def same_draws_and_threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def learnt(layer: nn.Module, x: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
    """The output, and the gradients of input, gain and shift, under autocast to bfloat16."""
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype != torch.float64):
        y = layer(x)
    return y, *torch.autograd.grad(y, (x, *layer.parameters()), upstream.to(y.dtype))


def layer_and_exact(width: int) -> tuple[LayerNorm, nn.LayerNorm]:
    layer = LayerNorm(width)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    exact = nn.LayerNorm(width).double()
    exact.load_state_dict(layer.state_dict())
    return layer, exact


@pytest.mark.parametrize("team", [True, False], ids=["GNU's OpenMP", "another"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 2), (3, 7), (5, 9, 33), (9000, 16), (70, 1024), (3, 70000)])
def test_gradients_are_those_of_float64(
    shape: tuple[int, ...], dtype: torch.dtype, team: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of x within a rounding of the number type; of gain and shift, which are in float32, within float32's sums.

    Of x, the terms that are subtracted from one another cancel, at two values a row to almost nothing: what is left of them
    is right to float32's rounding of the terms, not of itself.
    """
    if not team:
        monkeypatch.setattr(norm, "runs_kernels", lambda _: False)
    layer, exact = layer_and_exact(shape[-1])
    x, upstream = (3 * torch.randn(shape) + 1).to(dtype), torch.randn(shape).to(dtype)
    _, *found = learnt(layer, x, upstream)
    _, *truth = learnt(exact, x.double(), upstream.double())
    spread = x.double().std(-1, correction=0, keepdim=True)
    terms = (exact.weight * upstream.double() / spread * (1 + x.double().abs().amax(-1, keepdim=True) / spread)).norm()
    cancelled = (8 * torch.finfo(torch.float32).eps * terms, 1e-6, 1e-6)
    for ours, theirs, one, lost in zip(found, truth, (torch.finfo(dtype).eps, 2e-6, 2e-6), cancelled, strict=True):
        assert (ours.double() - theirs).norm() <= 2 * one * theirs.norm() + lost


def test_torchs_own_sums_are_what_ours_are_not() -> None:
    """The reason for this module: if torch's come to be as exact, ours can go."""
    layer, exact = layer_and_exact(128)
    theirs = nn.LayerNorm(128)
    theirs.load_state_dict(layer.state_dict())
    x, upstream = torch.randn(20000, 128).bfloat16(), torch.randn(20000, 128).bfloat16()
    torch.set_num_threads(2)  # the more threads, the shorter torch's sums
    truth = learnt(exact, x.double(), upstream.double())[3]
    ours, torchs = (((learnt(one, x, upstream)[3].double() - truth).norm() / truth.norm()).item() for one in (layer, theirs))
    assert ours < 1e-5
    assert torchs > 0.01


def test_the_answer_is_torchs_and_the_threads_do_not_count() -> None:
    layer, _ = layer_and_exact(48)
    torchs = nn.LayerNorm(48)
    torchs.load_state_dict(layer.state_dict())
    x, upstream = torch.randn(40, 200, 48).bfloat16(), torch.randn(40, 200, 48)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(learnt(layer, x, upstream))
    assert torch.equal(found[0][0], learnt(torchs, x, upstream)[0])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    turned = x.mT.contiguous().mT
    assert all(torch.equal(a, b) for a, b in zip(found[0], learnt(layer, turned, upstream), strict=True))


@pytest.mark.parametrize(
    "theirs", [nn.LayerNorm((5, 8)), nn.LayerNorm(8, elementwise_affine=False), nn.LayerNorm(8, bias=False)], ids=str
)
def test_a_norm_that_is_set_up_otherwise_stays_torchs(theirs: nn.LayerNorm) -> None:
    ours, x = quicken(copy.deepcopy(theirs)), torch.randn(3, 5, 8).bfloat16().requires_grad_()
    assert type(ours) is LayerNorm
    with patch.object(_LayerNorm, "apply", side_effect=AssertionError), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))


def test_a_gain_may_be_a_view() -> None:
    """As `functional_call` with a column of a table hands it over."""
    layer, exact = layer_and_exact(8)
    table = torch.randn(8, 3)
    x, upstream = torch.randn(3, 5, 8).bfloat16(), torch.randn(3, 5, 8)
    gains = [{"weight": table[:, 1].to(dtype)} for dtype in (torch.float32, torch.float64)]
    found = []
    for one, gain, pixels in zip((layer, exact), gains, (x, x.double()), strict=True):
        pixels = pixels.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=pixels.dtype != torch.float64):
            y = torch.func.functional_call(one, gain, (pixels,))
        found.append(torch.autograd.grad(y, pixels, upstream.to(y.dtype))[0].double())
    assert (found[0] - found[1]).norm() < 0.01 * found[1].norm()


def test_timms_norm_in_lower_precision_stays_timms() -> None:
    ours, x = quicken(timm_norm.LayerNorm(8)), torch.randn(3, 5, 8)
    ours._fast_norm = True
    with torch.autocast("cpu", torch.bfloat16), patch.object(_LayerNorm, "apply", side_effect=AssertionError):
        assert ours(x).shape == x.shape


def test_timms_norm_keeps_its_own_answer_where_nothing_learns() -> None:
    theirs = timm_norm.LayerNorm(8)
    ours, x = quicken(copy.deepcopy(theirs)), torch.randn(3, 5, 8)
    assert type(ours) is TimmLayerNorm
    with patch.object(timm_norm.LayerNorm, "forward", return_value=x) as asked, torch.no_grad():
        assert ours(x) is x
    asked.assert_called_once()
    with torch.autocast("cpu", torch.bfloat16):
        assert type(ours(x).grad_fn).__name__ == "_LayerNormBackward"
