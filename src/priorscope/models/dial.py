"""The dial: networks that differ in one prior at a time, at equal size.

Two rows. On the grid, a block maps all activations to all (`dense`), each place's neighbourhood with weights of its own
(`local`: locality without sharing), or with one set of weights for all places (`conv`: sharing). The maps of each are among
those of the one before. On patches, each patch is on its own (`patch-mlp`), patches are mixed by where they are (`mixer`), by
what they show (`attention-unordered`), or by both (`attention`).

Within a row everything else is the same: pre-norm blocks with a skip connection, norms without weights, GELU, depth. The grid
row flattens before its head, because pooling is a prior of its own; the patch row takes the mean. Width and hidden width are
solved for, so that parameters or FLOPs (`match`) come to `budget`.

The network is ours; the question is that of d'Ascoli et al., "Finding the Needle in the Haystack with Convolutions" (arXiv
1906.06766), and of Tolstikhin et al., "MLP-Mixer" (arXiv 2105.01601).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, get_args

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.models import FamilyConfig
from priorscope.models.patches import check_patches

if TYPE_CHECKING:
    from priorscope.models.classifier import Backbone, Layout, Tap

Mixing = Literal["dense", "local", "conv", "patch-mlp", "mixer", "attention-unordered", "attention"]
GRID: tuple[Mixing, ...] = ("dense", "local", "conv")
HEADS = 4
"""Attention heads at every width: widths are solved for in steps of four."""
TOLERANCE = 0.02
"""How far a solved size may be from the budget."""


class DialConfig(FamilyConfig):
    """Where the dial stands, what is matched, and what all stands share.

    A network whose head is replaced for other classes keeps its widths: what begins with the weights of one for 10 classes has
    `solved_for = 10`.
    """

    mixing: Mixing = Field(description="where the dial stands: how activations at different places are mixed")
    match: Literal["parameters", "flops"] = Field(
        default="parameters", description="what the budget counts: parameters, or flops (of one image, two for a multiply-add)"
    )
    budget: int = Field(default=500_000, ge=1, description="how many parameters or flops the widths are solved for")
    depth: int = Field(default=4, ge=1, description="how many blocks")
    patch: int = Field(default=4, ge=1, description="the side of a patch, or of a place on the grid, in pixels")
    kernel: Literal[1, 3, 5, 7] = Field(default=3, description="local, conv: the side of a neighbourhood, in places")
    solved_for: int | None = Field(
        default=None, ge=1, description="for how many classes the widths are solved; not set: as many as the data has"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.mixing not in ("local", "conv"):
            self.refuse(("kernel",), f"{self.mixing} has no neighbourhood")
        return self

    def check_side(self, side: int) -> None:
        check_patches(self.name, side, self.patch)

    def check(self, image_size: int, num_classes: int | None = None) -> None:
        super().check(image_size, num_classes)
        if classes := self.solved_for or num_classes:
            solved(self, self.input_size or image_size, classes)

    def keep_body(self, num_classes: int) -> Self:
        """The config whose widths stay those for `num_classes` classes."""
        return self if self.solved_for else self.replace(solved_for=num_classes)


VERSION = 4
"""Raised when the numbers that this family computes change."""

PRESETS: dict[str, Plain] = {
    "tiny": {"mixing": "local", "budget": 120_000, "depth": 2},
    **{mixing: {"mixing": mixing} for mixing in get_args(Mixing)},
    **{f"{mixing}-flops": {"mixing": mixing, "match": "flops", "budget": 20_000_000} for mixing in get_args(Mixing)},
}

FIXED_SIZE = "its widths are solved for the size of the images"


@dataclass(frozen=True)
class Size:
    """A network's widths, parameters and FLOPs; `width` counts channels (of all places together where it is dense)."""

    width: int
    hidden: int
    parameters: int
    flops: int


