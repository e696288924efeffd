"""Which part of a network learns when it begins with trained weights, and how fast: the head alone, or lower parts slower."""

from __future__ import annotations

from posixpath import commonpath
from typing import TYPE_CHECKING, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from priorscope.core.config import Config, Number
from priorscope.core.errors import RequestError
from priorscope.core.schema import nothing_required
from priorscope.models import FAMILIES
from priorscope.models.depth import block_taps

if TYPE_CHECKING:
    from torch import nn

    from priorscope.models.classifier import Classifier


VERSION = 3
"""Version of the mapping from parameters to blocks (mode layers); raised when it changes."""


class FinetuneConfig(Config):
    """Which part learns at which rate.

    head: only the head learns; everything else is frozen, and in evaluation mode (no dropout, batch statistics as they are).
    body: everything below the head learns at `factor` times the learning rate.
    layers: each block learns at `factor` times the rate of the block above it; the head, and norms after the last block, at
    the full rate; what comes before the first block at the lowest.
    """

    model_config = ConfigDict(json_schema_extra=nothing_required)

    mode: Literal["head", "body", "layers"] = Field(
        description="head: only the head learns; body: what is below it learns slower; "
        "layers: each block slower than the one above",
        json_schema_extra={"enum": ["full", "head", "body", "layers"]},
    )
    factor: Number | None = Field(
        default=None,
        gt=0,
        le=1,
        description="body: the rate below the head, as a share of the head's; layers: a block's, as a share of the next one's",
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
    """Freezes the body if only the head is to learn."""
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


def blocks(model: Classifier) -> list[list[str]]:
    """The modules of each numbered block, by their paths and none inside another; blocks in the order of execution.

    A block is the one module that holds all its taps. If there is none, or it holds another block too, the block is the
    modules of the taps.
    """
    taps: dict[str, list[str]] = {}
    for block, addresses in block_taps(model.taps()).items():
        for tap in map(model.tap, addresses):
            if tap.at == "output" and tap.module:
                taps.setdefault(block, []).append(f"network.{tap.module}")
    others = {block: [path for one, paths in taps.items() if one != block for path in paths] for block in taps}
    return [_modules(own, others[block]) for block, own in taps.items()]


def _modules(own: list[str], others: list[str]) -> list[str]:
    common = commonpath([path.replace(".", "/") for path in own]).replace("/", ".")
    if common != "network" and not any(_inside(path, common) for path in others):
        return [common]
    return [path for path in dict.fromkeys(own) if not any(path != one and _inside(path, one) for one in own)]


def _inside(path: str, module: str) -> bool:
    return f"{path}.".startswith(f"{module}.")


def layers(model: Classifier) -> dict[str, int]:
    """The layer of each parameter, by its name: 0 before the first block, then the blocks from 1, at the top the head.

    A parameter outside every block (a norm, a merging of patches) counts with the block registered before it; after the last
    block, or if its family says that it is read there (`READ_LAST`), with the head.
    """
    found = blocks(model)
    if not found:
        raise RequestError(
            f"{model.name} has no numbered blocks, so its layers have no order.",
            "a model with taps like blocks/0/out",
            'finetune = {mode = "body", factor = 0.1}',
        )
    layer_in = {path: number for number, paths in enumerate(found, start=1) for path in paths}
    family = FAMILIES.load(model.config.family) if model.config else None
    at_head = head_names(model) | {f"network.{name}" for name in getattr(family, "READ_LAST", ())}
    layer_of: dict[str, int] = {}
    last = 0
    for name, _ in model.named_parameters():
        inside = [path for path in layer_in if _inside(name, path)]
        last = layer_in[max(inside, key=len)] if inside else last
        after = name in at_head or (not inside and last == len(found))
        layer_of[name] = len(found) + 1 if after else last
    return layer_of
