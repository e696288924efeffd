"""An earlier study's ViT against a plain float64 reading of its definition, and its published count."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.models.building import at_size
from priorscope.models.classifier import Classifier

SMALL = {"depth": 2, "width": 48, "heads": 3, "head_hidden": 20, "mlp_ratio": 1.5}


def create(side: int = 32, classes: int = 10, **settings: object) -> Classifier:
    return models.create("vit/v-baseline", image_size=side, num_classes=classes, **settings).eval()


def images(n: int, side: int) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def moved(model: Classifier) -> Classifier:
    """The model with every weight moved, biases and norms among them, so that each shows in the logits."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def test_the_published_count() -> None:
    """Patches, positions, class token; per block a map to queries, keys and values without bias, one back, two of the MLP, and
    two norms; then a norm and the head's two layers."""
    linear = 512 * 512 + 512
    block = 512 * 3 * 512 + linear + 2 * linear + 2 * 1024
    count = (48 * 512 + 512) + 65 * 512 + 512 + 6 * block + 1024 + linear + (512 * 10 + 10)
    assert count == 9_786_378
    assert create().parameter_count() == count


def linear(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    return x @ state[f"{at}.weight"].T + state.get(f"{at}.bias", torch.zeros(()).double())


def norm(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{at}.weight"] + state[f"{at}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def attention(x: Tensor, state: dict[str, Tensor], at: str, heads: int) -> Tensor:
    queries, keys, values = linear(x, state, f"{at}.qkv").chunk(3, -1)
    read: list[Tensor] = []
    for query, key, value in zip(queries.chunk(heads, -1), keys.chunk(heads, -1), values.chunk(heads, -1), strict=True):
        scores = torch.einsum("bid,bjd->bij", query, key) / math.sqrt(query.shape[-1])
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        read.append(torch.einsum("bij,bjd->bid", weights, value))
    return linear(torch.cat(read, -1), state, f"{at}.proj")


def plain(model: Classifier, x: Tensor) -> Tensor:
    """The definition in float64, patch by patch and head by head."""
    state = {key: value.double() for key, value in model.network.state_dict().items()}
    config = model.config
    size = config.patch
    weight = state["patch_embed.proj.weight"].flatten(1)
    patches = [
        x[:, :, i : i + size, j : j + size].double().flatten(1)
        for i in range(0, x.shape[2], size)
        for j in range(0, x.shape[3], size)
    ]
    embedded = [patch @ weight.T + state["patch_embed.proj.bias"] for patch in patches]
    tokens = torch.stack([state["cls_token"][0, 0].expand(len(x), -1), *embedded], 1) + state["pos_embed"]
    for i in range(config.depth):
        at = f"blocks.{i}"
        tokens = tokens + attention(norm(tokens, state, f"{at}.norm1"), state, f"{at}.attn", config.heads)
        hidden = gelu(linear(norm(tokens, state, f"{at}.norm2"), state, f"{at}.mlp.fc1"))
        tokens = tokens + linear(hidden, state, f"{at}.mlp.fc2")
    return linear(gelu(linear(norm(tokens[:, 0], state, "norm"), state, "head.0")), state, "head.3")


@pytest.mark.parametrize("settings", [{}, {"patch": 8}, {"qkv_bias": True}])
def test_equals_a_plain_reading_in_float64(settings: dict[str, object]) -> None:
    model = moved(create(16, **{**SMALL, **settings}))
    assert ("blocks.0.attn.qkv.bias" in model.network.state_dict()) == ("qkv_bias" in settings)
    x = images(3, 16)
    with torch.no_grad():
        wanted = plain(model, x)
        torch.testing.assert_close(model(x).double(), wanted, atol=1e-4, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):  # attention is then our own
            torch.testing.assert_close(model(x).double(), wanted, atol=0.05 * wanted.abs().max().item(), rtol=0)
        torch.testing.assert_close(model.double()(x.double()), wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.slow
def test_the_published_size_equals_a_plain_reading() -> None:
    model = create()
    with torch.no_grad():
        torch.testing.assert_close(model(images(2, 32)).double(), plain(model, images(2, 32)), atol=1e-5, rtol=1e-4)


def test_dropout_acts_where_the_definition_has_it() -> None:
    """After the positions, the projection, both layers of an MLP, and between the head's two; not on attention's weights."""
    active = {path for path, module in create().network.named_modules() if isinstance(module, nn.Dropout) and module.p == 0.1}
    in_blocks = {f"blocks.{i}.{place}" for i in range(6) for place in ("attn.proj_drop", "mlp.drop1", "mlp.drop2")}
    assert active == {"pos_drop", "head.2"} | in_blocks


def test_the_heads_taps() -> None:
    model = moved(create(16, **SMALL))
    x = images(2, 16)
    with torch.no_grad():
        read = model.activations(x, ["blocks/1/out", "head/norm", "head/in", "logits"])
        assert torch.equal(read["head/norm"], model.network.norm(read["blocks/1/out"])[:, 0])
        torch.testing.assert_close(read["head/in"], gelu(model.network.head[0](read["head/norm"])))
        assert torch.equal(read["logits"], model(x))


def test_the_head_replaced_is_the_last_map_alone() -> None:
    model = create(16, **SMALL)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    model.replace_head(7, seed=3)
    after = model.network.state_dict()
    assert model(images(1, 16)).shape == (1, 7)
    assert [key for key in before if not torch.equal(before[key], after[key])] == ["head.3.weight", "head.3.bias"]


def test_another_size_interpolates_the_positions() -> None:
    model = moved(create(16, **SMALL))
    larger = at_size(model, 32)
    assert larger.network.pos_embed.shape == (1, 65, 48)
    with torch.no_grad():
        torch.testing.assert_close(larger(images(2, 32)).double(), plain(larger, images(2, 32)), atol=1e-4, rtol=1e-4)
        assert torch.equal(larger.network.head[0].weight, model.network.head[0].weight)
        assert torch.equal(at_size(model, 16)(images(2, 16)), model(images(2, 16)))
