"""MLPs on raw pixels: inverted bottlenecks with skip connections, and the standard kind.

Paper: Bachmann, Anagnostidis, Hofmann, "Scaling MLPs: A Tale of Inductive Bias" (arXiv 2306.13575). The networks are those of
the paper's released code, so that its checkpoints load with no key changed: the image is flattened channel by channel
(index = c*H*W + y*W + x), the blocks are pre-norm, GELU is the exact one, and nothing is normalised before the head.

Deviations: the released code ignores its own `act` and dropout settings. Here both work, dropout where the paper's appendix D
puts it (after the activation and after the second layer of a block), and 0 by default, which is what the code computes. The
paper describes the standard MLP with ReLU before its LayerNorm; the code, followed here, has LayerNorm, GELU, linear map.

Names follow a grammar: `mlp/b12-w1024` is 12 bottleneck blocks of width 1024 (`-e2` for expansion 2), published as
"B_12-Wi_1024" ("B_12-Wi_1024-Exp_2"); `mlp/s6-w1024` is the standard MLP of the published name "B_6-Wi_1024": 5 hidden maps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.models import FamilyConfig

if TYPE_CHECKING:
    from priorscope.models.classifier import Backbone

Norm = Literal["layer", "batch", "none"]
Activation = Literal["gelu", "relu"]


class MlpConfig(FamilyConfig):
    """Depth, width and parts of an MLP."""

    form: Literal["bottleneck", "standard"] = Field(
        default="bottleneck", description="bottleneck; or standard: no skip connections and no bottlenecks"
    )
    blocks: int = Field(ge=1, description="how many blocks; standard: one more than there are maps between hidden layers")
    width: int = Field(ge=1, description="channels between the blocks")
    expansion: int = Field(default=4, ge=1, description="bottleneck: how many times as wide a block is inside")
    norm: Norm = Field(default="layer", description="the norm before each block")
    act: Activation = Field(default="gelu", description="the activation function")
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="the dropout rate, after each activation and after the second map of a block"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.form == "standard":
            self.refuse(("expansion",), "a standard MLP has no bottleneck")
        return self


VERSION = 5
"""Raised when the numbers that this family computes change."""

PRESETS: dict[str, Plain] = {
    "tiny": {"blocks": 2, "width": 128, "expansion": 2},
    **{f"b{blocks}-w{width}": {"blocks": blocks, "width": width} for width in (256, 512, 1024) for blocks in (6, 12)},
    "s6-w1024": {"form": "standard", "blocks": 6, "width": 1024},
    "s6-w2048": {"form": "standard", "blocks": 6, "width": 2048},
}

FIXED_SIZE = "its first layer has one weight for every pixel"

_PUBLISHED = re.compile(r"B_(?P<blocks>\d+)-Wi_(?P<width>\d+)(-[A-Za-z]+_(?P<expansion>\d+))?")
_SHORT = re.compile(r"(?P<form>[bs])(?P<blocks>\d+)-w(?P<width>\d+)(-e(?P<expansion>\d+))?")


def read_name(rest: str) -> Plain | None:
    """The settings behind a name of either grammar, with its canonical name, or None where it follows neither."""
    match = _PUBLISHED.fullmatch(rest) or _SHORT.fullmatch(rest)
    if match is None:
        return None
    parts = match.groupdict()
    blocks, width, expansion = int(parts["blocks"]), int(parts["width"]), int(parts["expansion"] or 4)
    letter = parts.get("form", "b")
    settings: Plain = {"blocks": blocks, "width": width}
    if letter == "s":
        settings["form"] = "standard"
    if expansion != 4:
        settings["expansion"] = expansion
    return {**settings, "name": f"mlp/{letter}{blocks}-w{width}" + (f"-e{expansion}" if expansion != 4 else "")}


def build(config: MlpConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    from priorscope.models.networks import mlp

    inputs = 3 * image_size**2
    if config.form == "standard":
        return mlp.standard(inputs, num_classes, config.blocks, config.width, config.norm, config.act, config.dropout)
    return mlp.bottleneck(
        inputs, num_classes, config.blocks, config.width, config.expansion, config.norm, config.act, config.dropout
    )
