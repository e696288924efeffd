"""How drops of water glisten: bright along their edges on the side of the light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from priorscope.data.corruptions.fields import Floats

WEAK, STRONG = 50, 150
"""Gradients at which an edge continues, and at which one begins."""
FARTHEST = 20.0
LIGHT = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float64)
"""An embossing filter: light from the upper left."""


def water(layer: Floats) -> Floats:
    """The brightness of drops, from 0 to 1 in each picture, from the height of the liquid (N, side, side)."""
    drops = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    lit = np.stack([_lit(own) for own in drops])
    shine = drops * lit
    most = shine.max((1, 2), keepdims=True)
    return shine / np.where(most > 0, most, 1)


def _lit(drops: NDArray[np.uint8]) -> Floats:
    from scipy import ndimage

    edges = canny(drops)
    away = np.full(drops.shape, FARTHEST)
    if edges.any():
        away = np.minimum(np.asarray(ndimage.distance_transform_edt(~edges), np.float64), FARTHEST)
    flat = equalised(ndimage.uniform_filter(away, 3, mode="mirror").astype(np.uint8))
    embossed = np.clip(ndimage.correlate(flat.astype(np.float64), LIGHT, mode="mirror"), 0, 255)
    return ndimage.uniform_filter(embossed, 3, mode="mirror")


def canny(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Edges one pixel wide, from Sobel gradients measured as |gx| + |gy| (Canny 1986, in OpenCV's form)."""
    from scipy import ndimage

    gx, gy = (ndimage.sobel(grey.astype(np.float64), axis, mode="nearest") for axis in (1, 0))
    size = np.abs(gx) + np.abs(gy)
    around = np.pad(size, 1)

    def beside(dy: int, dx: int) -> Floats:
        return around[1 + dy : 1 + dy + size.shape[0], 1 + dx : 1 + dx + size.shape[1]]

    flat, steep = np.tan(np.pi / 8), np.tan(3 * np.pi / 8)
    across, along = np.abs(gx), np.abs(gy)
    horizontal, vertical = along < across * flat, along > across * steep
    same = (gx * gy) >= 0
    before = np.where(
        horizontal, beside(0, -1), np.where(vertical, beside(-1, 0), np.where(same, beside(-1, -1), beside(-1, 1)))
    )
    after = np.where(horizontal, beside(0, 1), np.where(vertical, beside(1, 0), np.where(same, beside(1, 1), beside(1, -1))))
    straight = horizontal | vertical
    crest = (size > WEAK) & (size > before) & np.where(straight, size >= after, size > after)
    begins = crest & (size > STRONG)
    return np.asarray(ndimage.binary_propagation(begins, np.ones((3, 3)), mask=crest), np.bool_)


def equalised(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Levels moved so that their histogram is flat; a picture of one level stays."""
    counts = np.bincount(grey.ravel(), minlength=256)
    lowest = counts[np.flatnonzero(counts)[0]]
    if lowest == grey.size:
        return grey
    up_to = np.cumsum(counts) - lowest
    return np.clip(np.round(up_to * (255 / (grey.size - lowest))), 0, 255).astype(np.uint8)[grey]
