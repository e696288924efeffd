"""What of a network learns when it begins with earlier weights, and how fast: the head alone, or less further down."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from priorscope.core.config import Config, Number
from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    from torch import nn

    from priorscope.models.classifier import Classifier


class FinetuneConfig(Config):
    """Which part learns at which rate.

    head: only the head learns; everything else is frozen, and in evaluation mode (no dropout, batch statistics as they are).
    body: everything below the head learns at `factor` times the learning rate.
    layers: each block learns at `factor` times the rate of the block above it; the head, and norms after the last block, at
    the full rate; what stands before the first block at the lowest.
    """

    mode: Literal["head", "body", "layers"] = Field(
        description="head: the head alone; body: all, below the head slower; layers: each block slower than the one above"
    )
    factor: Number | None = Field(
        default=None, gt=0, le=1, description="body, layers: what the rate of what is below is multiplied by"
    )

    @model_validator(mode="after")
    def _factor_where_it_is_read(self) -> Self:
        if (self.factor is None) != (self.mode == "head"):
            came = "without a factor" if self.factor is None else f"with factor = {self.factor:g}"
            raise RequestError(
                f"train.finetune.mode = {self.mode!r} came {came}.",
                "a factor for the modes body and layers, none for head",
                'finetune = {mode = "body", factor = 0.1}',
            )
        return self


def freeze(model: Classifier, config: FinetuneConfig | None) -> None:
    """Takes the body out of training where the head alone is to learn."""
    if config is None or config.mode != "head":
        return
    head = model.head
    model.requires_grad_(False)
    head.requires_grad_(True)


def trains_body(config: FinetuneConfig | None) -> bool:
    """Whether the network is in training mode at a step; with a frozen body nothing in it may behave as in training."""
    return config is None or config.mode != "head"


def rates(model: nn.Module, config: FinetuneConfig | None) -> dict[str, float]:
    """The share of the learning rate at which each parameter learns, by its name."""
    from priorscope.models.classifier import Classifier

    names = [name for name, _ in model.named_parameters()]
    if config is None or config.factor is None or not isinstance(model, Classifier):
        return dict.fromkeys(names, 1.0)
    if config.mode == "body":
        head = head_names(model)
        return {name: 1.0 if name in head else config.factor for name in names}
    layer_of = layers(model)
    top = max(layer_of.values())
    return {name: config.factor ** (top - layer) for name, layer in layer_of.items()}


def head_names(model: Classifier) -> set[str]:
    """The names of the head's parameters."""
    own = {id(p) for p in model.head.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in own}


BLOCK = re.compile(r"((?:stages/\d+/)?(?:blocks|layers)/\d+)(?:/|$)")


def layers(model: Classifier) -> dict[str, int]:
    """The layer of each parameter, by its name: 0 before the first block, then the blocks from 1, at the top the head.

    Blocks are known by their taps, in the order of execution. A parameter outside of every block (a norm, a merging of
    patches) counts with the block registered before it; after the last block, with the head.
    """
    block_of: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for address in model.taps():
        found, tap = BLOCK.match(address), model.tap(address)
        if found and tap.at == "output" and tap.module:
            block_of[f"network.{tap.module}."] = numbers.setdefault(found[1], len(numbers) + 1)
    if not numbers:
        raise RequestError(
            f"{model.name} has no numbered blocks, so its layers have no order.",
            "a model with taps like blocks/0/out",
            'finetune = {mode = "body", factor = 0.1}',
        )
    head, last = head_names(model), 0
    layer_of: dict[str, int] = {}
    for name, _ in model.named_parameters():
        inside = [prefix for prefix in block_of if name.startswith(prefix)]
        if inside:
            last = block_of[max(inside, key=len)]
        layer_of[name] = len(numbers) + 1 if name in head else last
    return _after_the_last(layer_of, len(numbers), block_of)


def _after_the_last(layer_of: dict[str, int], blocks: int, block_of: dict[str, int]) -> dict[str, int]:
    """Moves what stands after the last block up to the head."""
    outside = {name for name in layer_of if not any(name.startswith(prefix) for prefix in block_of)}
    return {name: blocks + 1 if name in outside and layer == blocks else layer for name, layer in layer_of.items()}
