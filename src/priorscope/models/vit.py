"""Vision transformers: patches as tokens, mixed by attention.

Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929). The network is timm's, at any image size,
patch, depth and width; keys are timm's. Names follow a grammar: `vit/d6-w192-p4` is 6 blocks of width 192 on patches of 4
pixels, with heads of 64 channels (`-h2` for 2 heads).

`v-baseline` is the ViT that an earlier study set beside its TNT: 6 blocks of width 512 whose MLPs are no wider, queries, keys
and values without bias, a head with a hidden layer of 512, dropout 0.1. 9,786,378 parameters at 32 pixels and 10 classes.

Deviations: stochastic depth and dropout are 0 unless set. `pool = "avg"` takes the mean of the patches where the paper takes a
class token. `v-baseline` starts from timm's initial weights and adds timm's 1e-6 to variances. The start of a fine-tuning from
pre-trained weights is `timm/vit_small_patch16_224`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self, cast

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.models import FamilyConfig
from priorscope.models.patches import check_heads, check_patches

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer
    from torch import Tensor, nn

    from priorscope.models.classifier import Backbone, Tap

HEAD_WIDTH = 64
"""Channels an attention head has in every ViT of the paper's table 1."""
LAST = 3
"""The index of the last linear map in a head with a hidden layer."""


class VitConfig(FamilyConfig):
    """Patch, depth, width and heads of a vision transformer.

    What is not set stands in no key, so that runs from before these settings keep theirs.
    """

    patch: int = Field(ge=1, description="the side of a patch, in pixels")
    depth: int = Field(ge=1, description="how many blocks")
    width: int = Field(ge=1, description="channels of a token")
    heads: int = Field(ge=1, description="heads of the attention, which share the width evenly")
    mlp_ratio: float = Field(default=4.0, gt=0.0, description="hidden units of an MLP, as a multiple of the width")
    pool: Literal["token", "avg"] = Field(
        default="token", description="what the head reads: token, the class token; avg, the mean of the patches"
    )
    qkv_bias: bool | None = Field(default=None, description="whether queries, keys and values have a bias; not set: yes")
    head_hidden: int | None = Field(default=None, ge=1, description="the width of a hidden layer in the head; not set: none")
    dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="the dropout rate: on the tokens with their positions, after attention, and inside and after MLPs",
    )
    drop_path: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="stochastic depth: the rate of the last block; it grows from 0 at the first",
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        check_heads(self.name, self.width, self.heads)
        return self

    def check_side(self, side: int) -> None:
        check_patches(self.name, side, self.patch)

    def in_timm(self, image_size: int) -> tuple[str, Plain] | None:
        """A network of timm's and the settings that make it this one; None with a head of two layers, which timm has not."""
        return None if self.head_hidden else ("vit_tiny_patch16_224", _settings(self, image_size))


VERSION = 4
"""Raised when the numbers that this family computes change."""

_NAME = re.compile(r"d(?P<depth>\d+)-w(?P<width>\d+)-p(?P<patch>\d+)(-h(?P<heads>\d+))?")


