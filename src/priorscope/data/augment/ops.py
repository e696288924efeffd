"""The operations of an augmentation as plain data, one class each.

Names and defaults are torchvision's where it has the operation. Whatever their order in the list, a picture is first warped
(all geometric operations as one map), then coloured, erased, mixed and permuted; within each of these the list's order holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast, get_args

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from priorscope.core.config import Config, Number, Plain, is_table
from priorscope.core.errors import unknown_name

Chance = Annotated[Number, Field(ge=0, le=1)]
Factor = Annotated[Number, Field(ge=0)]
Colour = tuple[Chance, Chance, Chance]
"""Red, green, blue in [0, 1]."""


def _ordered(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    if not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"{name}: two numbers, {low:g} <= low <= high <= {high:g}")


def _checked(value: object) -> object:
    """One operation from a name or a table, checked by its own class, so that an error names the nearest valid key."""
    if isinstance(value, str):
        value = {"op": value}
    if not is_table(value):
        return value
    name = str(value.get("op", ""))
    if name not in OPS:
        raise unknown_name("picture operation", name, OPS)
    return OPS[name].parse(value, f"augmentation {name!r}")


def _all_checked(value: object) -> object:
    return tuple(_checked(item) for item in cast("list[object]", value)) if isinstance(value, (list, tuple)) else value


EachChecked = BeforeValidator(_all_checked)
"""Lets a list of operations hold names, tables and operations."""


class OrName:
    """The JSON schema of an operation that may be its name alone."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Plain:
        tables = handler(schema)
        return {"anyOf": [{"enum": list(tables["discriminator"]["mapping"])}, tables]}


class Op(Config):
    """Base of every operation. `p` is the chance that it happens to a picture."""

    VERSION: ClassVar[int] = 1
    """The version of the numbers that the operation draws; raised when they change."""

    p: Chance = 1.0


class Flip(Op):
    """Mirrors left and right (`horizontal`) or top and bottom (`vertical`)."""

    op: Literal["flip"] = "flip"
    p: Chance = 0.5
    axis: Literal["horizontal", "vertical"] = "horizontal"


class PadCrop(Op):
    """Pads by `pad` pixels on every side and cuts the picture's own size out of it, anywhere."""

    op: Literal["pad-crop"] = "pad-crop"
    pad: Annotated[int, Field(ge=1, le=512)] = 4


class CentreCrop(Op):
    """Cuts out the central square, `share` of the shorter side wide, and resizes it."""

    op: Literal["centre-crop"] = "centre-crop"
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0


class ResizedCrop(Op):
    """Cuts out a random share of the area (`scale`) at a random width-to-height ratio, and resizes it.

    As in torchvision and FFCV: ten tries to find a window that fits, then a central one.
    """

    op: Literal["resized-crop"] = "resized-crop"
    scale: tuple[Number, Number] = (0.08, 1.0)
    ratio: tuple[Number, Number] = (3 / 4, 4 / 3)

    @model_validator(mode="after")
    def _check(self) -> ResizedCrop:
        _ordered("scale", self.scale, 1e-6, 1)
        _ordered("ratio", self.ratio, 1e-3, 1e3)
        return self


class Rotate(Op):
    """Turns about the centre, counter-clockwise by `degrees[0]` to `degrees[1]`."""

    op: Literal["rotate"] = "rotate"
    degrees: tuple[Number, Number] = (-30, 30)

    @model_validator(mode="after")
    def _check(self) -> Rotate:
        _ordered("degrees", self.degrees, -360, 360)
        return self


class Affine(Op):
    """Turns (clockwise), shifts by up to a share of the side, scales and shears about the centre (RandomAffine).

    `translate` holds a share for x and one for y, `shear` degrees along x.
    """

    op: Literal["affine"] = "affine"
    degrees: tuple[Number, Number] = (0, 0)
    translate: tuple[Chance, Chance] = (0, 0)
    scale: tuple[Number, Number] = (1, 1)
    shear: tuple[Number, Number] = (0, 0)

    @model_validator(mode="after")
    def _check(self) -> Affine:
        _ordered("degrees", self.degrees, -360, 360)
        _ordered("scale", self.scale, 1e-3, 1e3)
        _ordered("shear", self.shear, -85, 85)
        return self


class Jitter(Op):
    """Changes brightness, contrast and saturation by factors from [1 - x, 1 + x], and hue by up to x turns, in random order."""

    op: Literal["jitter"] = "jitter"
    brightness: Factor = 0.0
    contrast: Factor = 0.0
    saturation: Factor = 0.0
    hue: Annotated[Number, Field(ge=0, le=0.5)] = 0.0


class Grayscale(Op):
    """Replaces all channels by their luminance (0.299, 0.587, 0.114)."""

    op: Literal["grayscale"] = "grayscale"
    p: Chance = 0.1


