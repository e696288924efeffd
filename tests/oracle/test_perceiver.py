"""The Perceiver against perceiver-pytorch with copied weights, and against a plain float64 reading of its definition."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope import models
from priorscope.core.config import Plain
from priorscope.models.classifier import Classifier
from priorscope.models.networks.attention import attend
from priorscope.models.networks.fused import Dropout
from priorscope.models.networks.perceiver import fourier_positions, standardised
from priorscope.models.perceiver import PRESETS, translate

COUNTS = {
    "v-cifar10": (32, 10, 293_362),
    "v-cifar10-large": (32, 10, 1_151_730),
    "v-cifar10-xl": (32, 10, 4_428_262),
    "v-cifar10-regular": (32, 10, 293_362),
    "v-cifar10-noaug": (32, 10, 293_362),
    "v-cifar10-noaug-nodrop": (32, 10, 293_362),
    "v-stl10": (96, 10, 293_362),
    "v-stl10-large": (96, 10, 1_151_730),
    "v-stl10-xl": (96, 10, 4_428_262),
    "v-tinyimagenet-large": (64, 200, 1_164_080),
    "v-tinyimagenet-large-noaug": (64, 200, 1_164_080),
    "v-tinyimagenet-large-noaug-nodrop": (64, 200, 1_164_080),
    "v-tinyimagenet-xl": (64, 200, 3_880_868),
}
"""Image side, classes and the published count of parameters of the 13 configurations."""


def create(name: str = "tiny", side: int = 32, classes: int = 10, **settings: object) -> Classifier:
    return models.create(f"perceiver/{name}", image_size=side, num_classes=classes, **settings).eval()


def images(n: int, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def scrambled(model: Classifier) -> Classifier:
    """Every weight drawn afresh, so that gains of 1 and shifts of 0 hide nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def test_the_thirteen_have_their_published_counts() -> None:
    assert {name for name in PRESETS if name.startswith("v-")} == set(COUNTS)
    for name, (side, classes, count) in COUNTS.items():
        assert create(name, side, classes).parameter_count() == count, name


def test_positions_are_sines_cosines_and_the_place_of_each_axis() -> None:
    features = fourier_positions(3, bands=2, max_freq=10.0)
    assert features.shape == (9, 10)
    wanted: list[float] = []
    for place in (-1.0, 0.0):  # the second token stands in the first row and the middle column
        angles = [math.pi * scale * place for scale in (1.0, 5.0)]
        wanted += [*map(math.sin, angles), *map(math.cos, angles), place]
    torch.testing.assert_close(features[1], torch.tensor(wanted), atol=1e-6, rtol=0)


def plain_attention(x: Tensor, context: Tensor, state: dict[str, Tensor], at: str, heads: int) -> Tensor:
    query = x @ state[f"{at}.to_q.weight"].T
    key, value = (context @ state[f"{at}.to_kv.weight"].T).chunk(2, dim=-1)
    out = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True):
        scores = torch.einsum("bid,bjd->bij", q, k) / math.sqrt(q.shape[-1])
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        out.append(torch.einsum("bij,bjd->bid", weights, v))
    return torch.cat(out, -1) @ state[f"{at}.to_out.weight"].T + state[f"{at}.to_out.bias"]


