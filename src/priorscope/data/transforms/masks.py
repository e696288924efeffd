"""Parts taken away: covered squares, and lost pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.data.transforms import Z_SIDE
from priorscope.data.transforms.draws import Scene, below, bits, orders

CELLS = 4
"""Patches a side that cover a picture: a patch is a sixteenth of it."""
Z_SHARE = 0.5

Bools = NDArray[np.bool_]


def occlusion(images: Tensor, level: float | None, scene: Scene) -> Tensor:
    """Squares of a quarter of the side, covering the share asked for to the pixel, filled with the data's mean colour.

    They lie on a grid, so that none overlaps another, and the grid is moved by a random offset, around the picture's ends: on
    a fixed grid a network whose own patches end where the squares do would lose whole patches and keep whole patches.
    """
    share = _share("occlusion", level)
    height, width = images.shape[-2:]
    covered = _squares(scene, height, width, round(share * height * width))
    return _filled(images, covered[:, None], scene.known("occlusion").mean)


def _squares(scene: Scene, height: int, width: int, pixels: int) -> Bools:
    """(N, H, W): `pixels` of every picture, square by square in a random order; the last square may be cut."""
    rows, columns = ((np.arange(side) * CELLS) // side for side in (height, width))
    cell = rows[:, None] * CELLS + columns[None, :]
    within = np.empty_like(cell)
    for number in range(CELLS**2):
        inside = cell == number
        within[inside] = np.arange(inside.sum())
    order = orders(scene.keys, CELLS**2)
    sizes = np.bincount(cell.ravel(), minlength=CELLS**2)[order]
    first = np.empty_like(order)
    np.put_along_axis(first, order, sizes.cumsum(1) - sizes, axis=1)
    covered = first[:, cell] + within < pixels
    down, right = (below(scene.keys, side, CELLS**2 + draw) for draw, side in enumerate((height, width)))
    y = (np.arange(height)[None, :] + down[:, None]) % height
    x = (np.arange(width)[None, :] + right[:, None]) % width
    return covered[np.arange(len(covered))[:, None, None], y[:, :, None], x[:, None, :]]


def blackening(images: Tensor, level: float | None, scene: Scene) -> Tensor:
    """Whole pixels set to black, exactly the share asked for, spread over the picture at random."""
    share = _share("blackening", level)
    n, _, height, width = images.shape
    black = np.zeros((n, height * width), np.bool_)
    count = round(share * height * width)
    if count:
        drawn = (bits(scene.keys, height * width) >> np.uint64(32)).astype(np.uint32)
        np.put_along_axis(black, np.argpartition(drawn, count - 1, axis=1)[:, :count], True, axis=1)
    return _filled(images, black.reshape(n, 1, height, width), (0.0, 0.0, 0.0))


def z_occlusion(images: Tensor, _level: float | None, scene: Scene) -> Tensor:
    """Half as many 8 x 8 squares as would tile the picture, anywhere and over each other, in the data's mean colour."""
    n, _, height, width = images.shape
    if min(height, width) < Z_SIDE:
        raise _too_small("z-occlusion", height, width)
    count = int(height * width * Z_SHARE / Z_SIDE**2)
    covered = np.zeros((n, height, width), np.bool_)
    y, x = np.arange(height)[None, :], np.arange(width)[None, :]
    for square in range(count):
        top = below(scene.keys, height - Z_SIDE + 1, 2 * square)[:, None]
        left = below(scene.keys, width - Z_SIDE + 1, 2 * square + 1)[:, None]
        covered |= ((y >= top) & (y < top + Z_SIDE))[:, :, None] & ((x >= left) & (x < left + Z_SIDE))[:, None, :]
    return _filled(images, covered[:, None], scene.known("z-occlusion").mean)


def z_blackening(images: Tensor, _level: float | None, scene: Scene) -> Tensor:
    """Every channel of every pixel set to the data's mean with probability one half, on its own."""
    known: Statistics = scene.known("z-blackening")
    lost = (bits(scene.keys, images[0].numel()) >> np.uint64(63)).astype(np.bool_)
    return _filled(images, lost.reshape(images.shape), known.mean)


def _filled(images: Tensor, mask: Bools, colour: tuple[float, ...]) -> Tensor:
    return torch.where(torch.from_numpy(mask).to(images.device), images.new_tensor(colour).view(1, 3, 1, 1), images)


def _share(name: str, level: float | None) -> float:
    if level is None or not 0 <= level <= 1:
        raise RequestError(f"{name} of {level} was asked for.", "a share of the picture, 0 to 1", "level=0.5")
    return level


def _too_small(name: str, height: int, width: int) -> RequestError:
    return RequestError(
        f"{name} moves squares of 8 pixels, and the pictures have {height} x {width}.", "8 or more", "occlusion"
    )
