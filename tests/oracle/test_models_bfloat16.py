"""Training in bfloat16 on a CPU: our forward and backward passes against timm's and against float64."""

from __future__ import annotations

import copy
from typing import Any
from unittest.mock import patch

import pytest
import torch
from timm.layers import attention as timm_attention
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope import models
from priorscope.models.networks.attention import self_attend, weigh
from priorscope.models.networks.transformer import SelfAttention, quicken


def plain(packed: Tensor, heads: int) -> Tensor:
    """Attention by its definition."""
    query, key, value = packed.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return (scores.exp() / scores.exp().sum(-1, keepdim=True) @ value).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(("tokens", "heads"), [(1, 2), (5, 3), (31, 1), (40, 2)])
def test_packed_attention_is_its_definition_forward_and_backward(tokens: int, heads: int) -> None:
    generator = torch.Generator().manual_seed(tokens)
    packed = torch.randn(3, tokens, 24 * heads, generator=generator, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(3, tokens, 8 * heads, generator=generator, dtype=torch.float64)
    ours, theirs = self_attend(packed, heads), plain(packed, heads)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad(output, packed, upstream.mT.contiguous().mT)[0] for output in (ours, theirs))
    )


@pytest.mark.parametrize("length", [2, 16, 31, 32, 65])
def test_weights_of_short_and_long_rows_are_within_one_rounding(length: int) -> None:
    scores = torch.randn(50, length, generator=torch.Generator().manual_seed(length)).bfloat16()
    weights = weigh(scores)
    assert weights.dtype == torch.bfloat16
    torch.testing.assert_close(weights.double(), torch.softmax(scores.double(), -1), rtol=2**-8, atol=1e-7)


def gradients(network: nn.Module, images: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Of each parameter, in float64, after one pass in a number type."""
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = network(images.double() if dtype == torch.float64 else images)
    F.cross_entropy(logits.to(torch.promote_types(dtype, torch.float32)), torch.arange(len(images)) % 10).backward()
    return {name: p.grad.double() for name, p in network.named_parameters() if p.grad is not None}


def distance(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """Relative, over all parameters together."""
    wrong = sum((found[name] - exact[name]).square().sum() for name in exact)
    return (wrong / sum(value.square().sum() for value in exact.values())).sqrt().item()


@pytest.mark.parametrize("settings", [{}, {"pool": "avg", "patch": 8}])
def test_a_vit_learns_in_bfloat16_as_exactly_as_timms(settings: dict[str, object]) -> None:
    ours = models.create("vit/tiny", image_size=32, num_classes=10, **settings).network.train()
    theirs = copy.deepcopy(ours)
    for module in theirs.modules():
        if type(module) is SelfAttention:
            object.__setattr__(module, "__class__", timm_attention.Attention)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exact = gradients(copy.deepcopy(theirs).double(), images, torch.float64)
    with patch.object(F, "scaled_dot_product_attention", side_effect=AssertionError):  # ours does without
        found = gradients(ours, images, torch.bfloat16)
    assert distance(found, exact) < 0.03
    assert distance(found, exact) < 1.2 * distance(gradients(theirs, images, torch.bfloat16), exact)
    alike = (gradients(network, images, torch.float32) for network in (ours, theirs))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*(each.values() for each in alike), strict=True))


@pytest.mark.parametrize("settings", [{"qk_norm": True}, {"scale_norm": True}, {"gated": True}, {"attn_drop": 0.5}])
def test_attention_that_does_more_stays_timms(settings: dict[str, Any]) -> None:
    theirs = timm_attention.Attention(32, num_heads=2, norm_layer=nn.LayerNorm, **settings)
    ours = quicken(copy.deepcopy(theirs))
    assert type(ours) is SelfAttention
    x = torch.randn(2, 7, 32)
    answers: list[Tensor] = []
    for module in (ours, theirs):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            answers.append(module(x))
    assert torch.equal(*answers)


def test_a_mask_is_kept() -> None:
    ours = quicken(timm_attention.Attention(32, num_heads=2))
    x, mask = torch.randn(2, 7, 32), torch.zeros(7, 7).masked_fill_(torch.ones(7, 7).triu(1) > 0, -torch.inf)
    with torch.autocast("cpu", torch.bfloat16):
        masked, causal, free = ours(x, mask), ours(x, is_causal=True), ours(x)
    torch.testing.assert_close(masked, causal, rtol=0.02, atol=0.01)
    assert (masked - free).abs().max() > 0.05