def plain_norm(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{at}.weight"] + state[f"{at}.bias"]


def plain_mlp(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    hidden = plain_norm(x, state, f"{at}.norm") @ state[f"{at}.fn.net.0.weight"].T + state[f"{at}.fn.net.0.bias"]
    values, gates = hidden.chunk(2, -1)
    gelu = gates * (1 + torch.erf(gates / math.sqrt(2))) / 2
    return values * gelu @ state[f"{at}.fn.net.2.weight"].T + state[f"{at}.fn.net.2.bias"]


def plain(model: Classifier, pixels: Tensor) -> Tensor:
    """The definition, written out in float64, one image channel last."""
    config = model.config
    state = {key: value.double() for key, value in model.network.state_dict().items()}
    pixels = pixels.double().permute(0, 2, 3, 1)
    side = pixels.shape[1]
    place = torch.linspace(-1, 1, side, dtype=torch.float64)
    scaled = place[:, None] * torch.linspace(1, config.max_freq / 2, config.bands, dtype=torch.float64) * math.pi
    axis = torch.cat([scaled.sin(), scaled.cos(), place[:, None]], 1).float().double()  # stored as float32
    encoded = torch.cat([axis[:, None].expand(side, side, -1), axis[None].expand(side, side, -1)], -1)
    data = torch.cat([pixels, encoded.expand(len(pixels), -1, -1, -1)], -1).flatten(1, 2)
    x = state["latents"].expand(len(pixels), -1, -1)
    for i in range(config.depth):
        at = f"layers.{i}.cross_attn"
        context = plain_norm(data, state, f"{at}.norm_context")
        x = x + plain_attention(plain_norm(x, state, f"{at}.norm"), context, state, f"{at}.fn", config.cross_heads)
        x = x + plain_mlp(x, state, f"layers.{i}.cross_ff")
        for j in range(config.selves):
            at = f"layers.{i}.self_attns.{j}"
            normed = plain_norm(x, state, f"{at}.0.norm")
            x = x + plain_attention(normed, normed, state, f"{at}.0.fn", config.heads)
            x = x + plain_mlp(x, state, f"{at}.1")
    return plain_norm(x.mean(1), state, "to_logits.1") @ state["to_logits.2.weight"].T + state["to_logits.2.bias"]


@pytest.mark.parametrize("settings", [{}, {"cross_heads": 3}, {"width": 24, "head_width": 8}, {"selves": 0, "bands": 1}])
def test_equals_a_plain_reading_in_float64(settings: Plain) -> None:
    model = scrambled(create(side=12, patch=1, **settings))
    with torch.no_grad():
        torch.testing.assert_close(model(images(3, 12)).double(), plain(model, images(3, 12)), atol=2e-4, rtol=2e-4)
        precise = model.double()
        torch.testing.assert_close(precise(images(3, 12).double()), plain(model, images(3, 12)), atol=1e-10, rtol=1e-10)


def test_gradients_are_those_of_the_plain_reading() -> None:
    """The products that attention absorbs carry gradients to queries, keys, values, norms and pixels alike."""
    model = scrambled(create(side=8, patch=1)).double()
    pixels = images(2, 8).double().requires_grad_()
    ours = torch.autograd.grad(model(pixels).square().sum(), [pixels, *model.parameters()])
    twin = pixels.detach().clone().requires_grad_()
    names = [name.removeprefix("network.") for name, _ in model.named_parameters()]
    leaves = {name: model.network.get_parameter(name).detach().clone().requires_grad_() for name in names}
    reading = nn.Module()
    reading.config, reading.network = model.config, nn.Module()
    reading.network.state_dict = lambda: leaves  # type: ignore[method-assign]
    theirs = torch.autograd.grad(plain(reading, twin).square().sum(), [twin, *leaves.values()])
    for name, one, other in zip(["pixels", *names], ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6, msg=name)


def test_old_keys_are_renamed() -> None:
    """Keys of perceiver-pytorch 0.7.5 as its state dict lists them, for one layer."""
    state = create(depth=1).network.state_dict()
    old = [
        "latents",
        *(f"layers.0.0.{key}" for key in ("fn.to_q.weight", "fn.to_kv.weight", "fn.to_out.0.weight", "fn.to_out.0.bias")),
        *(f"layers.0.0.{norm}.{key}" for norm in ("norm", "norm_context") for key in ("weight", "bias")),
        *(f"layers.0.{mlp}.fn.net.{at}.{key}" for mlp in ("1", "2.0.1") for at in (0, 3) for key in ("weight", "bias")),
        *(f"layers.0.{part}.norm.{key}" for part in ("1", "2.0.0", "2.0.1") for key in ("weight", "bias")),
        *(f"layers.0.2.0.0.fn.{key}" for key in ("to_q.weight", "to_kv.weight", "to_out.0.weight", "to_out.0.bias")),
        *(f"to_logits.{at}.{key}" for at in (1, 2) for key in ("weight", "bias")),
    ]
    assert sorted(translate({key: torch.empty(0) for key in old})) == sorted(state)
    assert translate(state) == state


def test_dropout_stands_where_each_version_has_it() -> None:
    """With next to everything dropped, 0.7.5 leaves nothing of attention and the last bias of the MLP; 0.11.0 the reverse."""
    x = torch.randn(2, 16, 32)
    for place, attention_left, mlp_left in (("output", False, True), ("weights", True, False)):
        model = create(dropout=0.9999999, dropout_at=place).train().network
        attention, mlp = model.layers[0].self_attns[0]
        torch.manual_seed(0)
        bias = attention.fn.to_out.bias.expand(2, 16, -1)
        torch.testing.assert_close(attention(x), bias if attention_left else torch.zeros_like(bias), atol=1e-6, rtol=0)
        bias = mlp.fn.net[2].bias.expand(2, 16, -1)
        torch.testing.assert_close(mlp(x), bias if mlp_left else torch.zeros_like(bias), atol=1e-6, rtol=0)


def test_dropout_keeps_the_mean_and_its_rate() -> None:
    torch.manual_seed(0)
    values = torch.ones(400_003, requires_grad=True)
    out = Dropout(0.2)(values)
    rate = (out == 0).double().mean().item()
    assert abs(rate - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 400_003)
    assert abs(out.double().mean().item() - 1) < 5 * math.sqrt(0.25 / 400_003)
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1.25), rtol=2e-5, atol=0)
    out.sum().backward()
    assert torch.equal(values.grad, out.detach())
    assert torch.equal(Dropout(0.2).eval()(values), values)


