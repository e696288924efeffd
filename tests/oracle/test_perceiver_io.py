"""Perceiver IO against perceiver-pytorch with copied weights, the published counts, and what its faults are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope import models
from priorscope.models.classifier import Classifier
from priorscope.models.perceiver_io import idle_parameters, translate

COUNTS = {"v-cifar10": (32, 10, 1_504_652), "v-stl10": (96, 10, 5_785_228), "v-tiny": (64, 200, 2_094_688)}
"""Image side, classes and published parameters; the query is counted apart, because it was never trained."""

PEER = "perceiver-pytorch is not installed (uv sync --group oracles)"


def create(name: str, side: int = 32, classes: int = 10, **settings: object) -> Classifier:
    return models.create(f"perceiver_io/{name}", image_size=side, num_classes=classes, **settings).eval()


def images(n: int, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def peer(model: Classifier, channels: int, classes: int) -> torch.nn.Module:
    """perceiver-pytorch's network of the same sizes, with weights of its own."""
    library = pytest.importorskip("perceiver_pytorch", reason=PEER)
    config = model.config
    torch.manual_seed(0)
    return library.PerceiverIO(
        depth=config.depth,
        dim=channels,
        queries_dim=config.query_width or classes,
        logits_dim=classes,
        num_latents=config.latents,
        latent_dim=config.width,
        cross_heads=config.cross_heads,
        latent_heads=config.heads,
        cross_dim_head=config.cross_head_width,
        latent_dim_head=config.head_width,
        decoder_ff=config.decoder_mlp,
    ).eval()


@pytest.mark.parametrize("name", COUNTS)
def test_the_published_networks_have_their_counts(name: str) -> None:
    side, classes, count = COUNTS[name]
    model = create(name, side, classes)
    assert model.parameter_count() == count
    assert model.network.queries.shape == (1, classes)
    assert 0 <= model.network.queries.min() <= model.network.queries.max() < 1


@pytest.mark.parametrize("name", ["v-cifar10", pytest.param("v-stl10", marks=pytest.mark.slow)])
def test_the_published_form_equals_perceiver_pytorch(name: str) -> None:
    """One token: the image flattened row by row, colour last, as 2x - 1."""
    side, classes, _ = COUNTS[name]
    model = create(name, side, classes)
    other = peer(model, 3 * side**2, classes)
    queries = model.network.queries
    model.network.load_state_dict({**translate(other.state_dict()), "queries": queries})
    x = images(3, side)
    data = (x * 2 - 1).permute(0, 2, 3, 1).reshape(3, 1, -1)
    with torch.no_grad():
        torch.testing.assert_close(model(x), other(data, queries=queries)[:, 0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"patch": 4, "cross_heads": 2, "head_width": 64}])
def test_the_proper_form_equals_perceiver_pytorch(settings: dict[str, int]) -> None:
    """Logits and the gradient of the pixels, on the tokens that our embedding makes."""
    model = create("tiny", **settings)
    other = peer(model, model.network.embed.channels, 10)
    model.network.load_state_dict({**translate(other.state_dict()), "queries": model.network.queries})
    x, twin = images(3).requires_grad_(), images(3).requires_grad_()
    ours, theirs = model(x), other(model.network.embed(twin), queries=model.network.queries)[:, 0]
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    F.cross_entropy(ours, torch.arange(3)).backward()
    F.cross_entropy(theirs, torch.arange(3)).backward()
    torch.testing.assert_close(x.grad, twin.grad, atol=1e-6, rtol=1e-3)


def test_old_keys_are_renamed() -> None:
    """Keys of perceiver-pytorch 0.7.5 as its state dict lists them."""
    state = create("v-cifar10", depth=1).network.state_dict()
    attention = ("fn.to_q.weight", "fn.to_kv.weight", "fn.to_out.weight", "fn.to_out.bias", "norm.weight", "norm.bias")
    mlp = (*(f"fn.net.{at}.{key}" for at in (0, 2) for key in ("weight", "bias")), "norm.weight", "norm.bias")
    context = ("norm_context.weight", "norm_context.bias")
    old = [
        "latents",
        *(f"cross_attend_blocks.0.{key}" for key in (*attention, *context)),
        *(f"cross_attend_blocks.1.{key}" for key in mlp),
        *(f"layers.0.0.{key}" for key in attention),
        *(f"layers.0.1.{key}" for key in mlp),
        *(f"decoder_cross_attn.{key}" for key in (*attention, *context)),
        "to_logits.weight",
        "to_logits.bias",
    ]
    assert sorted([*translate({key: torch.empty(0) for key in old}), "queries"]) == sorted(state)
    assert translate(state) == state


def test_one_token_leaves_nothing_to_attend_to() -> None:
    """The fault that the published figures carry: all latents read the same, and queries and keys get no gradient."""
    model = create("v-cifar10").train()
    read = model.activations(images(2), ["encoder/cross"])["encoder/cross"]
    torch.testing.assert_close(read, read[:, :1].expand_as(read), atol=1e-6, rtol=1e-5)
    F.cross_entropy(model(images(2)), torch.arange(2)).backward()
    at = "cross_attend_block.cross_attn"
    idle = [f"{at}.norm.weight", f"{at}.norm.bias", f"{at}.fn.to_q.weight"]
    assert [name for name, p in model.network.named_parameters() if not p.grad.any()] == idle
    assert idle_parameters(model.config, 32) == idle
    assert idle_parameters(create("tiny").config, 32) == []


def test_the_query_is_trained_unless_it_is_fixed() -> None:
    trained, fixed = create("tiny"), create("tiny", queries="fixed")
    assert "network.queries" in dict(trained.named_parameters())
    assert "network.queries" not in dict(fixed.named_parameters())
    assert "network.queries" in fixed.state_dict()
