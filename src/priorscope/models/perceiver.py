"""Perceivers: a few latent vectors read all pixels again and again, and no grid is built in but the pixels' positions.

Paper: Jaegle et al., "Perceiver: General Perception with Iterative Attention" (arXiv 2103.03206). The network is that of
perceiver-pytorch, to the parameter; weights load in the key layouts of its versions 0.7.5 and 0.11.0. The presets `v-*` are
the 13 configurations of an earlier study.

Deviations from the paper are that library's: MLPs are gated (GEGLU, four widths), and maps to queries, keys and values have no
bias. From the library: none in the function. The context's LayerNorm is split into the part that the image determines,
computed once for all depths, and each depth's gain and shift, which the attention absorbs; keys and values of the pixels are
never made. Between 0.7.5 and 0.11.0 dropout moved: `dropout_at = "output"` is the older place (after an attention's output and
inside the gated MLP), "weights" the newer (on attention weights, and after the MLP). Weights are not shared between depths.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from priorscope.core.config import Plain
from priorscope.models import FamilyConfig
from priorscope.models.patches import check_patches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from priorscope.models.classifier import Backbone, Tap

DropoutAt = Literal["output", "weights"]


class PerceiverConfig(FamilyConfig):
    """Depth, latents and heads."""

    depth: int = Field(ge=1, description="how many times the latents read the pixels")
    latents: int = Field(ge=1, description="how many latents")
    width: int = Field(ge=1, description="channels of a latent")
    cross_heads: int = Field(default=1, ge=1, description="heads of the attention to pixels")
    cross_head_width: int = Field(ge=1, description="channels of such a head")
    selves: int = Field(default=2, ge=0, description="how many self-attentions of the latents follow each reading")
    heads: int = Field(default=8, ge=1, description="heads of the self-attention")
    head_width: int = Field(ge=1, description="channels of such a head")
    patch: int = Field(default=1, ge=1, description="the side of a token, in pixels; 1: tokens are pixels")
    bands: int = Field(default=6, ge=1, description="frequencies that encode a position, on each axis")
    max_freq: float = Field(
        default=10.0, gt=0.0, description="twice the periods that the highest of these frequencies has across the image"
    )
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="the dropout rate; dropout_at says where")
    dropout_at: DropoutAt = Field(
        default="output",
        description="output: after attention, and inside MLPs; weights: on the attention weights, and after MLPs",
    )

    def check_side(self, side: int) -> None:
        check_patches(self.name, side, self.patch)

    def idle_parameters(self, image_size: int) -> list[str]:
        """The weights without a gradient, whatever the image: attention to one token, or of one latent, is constant."""
        names: list[str] = []
        for i in range(self.depth):
            if image_size // self.patch == 1:
                names += idle_cross(f"layers.{i}.cross_attn")
            if self.latents == 1:
                names += [f"layers.{i}.self_attns.{j}.0.fn.to_q.weight" for j in range(self.selves)]
        return names


VERSION = 4
"""Raised when the numbers that this family computes change."""


def _sized(depth: int, latents: int, width: int, cross_head_width: int, head_width: int, dropout: float) -> Plain:
    return {
        "depth": depth,
        "latents": latents,
        "width": width,
        "cross_head_width": cross_head_width,
        "head_width": head_width,
        "dropout": dropout,
    }


_MEDIUM = _sized(4, 32, 32, 16, 16, 0.2)
_LARGE = _sized(4, 32, 64, 32, 32, 0.3)
_XL = _sized(6, 48, 96, 32, 64, 0.3)

PRESETS: dict[str, Plain] = {
    "tiny": {**_sized(2, 16, 32, 16, 8, 0.0), "selves": 1, "heads": 4, "patch": 2},
    "v-cifar10": _MEDIUM,
    "v-cifar10-large": _LARGE,
    "v-cifar10-xl": _XL,
    "v-cifar10-regular": _MEDIUM,
    "v-cifar10-noaug": _MEDIUM,
    "v-cifar10-noaug-nodrop": {**_MEDIUM, "dropout": 0.0},
    "v-stl10": _MEDIUM,
    "v-stl10-large": _LARGE,
    "v-stl10-xl": _XL,
    "v-tinyimagenet-large": {**_LARGE, "dropout": 0.2},
    "v-tinyimagenet-large-noaug": {**_LARGE, "dropout": 0.2},
    "v-tinyimagenet-large-noaug-nodrop": {**_LARGE, "dropout": 0.0},
    "v-tinyimagenet-xl": _sized(6, 48, 96, 48, 48, 0.2),
}
"""Configurations with and without augmentation are one network: they differ in their recipes."""


def build(config: PerceiverConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    from priorscope.models.classifier import Backbone
    from priorscope.models.networks.perceiver import Perceiver

    return Backbone(Perceiver(image_size, num_classes, config), taps(config), "to_logits.2")


def idle_cross(path: str) -> list[str]:
    """The parameters behind a cross attention's queries, idle where there is one token to attend to.

    Those of the keys are not among them: they share a weight with the values, which learn.
    """
    return [f"{path}.norm.weight", f"{path}.norm.bias", f"{path}.fn.to_q.weight"]


def taps(config: PerceiverConfig) -> dict[str, Tap]:
    """What each step adds to the latents, and the latents after each depth."""
    from priorscope.models.classifier import Tap

    addresses = {"embed/out": Tap("embed", "NLC")}
    for i in range(config.depth):
        addresses |= {
            f"layers/{i}/cross": Tap(f"layers.{i}.cross_attn", "NLC"),
            f"layers/{i}/mlp": Tap(f"layers.{i}.cross_ff", "NLC"),
        }
        for j in range(config.selves):
            addresses |= {
                f"layers/{i}/self/{j}/attention": Tap(f"layers.{i}.self_attns.{j}.0", "NLC"),
                f"layers/{i}/self/{j}/mlp": Tap(f"layers.{i}.self_attns.{j}.1", "NLC"),
            }
        addresses[f"layers/{i}/out"] = Tap(f"layers.{i}", "NLC")
    return addresses | {"head/in": Tap("to_logits.2", "NC", "input"), "logits": Tap("to_logits.2", "NC")}


_OLD_PARTS = {"0": "cross_attn", "1": "cross_ff", "2": "self_attns"}
_OLD_LAYER = re.compile(r"(layers\.\d+)\.([012])\.(.+)")


def translate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the keys of perceiver-pytorch 0.11.0; those of 0.7.5 are renamed, others stay as they are."""
    return {current_key(key): tensor for key, tensor in tensors.items()}


def current_key(key: str) -> str:
    """A key of 0.7.5 as 0.11.0 has it: parts got names, and with dropout moved, "to_out.0" and "net.3" lost their places."""
    match = _OLD_LAYER.fullmatch(key)
    if match is None:
        return key
    layer, part, rest = match.groups()
    rest = rest.replace("fn.to_out.0.", "fn.to_out.").replace("fn.net.3.", "fn.net.2.")
    return f"{layer}.{_OLD_PARTS[part]}.{rest}"
