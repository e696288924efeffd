"""Carries an augmentation out on a CPU: bytes of chosen pictures in, float planes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from priorscope.core.rng import seed_of
from priorscope.data.augment import Augment
from priorscope.data.augment.plan import plan
from priorscope.data.kernels.draw import WARP, draw
from priorscope.data.kernels.warp import render

if TYPE_CHECKING:
    from priorscope.data.split import Pixels

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def flat_bytes(array: Bytes) -> tuple[Bytes, int] | None:
    """The memory of an array of pictures as one row of bytes, and the step from picture to picture.

    None where a picture does not lie in one piece.
    """
    height, width = array.shape[1], array.shape[2]
    size, step = height * width * 3, array.strides[0]
    if array.strides[1:] != (width * 3, 3, 1) or (len(array) > 1 and step < size):
        return None
    length = (len(array) - 1) * step + size
    return np.lib.stride_tricks.as_strided(array, (length,), (1,), writeable=False), step


class CpuRenderer:
    """Renders chosen pictures of a split. Thread-safe: it holds no state that a call changes."""

    def __init__(self, pixels: Pixels, augment: Augment, seed: int, side: int) -> None:
        self.pixels = pixels
        self.side = side
        self._seed = seed
        self._table = plan(augment)
        self._fill = np.zeros(3, np.float32)
        array = pixels.array
        self._array = array if array is None else np.asarray(array)
        self._flat = None if self._array is None else flat_bytes(self._array)

    def render(self, epoch: int, index: Ints, out: Floats) -> None:
        """Fills `out` (n, 3, side, side) with the pictures at `index`, as they are in an epoch."""
        flat, offsets, sizes = self._source(index)
        warps = np.empty((len(index), WARP))
        draw(self._table, np.uint64(seed_of(self._seed, "augment", epoch)), index, sizes, self.side, warps)
        render(flat, offsets, sizes, warps, self._fill, out)

    def _source(self, index: Ints) -> tuple[Bytes, Ints, Ints]:
        """(bytes, where each picture starts, its height and width)."""
        sizes = np.empty((len(index), 2), np.int64)
        if self._array is not None and self._flat is not None:
            flat, step = self._flat
            sizes[:] = self._array.shape[1:3]
            return flat, index * step, sizes
        pictures = [self.pixels.read(int(i)) for i in index]
        offsets = np.zeros(len(index), np.int64)
        for i, picture in enumerate(pictures):
            sizes[i] = picture.shape[:2]
        offsets[1:] = np.cumsum(sizes.prod(1) * 3)[:-1]
        return np.concatenate([picture.ravel() for picture in pictures]), offsets, sizes