def read_name(rest: str) -> Plain | None:
    """The settings behind a name like "d6-w192-p4", or None where it follows no grammar."""
    match = _NAME.fullmatch(rest)
    if match is None:
        return None
    width = int(match["width"])
    heads = int(match["heads"] or max(1, width // HEAD_WIDTH))
    return {"depth": int(match["depth"]), "width": width, "patch": int(match["patch"]), "heads": heads}


def _named(rest: str) -> Plain:
    return cast("Plain", read_name(rest))


PRESETS: dict[str, Plain] = {
    "tiny": _named("d4-w64-p4-h2"),
    **{
        name: _named(name)
        for name in ("d6-w192-p4", "d12-w192-p4", "d6-w384-p4", "d12-w384-p4", "d6-w192-p2", "d12-w192-p2", "d12-w192-p8")
    },
    "s16": _named("d12-w384-p16"),
    "b16": _named("d12-w768-p16"),
    "v-baseline": {**_named("d6-w512-p4"), "mlp_ratio": 1.0, "qkv_bias": False, "head_hidden": 512, "dropout": 0.1},
}


def build(config: VitConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    from timm.models.vision_transformer import VisionTransformer

    from priorscope.models.classifier import Backbone
    from priorscope.models.networks.transformer import quicken

    network = VisionTransformer(num_classes=num_classes, **_settings(config, image_size))
    if config.head_hidden is None:
        return Backbone(quicken(network), taps(config.depth), "head")
    network.set_submodule("head", _two_layers(config.width, config.head_hidden, num_classes, config.dropout))
    return Backbone(quicken(network), taps(config.depth, f"head.{LAST}"), f"head.{LAST}")


def _two_layers(width: int, hidden: int, num_classes: int, dropout: float) -> nn.Sequential:
    """A head with a hidden layer, its weights drawn as timm draws every linear map's."""
    from timm.models.vision_transformer import init_weights_vit_timm
    from torch import nn

    head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes))
    return head.apply(init_weights_vit_timm)


def _settings(config: VitConfig, image_size: int) -> Plain:
    """timm's settings of the network, but for its head."""
    return {
        "img_size": image_size,
        "patch_size": config.patch,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
        **({} if config.qkv_bias is None else {"qkv_bias": config.qkv_bias}),
        "class_token": config.pool == "token",
        "global_pool": config.pool,
        "pos_drop_rate": config.dropout,
        "proj_drop_rate": config.dropout,
        "drop_path_rate": config.drop_path,
    }


def timm_taps(network: VisionTransformer) -> dict[str, Tap]:
    """The taps of timm's own vision transformers, read after the scale of a branch where there is one.

    There are no taps where blocks are of another kind: what a branch adds then passes a norm, or both branches are one.
    """
    from timm.models.vision_transformer import Block
    from torch import nn

    blocks = list(network.blocks)
    if any(type(block) is not Block for block in blocks):
        return {}
    scaled = any(type(block.ls1) is not nn.Identity for block in blocks)
    return taps(len(blocks), branches=("ls1", "ls2") if scaled else ("attn", "mlp"))


def taps(depth: int, last: str = "head", branches: tuple[str, str] = ("attn", "mlp")) -> dict[str, Tap]:
    """The taps of timm's vision transformers. `last` is the last linear map; `head/norm` is what a layer before it receives.

    `branches` are the modules whose outputs attention and MLP add.
    """
    from priorscope.models.classifier import Tap

    attention, mlp = branches
    addresses = {"embed/out": Tap("norm_pre", "NLC")}
    for i in range(depth):
        addresses |= {
            f"blocks/{i}/norm": Tap(f"blocks.{i}.norm1", "NLC"),
            f"blocks/{i}/attention": Tap(f"blocks.{i}.{attention}", "NLC"),
            f"blocks/{i}/mlp_norm": Tap(f"blocks.{i}.norm2", "NLC"),
            f"blocks/{i}/mlp": Tap(f"blocks.{i}.{mlp}", "NLC"),
            f"blocks/{i}/out": Tap(f"blocks.{i}", "NLC"),
        }
    if last != "head":
        addresses["head/norm"] = Tap("head", "NC", "input")
    return addresses | {"head/in": Tap(last, "NC", "input"), "logits": Tap(last, "NC")}


def resample(state: dict[str, Tensor], network: VisionTransformer) -> dict[str, Tensor]:
    """The weights for another image size: the learnt positions are interpolated (bicubic, as in timm)."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    wanted = network.pos_embed
    if wanted is None or state["pos_embed"].shape == wanted.shape:
        return state
    extra = 0 if network.no_embed_class else network.num_prefix_tokens
    side = round((wanted.shape[1] - extra) ** 0.5)
    return {**state, "pos_embed": resample_abs_pos_embed(state["pos_embed"], [side, side], num_prefix_tokens=extra)}
