"""Perceiver IO: latents read the input once, think, and are read by trained queries.

Paper: Jaegle et al., "Perceiver IO: A General Architecture for Structured Inputs & Outputs" (arXiv 2107.14795). Tokens are
pixels, or patches of `patch` pixels, with Fourier positions. One trained query reads the class from the latents. Weights of
perceiver-pytorch's PerceiverIO load in the key layouts of 0.7.5 and 0.11.0, with `queries` beside them, which that library
takes as an input.

The presets `v-*` are an earlier study's networks, kept to compare with its figures. The whole image is one token (`tokens =
"image"`), so that the latents have nothing to choose from: attention to one token is constant, its queries and the latents'
first LayerNorm get no gradient, and every latent reads the same. The query was never trained (`queries = "fixed"`) and
differed by place in the batch, so that a prediction depended on its place; here one fixed query serves all places, which is
the only deviation. Tokens enter as 2x - 1.

Deviations from the paper elsewhere are perceiver-pytorch's: MLPs are gated (GEGLU, four widths), and maps to queries, keys and
values have no bias. Sizes are ours, made for 32 to 96 pixels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.models import FamilyConfig
from priorscope.models.patches import check_patches
from priorscope.models.perceiver import idle_cross

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from priorscope.models.classifier import Backbone, Tap


class PerceiverIoConfig(FamilyConfig):
    """What a token is, the latents, and the query that reads them.

    A network whose head is replaced for other classes keeps its query: what begins with the weights of one for 10 classes has
    `query_width = 10`.
    """

    tokens: Literal["patches", "image"] = Field(
        default="patches", description="what a token is: patches (one token each), or the whole image as a single token"
    )
    patch: int = Field(default=1, ge=1, description="patches: the side of a patch, in pixels")
    bands: int = Field(default=6, ge=1, description="patches: frequencies that encode a position, on each axis")
    max_freq: float = Field(
        default=10.0,
        gt=0.0,
        description="patches: twice the periods that the highest of these frequencies has across the image",
    )
    depth: int = Field(ge=1, description="how many blocks of self-attention of the latents")
    latents: int = Field(ge=1, description="how many latents")
    width: int = Field(ge=1, description="channels of a latent")
    cross_heads: int = Field(
        default=1, ge=1, description="heads of the latents' attention to tokens, and of the query's to latents"
    )
    cross_head_width: int = Field(ge=1, description="channels of such a head")
    heads: int = Field(default=8, ge=1, description="heads of the latents' self-attention")
    head_width: int = Field(ge=1, description="channels of such a head")
    queries: Literal["trained", "fixed"] = Field(
        default="trained", description="whether the query that reads the latents is trained, or stays fixed as it was drawn"
    )
    query_width: int = Field(default=0, ge=0, description="channels of the query; 0: as many as there are classes")
    decoder_mlp: bool = Field(default=True, description="whether an MLP follows the query's attention")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="the dropout rate, after attention and inside MLPs")

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.tokens == "image":
            self.refuse(("patch", "bands", "max_freq"), "the whole picture is one token, which has no place")
        return self

    def check_side(self, side: int) -> None:
        check_patches(self.name, side, self.patch)

    def keep_body(self, num_classes: int) -> Self:
        """The config whose query stays as wide as for `num_classes` classes."""
        return self if self.query_width else self.replace(query_width=num_classes)

    def idle_parameters(self, image_size: int) -> list[str]:
        """The weights without a gradient, whatever the image: attention to one token or to one latent is constant."""
        one_token = self.tokens == "image" or image_size // self.patch == 1
        cross = idle_cross("cross_attend_block.cross_attn") if one_token else []
        if self.latents > 1:
            return cross
        query = ["queries"] if self.queries == "trained" else []
        own = [f"layers.{i}.self_attns.0.0.fn.to_q.weight" for i in range(self.depth)]
        return [*query, *cross, *own, *idle_cross("decoder_cross_attn")]


VERSION = 4
"""Raised when the numbers that this family computes change."""


def _whole_image(latents: int, width: int, cross_head_width: int, head_width: int) -> Plain:
    return {
        "tokens": "image",
        "queries": "fixed",
        "decoder_mlp": False,
        "depth": 2,
        "latents": latents,
        "width": width,
        "cross_head_width": cross_head_width,
        "head_width": head_width,
    }


PRESETS: dict[str, Plain] = {
    "tiny": {
        "patch": 2,
        "depth": 2,
        "latents": 16,
        "width": 32,
        "cross_head_width": 16,
        "heads": 4,
        "head_width": 8,
        "query_width": 32,
    },
    "s": {
        "patch": 2,
        "depth": 8,
        "latents": 64,
        "width": 192,
        "cross_head_width": 64,
        "heads": 6,
        "head_width": 32,
        "query_width": 192,
        "dropout": 0.1,
    },
    "v-cifar10": _whole_image(32, 64, 128, 128),
    "v-stl10": _whole_image(96, 192, 64, 64),
    "v-tiny": _whole_image(32, 64, 64, 64),
}


READ_LAST = ("queries",)
"""What stands before the blocks and is read after the last one."""


def build(config: PerceiverIoConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    from priorscope.models.classifier import Backbone
    from priorscope.models.networks.perceiver_io import PerceiverIo

    return Backbone(PerceiverIo(image_size, num_classes, config), taps(config.depth), "to_logits")


def taps(depth: int) -> dict[str, Tap]:
    """What each step adds to the latents, the latents after each step, and what the query read."""
    from priorscope.models.classifier import Tap

    addresses = {
        "embed/out": Tap("embed", "NLC"),
        "encoder/cross": Tap("cross_attend_block.cross_attn", "NLC"),
        "encoder/mlp": Tap("cross_attend_block.cross_ff", "NLC"),
        "encoder/out": Tap("cross_attend_block", "NLC"),
    }
    for i in range(depth):
        addresses |= {
            f"blocks/{i}/attention": Tap(f"layers.{i}.self_attns.0.0", "NLC"),
            f"blocks/{i}/mlp": Tap(f"layers.{i}.self_attns.0.1", "NLC"),
            f"blocks/{i}/out": Tap(f"layers.{i}", "NLC"),
        }
    return addresses | {
        "decoder/cross": Tap("decoder_cross_attn", "NLC"),
        "head/in": Tap("to_logits", "NC", "input"),
        "logits": Tap("to_logits", "NC"),
    }


_OLD_ENCODER = {"0": "cross_attn", "1": "cross_ff"}
_OLD_PLACE = re.compile(r"(cross_attend_blocks|layers\.\d+)\.([01])\.(.+)")


def translate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the keys of perceiver-pytorch 0.11.0; those of 0.7.5 are renamed, others stay as they are."""
    return {current_key(key): tensor for key, tensor in tensors.items()}


def current_key(key: str) -> str:
    """A key of 0.7.5 as 0.11.0 has it: blocks got names."""
    match = _OLD_PLACE.fullmatch(key)
    if match is None:
        return key
    stage, part, rest = match.groups()
    if stage == "cross_attend_blocks":
        return f"cross_attend_block.{_OLD_ENCODER[part]}.{rest}"
    return f"{stage}.self_attns.0.{part}.{rest}"
