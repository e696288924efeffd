"""The operations of an augmentation as plain data, one class each.

Defaults are torchvision's where it has the operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from priorscope.core.config import Config, Number

Chance = Annotated[Number, Field(ge=0, le=1)]


class Op(Config):
    """Base of every operation. `p` is the chance that it happens to a picture."""

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


class ResizedCrop(Op):
    """Cuts out a random share of the area (`scale`) at a random width-to-height ratio, and resizes it.

    As in torchvision and FFCV: ten tries to find a window that fits, then a central one.
    """

    op: Literal["resized-crop"] = "resized-crop"
    scale: tuple[Number, Number] = (0.08, 1.0)
    ratio: tuple[Number, Number] = (3 / 4, 4 / 3)

    @model_validator(mode="after")
    def _ordered(self) -> ResizedCrop:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("scale: two shares of the area, 0 < low <= high <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError("ratio: two ratios of width to height, 0 < low <= high")
        return self


AnyOp = Flip | PadCrop | ResizedCrop

OPS: Mapping[str, type[Op]] = {"flip": Flip, "pad-crop": PadCrop, "resized-crop": ResizedCrop}
