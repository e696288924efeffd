"""Pictures are made for, and sought from, every family: a few steps on its smallest preset, and at other sizes."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope import models
from priorscope.data.split import ArrayPixels, Split
from priorscope.models.classifier import Classifier
from priorscope.probes.activation import measure_activation
from priorscope.probes.inversion import measure_inversion

TINY = [f"{family}/tiny" for family in models.FAMILIES if "tiny" in models.FAMILIES.load(family).PRESETS]
TARGETS = {
    "perceiver/tiny": "latent:layers/0/out@3",
    "perceiver_io/tiny": "latent:blocks/0/out@3",
    "cnn/tiny": "channel:stages/1/blocks/0/conv1@3",
    "swin/tiny": "token:stages/1/blocks/0/out@3",
    "timm/resnet18": "unit:layer1/0@3",
}


def world(side: int) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (24, side, side, 3), dtype=np.uint8)
    return Split("made", "test", ArrayPixels(pixels), np.arange(24) % 3, ("a", "b", "c"))


def made(name: str, side: int) -> Classifier:
    own = {"pretrained": False} if name.startswith("timm/") else {}
    model = models.create(name, image_size=side, num_classes=3, **own)
    model.replace_head(3, seed=1)  # Mixer's head starts at zero, and would want nothing
    return model


@pytest.mark.parametrize("name", [*TINY, "timm/resnet18"])
def test_every_family_makes_pictures_and_gives_some_back(name: str) -> None:
    model, split = made(name, 32), world(32)
    targets = ["class:b", TARGETS.get(name, "channel:blocks/0/out@3")]
    result = measure_activation({"it": model}, split, targets=targets, starts=1, steps=3, images=24)
    assert result.pictures.shape == (1, 2, 1, 32, 32, 3)
    assert (result.driven() != 0).all()
    assert np.isfinite(result.score).all()
    found = measure_inversion(model, split, images=2, depths=3, steps=3)
    assert found.found.shape == (len(found.taps), 2, 32, 32, 3)
    assert len(found.taps) >= 2  # an untrained TNT embeds every picture alike: that tap is left out
    assert np.isfinite(found.residual).all()
    assert found.depths[-1] == 1


@pytest.mark.parametrize(("name", "side"), [("vit/d2-w64-p16-h2", 224), ("cnn/resnet20", 64)])
def test_other_sizes(name: str, side: int) -> None:
    model, split = made(name, side), world(side)
    assert measure_activation({"it": model}, split, targets=["class:a"], steps=2, images=4).pictures.shape[3] == side
    assert measure_inversion(model, split, images=2, depths=2, steps=2).found.shape[2] == side