class Equalize(Op):
    """Makes the histogram of each channel flat."""

    op: Literal["equalize"] = "equalize"
    p: Chance = 0.5


class Autocontrast(Op):
    """Stretches each channel to the full range."""

    op: Literal["autocontrast"] = "autocontrast"
    p: Chance = 0.5


class Sharpness(Op):
    """Blends away from (`factor` > 1) or towards (< 1) a smoothed picture."""

    op: Literal["sharpness"] = "sharpness"
    factor: Factor = 2.0
    p: Chance = 0.5


class Posterize(Op):
    """Keeps the highest `bits` bits of each channel."""

    op: Literal["posterize"] = "posterize"
    bits: Annotated[int, Field(ge=0, le=8)] = 4
    p: Chance = 0.5


class Solarize(Op):
    """Inverts what is at least as bright as `threshold` (in [0, 1])."""

    op: Literal["solarize"] = "solarize"
    threshold: Chance = 0.5
    p: Chance = 0.5


class Invert(Op):
    """Turns every value into its complement."""

    op: Literal["invert"] = "invert"
    p: Chance = 0.5


class RandAugment(Op):
    """`n` operations of torchvision's RandAugment space, drawn with replacement, at one magnitude of 31."""

    op: Literal["randaugment"] = "randaugment"
    n: Annotated[int, Field(ge=1, le=8)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


class TrivialAugment(Op):
    """One operation of torchvision's TrivialAugmentWide space, at a random one of 31 magnitudes."""

    op: Literal["trivialaugment"] = "trivialaugment"


class Cutout(Op):
    """Fills a square of `size` pixels whose centre lies anywhere in the picture; it may stick out (DeVries and Taylor 2017).

    `fill` is a colour in [0, 1], or "noise".
    """

    op: Literal["cutout"] = "cutout"
    size: Annotated[int, Field(ge=1, le=4096)] = 8
    fill: Colour | Literal["noise"] = (0.0, 0.0, 0.0)


class Erase(Op):
    """Fills a random rectangle inside the picture (random erasing, Zhong et al. 2017), as torchvision's RandomErasing.

    `ratio` is that of height to width, as there; `fill` is a colour in [0, 1], or "noise".
    """

    VERSION = 3

    op: Literal["erase"] = "erase"
    p: Chance = 0.5
    scale: tuple[Number, Number] = (0.02, 0.33)
    ratio: tuple[Number, Number] = (0.3, 3.3)
    fill: Colour | Literal["noise"] = (0.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _check(self) -> Erase:
        _ordered("scale", self.scale, 1e-6, 1)
        _ordered("ratio", self.ratio, 1e-3, 1e3)
        return self


SingleOp = (
    Flip
    | PadCrop
    | CentreCrop
    | ResizedCrop
    | Rotate
    | Affine
    | Jitter
    | Grayscale
    | Equalize
    | Autocontrast
    | Sharpness
    | Posterize
    | Solarize
    | Invert
    | Cutout
    | Erase
)


class Mixup(Op):
    """Blends a picture with its partner by lambda ~ Beta(alpha, alpha), labels alike (Zhang et al. 2017).

    Partners are neighbours in the epoch's order. `per = "picture"` draws lambda for each picture, `per = "batch"` once a batch.
    A picture is mixed at most once: the first mixing operation of the list that happens to it.
    """

    op: Literal["mixup"] = "mixup"
    alpha: Annotated[Number, Field(gt=0)] = 0.2
    per: Literal["picture", "batch"] = "picture"


class Cutmix(Op):
    """Pastes a rectangle of the partner; labels are shared by area (Yun et al. 2019). Otherwise as mixup."""

    op: Literal["cutmix"] = "cutmix"
    alpha: Annotated[Number, Field(gt=0)] = 1.0
    per: Literal["picture", "batch"] = "picture"


class Permute(Op):
    """Puts the pixels into one fixed random order, the same for every picture; after everything else."""

    op: Literal["permute"] = "permute"
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> Permute:
        if self.p != 1:
            raise ValueError("p: 1, since the order is the same for every picture")
        return self


class Choose(Op):
    """Does `k` of the listed operations, drawn with replacement, in the order drawn. A pair draws k from low to high."""

    op: Literal["choose"] = "choose"
    k: Annotated[int, Field(ge=1, le=16)] | tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(le=16)]] = 1
    ops: Annotated[tuple[Annotated[SingleOp, Field(discriminator="op"), OrName], ...], Field(min_length=1), EachChecked]

    @model_validator(mode="after")
    def _check(self) -> Choose:
        if isinstance(self.k, tuple) and not self.k[0] <= self.k[1]:
            raise ValueError("k: a number of operations, or two, low <= high")
        return self


AnyOp = SingleOp | RandAugment | TrivialAugment | Mixup | Cutmix | Permute | Choose

OPS: Mapping[str, type[Op]] = {str(op.model_fields["op"].default): op for op in get_args(AnyOp)}
"""Every operation by its name."""
