"""Perceiver IO against a plain float64 reading and perceiver-pytorch, the published counts, and what its faults are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope import models
from priorscope.models.classifier import Classifier
from priorscope.models.perceiver_io import translate

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


def scrambled(model: Classifier) -> Classifier:
    """The model with every weight moved, norms and biases among them, so that each shows in the logits."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


Weights = dict[str, Tensor]


def plain_norm(x: Tensor, weights: Weights, at: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights[f"{at}.weight"] + weights[f"{at}.bias"]


def plain_read(readers: Tensor, read: Tensor, weights: Weights, at: str, heads: int) -> Tensor:
    """What attention of some rows to others gives, row by row and head by head: weights that sum to 1, of what is read."""
    width = weights[f"{at}.to_q.weight"].shape[0] // heads
    to_keys, to_values = weights[f"{at}.to_kv.weight"].chunk(2)
    rows: list[Tensor] = []
    for reader in readers:
        heard: list[Tensor] = []
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            scores = (read @ to_keys[own].T) @ (weights[f"{at}.to_q.weight"][own] @ reader) / math.sqrt(width)
            shares = scores.exp() / scores.exp().sum()
            heard.append(shares @ (read @ to_values[own].T))
        rows.append(weights[f"{at}.to_out.weight"] @ torch.cat(heard) + weights[f"{at}.to_out.bias"])
    return torch.stack(rows)


def plain_attention(x: Tensor, context: Tensor | None, weights: Weights, at: str, heads: int) -> Tensor:
    """Of rows to another set, which has a norm of its own, or to themselves."""
    normed = plain_norm(x, weights, f"{at}.norm")
    read = normed if context is None else plain_norm(context, weights, f"{at}.norm_context")
    return plain_read(normed, read, weights, f"{at}.fn", heads)


def plain_mlp(x: Tensor, weights: Weights, at: str) -> Tensor:
    hidden = plain_norm(x, weights, f"{at}.norm") @ weights[f"{at}.fn.net.0.weight"].T + weights[f"{at}.fn.net.0.bias"]
    values, gates = hidden.chunk(2, -1)
    gelu = gates * (1 + torch.erf(gates / math.sqrt(2))) / 2
    return values * gelu @ weights[f"{at}.fn.net.2.weight"].T + weights[f"{at}.fn.net.2.bias"]


def plain_tokens(image: Tensor, model: Classifier) -> Tensor:
    """A colour image as tokens: itself as 2x - 1, or each square's values, colour last, and where its row and column are."""
    config, side = model.config, image.shape[-1]
    if config.tokens == "image":
        return torch.stack([2 * image[colour, i, j] - 1 for i in range(side) for j in range(side) for colour in range(3)])[None]
    grid = side // config.patch
    scales = [1 + k * (config.max_freq / 2 - 1) / (config.bands - 1) for k in range(config.bands)]
    tokens: list[Tensor] = []
    for i in range(grid):
        for j in range(grid):
            square = image[:, i * config.patch : (i + 1) * config.patch, j * config.patch : (j + 1) * config.patch]
            places = [2 * at / (grid - 1) - 1 for at in (i, j)]
            features = [
                one
                for place in places
                for one in (
                    *(math.sin(math.pi * scale * place) for scale in scales),
                    *(math.cos(math.pi * scale * place) for scale in scales),
                    place,
                )
            ]
            tokens.append(torch.cat([square.permute(1, 2, 0).flatten(), torch.tensor(features).float().double()]))
    return torch.stack(tokens)


def plain(model: Classifier, x: Tensor) -> Tensor:
    """The definition in float64, image by image: latents read the tokens, think, and are read by the query."""
    config = model.config
    weights = {key: value.double() for key, value in model.network.state_dict().items()}
    logits: list[Tensor] = []
    for image in x.double():
        tokens, latents = plain_tokens(image, model), weights["latents"]
        read = plain_attention(latents, tokens, weights, "cross_attend_block.cross_attn", config.cross_heads)
        latents = latents + read
        latents = latents + plain_mlp(latents, weights, "cross_attend_block.cross_ff")
        for i in range(config.depth):
            at = f"layers.{i}.self_attns.0"
            latents = latents + plain_attention(latents, None, weights, f"{at}.0", config.heads)
            latents = latents + plain_mlp(latents, weights, f"{at}.1")
        answer = plain_attention(weights["queries"], latents, weights, "decoder_cross_attn", config.cross_heads)
        if config.decoder_mlp:
            answer = answer + plain_mlp(answer, weights, "decoder_ff")
        logits.append(weights["to_logits.weight"] @ answer[0] + weights["to_logits.bias"])
    return torch.stack(logits)


SMALL = {"latents": 5, "width": 24, "cross_head_width": 12, "heads": 2, "head_width": 8, "depth": 2}


@pytest.mark.parametrize(
    ("name", "side", "settings"),
    [
        ("tiny", 8, {}),
        ("tiny", 8, {"patch": 4, "cross_heads": 2, "head_width": 64}),
        ("tiny", 6, {"patch": 1, "queries": "fixed", "query_width": 0, "decoder_mlp": False, "bands": 3, "max_freq": 6.0}),
        ("v-cifar10", 8, SMALL),
        ("v-stl10", 12, {**SMALL, "cross_heads": 2, "head_width": 32}),
        ("v-tiny", 8, {**SMALL, "queries": "trained", "decoder_mlp": True}),
    ],
)
def test_equals_a_plain_reading_in_float64(name: str, side: int, settings: dict[str, object]) -> None:
    model = scrambled(create(name, side, **settings))
    x = images(2, side)
    with torch.no_grad():
        wanted = plain(model, x)
        torch.testing.assert_close(model(x).double(), wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.double()(x.double()), wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s", *COUNTS])
def test_the_presets_equal_a_plain_reading(name: str) -> None:
    side, classes, _ = COUNTS.get(name, (16, 10, 0))
    model = create(name, side, classes)
    with torch.no_grad():
        torch.testing.assert_close(model(images(1, side)).double(), plain(model, images(1, side)), atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_the_plain_reading() -> None:
    """Of the pixels, which every token reaches, and of each weight that the definition names."""
    model = scrambled(create("tiny", 4, **SMALL)).double()
    pixels, twin = (images(2, 4).double().requires_grad_() for _ in range(2))
    ours = torch.autograd.grad(model(pixels).square().sum(), [pixels, *model.network.parameters()])
    names = dict(model.network.named_parameters())
    leaves = {name: value.detach().clone().requires_grad_() for name, value in names.items()}
    model.network.state_dict = lambda: leaves
    theirs = torch.autograd.grad(plain(model, twin).square().sum(), [twin, *leaves.values()])
    for name, one, other in zip(["pixels", *names], ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


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
    assert model.config.idle_parameters(32) == idle
    assert create("tiny").config.idle_parameters(32) == []


@pytest.mark.parametrize(
    ("settings", "side", "count"),
    [
        ({"name": "perceiver/tiny"}, 2, 2 * 3),
        ({"name": "perceiver/tiny"}, 4, 0),
        ({"name": "perceiver/tiny", "latents": 1, "selves": 2}, 8, 2 * 2),
        ({"name": "perceiver/tiny", "latents": 1}, 2, 2 * (3 + 1)),
        ({"name": "perceiver_io/tiny"}, 2, 3),
        ({"name": "perceiver_io/tiny", "latents": 1}, 8, 1 + 2 + 3),
        ({"name": "perceiver_io/tiny", "latents": 1, "queries": "fixed"}, 2, 3 + 2 + 3),
    ],
)
def test_what_has_nothing_to_choose_from_is_told(settings: dict[str, object], side: int, count: int) -> None:
    """One token, or one latent: in double precision its gradient is zero, and that of all else is not."""
    model = models.create(settings, image_size=side, num_classes=10).double().train()
    F.cross_entropy(model(torch.rand(4, 3, side, side).double()), torch.arange(4)).backward()
    idle = [name for name, p in model.network.named_parameters() if not p.grad.any()]
    assert model.config.idle_parameters(side) == idle
    assert len(idle) == count


def test_the_query_is_trained_unless_it_is_fixed() -> None:
    trained, fixed = create("tiny"), create("tiny", queries="fixed")
    assert "network.queries" in dict(trained.named_parameters())
    assert "network.queries" not in dict(fixed.named_parameters())
    assert "network.queries" in fixed.state_dict()
