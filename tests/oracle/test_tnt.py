"""TNT against a plain float64 reading of its definition, timm's network, and the published counts and keys."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope import models
from priorscope.core.errors import RequestError
from priorscope.models.building import at_size
from priorscope.models.classifier import Classifier

COUNTS = {
    (32, 10): {
        (4, 2): 19_600_482,
        (2, 2): 19_575_834,
        (8, 1): 23_976_234,
        (8, 2): 20_436_354,
        (16, 2): 23_964_162,
        (16, 4): 20_424_930,
    },
    (96, 10): {(4, 2): 20_124_770, (8, 2): 20_567_426, (16, 2): 23_996_930, (16, 4): 20_457_698, (32, 4): 23_970_146},
    (64, 200): {
        (4, 2): 19_894_560,
        (8, 2): 20_582_976,
        (8, 4): 19_698_816,
        (16, 2): 24_073_920,
        (16, 4): 20_534_688,
        (16, 8): 19_653_120,
    },
}
"""Published parameters, by (side, classes) and (patch, pixel)."""

SMALL = {"depth": 2, "width": 40, "pixel_width": 12, "heads": 2, "head_width": 16}


def create(name: str, side: int = 32, classes: int = 10, **settings: object) -> Classifier:
    return models.create(f"tnt/{name}", image_size=side, num_classes=classes, **settings).eval()


def images(n: int, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_published_counts() -> None:
    for (side, classes), table in COUNTS.items():
        for (patch, pixel), count in table.items():
            assert create(f"p{patch}-x{pixel}", side, classes).parameter_count() == count, (side, patch, pixel)


def test_published_count_of_the_first() -> None:
    assert create("p4-x2").parameter_count() == COUNTS[32, 10][4, 2]


def test_keys_are_the_published_ones() -> None:
    keys = create("p4-x2", depth=1).network.state_dict()
    assert sorted(keys) == sorted(
        [
            *("patch_tokens", "patch_pos_emb", "pixel_pos_emb", "to_pixel_tokens.3.weight", "to_pixel_tokens.3.bias"),
            *(f"layers.0.{i}.norm.{key}" for i in (0, 1, 3, 4) for key in ("weight", "bias")),
            *(f"layers.0.{i}.fn.{key}" for i in (0, 3) for key in ("to_qkv.weight", "to_out.0.weight", "to_out.0.bias")),
            *(f"layers.0.{i}.fn.net.{j}.{key}" for i in (1, 4) for j in (0, 3) for key in ("weight", "bias")),
            *(f"layers.0.2.{i}.{key}" for i in (0, 2) for key in ("weight", "bias")),
            *(f"mlp_head.{i}.{key}" for i in (0, 1) for key in ("weight", "bias")),
        ]
    )


def plain_norm(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{at}.weight"] + state[f"{at}.bias"]


def plain_attention(x: Tensor, state: dict[str, Tensor], at: str, heads: int) -> Tensor:
    query, key, value = (plain_norm(x, state, f"{at}.norm") @ state[f"{at}.fn.to_qkv.weight"].T).chunk(3, -1)
    out = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True):
        scores = torch.einsum("...id,...jd->...ij", q, k) / math.sqrt(q.shape[-1])
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        out.append(torch.einsum("...ij,...jd->...id", weights, v))
    return torch.cat(out, -1) @ state[f"{at}.fn.to_out.0.weight"].T + state[f"{at}.fn.to_out.0.bias"]


def plain_mlp(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    hidden = plain_norm(x, state, f"{at}.norm") @ state[f"{at}.fn.net.0.weight"].T + state[f"{at}.fn.net.0.bias"]
    gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return gelu @ state[f"{at}.fn.net.3.weight"].T + state[f"{at}.fn.net.3.bias"]


def plain(model: Classifier, images: Tensor) -> Tensor:
    """The definition in float64, image by image, patch by patch, pixel by pixel."""
    config = model.config
    state = {key: value.double() for key, value in model.network.state_dict().items()}
    size, pixel = config.patch, config.pixel
    patches = [
        images[:, :, y : y + size, x : x + size]
        for y in range(0, images.shape[2], size)
        for x in range(0, images.shape[3], size)
    ]
    squares = [
        torch.stack(
            [p[:, :, y : y + pixel, x : x + pixel].flatten(1) for y in range(0, size, pixel) for x in range(0, size, pixel)], 1
        )
        for p in patches
    ]
    values = torch.stack(squares, 1).double()  # (image, patch, pixel, colour x square)
    inner = values @ state["to_pixel_tokens.3.weight"].T + state["to_pixel_tokens.3.bias"] + state["pixel_pos_emb"]
    outer = (state["patch_tokens"] + state["patch_pos_emb"]).expand(len(images), -1, -1)
    for i in range(config.depth):
        inner = inner + plain_attention(inner, state, f"layers.{i}.0", config.heads)
        inner = inner + plain_mlp(inner, state, f"layers.{i}.1")
        joined = plain_norm(inner, state, f"layers.{i}.2.0").flatten(2)
        told = joined @ state[f"layers.{i}.2.2.weight"].T + state[f"layers.{i}.2.2.bias"]
        outer = torch.cat([outer[:, :1], outer[:, 1:] + told], 1)
        outer = outer + plain_attention(outer, state, f"layers.{i}.3", config.heads)
        outer = outer + plain_mlp(outer, state, f"layers.{i}.4")
    return plain_norm(outer[:, 0], state, "mlp_head.0") @ state["mlp_head.1.weight"].T + state["mlp_head.1.bias"]


@pytest.mark.parametrize(("patch", "pixel"), [(4, 2), (2, 2), (8, 1), (16, 4)])
@pytest.mark.parametrize("pixel_width", [12, 40])  # absorbed, and with keys and values of its own
def test_equals_a_plain_reading_in_float64(patch: int, pixel: int, pixel_width: int) -> None:
    model = create("p4-x2", 16, **{**SMALL, "patch": patch, "pixel": pixel, "pixel_width": pixel_width})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        wanted = plain(model, images(3, 16))
        torch.testing.assert_close(model(images(3, 16)).double(), wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.double()(images(3, 16).double()), wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.slow
def test_the_published_sizes_equal_a_plain_reading() -> None:
    model = create("p4-x2")
    with torch.no_grad():
        torch.testing.assert_close(model(images(2)).double(), plain(model, images(2)), atol=1e-4, rtol=1e-4)


def test_an_image_reaches_the_patches_through_its_pixels_only() -> None:
    model = create("tiny")
    tokens = model.activations(images(2), ["embed/out"])["embed/out"]
    assert torch.equal(tokens[0], tokens[1])
    out = model.activations(images(2), ["blocks/0/out"])["blocks/0/out"]
    assert not torch.equal(out[0], out[1])


def test_equals_timm_with_copied_weights() -> None:
    """A small network of timm's form; the full one runs under `-m slow`."""
    from timm.models.tnt import TNT

    settings = {"depth": 2, "width": 64, "pixel_width": 12, "heads": 2, "head_width": 32, "input_size": 64}
    model = create("s-patch16-224", **settings)
    torch.manual_seed(0)
    peer = TNT(img_size=64, patch_size=16, num_classes=10, embed_dim=64, inner_dim=12, depth=2, num_heads_outer=2).eval()
    model.network.load_state_dict(peer.state_dict())
    resized = F.interpolate(images(2), size=(64, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(model(images(2)), peer(resized), atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_the_small_tnt_is_timms() -> None:
    import timm

    torch.manual_seed(0)
    peer = timm.create_model("tnt_s_patch16_224", num_classes=10).eval()
    model = create("s-patch16-224")
    assert model.parameter_count() == 23_387_434
    assert create("s-patch16-224", classes=200).parameter_count() == 23_460_584
    model.network.load_state_dict(peer.state_dict())
    resized = F.interpolate(images(1), size=(224, 224), mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(model(images(1)), peer(resized), atol=1e-5, rtol=1e-4)


def test_tables_are_interpolated_for_another_size() -> None:
    model = create("tiny")
    larger = at_size(model, 64)
    assert larger.network.patch_tokens.shape == (65, 64)
    torch.testing.assert_close(larger.network.patch_tokens[0], model.network.patch_tokens[0])
    with torch.no_grad():
        assert larger(images(1, 64)).isfinite().all()
    again = at_size(model, 32)
    with torch.no_grad():
        assert torch.equal(again(images(2)), model(images(2)))


def test_pixels_that_do_not_divide_a_patch_are_refused() -> None:
    with pytest.raises(RequestError) as error:
        create("p4-x3")
    assert str(error.value) == (
        "tnt/p4-x3 cuts patches of 4 pixels into squares of 3.\n"
        "  wanted: a pixel size that divides the patch size\n"
        "  try:    pixel = 2"
    )


def test_heads_of_timms_form_share_the_width() -> None:
    with pytest.raises(RequestError, match="heads that share the width evenly"):
        create("s-patch16-224", heads=5)
