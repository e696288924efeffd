"""Transformers in transformers: inside every patch a small transformer on its pixels feeds the transformer on patches.

Paper: Han et al., "Transformer in Transformer" (arXiv 2103.00112). Patch and pixel size are free: `tnt/p4-x2` cuts patches of
4 pixels into squares of 2. The network is that of the package transformer-in-transformer, whose keys load;
`tnt/s-patch16-224` is timm's tnt_s_patch16_224 at 224 pixels.

Deviations from the paper, all of them that package's: pixels are cut without overlap, by one linear map; the patch stream
begins as a learnt table, and the image reaches it only through the map from pixels to patches; attention on the 24 channels
of pixels is as wide as on the 512 of patches (8 heads of 64). From that package in nothing but the order of products: keys
and values of pixels are never made (see `attention.absorbed`). With one pixel a patch (patch = pixel) pixel attention has
nothing to choose from, and its queries and keys get no gradient.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self, cast

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.models import FamilyConfig
from priorscope.models.patches import check_patches

if TYPE_CHECKING:
    from torch import Tensor, nn

    from priorscope.models.classifier import Backbone, Tap


class TntConfig(FamilyConfig):
    """Patch and pixel size, and the widths of both streams."""

    form: Literal["free", "timm"] = Field(
        default="free", description="free: patches and squares of any size; timm: timm's network"
    )
    patch: int = Field(ge=1, description="the side of a patch, in pixels")
    pixel: int = Field(ge=1, description="the side of the squares that a patch is cut into, in pixels")
    depth: int = Field(default=6, ge=1, description="how many blocks, each with both streams")
    width: int = Field(default=512, ge=1, description="channels of a patch")
    pixel_width: int = Field(default=24, ge=1, description="channels of a square")
    heads: int = Field(default=8, ge=1, description="heads of the attention on patches (free: on squares, too)")
    head_width: int = Field(default=64, ge=1, description="channels of a head")
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="the dropout rate, after attention and inside MLPs")

    @model_validator(mode="after")
    def _squares_tile_patches(self) -> Self:
        if self.patch % self.pixel:
            raise RequestError(
                f"{self.name} cuts patches of {self.patch} pixels into squares of {self.pixel}.",
                "a pixel size that divides the patch size",
                f"pixel = {max(n for n in range(1, self.pixel) if self.patch % n == 0)}",
            )
        if self.form == "timm" and self.width != self.heads * self.head_width:
            raise RequestError(
                f"{self.name} has {self.heads} heads of {self.head_width} channels on width {self.width}.",
                "heads that share the width evenly in timm's form",
                f"head_width = {self.width // self.heads}",
            )
        return self

    def check_side(self, side: int) -> None:
        check_patches(self.name, side, self.patch)


VERSION = 5
"""Raised when the numbers that this family computes change."""

_NAME = re.compile(r"p(?P<patch>\d+)-x(?P<pixel>\d+)")


def read_name(rest: str) -> Plain | None:
    """The settings behind a name like "p4-x2", or None where it follows no grammar."""
    match = _NAME.fullmatch(rest)
    return {"patch": int(match["patch"]), "pixel": int(match["pixel"])} if match else None


PRESETS: dict[str, Plain] = {
    "tiny": {"patch": 8, "pixel": 4, "depth": 2, "width": 64, "pixel_width": 16, "heads": 4, "head_width": 16, "dropout": 0.0},
    **{
        name: cast("Plain", read_name(name))
        for name in ("p4-x2", "p8-x1", "p8-x2", "p8-x4", "p16-x2", "p16-x4", "p16-x8", "p32-x4")
    },
    "s-patch16-224": {
        "form": "timm",
        "patch": 16,
        "pixel": 4,
        "depth": 12,
        "width": 384,
        "pixel_width": 24,
        "heads": 6,
        "head_width": 64,
        "dropout": 0.0,
        "input_size": 224,
    },
}


def build(config: TntConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    from priorscope.models.classifier import Backbone

    if config.form == "timm":
        return Backbone(_timm_network(config, image_size, num_classes), timm_taps(config.depth), "head")
    from priorscope.models.networks.tnt import Tnt

    return Backbone(Tnt(image_size, num_classes, config), taps(config.depth), "mlp_head.1")


def _timm_network(config: TntConfig, image_size: int, num_classes: int) -> nn.Module:
    """timm's network, which has one stride from images to pixels."""
    from timm.models.tnt import TNT

    from priorscope.models.networks.transformer import quicken

    network = TNT(
        img_size=image_size,
        patch_size=config.patch,
        num_classes=num_classes,
        embed_dim=config.width,
        inner_dim=config.pixel_width,
        depth=config.depth,
        num_heads_outer=config.heads,
        first_stride=config.pixel,
        proj_drop_rate=config.dropout,
    )
    return quicken(network)


def taps(depth: int) -> dict[str, Tap]:
    """Both streams: what pixel attention and pixel MLP add, what pixels tell their patches, then the patch stream."""
    from priorscope.models.classifier import Tap

    addresses = {"embed/pixels": Tap("embed_pixels", "NLC"), "embed/out": Tap("embed_patches", "NLC")}
    for i in range(depth):
        addresses |= {
            f"blocks/{i}/pixels/attention": Tap(f"layers.{i}.0", "NLC"),
            f"blocks/{i}/pixels/mlp": Tap(f"layers.{i}.1", "NLC"),
            f"blocks/{i}/from_pixels": Tap(f"layers.{i}.2", "NLC"),
            f"blocks/{i}/attention": Tap(f"layers.{i}.3", "NLC"),
            f"blocks/{i}/mlp": Tap(f"layers.{i}.4", "NLC"),
            f"blocks/{i}/out": Tap(f"layers.{i}.out", "NLC"),
        }
    return addresses | {"head/in": Tap("mlp_head.1", "NC", "input"), "logits": Tap("mlp_head.1", "NC")}


def timm_taps(depth: int) -> dict[str, Tap]:
    """The patch stream of timm's network; its pixel stream has one row a patch, not one an image."""
    from priorscope.models.classifier import Tap

    addresses = {"embed/out": Tap("pos_drop", "NLC")}
    for i in range(depth):
        addresses |= {
            f"blocks/{i}/norm": Tap(f"blocks.{i}.norm_out", "NLC"),
            f"blocks/{i}/attention": Tap(f"blocks.{i}.attn_out", "NLC"),
            f"blocks/{i}/mlp_norm": Tap(f"blocks.{i}.norm_mlp", "NLC"),
            f"blocks/{i}/mlp": Tap(f"blocks.{i}.mlp", "NLC"),
            f"blocks/{i}/out": Tap(f"blocks.{i}", "NLC", item=1),
        }
    return addresses | {"head/in": Tap("head", "NC", "input"), "logits": Tap("head", "NC")}


_TABLES = ("patch_tokens", "patch_pos_emb", "patch_pos")


def resample(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The weights for another image size: the tables of patches are interpolated (bicubic, as in timm)."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    changed: dict[str, Tensor] = {}
    for key in (key for key in _TABLES if key in state):
        wanted = network.get_parameter(key).shape
        side = round((wanted[-2] - 1) ** 0.5)
        table = state[key].view(1, -1, wanted[-1])
        changed[key] = resample_abs_pos_embed(table, [side, side], num_prefix_tokens=1).view(wanted)
    return {**state, **changed}
