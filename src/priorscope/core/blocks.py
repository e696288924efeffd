"""Pictures in blocks: as many at once as memory holds, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Blocks are counted at this side; of larger pictures as many pixels make a block."""


def at_once(side: int, most: int) -> int:
    """How many pictures make a block: `most` up to side 32, and as many pixels of larger ones."""
    return max(1, min(most, most * SIDE**2 // side**2))


def blocks(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    """The rows from 0 to `count`, so many at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
