"""ViT, Swin and Mixer against timm's own registry with copied weights, the published counts, and timm's own resizing."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.nn import functional as F

from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.models import swin
from priorscope.models.building import at_size

STATISTICS = Statistics(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))

COUNTS = [
    ("swin/v-cifar10", 32, 10, 13_822_390),
    ("swin/v-stl10", 96, 10, 13_835_382),
    ("swin/v-tinyimagenet", 64, 200, 13_924_084),
    ("swin/v-lr-cifar10", 32, 10, 3_439_998),
    ("swin/v-lr-stl10", 96, 10, 3_458_366),
    ("swin/v-lr-tinyimagenet", 64, 200, 3_495_100),
    ("swin/v-cifar10-old", 32, 10, 13_821_382),
    ("swin/b", 224, 200, 86_948_224),
    ("swin/b", 224, 10, 86_753_474),
    ("mixer/s16", 32, 10, 17_232_426),
    ("mixer/s16", 96, 10, 17_363_754),
    ("mixer/s16", 64, 200, 17_379_144),
    ("mixer/b16", 224, 1000, 59_880_472),
    ("mixer/b16", 224, 10, 59_119_162),
    ("mixer/b16", 224, 200, 59_265_272),
    ("vit/s16", 224, 10, 21_669_514),
    ("vit/s16", 224, 100, 21_704_164),
    ("vit/v-baseline", 32, 10, 9_786_378),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "classes", "count"), COUNTS)
def test_published_parameter_counts(name: str, side: int, classes: int, count: int) -> None:
    assert models.create(name, image_size=side, num_classes=classes).parameter_count() == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("vit_small_patch16_224", 10, 21_669_514),
        ("swin_base_patch4_window7_224", 200, 86_948_224),
        ("swin_base_patch4_window7_224", 10, 86_753_474),
        ("tnt_s_patch16_224", 10, 23_387_434),
        ("tnt_s_patch16_224", 200, 23_460_584),
        ("mixer_b16_224", 10, 59_119_162),
    ],
)
def test_parameter_counts_of_fine_tuned_starts(name: str, classes: int, count: int) -> None:
    model = models.create(f"timm/{name}", image_size=32, num_classes=classes, pretrained=False)
    assert model.parameter_count() == count
    assert model.input_size == 224


PEERS = [
    pytest.param("vit/s16", "vit_small_patch16_224", {}, marks=pytest.mark.slow),
    pytest.param("vit/b16", "vit_base_patch16_224", {}, marks=pytest.mark.slow),
    pytest.param("swin/b", "swin_base_patch4_window7_224", {}, marks=pytest.mark.slow),
    pytest.param("mixer/s16", "mixer_s16_224", {}, marks=pytest.mark.slow),
    pytest.param("mixer/b16", "mixer_b16_224", {}, marks=pytest.mark.slow),
    ("vit/tiny", "vit_tiny_patch16_224", {"img_size": 64, "patch_size": 4, "embed_dim": 64, "depth": 4, "num_heads": 2}),
    (
        "swin/tiny",
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 4, "embed_dim": 48, "depths": (2, 2), "num_heads": (3, 6)},
    ),
    ("mixer/s16", "mixer_s16_224", {"img_size": 64}),
]


@pytest.mark.parametrize(("name", "peer_name", "settings"), PEERS)
def test_logits_equal_timms_on_resized_normalised_images(name: str, peer_name: str, settings: dict[str, object]) -> None:
    side = 64 if settings else 224
    peer = timm.create_model(peer_name, num_classes=10, **settings).eval()
    model = models.create(name, image_size=32, num_classes=10, statistics=STATISTICS, input_size=side).eval()
    model.replace_head(10, seed=1)
    peer.load_state_dict(model.network.state_dict())
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (STATISTICS.mean, STATISTICS.std))
    resized = (F.interpolate(x, (side, side), mode="bilinear") - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(resized), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [32, 64, 96])
@pytest.mark.parametrize("preset", [preset for preset in swin.PRESETS if preset != "b"])
def test_windows_are_those_that_timm_makes(preset: str, side: int) -> None:
    heads = (1,) * len(swin.PRESETS[preset]["depths"])
    model = models.create(f"swin/{preset}", image_size=side, num_classes=10, width=8, heads=heads)  # of no account here
    assert isinstance(model.config, swin.SwinConfig)
    for i, expected in enumerate(swin.windows(model.config, side)):
        for j, block in enumerate(model.network.layers[i].blocks):
            assert block.input_resolution == (expected.map, expected.map)
            assert block.window_size == (expected.window, expected.window)
            assert block.shift_size == ((expected.shift,) * 2 if j % 2 else (0, 0))


def test_windows_of_the_earlier_study() -> None:
    def seen(preset: str, side: int) -> list[tuple[int, int]]:
        config = models.family_config(f"swin/{preset}")
        assert isinstance(config, swin.SwinConfig)
        return [(stage.window, stage.shift) for stage in swin.windows(config, side)]

    assert seen("v-cifar10", 32) == [(8, 0), (4, 0), (2, 0), (1, 0)]
    assert seen("v-stl10", 96) == [(12, 6), (12, 0), (6, 0), (3, 0)]
    assert seen("v-tinyimagenet", 64) == [(8, 4), (8, 0), (4, 0), (2, 0)]
    assert seen("v-lr-stl10", 96) == [(12, 6), (12, 0), (6, 0)]
    assert seen("v-cifar10-old", 32) == [(4, 2), (4, 0), (2, 0), (1, 0)]
    assert seen("shifted", 32) == [(4, 2), (4, 2), (4, 0)]
    assert seen("tiny", 32) == [(4, 2), (4, 0)]


@pytest.mark.parametrize(("name", "settings"), [("vit/tiny", {}), ("vit/tiny", {"pool": "avg"}), ("swin/tiny", {})])
@pytest.mark.parametrize("side", [64, 96])
def test_positions_at_another_size_equal_timms(name: str, settings: dict[str, object], side: int) -> None:
    model = models.create(name, image_size=32, num_classes=10, **settings).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.network.state_dict().items():
            if "pos" in key:  # of a size that shows in the logits
                value.normal_(generator=generator)
    taken = at_size(model, side)
    peer = models.create(name, image_size=32, num_classes=10, **settings).eval().network
    peer.load_state_dict(model.network.state_dict())
    window = {"window_size": model.config.window} if name.startswith("swin") else {}
    peer.set_input_size(img_size=(side, side), **window)
    x = torch.rand(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(taken(x), peer(x), rtol=1e-5, atol=1e-5)
    assert taken.image_size == side
    assert model.image_size == 32


def test_a_table_of_relative_positions_keeps_its_shape_in_a_larger_window() -> None:
    model = models.create("swin/tiny", image_size=32, num_classes=10, window=8)
    key = "layers.1.blocks.0.attn.relative_position_bias_table"
    table = model.network.get_parameter(key)
    before = torch.arange(7.0)[:, None] + torch.zeros(7, 7)  # grows with the vertical offset alone, zero at none
    with torch.no_grad():
        table.copy_((before - 3).reshape(49, 1).expand(49, 6))
    after = at_size(model, 64).network.get_parameter(key).detach().reshape(15, 15, 6)
    torch.testing.assert_close(after, after[:, :1, :1].expand(15, 15, 6))
    assert after[7, 0, 0].item() == pytest.approx(0, abs=1e-6)
    assert (after[1:, 0, 0] > after[:-1, 0, 0]).all()
    torch.testing.assert_close(after.flip(0), -after)


def test_the_same_size_is_the_same_model() -> None:
    for name in ("vit/tiny", "swin/tiny", "cnn/tiny", "mlp/tiny", "mixer/tiny"):
        model = models.create(name, image_size=32, num_classes=10, statistics=STATISTICS).eval()
        x = torch.rand(2, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(at_size(model, 32)(x), model(x))


def test_convolutions_take_another_size_as_they_are() -> None:
    model = models.create("cnn/tiny", image_size=32, num_classes=10).eval()
    x = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(at_size(model, 48)(x), model.network(x))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mlp/tiny", "its first layer has one weight for every pixel"),
        ("mixer/tiny", "its token MLP has one weight for every pair of positions"),
    ],
)
def test_fixed_sizes_are_refused_with_the_reason(name: str, reason: str) -> None:
    model = models.create(name, image_size=32, num_classes=10)
    with pytest.raises(RequestError) as refused:
        at_size(model, 64)
    assert str(refused.value) == (
        f"{name} cannot go from 32 to 64 pixels: {reason}.\n"
        "  wanted: images of 32 pixels\n"
        "  try:    input_size = 32: images are resized inside the model"
    )


def test_a_size_inside_leaves_the_size_outside_free() -> None:
    model = models.create("mlp/tiny", image_size=32, num_classes=10, input_size=32)
    taken = at_size(model, 48)
    assert taken(torch.rand(2, 3, 48, 48)).shape == (2, 10)
