"""Augmentation as plain data: a list of operations with their parameters, or the name of a preset.

What happens to a picture is a pure function of (seed, epoch, index of the picture): every random number is a hash of these and
of the operation's place in the list. Nothing here imports torch or numba, so recipes and plans read it at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field

from priorscope.core.config import Config
from priorscope.core.errors import unknown_name
from priorscope.data.augment.ops import OPS, AnyOp, Flip, PadCrop, ResizedCrop


VERSION = 1
"""Of the pixels and orders that augmentation and loader give; raised when they change."""


def _op(value: object) -> object:
    """One operation from a name or a table, checked by its own class, so that an error names the nearest valid key."""
    table: Mapping[str, Any]
    if isinstance(value, str):
        table = {"op": value}
    elif isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
    else:
        return value
    name = str(table.get("op", ""))
    if name not in OPS:
        raise unknown_name("augmentation operation", name, OPS, "docs/augmentation.md")
    return OPS[name].parse(table, f"augmentation {name!r}")


def _ops(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return tuple(_op(item) for item in cast("list[object]", value))
    return value


class Augment(Config):
    """What may happen to a picture: operations in order."""

    ops: Annotated[tuple[Annotated[AnyOp, Field(discriminator="op")], ...], BeforeValidator(_ops)] = ()
    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Side of the pictures that come out; not set: the side of those that go in."""


PRESETS: Mapping[str, Augment] = {
    "none": Augment(),
    "flip": Augment(ops=(Flip(),)),
    "flip-crop": Augment(ops=(PadCrop(), Flip())),
    "rrc": Augment(ops=(ResizedCrop(), Flip())),
}


def augment_config(augment: str | Mapping[str, Any] | Augment | None) -> Augment:
    """The checked augmentation, from a preset's name, a table or a config; None means none."""
    if augment is None:
        return PRESETS["none"]
    if isinstance(augment, Augment):
        return augment
    if isinstance(augment, str):
        if augment not in PRESETS:
            raise unknown_name("augmentation preset", augment, PRESETS, "docs/augmentation.md")
        return PRESETS[augment]
    return Augment.parse(augment, "augment")
