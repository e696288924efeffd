"""Where in a picture the numbers of an activation stand: its places, whatever the order of its axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Layout


def by_place(activation: Tensor, layout: Layout) -> Tensor:
    """(pictures, places, channels) from an activation of any layout; a vector is one place."""
    if layout == "any":
        layout = {2: "NC", 3: "NLC", 4: "NCHW"}.get(activation.ndim, "any")  # pyright: ignore[reportAssignmentType]
    if layout == "NC":
        return activation[:, None]
    if layout == "NCL":
        return activation.transpose(1, 2)
    if layout == "NCHW":
        return activation.flatten(2).transpose(1, 2)
    if layout == "NHWC":
        return activation.flatten(1, 2)
    if layout == "NLC":
        return activation
    raise RequestError(
        f"An activation of shape {tuple(activation.shape)} has no known places and channels.",
        "two, three or four axes: pictures x channels, pictures x tokens x channels, or pictures x channels x height x width",
        "choose another tap",
    )


def middle(places: int) -> int:
    """The middle place: of a square map the middle of its middle row, behind the class token where there is one."""
    for before in (0, 1):
        side = math.isqrt(places - before)
        if side > 1 and side**2 == places - before:
            return before + (side // 2) * side + side // 2
    return places // 2
