"""What happens to finished pictures: rectangles are filled, and pictures are mixed with their partners."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numba import types
from numpy.typing import NDArray

from priorscope.core.compiled import njit
from priorscope.data.kernels.codes import COLUMNS
from priorscope.data.kernels.hashing import mixed, noise_key, picture_key

F = cast("Callable[[float], float]", np.float32)
U = cast("Callable[[int], int]", np.uint64)
Images = NDArray[np.float32]


@njit(nogil=True)
def _noise(key: int, number: int) -> float:
    """A number in [0, 1) for one value of one box (24 bits: all that a float32 holds)."""
    return F(mixed(key + U(number)) >> U(40)) * F(1.0 / 16777216.0)


@njit(
    types.void(types.float32[:, :, :, ::1], types.float64[:, :, ::1], types.float64[:, ::1], types.uint64, types.int64[::1]),
    nogil=True,
)
def erase(images: Images, boxes: NDArray[np.float64], table: NDArray[np.float64], key: int, index: NDArray[np.int64]) -> None:
    """Fills each picture's `boxes` (n, most, 6), in place, with the colour at the end of the box's row of the table."""
    side = images.shape[2]
    for i in range(len(images)):
        for box in boxes[i]:
            left, top, right, bottom = int(box[0]), int(box[1]), int(box[2]), int(box[3])
            if right <= left or bottom <= top:
                continue
            fill = table[int(box[4]), COLUMNS - 3 :]
            noisy = np.isnan(fill[0])
            noise = noise_key(picture_key(key, index[i]), int(box[5]))
            for c in range(3):
                for y in range(top, bottom):
                    for x in range(left, right):
                        number = (c * side + y) * side + x
                        images[i, c, y, x] = _noise(noise, number) if noisy else F(fill[c])


@njit(
    types.void(
        types.float32[:, :, :, ::1],
        types.int64[::1],
        types.float64[:, ::1],
        types.int64[::1],
        types.float32[:, :, ::1],
    ),
    nogil=True,
)
def mix(images: Images, partner: NDArray[np.int64], mixes: NDArray[np.float64], order: NDArray[np.int64], out: Images) -> None:
    """Fills `out` (n, 3, pixels) with pictures mixed with their partners, the pixels in a fixed order where one is given.

    `mixes` (n, 5): the share of the picture itself, then the rectangle of the partner (left, top, right, bottom). An empty
    rectangle blends the whole; `order` of length 0 leaves the pixels in place.
    """
    side = images.shape[2]
    for i in range(len(out)):
        own, other = images[i], images[partner[i]]
        share = F(mixes[i, 0])
        left, top, right, bottom = int(mixes[i, 1]), int(mixes[i, 2]), int(mixes[i, 3]), int(mixes[i, 4])
        pasted = right > left and bottom > top
        for c in range(3):
            for k in range(side * side):
                at = order[k] if len(order) else k
                y, x = at // side, at % side
                if pasted:
                    inside = left <= x < right and top <= y < bottom
                    out[i, c, k] = other[c, y, x] if inside else own[c, y, x]
                else:
                    out[i, c, k] = share * own[c, y, x] + (F(1.0) - share) * other[c, y, x]
