"""Which taps stand for depth, in every family and outside."""

from __future__ import annotations

import pytest

from priorscope import models
from priorscope.models.depth import depth_taps, depths_of, spread_over_depth


@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "timm"])
def test_every_family_has_its_embedding_its_blocks_and_its_head(family: str) -> None:
    taps = models.create(f"{family}/tiny", image_size=32, num_classes=10).taps()
    along = depth_taps(taps)
    assert (along[0], along[-1]) == ("embed/out", "head/in")
    assert len(along) >= 4
    assert not any("pixels" in tap for tap in along)
    assert [taps.index(tap) for tap in along] == sorted(taps.index(tap) for tap in along)


def test_modules_of_other_networks() -> None:
    resnet = ["conv1", "bn1", "layer1", "layer1/0", "layer1/0/conv1", "layer1/1", "layer2/0", "fc", "head/in", "logits"]
    assert depth_taps(resnet) == ["layer1/0", "layer1/1", "layer2/0", "head/in"]
    assert depth_taps(["flat", "last"]) == ["flat", "last"]


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
