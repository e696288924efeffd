"""Warps in closed form: what no preset asks of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from priorscope.data.kernels.codes import AREA, FILL, NEAREST
from priorscope.data.kernels.warp import render


def through(picture: NDArray[np.uint8], warp: list[float], interpolation: int, side: int) -> NDArray[np.float32]:
    """A picture (H, W, 3) through a warp, as (side, side, 3) of levels."""
    sizes = np.array([picture.shape[:2]], np.int64)
    out = np.full((1, 3, side, side), np.nan, np.float32)
    fill = np.full(3, 0.5, np.float32)
    render(picture.ravel(), np.zeros(1, np.int64), sizes, np.array([warp], np.float64), interpolation, FILL, fill, out)
    return out[0].transpose(1, 2, 0) * 255


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_nearest_pixels_of_a_crop_that_is_doubled_are_squares(mirrored: bool) -> None:
    """A checkerboard of 4 x 4 within a frame of 9s, of which nothing is seen."""
    board = np.indices((4, 4)).sum(0) % 2 * np.array([255, 100, 10])[:, None, None]
    picture = np.full((6, 7, 3), 9, np.uint8)
    picture[1:5, 2:6] = board.transpose(1, 2, 0)
    warp = [*((-0.5, 0, 6) if mirrored else (0.5, 0, 2)), *(0, 0.5, 1), *(2, 1, 6, 5)]
    wanted = np.kron(board.transpose(1, 2, 0), np.ones((2, 2, 1)))
    np.testing.assert_allclose(through(picture, warp, NEAREST, 8), wanted[:, ::-1] if mirrored else wanted, atol=1e-4)


def test_a_picture_that_is_turned_and_halved_by_area_is_of_means() -> None:
    """By 90 degrees, so that an output pixel covers four pixels whole: x of the source is 8 - 2 y, and y is 2 x."""
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    means = picture.reshape(4, 2, 4, 2, 3).mean((1, 3))
    found = through(picture, [0, -2, 8, 2, 0, 0, 0, 0, 8, 8], AREA, 4)
    np.testing.assert_allclose(found, np.rot90(means), atol=1e-3)
