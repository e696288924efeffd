"""Weights in shares: block by block."""

from __future__ import annotations

import pytest

import priorscope as ps
from priorscope.train.finetune import blocks


@pytest.mark.parametrize(
    ("preset", "number", "of_a_block"),
    [
        ("mlp/tiny", 2, ["network.layernorms.1", "network.blocks.1"]),
        ("vit/tiny", 4, ["network.blocks.1"]),
        ("swin/tiny", 4, ["network.layers.0.blocks.1"]),
        ("tnt/tiny", 2, ["network.layers.1"]),
        ("cnn/tiny", 3, ["network.stages.1"]),
    ],
)
def test_blocks_are_the_modules_that_their_taps_lie_in(preset, number, of_a_block):
    """What a block is for shares and for rates; an MLP's is two modules side by side."""
    found = blocks(ps.models.create(preset, image_size=32, num_classes=4))
    assert len(found) == number
    assert found[1] == of_a_block
