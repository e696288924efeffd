"""Targets: how they are written, what they read, what is refused."""

from __future__ import annotations

import pytest
import torch

from priorscope import models
from priorscope.core.errors import RequestError
from priorscope.models.classifier import Classifier
from priorscope.synthesis.targets import Target, check_targets, own_scores, reading, target_of

CLASSES = ("cat", "dog", "3", "ship")


@pytest.fixture(scope="module")
def cnn() -> Classifier:
    return models.create("cnn/tiny", image_size=32, num_classes=4).eval()


@pytest.fixture(scope="module")
def vit() -> Classifier:
    return models.create("vit/tiny", image_size=32, num_classes=4).eval()


def test_how_targets_are_written() -> None:
    assert target_of("class:dog", CLASSES) == Target("class:dog", "class", "logits", 1)
    assert target_of("class:1", CLASSES) == Target("class:dog", "class", "logits", 1)
    assert target_of("class:3", CLASSES).index == 2  # a class of that name goes before the number
    assert target_of("unit:blocks/2/hidden@17", CLASSES) == Target("unit:blocks/2/hidden@17", "unit", "blocks/2/hidden", 17)
    assert target_of("unit:blocks/2/out@17,5", CLASSES).place == 5
    assert target_of("token:blocks/2/out@9", CLASSES).kind == "token"


@pytest.mark.parametrize("text", ["dog", "unit:blocks/2/hidden", "channel:embed/out@1,2", "pixel:x@1", "unit:x@-1"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        target_of(text, CLASSES)
    assert str(caught.value) == (
        f"{text!r} is not a target.\n"
        "  wanted: class:NAME, unit:TAP@CHANNEL, channel:TAP@CHANNEL, token:TAP@PLACE or latent:TAP@PLACE\n"
        '  try:    targets = ["class:cat"]'
    )


def test_an_unknown_class_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="'shpi' is not a class") as caught:
        target_of("class:shpi", CLASSES)
    assert "'ship'" in caught.value.do


def test_each_picture_is_scored_on_its_own_target_as_read_by_hand(cnn: Classifier) -> None:
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tap = "stages/0/blocks/0/out"
    of = [
        target_of(text, CLASSES)
        for text in ("class:ship", f"channel:{tap}@2", f"unit:{tap}@3", f"unit:{tap}@3,1", f"token:{tap}@4")
    ]
    with torch.no_grad():
        read = reading(cnn, images, [target.tap for target in of])
        logits, by_hand = cnn.forward_with_taps(images, [tap])
    maps = by_hand[tap]
    side = maps.shape[-1]
    wanted = [
        logits[0, 3],
        maps[1, 2].mean(),
        maps[2, 3, side // 2, side // 2],
        maps[3, 3, 0, 1],
        maps[4, :, 4 // side, 4 % side].square().mean(),
    ]
    assert torch.allclose(own_scores(of, read, cnn), torch.stack(wanted), atol=1e-5)


def test_what_a_network_does_not_have_is_refused(cnn: Classifier, vit: Classifier) -> None:
    for model, text, message in (
        (vit, "latent:blocks/1/out@2", "nothing at 'blocks/1/out' of vit/tiny is a latent"),
        (cnn, "token:head/in@0", "'head/in' of cnn/tiny is one vector, without tokens"),
        (vit, "token:blocks/1/out@65", "'blocks/1/out' of vit/tiny has 65 places and 64 channels"),
        (vit, "channel:blocks/1/out@64", "'blocks/1/out' of vit/tiny has 65 places and 64 channels"),
        (vit, "channel:blocks/9/out@0", "'blocks/9/out' is not a tap of vit/tiny"),
    ):
        with pytest.raises(RequestError, match=message):
            check_targets([target_of(text, CLASSES)], model)
    check_targets([target_of("token:blocks/1/out@64", CLASSES)], vit)


def test_latents_are_the_perceivers() -> None:
    perceiver = models.create("perceiver/tiny", image_size=32, num_classes=4).eval()
    check_targets([target_of("latent:layers/0/out@2", CLASSES)], perceiver)
    with pytest.raises(RequestError, match="nothing at 'embed/out' of perceiver/tiny is a latent"):
        check_targets([target_of("latent:embed/out@2", CLASSES)], perceiver)
