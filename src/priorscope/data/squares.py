"""Pictures as central squares of one size, whatever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from priorscope.data.decode import squared
from priorscope.data.encoded import EncodedPixels
from priorscope.data.split import Bytes, ChosenPixels, Pixels


@dataclass(frozen=True)
class SquarePixels:
    """Other pictures as central squares of one size."""

    of: Pixels
    res: int

    @property
    def size(self) -> tuple[int, int]:
        return self.res, self.res

    @property
    def array(self) -> Bytes | None:
        return None

    def __len__(self) -> int:
        return len(self.of)

    def read(self, index: int) -> Bytes:
        return squared(self.of.read(index), self.res)


def at_size(pixels: Pixels, res: int) -> Pixels:
    """Pictures as central squares of one size: encoded ones are scaled while they are decoded."""
    if isinstance(pixels, ChosenPixels):
        return cast("Pixels", ChosenPixels(at_size(pixels.of, res), pixels.chosen))
    if isinstance(pixels, EncodedPixels):
        return pixels.at_size(res)
    return pixels if pixels.size == (res, res) else SquarePixels(pixels, res)
