"""What taps of residual families hold: a block's parts add up to what it hands on, and none stands for another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope import models
from priorscope.models.classifier import Classifier


def built(family: str) -> Classifier:
    return models.create(f"{family}/tiny", image_size=32, num_classes=4, seed=0).eval()


def read(model: Classifier) -> dict[str, Tensor]:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.activations(x, model.taps())


def like(value: Tensor, layout: str, other: Tensor) -> Tensor:
    """A part in the order of axes of what it is added to."""
    return (value.transpose(1, 2) if layout == "NCL" else value).reshape(other.shape)


def blocks(taps: list[str]) -> list[tuple[str, str | None]]:
    """Each block, and the tap of what it is given: None where a picture is made smaller in between."""
    found: list[tuple[str, str | None]] = []
    given: str | None = "embed/out"
    for out in (tap for tap in taps if tap.endswith("/out") and tap != "embed/out"):
        block = out.removesuffix("/out")
        if found and block.startswith("stages/") and block.endswith("/blocks/0"):
            given = None
        found.append((block, given))
        given = out
    return found


@pytest.mark.parametrize(("family", "first"), [("vit", "attention"), ("swin", "attention"), ("mixer", "tokens")])
def test_a_block_is_its_two_parts_each_after_a_norm_of_what_came_before(family: str, first: str) -> None:
    """What the second norm is given shows which of the two parts came first."""
    model = built(family)
    seen, checked = read(model), 0
    for block, given in blocks(model.taps()):
        if given is None:
            continue
        before = seen[given]
        parts = [like(seen[f"{block}/{part}"], model.tap(f"{block}/{part}").layout, before) for part in (first, "mlp")]
        torch.testing.assert_close(seen[f"{block}/out"], before + parts[0] + parts[1], rtol=1e-4, atol=1e-5)
        norms = [model.network.get_submodule(model.tap(f"{block}/{name}").module) for name in ("norm", "mlp_norm")]
        with torch.no_grad():
            given_to, between, swapped = norms[0](before), norms[1](before + parts[0]), norms[1](before + parts[1])
        torch.testing.assert_close(seen[f"{block}/norm"], given_to, rtol=1e-3, atol=1e-4)
        own = like(seen[f"{block}/mlp_norm"], "NLC", before)
        torch.testing.assert_close(own, between, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(own, swapped, rtol=1e-3, atol=1e-4)
        checked += 1
    assert checked >= 3


SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}


def of_timm(name: str, **args: object) -> Classifier:
    """A small network of timm's, its scales of other sizes than 1 and its places not at zero."""
    table = {"name": f"timm/{name}", "args": {**SMALL, **args}}
    model = models.create(table, image_size=32, num_classes=4, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.network.named_parameters():
            if "ls" in key or "norm" in key or "pos" in key:
                value.uniform_(0.2, 3, generator=generator)
    return model


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"init_values": 0.1}),
        ("deit3_small_patch16_224", {"init_values": 1e-6}),
        ("vit_small_patch14_dinov2", {"init_values": 1e-5}),
    ],
)
def test_taps_of_timms_vision_transformers_are_what_the_branches_add(name: str, args: dict[str, object]) -> None:
    model = of_timm(name, **args)
    seen, before = read(model), "embed/out"
    for i in range(2):
        parts = seen[before] + seen[f"blocks/{i}/attention"] + seen[f"blocks/{i}/mlp"]
        before = f"blocks/{i}/out"
        torch.testing.assert_close(seen[before], parts, rtol=1e-4, atol=1e-4)


def test_blocks_of_another_kind_have_the_taps_of_their_modules() -> None:
    """With a norm after each branch: what is added is what the norm gives."""
    model = of_timm("vit_base_patch16_rpn_224", class_token=False)
    assert not {"blocks/0/attention", "blocks/0/out"} & set(model.taps())
    seen = read(model)
    parts = seen["blocks/0"] + seen["blocks/1/norm1"] + seen["blocks/1/norm2"]
    torch.testing.assert_close(seen["blocks/1"], parts, rtol=1e-4, atol=1e-4)
    assert model.taps().index("blocks/0/attn") < model.taps().index("blocks/0/norm1") < model.taps().index("blocks/0/mlp")


@pytest.mark.parametrize("family", ["perceiver", "perceiver_io", "tnt"])
def test_a_block_is_what_came_before_and_all_its_parts(family: str) -> None:
    model = built(family)
    network: Any = model.network
    seen, taps = read(model), model.taps()
    for block, given in blocks(taps):
        latents = family != "tnt" and given == "embed/out"
        total = network.latents[None].expand_as(seen[f"{block}/out"]) if latents else seen[str(given)]
        parts = [tap for tap in taps if tap.startswith(f"{block}/") and tap != f"{block}/out" and "/pixels/" not in tap]
        assert len(parts) >= 2
        for part in parts:
            value = seen[part]
            total = total + (F.pad(value, (0, 0, 1, 0)) if part.endswith("from_pixels") else value)
        torch.testing.assert_close(seen[f"{block}/out"], total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["vit", "perceiver", "perceiver_io", "tnt"])
def test_attention_mixes_tokens_and_an_mlp_does_not(family: str) -> None:
    """A sum does not tell its parts apart: whether one token's change is felt by another does."""
    model = built(family)
    seen, checked = read(model), set[str]()
    for tap in model.taps():
        part = tap.rpartition("/")[2]
        if part not in ("attention", "mlp") or model.tap(tap).at != "output":
            continue
        module = model.network.get_submodule(model.tap(tap).module)
        tokens = torch.randn(1, *seen[tap].shape[1:], generator=torch.Generator().manual_seed(1))
        other = tokens.clone()
        other[:, 0] += 1 + torch.arange(other.shape[-1]).remainder(3)  # no norm takes this away
        with torch.no_grad():
            moved = (module(other) - module(tokens))[:, 1].abs().max()
        assert bool(moved > 1e-6) is (part == "attention"), tap
        checked.add(part)
    assert checked == {"attention", "mlp"}