def size(config: DialConfig, side: int, classes: int, width: int, hidden: int) -> Size:
    """Parameters and FLOPs at given widths, counted from the definition."""
    places, pixels, depth = (side // config.patch) ** 2, 3 * config.patch**2, config.depth
    if config.mixing == "dense":
        maps = [(1, 1, places * pixels, width), (1, 1, width, classes)]
        maps += depth * [(1, 1, width, hidden), (1, 1, hidden, width)]
        return _sum(width, hidden, maps)
    if config.mixing in GRID:
        copies, taps = (places if config.mixing == "local" else 1), config.kernel**2
        maps = [(copies, places, pixels, width), (1, 1, places * width, classes)]
        maps += depth * [(copies, places, taps * width, hidden), (copies, places, taps * hidden, width)]
        return _sum(width, hidden, maps)
    maps = [(1, places, pixels, width), (1, 1, width, classes)]
    maps += depth * [(1, places, width, hidden), (1, places, hidden, width)]
    if config.mixing == "mixer":
        maps += depth * 2 * [(1, width, places, places)]
    if config.mixing.startswith("attention"):
        maps += depth * 4 * [(1, places, width, width)]
    ordered = places * width if config.mixing == "attention" else 0
    unbiased = 3 * width * depth if config.mixing.startswith("attention") else 0
    products = depth * 2 * places**2 * width if config.mixing.startswith("attention") else 0
    return _sum(width, hidden, maps, ordered - unbiased, products)


def _sum(width: int, hidden: int, maps: list[tuple[int, int, int, int]], more: int = 0, products: int = 0) -> Size:
    """The size of linear maps with bias, given as (copies of the weights, places where it acts, inputs, outputs)."""
    parameters = sum(copies * (inputs + 1) * outputs for copies, _, inputs, outputs in maps)
    macs = sum(places * inputs * outputs for _, places, inputs, outputs in maps)
    return Size(width, hidden, parameters + more, 2 * (macs + products))


def solved(config: DialConfig, side: int, classes: int) -> Size:
    """The widths whose size is nearest to the budget; of those within the tolerance, the ones of the most even shape.

    Both measures are straight lines in the hidden width, so that for each width the best hidden width is known.
    An even shape is `hidden` = `width` on the grid and twice the width on patches.
    """
    even = 1 if config.mixing in GRID else 2
    step = HEADS if config.mixing.startswith("attention") else 1
    found: list[tuple[float, float, Size]] = []
    least = config.budget
    for width in range(step, 1 << 14, step):
        start, slope = _line(config, side, classes, width)
        if start + slope > config.budget * (1 + TOLERANCE):
            least = start + slope
            break
        near = max(1, round((config.budget - start) / slope))
        candidate = size(config, side, classes, width, near)
        error = abs(_measure(config, candidate) / config.budget - 1)
        found.append((max(error, TOLERANCE), abs(math.log(near / (even * width))), candidate))
    error, _, best = min(found, key=lambda one: one[:2], default=(math.inf, 0.0, None))
    if best is None or error > TOLERANCE:
        nearest = _measure(config, best) if best else least
        raise RequestError(
            f"{config.name} cannot have {config.budget:,} {config.match} at {side} pixels: the nearest are {nearest:,}.",
            f"a budget that whole widths meet within {TOLERANCE:.0%}",
            f"budget = {nearest}, or another patch",
        )
    return best


def _line(config: DialConfig, side: int, classes: int, width: int) -> tuple[int, int]:
    """Parameters or FLOPs (whichever is matched) at a width, as a line in the hidden width: its start and slope."""
    one, two = (_measure(config, size(config, side, classes, width, hidden)) for hidden in (1, 2))
    return 2 * one - two, two - one


def _measure(config: DialConfig, found: Size) -> int:
    return found.parameters if config.match == "parameters" else found.flops


def build(config: DialConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a config, for images of side `image_size`."""
    found = solved(config, image_size, config.solved_for or num_classes)
    from priorscope.models.classifier import Backbone
    from priorscope.models.networks.dial import network

    return Backbone(network(config, found, image_size, num_classes), taps(config), "head")


def taps(config: DialConfig) -> dict[str, Tap]:
    """The taps of a dial network: what each block's mixing of patches and its MLP add, and the stream after each block."""
    from priorscope.models.classifier import Tap

    layout: Layout = "NC" if config.mixing == "dense" else "NCHW" if config.mixing in GRID else "NLC"
    addresses = {"embed/out": Tap("embed", layout)}
    for i in range(config.depth):
        if config.mixing == "mixer":
            addresses[f"blocks/{i}/tokens"] = Tap(f"blocks.{i}.mix", layout)
        if config.mixing.startswith("attention"):
            addresses[f"blocks/{i}/attention"] = Tap(f"blocks.{i}.mix", layout)
        addresses |= {f"blocks/{i}/mlp": Tap(f"blocks.{i}.mlp", layout), f"blocks/{i}/out": Tap(f"blocks.{i}", layout)}
    return addresses | {"head/in": Tap("head", "NC", "input"), "logits": Tap("head", "NC")}