def test_dropout_masks_have_no_lag() -> None:
    """Each element is hashed by its place, with a key a row of 1,024: neighbours and equal places of rows are independent."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(1 << 18)) != 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8, 1023, 1024, 1025):
        assert abs((kept[:-lag] * kept[lag:]).mean().item() * 4) < 5 / math.sqrt(1 << 18), lag


def plain_attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = torch.einsum("...id,...jd->...ij", query, key)
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("...ij,...jd->...id", weights, value)


@pytest.mark.parametrize("heads", [(), (3,)])
@pytest.mark.parametrize("shared", [True, False])  # keys and values are one tensor where they are absorbed
def test_attention_is_its_definition(heads: tuple[int, ...], shared: bool) -> None:
    """Values and gradients."""
    generator = torch.Generator().manual_seed(2)

    def leaf(tokens: int) -> Tensor:
        return torch.randn(7, *heads, tokens, 5, generator=generator, dtype=torch.float64).requires_grad_()

    query, key = leaf(6), leaf(11)
    leaves = [query, key] if shared else [query, key, leaf(11)]
    ours, theirs = attend(query, key, leaves[-1]), plain_attend(query, key, leaves[-1])
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    weight = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    of_ours = torch.autograd.grad((ours * weight).sum(), leaves)
    of_theirs = torch.autograd.grad((theirs * weight).sum(), leaves)
    torch.testing.assert_close(of_ours, of_theirs, atol=1e-12, rtol=1e-12)


def test_a_network_cast_to_bfloat16_standardises_in_float32() -> None:
    """Its tokens are rounded once, at the end; a cast network answers as one whose weights alone were rounded, nearly."""
    model = create("tiny", 16, 10)
    cast, rounded = copy.deepcopy(model.network).bfloat16(), copy.deepcopy(model.network).bfloat16().float()
    x = images(3, 16)
    with torch.no_grad():
        tokens = cast.embed(x.bfloat16())
        ours = standardised(tokens)
        assert ours.dtype == torch.bfloat16
        exact = F.layer_norm(tokens.double(), tokens.shape[-1:])
        torch.testing.assert_close(ours[..., : tokens.shape[-1]].double(), exact, rtol=2**-8, atol=1e-5)
        torch.testing.assert_close(cast(x.bfloat16()).float(), rounded(x), atol=0.1, rtol=0.1)


def test_attention_elsewhere_than_on_a_cpu_is_torchs_own() -> None:
    """On torch's deviceless tensors, which go the way of a GPU's: the shapes are those of the products."""
    for shape in ((7, 6, 8), (7, 3, 6, 8)):
        query = torch.empty(shape, device="meta")
        assert attend(query, query, query).shape == shape


PEER = "perceiver-pytorch is not installed (uv sync --group oracles)"


@pytest.mark.parametrize("name", ["v-cifar10", *(pytest.param(n, marks=pytest.mark.slow) for n in COUNTS if n != "v-cifar10")])
def test_equals_perceiver_pytorch(name: str) -> None:
    """Logits and the gradient of the pixels, with the peer's weights read through `translate` (run with 0.7.5 and 0.11.0)."""
    peer_module = pytest.importorskip("perceiver_pytorch", reason=PEER)
    side, classes, count = COUNTS[name]
    config = models.family_config(f"perceiver/{name}")
    torch.manual_seed(0)
    peer = peer_module.Perceiver(
        num_freq_bands=6,
        depth=config.depth,
        max_freq=10.0,
        num_latents=config.latents,
        latent_dim=config.width,
        cross_heads=1,
        latent_heads=8,
        cross_dim_head=config.cross_head_width,
        latent_dim_head=config.head_width,
        num_classes=classes,
        self_per_cross_attn=2,
    ).eval()
    assert sum(p.numel() for p in peer.parameters()) == count
    model = create(name, side, classes)
    model.network.load_state_dict(translate(peer.state_dict()))
    x, twin = images(2, side).requires_grad_(), images(2, side).requires_grad_()
    ours, theirs = model(x), peer(twin.permute(0, 2, 3, 1))
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    F.cross_entropy(ours, torch.arange(2)).backward()
    F.cross_entropy(theirs, torch.arange(2)).backward()
    torch.testing.assert_close(x.grad, twin.grad, atol=1e-6, rtol=1e-3)


def test_the_same_weights_read_any_image_size() -> None:
    small, large = create(side=32), create(side=64)
    large.network.load_state_dict(small.network.state_dict())
    assert large(images(1, 64)).isfinite().all()
