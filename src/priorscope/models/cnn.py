"""Convolutional networks for small images: ResNets with a 3x3 stem, He et al.'s CIFAR ResNets, and small fast nets.

- `cnn/resnet18`, `resnet34`, `resnet50` (He et al. 2015, arXiv 1512.03385): the ImageNet networks with a 3x3 stem of stride 1
  and no max-pool; keys as in timm. 11,173,962 parameters for ResNet-18 at 10 classes. `stem = "imagenet"` is the original stem.
  The hub's CIFAR nets of the `detectors` package are these: `priorscope models fetch resnet18_cifar10` (or `_cifar100`, or
  `resnet34_...`, `resnet50_...`), then `priorscope models import`, which keeps their own mean and deviation.
- `cnn/resnet20`, `32`, `44`, `56` (the same paper, section 4.2): three stages of widths 16, 32, 64 whose shortcuts have no
  parameters (option A: every other pixel, zeros for the new channels).
- `cnn/air-s`, `air-m`, `air-l` (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498): a 2x2
  convolution, then three stages of two 3x3 convolutions, each stage halving the map; GELU; global max-pool; logits / 9.

Deviations: the first convolution of the `air` nets is learnt, where the paper computes a whitening from training images and
freezes it, and their batch norms keep torch's momentum and a learnt scale, so that one recipe fits every family. The global
max-pool equals the paper's 3x3 pool at 32 pixels and makes other sizes possible. `norm` "group" and "none" are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.models import FamilyConfig

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Backbone


class CnnConfig(FamilyConfig):
    """Stages of `depths` blocks and `widths` channels, and their parts."""

    form: Literal["resnet", "air"] = Field(
        description="resnet: residual blocks, each stage after the first halves the map; "
        "air: plain convolutions, every stage does"
    )
    depths: tuple[int, ...] = Field(
        min_length=1, description="blocks of each stage (air: convolutions after each stage's first)"
    )
    widths: tuple[int, ...] = Field(
        min_length=1, description="channels of each stage; a bottleneck puts out four times as many"
    )
    block: Literal["basic", "bottleneck"] = Field(
        default="basic", description="resnet: basic (two 3x3 convolutions) or bottleneck (1x1, 3x3, 1x1)"
    )
    shortcut: Literal["projection", "pad"] = Field(
        default="projection",
        description="resnet, where a block changes the map's shape: projection (a 1x1 convolution) or pad (without parameters)",
    )
    stem: Literal["cifar", "imagenet"] = Field(
        default="cifar", description="resnet: cifar (3x3 of stride 1) or imagenet (7x7 of stride 2, then a max-pool)"
    )
    stem_stride: Literal[1, 2] = Field(
        default=1, description="air: the stride of the first convolution; 2 quarters every map, and the cost with it"
    )
    norm: Literal["batch", "group", "none"] = Field(
        default="batch", description="the norm after each convolution: batch, group (of 16 channels) or none"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.form == "air":
            self.refuse(("stem", "block", "shortcut"), "a net of the form air has none of them")
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise RequestError(
                f"{self.name} has {len(self.depths)} depths and {len(self.widths)} widths.",
                "one of each for every stage",
                "depths = [2, 2], widths = [16, 32]",
            )
        if self.form == "resnet" and self.stem_stride != 1:
            raise RequestError(f"{self.name} asks for a stem of stride 2.", "a net of the form air", 'stem = "imagenet"')
        if self.shortcut == "pad" and self.block == "bottleneck":
            raise RequestError(
                f"{self.name} asks for shortcuts without parameters around bottlenecks.",
                "shortcut 'projection' where the block is 'bottleneck'",
                'shortcut = "projection"',
            )
        return self

    def check_side(self, side: int) -> None:
        smallest = smallest_image(self)
        if side < smallest:
            raise RequestError(
                f"{self.name} halves the map until nothing is left of {side} pixels.",
                f"images of at least {smallest} pixels",
                f"input_size = {smallest}",
            )


def _resnet(*depths: int, block: str = "basic") -> Plain:
    return {"form": "resnet", "depths": depths, "widths": (64, 128, 256, 512), "block": block}


def _he(depth: int) -> Plain:
    """The settings of He et al.'s CIFAR ResNet with `depth` layers: (depth - 2) / 6 blocks in each of its three stages."""
    return {"form": "resnet", "depths": ((depth - 2) // 6,) * 3, "widths": (16, 32, 64), "shortcut": "pad"}


def _air(*widths: int, stem_stride: int = 1) -> Plain:
    return {"form": "air", "depths": (1,) * len(widths), "widths": widths, "stem_stride": stem_stride}


VERSION = 2
"""Raised when the numbers that this family computes change."""

PRESETS: dict[str, Plain] = {
    "tiny": _air(16, 32, 64, stem_stride=2),
    "air-s": _air(64, 256, 256),
    "air-m": _air(128, 384, 384),
    "air-l": _air(128, 512, 512),
    **{f"resnet{depth}": _he(depth) for depth in (20, 32, 44, 56)},
    "resnet18": _resnet(2, 2, 2, 2),
    "resnet34": _resnet(3, 4, 6, 3),
    "resnet50": _resnet(3, 4, 6, 3, block="bottleneck"),
}


def build(config: CnnConfig, image_size: int, num_classes: int) -> Backbone:  # noqa: ARG001  its pools fit any side
    """The network of a config, for images of side `image_size`."""
    from priorscope.models.networks import cnn

    if config.form == "air":
        return cnn.air(config, num_classes)
    return cnn.resnet(config, num_classes)


def smallest_image(config: CnnConfig) -> int:
    """The smallest side that leaves a pixel at the end: a 2x2 convolution and a halving a stage, or ResNets' padded maps."""
    return (2 ** len(config.widths) - 1) * config.stem_stride + 2 if config.form == "air" else 1


def translate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the head of published CIFAR ResNets (Idelbayev's, of the shape of He et al.) from "linear" to timm's "fc"."""
    return {key.replace("linear.", "fc.") if key.startswith("linear.") else key: tensor for key, tensor in tensors.items()}
