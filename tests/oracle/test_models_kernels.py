"""Our own loops over activations against float64: softmax with dropout, dropout alone, gating by GELU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope.models.kernels import team
from priorscope.models.kernels.dropout import drop
from priorscope.models.kernels.softmax import weigh_and_drop
from priorscope.models.networks import attention, fused

pytestmark = pytest.mark.skipif(not team.has_team(), reason="this torch does not compute with GNU's OpenMP")

TYPES = {torch.float32: 3e-6, torch.bfloat16: 2**-8}
"""A rounding of the result, and a little of float32's where the loop computes."""


@pytest.fixture(params=TYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def noise(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 2, 32), (40, 33), (19, 1024)])
def test_dropped_weights_are_softmax_and_a_mask_forward_and_backward(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The mask is read off the result; given it, values and gradients are those of the definition."""
    torch.manual_seed(len(shape) + shape[-1])
    scores = (4 * noise(*shape)).to(dtype).requires_grad_()
    upstream = noise(*shape, dtype=dtype, seed=1)
    kept = fused.kept_weights(scores, 0.25)
    assert kept.dtype == dtype
    exact = scores.detach().double().requires_grad_()
    result = torch.softmax(exact, -1) * (kept.detach() != 0) / 0.75
    torch.testing.assert_close(kept.double(), result, rtol=TYPES[dtype], atol=1e-7)
    (ours,) = torch.autograd.grad(kept, scores, upstream)
    (theirs,) = torch.autograd.grad(result, exact, upstream.double())
    terms = (result * upstream.double()).abs().detach()  # weight by weight: what roundings of the weights are relative to
    bound = terms + torch.softmax(exact.detach(), -1) * terms.sum(-1, keepdim=True)
    assert ((ours.double() - theirs).abs() <= 2 * TYPES[dtype] * bound + 1e-30).all()


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.99])
def test_weights_are_dropped_at_the_rate(p: float) -> None:
    torch.manual_seed(0)
    dropped = (fused.kept_weights(torch.zeros(2000, 128), p) == 0).double().mean().item()
    assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / 256_000)


def test_masks_have_no_lag_along_and_across_rows() -> None:
    """Rows take keys of their own, and columns are hashed with them: no neighbour tells of another."""
    torch.manual_seed(0)
    mask = (fused.kept_weights(torch.zeros(512, 512), 0.5) != 0).double() - 0.5
    bound = 5 / math.sqrt(mask.numel() / 2)
    for lag in (1, 2, 3, 8, 64):
        assert abs((mask[:, :-lag] * mask[:, lag:]).mean().item() * 4) < bound, lag
        assert abs((mask[:-lag] * mask[lag:]).mean().item() * 4) < bound, lag
    assert abs((mask[:, :256] * mask[:, 256:]).mean().item() * 4) < bound


@pytest.mark.usefixtures("threads")
def test_masks_come_from_torchs_stream_and_not_from_threads(dtype: torch.dtype) -> None:
    scores = noise(300, 200, dtype=dtype)

    def drawn(count: int) -> tuple[Tensor, ...]:
        torch.set_num_threads(count)
        torch.manual_seed(3)
        leaf = scores.clone().requires_grad_()
        results = fused.kept_weights(leaf, 0.3), fused.Dropout(0.3)(leaf)
        return *results, *(torch.autograd.grad(result, leaf, scores)[0] for result in results)

    first = drawn(1)
    for again, one in zip(drawn(3), first, strict=True):
        assert torch.equal(again, one)
    assert not torch.equal(fused.Dropout(0.3)(scores), first[1])


def test_what_is_not_a_number_stays_so(dtype: torch.dtype) -> None:
    """A training that diverges must be seen to: NaN of either sign and infinity make what is kept of their row NaN, and all of
    its gradient; other rows are spared."""
    scores = noise(5, 40, dtype=dtype)
    scores[1, 7], scores[2, 9], scores[3, 5] = math.nan, math.inf, -math.inf
    bits, sign = (torch.int16, -64) if dtype == torch.bfloat16 else (torch.int32, -1 << 22)
    scores.view(bits)[4, 0] = sign  # the NaN that a processor makes of 0 * inf
    scores.requires_grad_()
    kept = fused.kept_weights(scores, 0.1)
    (gradient,) = torch.autograd.grad(kept, scores, torch.ones_like(kept))
    assert scores[4, 0].isnan()
    for row in (1, 2, 4):
        assert (kept[row].isnan() | (kept[row] == 0)).all()
        assert kept[row].isnan().sum() >= 30
        assert gradient[row].isnan().all()
    for row in (0, 3):
        assert kept[row].isfinite().all()
        assert gradient[row].isfinite().all()
    assert kept[3, 5] < 1e-30


def is_dropped(seed: int, row: int, column: int, p: float) -> bool:
    """The mask by its definition, in whole numbers of any size."""
    x = (seed + row * 0x9E3779B97F4A7C15) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> shift)) * factor % 2**64
    x = (x >> 32) ^ (column * 0x9E3779B1 % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)) * factor % 2**32
    return (x ^ (x >> 16)) >> 1 < round(p * 2**31)


def test_masks_are_those_of_their_definition(dtype: torch.dtype) -> None:
    """Another hash would train every Perceiver anew: who changes it raises the versions of Perceiver, Perceiver IO and TNT."""
    seed = 2**62 + 12345
    mask = drop(torch.ones(3000, dtype=dtype), 0.3, seed) == 0
    assert mask.tolist() == [is_dropped(seed, i // 1024, i % 1024, 0.3) for i in range(3000)]
    kept, weights = weigh_and_drop(torch.zeros(5, 40, dtype=dtype), 0.25, seed)
    assert torch.equal(kept == 0, weights < 0)
    assert (kept == 0).tolist() == [[is_dropped(seed, row, column, 0.25) for column in range(40)] for row in range(5)]


def test_nothing_is_dropped_of_nothing(dtype: torch.dtype) -> None:
    for shape in ((0, 5), (5, 0), (0,)):
        assert fused.Dropout(0.5)(torch.empty(shape, dtype=dtype)).shape == shape
    assert fused.kept_weights(torch.empty(0, 5, dtype=dtype), 0.5).shape == (0, 5)


@pytest.mark.parametrize("count", [1, 1023, 1024, 5000])
def test_dropout_drops_the_gradient_where_it_dropped_the_value(count: int, dtype: torch.dtype) -> None:
    """Also in a last row that is not full, and after a layout that is not contiguous."""
    torch.manual_seed(count)
    values = (noise(count, 2, dtype=dtype).abs() + 1).requires_grad_()
    out = fused.Dropout(0.4)(values.T)
    mask = (out.detach() != 0).double() / 0.6
    torch.testing.assert_close(out.double(), values.T.double() * mask, rtol=TYPES[dtype], atol=0)
    (gradient,) = torch.autograd.grad(out.sum(), values)
    torch.testing.assert_close(gradient.double(), mask.T, rtol=TYPES[dtype], atol=0)


def test_elsewhere_dropout_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch has another OpenMP: the rate and the mean are the same."""
    monkeypatch.setattr(team, "has_team", lambda: False)
    torch.manual_seed(0)
    kept = attention.weigh_and_drop(torch.zeros(1000, 100), fused.Dropout(0.2))
    torch.testing.assert_close(kept[kept != 0], torch.full_like(kept[kept != 0], 0.0125))
    assert abs((kept == 0).double().mean().item() - 0.2) < 5 * math.sqrt(0.16 / 100_000)
    out = fused.Dropout(0.2)(torch.ones(100_000))
    assert abs((out == 0).double().mean().item() - 0.2) < 5 * math.sqrt(0.16 / 100_000)
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1.25))


