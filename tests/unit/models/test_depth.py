"""Which taps stand for depth, in every family and outside."""

from __future__ import annotations

import pytest
import torch

from priorscope import models
from priorscope.models.depth import block_taps, depth_taps, depths_of, spread_over_depth


@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "timm"])
def test_every_family_has_its_embedding_its_blocks_and_its_head(family: str) -> None:
    taps = models.create(f"{family}/tiny", image_size=32, num_classes=10).taps()
    along = depth_taps(taps)
    assert (along[0], along[-1]) == ("embed/out", "head/in")
    assert len(along) >= 4
    assert not any("pixels" in tap for tap in along)
    assert [taps.index(tap) for tap in along] == sorted(taps.index(tap) for tap in along)


OF_TIMM = {
    "tnt/s-patch16-224": 14,
    "timm/tnt_s_patch16_224": 14,
    "timm/tnt_s_legacy_patch16_224": 14,
    "timm/vit_tiny_patch16_224": 14,
    "timm/swin_tiny_patch4_window7_224": 14,
    "timm/mixer_s16_224": 10,
    "timm/gmlp_s16_224": 31,
    "timm/resmlp_12_224": 13,
    "timm/vit_small_patch16_18x2_224": 19,
    "timm/resnet18": 9,
    "timm/swinv2_tiny_window8_256": 13,
    "timm/mobilenetv3_small_050": 13,
    "timm/convnext_atto": 13,
}
"""Networks built by timm, and how many taps stand for depth: the embedding where the family is known, blocks, the head."""


@pytest.mark.parametrize("name", OF_TIMM)
def test_what_stands_for_depth_in_networks_of_timm_has_a_row_a_picture(name: str) -> None:
    """Blocks of TNT give pixels (a row a patch) beside patches; gMLP, ResMLP and parallel ViTs have blocks of their own."""
    own = {"pretrained": False} if name.startswith("timm/") else {}
    model = models.create(name, image_size=32, input_size=32, num_classes=4, **own).eval()
    along = depth_taps(model.taps())
    with torch.no_grad():
        read = model.activations(torch.rand(3, 3, 32, 32), along)
    assert len(along) == OF_TIMM[name]
    assert {len(value) for value in read.values()} == {3}


@pytest.mark.parametrize("name", ["timm/gmlp_s16_224", "timm/resmlp_12_224", "timm/tnt_s_patch16_224"])
def test_every_tap_of_a_network_of_timm_can_be_read(name: str) -> None:
    model = models.create(name, image_size=32, input_size=32, num_classes=4, pretrained=False).eval()
    with torch.no_grad():
        assert list(model.activations(torch.rand(2, 3, 32, 32), model.taps())) == model.taps()


def test_what_a_block_of_timms_tnt_hands_on_is_its_patches() -> None:
    """The last one's class token, normalised, is what the head sees; each is what the next block's parts are added to."""
    model = models.create("tnt/s-patch16-224", image_size=32, input_size=32, num_classes=4, depth=2).eval()
    with torch.no_grad():
        read = model.activations(torch.rand(2, 3, 32, 32), model.taps())
        normed = model.network.get_submodule("norm")(read["blocks/1/out"])
    torch.testing.assert_close(normed[:, 0], read["head/in"])
    added = read["blocks/1/attention"] + read["blocks/1/mlp"]  # pixels tell patches, and no class token
    torch.testing.assert_close(read["blocks/1/out"][:, 0], (read["blocks/0/out"] + added)[:, 0])


def test_modules_of_other_networks() -> None:
    resnet = ["conv1", "bn1", "layer1", "layer1/0", "layer1/0/conv1", "layer1/1", "layer2/0", "fc", "head/in", "logits"]
    assert depth_taps(resnet) == ["layer1/0", "layer1/1", "layer2/0", "head/in"]
    assert depth_taps(["flat", "last"]) == ["flat", "last"]
    plain = ["blocks", "blocks/0", "blocks/0/0", "blocks/0/1", "blocks/1", "blocks/1/0", "blocks/1/1", "head/in", "logits"]
    assert depth_taps(plain) == ["blocks/0", "blocks/1", "head/in"]
    assert block_taps(plain) == {"blocks/0": plain[1:4], "blocks/1": plain[4:7]}
    staged = ["blocks/0", "blocks/0/0", "blocks/0/0/conv", "blocks/0/1", "blocks/0/1/conv", "blocks/0/1/norm", "logits"]
    assert depth_taps(staged) == ["blocks/0/0", "blocks/0/1"]


def test_spread_keeps_both_ends() -> None:
    taps = ["embed/out", *(f"blocks/{i}/out" for i in range(9)), "head/in", "logits"]
    assert spread_over_depth(taps, 3) == [("embed/out", 0.0), ("blocks/4/out", 0.5), ("head/in", 1.0)]
    assert [depth for _, depth in spread_over_depth(taps, 5)] == pytest.approx([0, 0.2, 0.5, 0.8, 1])
    assert len(spread_over_depth(taps, 99)) == 11
    assert spread_over_depth(taps, 1) == [("embed/out", 0.0)]


@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "timm"])
def test_a_tap_has_one_depth_whether_it_is_named_or_chosen(family: str) -> None:
    taps = models.create(f"{family}/tiny", image_size=32, num_classes=10).taps()
    chosen = spread_over_depth(taps, 4)
    assert dict(depths_of(taps, [tap for tap, _ in reversed(chosen)])) == pytest.approx(dict(chosen))


def test_taps_between_lie_between() -> None:
    taps = ["embed/out", "blocks/0/act", "blocks/0/out", "head/in", "logits"]
    assert depths_of(taps, ["logits", "blocks/0/act", "blocks/0/act"]) == [("blocks/0/act", 0.25), ("logits", 1.0)]
