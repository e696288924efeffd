"""What learns, at which rate, in which mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import priorscope as ps
from priorscope.core.errors import RequestError
from priorscope.train.finetune import FinetuneConfig, freeze, layers, rates
from priorscope.train.optim import OptimConfig, make_optimiser


def of(preset, **settings):
    return ps.models.create(preset, image_size=32, num_classes=4, **settings)


def test_the_head_alone_gets_gradients():
    model = of("cnn/tiny")
    freeze(model, FinetuneConfig(mode="head"))
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["network.head.weight"]
    optimiser = make_optimiser(model, OptimConfig(), FinetuneConfig(mode="head"))
    assert [id(p) for group in optimiser.param_groups for p in group["params"]] == [id(model.head.weight)]


def test_the_body_learns_at_a_share_of_the_head_s_rate():
    model = of("mlp/tiny")
    rate_of = rates(model, FinetuneConfig(mode="body", factor=0.1))
    assert {name for name, rate in rate_of.items() if rate == 1.0} == {"network.linear_out.weight", "network.linear_out.bias"}
    assert set(rate_of.values()) == {0.1, 1.0}
    groups = make_optimiser(model, OptimConfig(weight_decay=0.3), FinetuneConfig(mode="body", factor=0.1)).param_groups
    assert [(group["lr_scale"], group["weight_decay"]) for group in groups] == [(1.0, 0.3), (1.0, 0.0), (0.1, 0.3), (0.1, 0.0)]


def test_layers_learn_slower_the_further_down_they_are():
    """Four blocks: the embedding at factor^5, block i (from 0) at factor^(4 - i), the last norm and the head at 1."""
    rate_of = rates(of("vit/tiny"), FinetuneConfig(mode="layers", factor=0.5))
    for start, rate in (("cls_token", 5), ("pos_embed", 5), ("patch_embed", 5), ("norm.", 0), ("head.", 0)):
        assert {r for name, r in rate_of.items() if name.startswith(f"network.{start}")} == {0.5**rate}
    for block in range(4):
        assert {r for name, r in rate_of.items() if name.startswith(f"network.blocks.{block}.")} == {0.5 ** (4 - block)}


def test_layers_are_known_in_every_family_that_numbers_its_blocks():
    of_mlp = layers(of("mlp/tiny"))
    assert of_mlp["network.linear_in.weight"] == 0
    assert of_mlp["network.blocks.1.block.0.weight"] == of_mlp["network.layernorms.1.weight"] == 2
    assert of_mlp["network.linear_out.weight"] == 3
    of_swin = layers(of("swin/tiny"))
    assert of_swin["network.layers.0.blocks.1.mlp.fc1.weight"] == of_swin["network.layers.1.downsample.reduction.weight"] == 2
    assert of_swin["network.layers.1.blocks.0.mlp.fc1.weight"] == 3
    for preset in ("cnn/tiny", "mixer/tiny", "tnt/tiny", "perceiver/tiny", "perceiver_io/tiny"):
        layer_of = layers(of(preset))
        top = max(layer_of.values())
        assert set(layer_of.values()) == set(range(top + 1)), preset
        assert top >= 3


def test_every_part_of_a_block_counts_with_it_and_what_reads_the_last_one_with_the_head():
    """A block of timm's TNT holds a stream of pixels that no tap shows; Perceiver IO registers its queries first."""
    sizes = {"depth": 2, "width": 8, "pixel_width": 4, "heads": 2, "head_width": 4}
    of_tnt = layers(ps.models.create("tnt/s-patch16-224", image_size=32, input_size=32, num_classes=4, **sizes))
    for block in range(2):
        assert {layer for name, layer in of_tnt.items() if name.startswith(f"network.blocks.{block}.")} == {block + 1}
    of_io = layers(of("perceiver_io/tiny"))
    assert of_io["network.latents"] == 0
    assert of_io["network.queries"] == of_io["network.to_logits.weight"] == max(of_io.values())


@pytest.mark.parametrize(
    ("name", "size", "below", "block", "beside"),
    [
        ("swinv2_tiny_window8_256", 64, "patch_embed.proj", "layers.1.blocks.0.mlp.fc1", "layers.2.downsample.norm"),
        ("mobilenetv3_small_050", 32, "conv_stem", "blocks.1.1.conv_dw", "blocks.1.1.bn3"),
    ],
)
def test_a_stage_of_timm_s_networks_is_no_block(name, size, below, block, beside):
    """Block 2 of 12, from 0, counts third; what follows the next one, before the third stage, counts with that."""
    layer_of = layers(ps.models.create(f"timm/{name}", image_size=size, input_size=size, num_classes=4, pretrained=False))
    assert max(layer_of.values()) == 12 + 1
    assert layer_of[f"network.{below}.weight"] == 0
    assert layer_of[f"network.{block}.weight"] == 3
    assert layer_of[f"network.{beside}.weight"] == (4 if "downsample" in beside else 3)


def test_a_network_without_numbered_blocks_is_refused():
    model = ps.wrap(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), image_size=2, classes=4)
    with pytest.raises(RequestError, match="has no numbered blocks"):
        rates(model, FinetuneConfig(mode="layers", factor=0.5))


@pytest.mark.parametrize(
    ("settings", "came"),
    [
        ({"mode": "head", "factor": 0.1}, "train.finetune.mode = 'head' came with factor = 0.1."),
        ({"mode": "body"}, "train.finetune.mode = 'body' came without a factor."),
        ({"mode": "layers"}, "train.finetune.mode = 'layers' came without a factor."),
    ],
)
def test_a_factor_stands_where_it_is_read(settings, came):
    with pytest.raises(RequestError) as caught:
        FinetuneConfig.parse(settings)
    assert caught.value.came == came