@pytest.mark.parametrize("width", [1, 5, 64])
def test_gating_is_its_definition_forward_and_backward(width: int) -> None:
    """From far below zero, where GELU is lost in rounding, to far above."""
    packed = (3 * noise(50, 2 * width)).bfloat16()
    packed[0, width:], packed[1, width:] = -40.0, 40.0
    packed.requires_grad_()
    exact = packed.detach().double().requires_grad_()
    values, gates = exact.chunk(2, -1)
    ours, theirs = fused.gated(packed), values * F.gelu(gates)
    assert "Gated" in str(ours.grad_fn)
    torch.testing.assert_close(ours.double(), theirs, rtol=2**-8, atol=3e-6)
    upstream = noise(50, width, seed=1).bfloat16()
    of_ours, of_theirs = (
        torch.autograd.grad(result, leaf, upstream.to(result.dtype))[0] for result, leaf in ((ours, packed), (theirs, exact))
    )
    torch.testing.assert_close(of_ours.double(), of_theirs, rtol=2**-8, atol=1e-5)


def test_gating_in_float32_is_torchs() -> None:
    packed = noise(8, 10, dtype=torch.float32).requires_grad_()
    values, gates = packed.chunk(2, -1)
    assert torch.equal(fused.gated(packed), values * F.gelu(gates))


EVERY_LOOP = """
import torch
from priorscope.models.kernels import dropout, gelu, norm, softmax, turning

torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    x, gradient = torch.randn(300, 96).to(dtype), torch.randn(300, 96).to(dtype)
    made = [*norm.norm_backward(gradient, x, torch.randn(300), torch.rand(300) + 0.5, torch.randn(96))]
    made += [*softmax.weigh_and_drop(x, 0.2, 5), softmax.weigh_and_drop_backward(gradient, x, 0.2), dropout.drop(x, 0.3, 7)]
    if dtype == torch.bfloat16:
        made += [gelu.gelu_backward(gradient, x), gelu.gated(x), gelu.gated_backward(gradient[:, :48].contiguous(), x)]
        made += [turning.turned(x, dtype), turning.turned(x, torch.float32)]
    print([hash(one.contiguous().view(torch.uint8).numpy().tobytes()) for one in made])
"""


def test_code_that_was_just_compiled_computes_what_it_computes_when_it_is_found_on_the_disk(tmp_path: Path) -> None:
    """To the last bit: a training that is killed in the process that compiled resumes in one that finds the code."""
    named = os.environ | {"PRIORSCOPE_CACHE": str(tmp_path), "PYTHONHASHSEED": "0", "NUMBA_CACHE_DIR": ""}
    command = [sys.executable, "-c", EVERY_LOOP]
    said = [subprocess.run(command, env=named, text=True, capture_output=True, check=True).stdout for _ in range(2)]
    assert said[0] == said[1]
    assert said[0].count(",") > 10
    assert list(tmp_path.rglob("*.nbc"))
