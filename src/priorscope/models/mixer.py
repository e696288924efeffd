"""MLP-Mixer: patches as tokens, mixed by one fixed MLP over positions.

Paper: Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision" (arXiv 2105.01601). The network and its keys are
timm's, at any image size, patch, depth and width. Names follow a grammar: `mixer/d8-w512-p16` is 8 blocks of width 512 on
patches of 16 pixels; `mixer/s16` and `mixer/b16` are the paper's S/16 and B/16.

The token MLP has width / 2 hidden units and the channel MLP 4 x width, the paper's ratios. Deviations: none. At 32 pixels S/16
has 4 tokens, which leaves little to mix: `d8-w256-p4` has 64. The start of a fine-tuning is `timm/mixer_b16_224`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from pydantic import Field

from priorscope.core.config import Plain
from priorscope.models import FamilyConfig
from priorscope.models.patches import check_patches

if TYPE_CHECKING:
    from priorscope.models.classifier import Backbone, Tap


class MixerConfig(FamilyConfig):
    """Patch, depth and width of a Mixer, and the widths of its two MLPs as ratios of its width."""

    patch: int = Field(ge=1, description="the side of a patch, in pixels")
    depth: int = Field(ge=1, description="how many blocks")
    width: int = Field(ge=1, description="channels of a token")
    token_ratio: float = Field(
        default=0.5, gt=0.0, description="hidden units of the MLP over positions, as a multiple of the width"
    )
    channel_ratio: float = Field(
        default=4.0, gt=0.0, description="hidden units of the MLP over channels, as a multiple of the width"
    )
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="the dropout rate, inside and after both MLPs")
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0, description="stochastic depth: the rate of every block")

    def check_side(self, side: int) -> None:
        check_patches(self.name, side, self.patch)

    def in_timm(self, image_size: int) -> tuple[str, Plain] | None:
        """timm's name of the network and the settings that make it; timm builds a Mixer in the paper's sizes alone."""
        size = _SIZES.get((self.depth, self.width))
        if size is None or self.patch not in (16, 32) or (self.token_ratio, self.channel_ratio) != (0.5, 4.0):
            return None
        return f"mixer_{size}{self.patch}_224", {"img_size": image_size}


VERSION = 3
"""Raised when the numbers that this family computes change."""

FIXED_SIZE = "its token MLP has one weight for every pair of positions"

_NAME = re.compile(r"d(?P<depth>\d+)-w(?P<width>\d+)-p(?P<patch>\d+)")


def read_name(rest: str) -> Plain | None:
    """The settings behind a name like "d8-w256-p4", or None where it follows no grammar."""
    match = _NAME.fullmatch(rest)
    return {part: int(number) for part, number in match.groupdict().items()} if match else None


def _named(rest: str) -> Plain:
    return cast("Plain", read_name(rest))


PRESETS: dict[str, Plain] = {
    "tiny": _named("d4-w64-p4"),
    "d8-w256-p4": _named("d8-w256-p4"),
    "d8-w512-p4": _named("d8-w512-p4"),
    "s16": _named("d8-w512-p16"),
    "b16": _named("d12-w768-p16"),
}


def build(config: MixerConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    from timm.models.mlp_mixer import MlpMixer

    from priorscope.models.classifier import Backbone
    from priorscope.models.networks.transformer import quicken

    network = MlpMixer(
        num_classes=num_classes,
        img_size=image_size,
        patch_size=config.patch,
        num_blocks=config.depth,
        embed_dim=config.width,
        mlp_ratio=(config.token_ratio, config.channel_ratio),
        proj_drop_rate=config.dropout,
        drop_path_rate=config.drop_path,
    )
    return Backbone(quicken(network), taps(config.depth), "head")


_SIZES = {(8, 512): "s", (12, 768): "b", (24, 1024): "l"}
"""The paper's letters, by depth and width."""


def taps(depth: int) -> dict[str, Tap]:
    """The taps of timm's Mixers. The token MLP works across positions, so its output has channels before positions."""
    from priorscope.models.classifier import Tap

    addresses = {"embed/out": Tap("stem", "NLC")}
    for i in range(depth):
        addresses |= {
            f"blocks/{i}/norm": Tap(f"blocks.{i}.norm1", "NLC"),
            f"blocks/{i}/tokens": Tap(f"blocks.{i}.mlp_tokens", "NCL"),
            f"blocks/{i}/mlp_norm": Tap(f"blocks.{i}.norm2", "NLC"),
            f"blocks/{i}/mlp": Tap(f"blocks.{i}.mlp_channels", "NLC"),
            f"blocks/{i}/out": Tap(f"blocks.{i}", "NLC"),
        }
    return addresses | {"head/in": Tap("head", "NC", "input"), "logits": Tap("head", "NC")}
