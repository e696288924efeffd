"""Augmentation as plain data: a list of operations with their parameters, or the name of a preset.

What happens to a picture is a pure function of (seed, epoch, index of the picture): every random number is a hash of these and
of the operation's place in the list. Nothing here imports torch or numba, so recipes and plans read it at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from priorscope.core.config import Config, Plain
from priorscope.core.errors import unknown_name
from priorscope.data.augment.ops import (
    Affine,
    AnyOp,
    Autocontrast,
    Choose,
    Colour,
    Cutmix,
    EachChecked,
    Equalize,
    Flip,
    Jitter,
    Mixup,
    OrName,
    PadCrop,
    Permute,
    RandAugment,
    ResizedCrop,
    Rotate,
    Sharpness,
    SingleOp,
    TrivialAugment,
)


class Augment(Config):
    """What may happen to a picture, and how it is sampled; in a file it may be a preset's name."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ops: Annotated[tuple[Annotated[AnyOp, Field(discriminator="op"), OrName], ...], EachChecked] = ()
    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Side of the pictures that come out; not set: the side of those that go in."""
    interpolation: Literal["bilinear", "area", "nearest"] = "bilinear"
    """`area` averages over what an output pixel covers (OpenCV's INTER_AREA, which FFCV uses)."""
    fill: Colour | Literal["edge", "reflect"] = (0.0, 0.0, 0.0)
    """What lies outside a picture: a colour, its edge repeated, or its mirror image."""

    @model_validator(mode="after")
    def _one_permutation(self) -> Augment:
        if sum(isinstance(op, Permute) for op in self.ops) > 1:
            raise ValueError("ops: at most one permute, since two in a row are one")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Plain:
        return {"anyOf": [{"enum": list(PRESETS)}, handler(schema)]}

    @property
    def version(self) -> int:
        """The version of the numbers that the operations draw: 1, and one more for each change of an operation's numbers."""
        ops = [inner for op in self.ops for inner in (op, *(op.ops if isinstance(op, Choose) else ()))]
        return 1 + sum(op.VERSION - 1 for op in ops)


def _perceiver_menu(*more: SingleOp) -> Choose:
    """One to four operations of the menu that the Perceiver predecessor trained with."""
    return Choose(
        k=(1, 4),
        ops=(
            Jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2),
            Flip(),
            Flip(axis="vertical"),
            Rotate(degrees=(0, 180)),
            Affine(degrees=(-15, 15), translate=(0.2, 0.2), scale=(0.8, 1.2), shear=(-15, 15)),
            Equalize(),
            Autocontrast(),
            Sharpness(factor=2),
            *more,
        ),
    )


PRESETS: Mapping[str, Augment] = {
    "none": Augment(),
    "flip": Augment(ops=(Flip(),)),
    "flip-crop": Augment(ops=(PadCrop(), Flip())),
    "rrc": Augment(ops=(ResizedCrop(), Flip())),
    "rrc-area": Augment(ops=(ResizedCrop(), Flip()), interpolation="area"),
    "randaugment": Augment(ops=(PadCrop(), Flip(), RandAugment())),
    "trivialaugment": Augment(ops=(PadCrop(), Flip(), TrivialAugment())),
    "perceiver": Augment(ops=(_perceiver_menu(),)),
    "perceiver-crop": Augment(ops=(_perceiver_menu(ResizedCrop(scale=(0.5, 1))),)),
    "flip-jitter": Augment(ops=(Flip(), Jitter(brightness=0.5, hue=0.25))),
    "mixup": Augment(ops=(PadCrop(), Flip(), Mixup())),
    "cutmix": Augment(ops=(PadCrop(), Flip(), Cutmix())),
    "permuted": Augment(ops=(Flip(), Permute())),
}


def augment_config(augment: str | Mapping[str, Any] | Augment | None, *, at: str = "") -> Augment:
    """The checked augmentation, from a preset's name, a table or a config; None means none.

    `at` is the dotted key under which it is typed.
    """
    if augment is None:
        return PRESETS["none"]
    if isinstance(augment, Augment):
        return augment
    if isinstance(augment, str):
        if augment not in PRESETS:
            raise unknown_name("preset of augmentation", augment, PRESETS)
        return PRESETS[augment]
    return Augment.parse(augment, "augment", at)
