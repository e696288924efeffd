"""Common corruptions: the 19 kinds of CIFAR-10-C and ImageNet-C at 5 severities (Hendrycks and Dietterich 2019,
arXiv 1903.12261), computed as they are needed instead of downloaded.

Pictures up to 64 pixels take the constants of CIFAR-10-C, larger ones those of ImageNet-C. What is drawn is a function of
(seed, kind, index of the picture): the same at every severity, so that severities differ in strength alone. Results are bytes,
cut off and not rounded, as in the published files.

Where ours differs from the published code: `frost` is procedural, because the published photographs of frost are not ours to
ship, and is named so in every result; `motion_blur` and `snow` follow ImageMagick's definition of the blur without it;
`spatter` and `elastic_transform` take exact distances and bilinear weights where OpenCV approximates them. The published
`glass_blur` means to swap neighbours and copies them (numpy hands it views); the data sets hold copies, and so does ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from priorscope.core.config import content_key
from priorscope.core.errors import RequestError, unknown_name

if TYPE_CHECKING:
    from priorscope.data.split import Pixels, Split

VERSION: Final = 1
SMALL: Final = 64
"""Up to this side the constants are those of CIFAR-10-C."""
SEVERITIES: Final = (1, 2, 3, 4, 5)
MOST_BYTES: Final = 2**29
"""Corrupted pictures that together are larger are computed one by one and not kept."""
BLOCK_BYTES: Final = 2**20

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Constants = tuple[float, ...]

MAIN: Final[Mapping[str, tuple[str, ...]]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The 15 kinds over which the mean is taken, by their groups."""
EXTRA: Final = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four kinds that are kept apart, for whoever tunes on corruptions."""
KINDS: Final = (*(kind for group in MAIN.values() for kind in group), *EXTRA)


def group_of(kind: str) -> str:
    """The group that a kind belongs to."""
    return next((group for group, kinds in MAIN.items() if kind in kinds), "extra")


def corrupted(split: Split, kind: str, severity: int, *, seed: int = 0, index: Ints | None = None) -> Split:
    """A split with every picture corrupted; `index` says where each stands in the whole, where the split is a part of one."""
    if kind not in KINDS:
        raise unknown_name("kind of corruption", kind, KINDS)
    if severity not in SEVERITIES:
        raise RequestError(f"Severity {severity} was asked for.", "1, 2, 3, 4 or 5", "severity = 3")
    places = np.arange(len(split)) if index is None else np.asarray(index, np.int64)
    if len(places) != len(split):
        raise RequestError(f"{len(places)} positions came with {len(split)} pictures.", "one each", "index=None")
    side = split.image_size
    pixels = CorruptedPixels(split.pixels, side, kind, severity, seed, places)
    made_from = [VERSION, split.fingerprint, kind, severity, seed, content_key(places.tolist())]
    name = f"{split.name}, {kind} {severity}"
    return replace(split, name=name, pixels=pixels, known_statistics=None, known_fingerprint=content_key(made_from))


@dataclass(frozen=True, eq=False)
class CorruptedPixels:
    """Pictures with one corruption: all at once where they are small together, else each when it is read."""

    of: Pixels
    side: int
    kind: str
    severity: int
    seed: int
    index: Ints

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def array(self) -> Bytes | None:
        if len(self) * self.side**2 * 3 > MOST_BYTES or (whole := self.of.array) is None:
            return None
        out = np.empty(whole.shape, np.uint8)
        step = max(1, BLOCK_BYTES // (3 * self.side**2))
        for start in range(0, len(self), step):
            rows = slice(start, start + step)
            out[rows] = corrupt(whole[rows], self.kind, self.severity, seed=self.seed, index=self.index[rows])
        return out

    def read(self, index: int) -> Bytes:
        if self.array is not None:
            return self.array[index]
        own = self.of.read(index)[None]
        return corrupt(own, self.kind, self.severity, seed=self.seed, index=self.index[index : index + 1])[0]


def corrupt(pictures: Bytes, kind: str, severity: int, *, seed: int = 0, index: Sequence[int] | Ints) -> Bytes:
    """Square pictures (N, side, side, 3) with one corruption; `index` names the random stream of each."""
    from priorscope.core.rng import stream
    from priorscope.data.corruptions import blur, digital, noise, weather

    side = pictures.shape[1]
    owner = {"noise": noise, "blur": blur, "weather": weather, "digital": digital}
    module = owner.get(group_of(kind)) or {"speckle_noise": noise, "gaussian_blur": blur, "spatter": weather}.get(kind, digital)
    constants: tuple[tuple[Constants, ...], tuple[Constants, ...]] = module.CONSTANTS[kind]
    draws = [stream(seed, "corruption", kind, int(i)) for i in index]
    return getattr(module, kind)(pictures, constants[0 if side <= SMALL else 1][severity - 1], draws)
