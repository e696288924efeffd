"""Swin transformers: attention inside windows that shift from block to block, on maps that halve from stage to stage.

Paper: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows" (arXiv 2103.14030). The network and
its keys are timm's, at any image size, patch, window, depths and width.

A window as large as its map, or larger, is the whole map and cannot shift: at 32 pixels with patches of 4 and windows of 8 no
window shifts anywhere, which is what the presets `v-*` of an earlier study trained (kept for comparison, with its stochastic
depth of 0.1). `shifted`, `shifted-s` and `tiny` have windows that do shift at 32 pixels; `windows(config, image_size)` says
which.

Deviations: stochastic depth is 0 unless set (timm: 0.1). A map that windows do not tile is padded, and padding takes part in
attention, as in timm. The start of a fine-tuning from pre-trained weights is `timm/swin_base_patch4_window7_224`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.models import FamilyConfig
from priorscope.models.patches import check_heads, check_patches

if TYPE_CHECKING:
    from torch import Tensor, nn

    from priorscope.models.classifier import Backbone, Tap


class SwinConfig(FamilyConfig):
    """Patch, window, and each stage's depth and heads."""

    patch: int = Field(default=4, ge=1, description="the side of a patch, in pixels")
    window: int = Field(ge=1, description="the side of a window, in patches")
    width: int = Field(ge=1, description="channels of a token in the first stage; each further stage doubles them")
    depths: tuple[int, ...] = Field(min_length=1, description="blocks of each stage; each stage after the first halves the map")
    heads: tuple[int, ...] = Field(min_length=1, description="heads of each stage's attention")
    mlp_ratio: float = Field(default=4.0, gt=0.0, description="hidden units of an MLP, as a multiple of a token's channels")
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="the dropout rate, after attention, and inside and after MLPs"
    )
    drop_path: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="stochastic depth: the rate of the last block; it grows from 0 at the first",
    )

    @model_validator(mode="after")
    def _stages_have_their_heads(self) -> Self:
        if len(self.depths) != len(self.heads):
            raise RequestError(
                f"{self.name} has {len(self.depths)} depths and {len(self.heads)} counts of heads.",
                "one of each for every stage",
                "depths = [2, 2], heads = [2, 4]",
            )
        for stage, heads in enumerate(self.heads):
            check_heads(f"Stage {stage} of {self.name}", self.width * 2**stage, heads)
        return self

    def check_side(self, side: int) -> None:
        check_patches(self.name, side, self.patch)
        least = self.patch * 2 ** (len(self.depths) - 1)
        if side < least:
            raise RequestError(
                f"{self.name} halves the map until nothing is left of {side} pixels.",
                f"images of at least {least} pixels",
                f"input_size = {least}, or fewer stages",
            )

    def idle_parameters(self, image_size: int) -> list[str]:
        """The parameters that no gradient can reach: in a window of one position, attention has nothing to weigh."""
        return [
            f"layers.{i}.blocks.{j}.attn.relative_position_bias_table"
            for i, stage in enumerate(windows(self, image_size))
            if stage.window == 1
            for j in range(self.depths[i])
        ]

    def in_timm(self, image_size: int) -> tuple[str, Plain]:
        """A network of timm's and the settings that make it this one."""
        return "swin_tiny_patch4_window7_224", {
            "img_size": image_size,
            "patch_size": self.patch,
            "embed_dim": self.width,
            "depths": self.depths,
            "num_heads": self.heads,
            "window_size": self.window,
            "mlp_ratio": self.mlp_ratio,
            "proj_drop_rate": self.dropout,
            "drop_path_rate": self.drop_path,
        }


def _swin(window: int, width: int, depths: tuple[int, ...], heads: tuple[int, ...], patch: int = 4) -> Plain:
    return {"patch": patch, "window": window, "width": width, "depths": depths, "heads": heads}


def _earlier(window: int, depths: tuple[int, ...] = (2, 2, 8, 2), heads: tuple[int, ...] = (2, 4, 8, 16)) -> Plain:
    return {**_swin(window, 64, depths, heads), "drop_path": 0.1}


VERSION = 3
"""Raised when the numbers that this family computes change."""

_THREE = ((2, 8, 2), (2, 4, 8))

PRESETS: dict[str, Plain] = {
    "tiny": _swin(4, 48, (2, 2), (3, 6)),
    "shifted-s": _swin(4, 48, (2, 4, 2), (3, 6, 12), patch=2),
    "shifted": _swin(4, 64, (2, 6, 2), (2, 4, 8), patch=2),
    "v-cifar10": _earlier(8),
    "v-stl10": _earlier(12),
    "v-tinyimagenet": _earlier(8),
    "v-lr-cifar10": _earlier(8, *_THREE),
    "v-lr-stl10": _earlier(12, *_THREE),
    "v-lr-tinyimagenet": _earlier(8, *_THREE),
    "v-cifar10-old": _earlier(4, heads=(2, 4, 4, 8)),
    "b": _swin(7, 128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


class Windows(NamedTuple):
    """What attention sees in one stage: the map's side, the window's side, and by how much every other block shifts."""

    map: int
    window: int
    shift: int


def windows(config: SwinConfig, image_size: int) -> list[Windows]:
    """Each stage's map, window and shift for images of side `image_size`."""
    side = image_size // config.patch
    stages: list[Windows] = []
    for stage, depth in enumerate(config.depths):
        if stage:
            side = (side + 1) // 2
        shifts = depth > 1 and side > config.window
        stages.append(Windows(side, min(side, config.window), config.window // 2 if shifts else 0))
    return stages


def build(config: SwinConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    from timm.models.swin_transformer import SwinTransformer

    from priorscope.models.classifier import Backbone
    from priorscope.models.networks.transformer import quicken

    network = SwinTransformer(num_classes=num_classes, **config.in_timm(image_size)[1])
    return Backbone(quicken(network), taps(config.depths), "head.fc")


def taps(depths: tuple[int, ...]) -> dict[str, Tap]:
    """The taps of timm's Swin transformers. Attention is read where its windows are put together again."""
    from priorscope.models.classifier import Tap

    addresses = {"embed/out": Tap("patch_embed", "NHWC")}
    for i, depth in enumerate(depths):
        for j in range(depth):
            here, there = f"stages/{i}/blocks/{j}", f"layers.{i}.blocks.{j}"
            addresses |= {
                f"{here}/norm": Tap(f"{there}.norm1", "NHWC"),
                f"{here}/attention": Tap(f"{there}.drop_path1", "NHWC", "input"),
                f"{here}/mlp_norm": Tap(f"{there}.norm2", "NLC"),
                f"{here}/mlp": Tap(f"{there}.mlp", "NLC"),
                f"{here}/out": Tap(there, "NHWC"),
            }
    return addresses | {"head/in": Tap("head.fc", "NC", "input"), "logits": Tap("head.fc", "NC")}


def resample(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The weights for another image size: where a window changes its size, its table of relative positions is interpolated.

    Bicubic over the (2w - 1) x (2w - 1) offsets, as the paper's code does it for fine-tuning at another size.
    """
    from torch.nn import functional as F

    fresh = network.state_dict()
    taken = dict(state)
    for key, table in state.items():
        if key.endswith("relative_position_bias_table") and table.shape != fresh[key].shape:
            heads = table.shape[1]
            old, new = (round(shape[0] ** 0.5) for shape in (table.shape, fresh[key].shape))
            offsets = table.T.reshape(1, heads, old, old)
            taken[key] = F.interpolate(offsets, size=(new, new), mode="bicubic").reshape(heads, new * new).T.contiguous()
    return taken
