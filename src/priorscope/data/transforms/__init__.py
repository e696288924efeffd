"""What can be taken away from a picture: its colour, texture, outline, parts, place of parts, or one end of its spectrum.

Every transform works on pixels in [0, 1] at the data set's own size, before any resize, so that every network sees the same
picture. Sizes are shares of the picture, never numbers of pixels: a patch means the same at 32 and at 224. What is drawn at
random is a pure function of (seed, transform, the picture's position in its split).

The names that begin with `z-` are those of the "zooming in on MLPs" study, as its code defines them, faults included; what is
wrong with each stands in docs/texture-shape.md. This module names transforms only; torch is imported when one is applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from priorscope.core.errors import RequestError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from priorscope.core.contracts import Statistics


@dataclass(frozen=True)
class Transform:
    """One way to take something away.

    `levels` are its strengths from weak to strong, of which `usual` is the one that stands for it in a single number;
    `strength` is what they count. `donors` says that each picture borrows from one of another class. `fault` says what is wrong
    with a transform of an earlier study.
    """

    name: str
    part: str
    levels: tuple[float, ...] = ()
    usual: float | None = None
    strength: str = ""
    donors: bool = False
    fault: str = ""

    def at(self) -> tuple[float | None, ...]:
        """Every strength of the transform, from weak to strong; a single None if it has only one way to act."""
        return self.levels or (None,)


Z_SIDE = 8
"""Pixels a side of the squares that "zooming in on MLPs" moves or covers."""

_SHARES = (0.125, 0.25, 0.5, 0.75)
_CYCLES = (1.0, 2.0, 4.0, 8.0)

TRANSFORMS: Mapping[str, Transform] = {
    one.name: one
    for one in (
        Transform("grayscale", "colour"),
        Transform("histogram", "colour", donors=True),
        Transform("edges", "outlines"),
        Transform("silhouette", "outlines"),
        Transform("low-pass", "frequencies", _CYCLES[::-1], 4.0, "cycles a picture, kept below"),
        Transform("high-pass", "frequencies", _CYCLES, 4.0, "cycles a picture, kept above"),
        Transform("phase-swap", "frequencies", (0.5, 1.0), 1.0, "share of the other's amplitude", donors=True),
        Transform("quilting", "patches", (16.0, 8.0, 4.0), 8.0, "patches a side", donors=True),
        Transform("shuffle", "patches", (2.0, 4.0, 8.0), 4.0, "patches a side"),
        Transform("occlusion", "masks", _SHARES, 0.5, "share covered"),
        Transform("blackening", "masks", _SHARES, 0.5, "share of pixels"),
        Transform(
            "z-grayscale",
            "colour",
            fault="grey is mixed after the channels were normalised apart, so that the picture is not grey",
        ),
        Transform(
            "z-edges",
            "outlines",
            fault="the picture is fed past the normalisation, its scale is set by the frame that is erased afterwards, and a "
            "flat picture divides 0 by 0 (here: no edges)",
        ),
        Transform("z-shuffle", "patches", fault="patches have 8 pixels whatever the picture's size, and a draw may move none"),
        Transform(
            "z-occlusion",
            "masks",
            fault="squares overlap, so that 50 % asked covers 38 % at 32 pixels, they have 8 pixels whatever the picture's "
            "size, and what covers is the data set's mean colour",
        ),
        Transform(
            "z-blackening",
            "masks",
            fault="each channel is set apart, to the mean and not to black, so that pixels change colour",
        ),
    )
}
"""Every transform by name."""

USUAL = tuple(name for name in TRANSFORMS if not name.startswith("z-"))
Z = tuple(name for name in TRANSFORMS if name.startswith("z-"))


def transform_named(name: str) -> Transform:
    """The transform of a name, or an error with the nearest one."""
    if name not in TRANSFORMS:
        raise unknown_name("transform", name, TRANSFORMS)
    return TRANSFORMS[name]


def apply(
    name: str,
    images: Tensor,
    index: NDArray[np.int64],
    *,
    level: float | None = None,
    seed: int = 0,
    statistics: Statistics | None = None,
    donors: Tensor | None = None,
) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] after a transform; the ones given stay as they are.

    `index` is each picture's position in its split: it names what is drawn for it. `statistics` are those of the data, which
    masks fill with and the z-transforms normalise by. `donors` are as many pictures of the same size.
    """
    from priorscope.data.transforms.draws import Scene

    transform = transform_named(name)
    if not (images.ndim == 4 and images.shape[1] == 3 and images.is_floating_point() and len(index) == len(images)):
        raise RequestError(
            f"The pictures came as {images.dtype} of shape {tuple(images.shape)}, with {len(index)} positions.",
            "floats (N, 3, H, W) in [0, 1], and the position of each",
            "images / 255, np.arange(len(images))",
        )
    if transform.donors and (donors is None or donors.shape != images.shape):
        raise RequestError(
            f"{name} borrows from other pictures and got {None if donors is None else tuple(donors.shape)}.",
            f"donors of shape {tuple(images.shape)}",
            "donors=images[other_class(labels, index, seed)]",
        )
    part: Any = import_module(f"priorscope.data.transforms.{transform.part}")
    scene = Scene.of(name, index, seed, statistics, donors)
    strength = transform.usual if level is None else float(level)
    return getattr(part, name.replace("-", "_"))(images, strength, scene)
