"""What several corruptions are made of: bytes and floats, smoothing, smears, clouds and zooms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from priorscope.core.compiled import njit

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Draws = Sequence[np.random.Generator]
"""A random stream for each picture."""

GREY = np.array([0.299, 0.587, 0.114])
"""The luminance of red, green and blue (ITU-R BT.601)."""


def unit(pictures: Bytes) -> Floats:
    """Bytes as numbers from 0 to 1."""
    return pictures / 255.0


def as_bytes(values: Floats) -> Bytes:
    """Numbers from 0 to 1 as bytes, cut off as published; a millionth keeps whole levels from falling by rounding."""
    return (np.clip(values, 0, 1) * 255 + 1e-6).astype(np.uint8)


def smoothed(fields: Floats, sigma: float, *, mode: str = "nearest", truncate: float = 4.0) -> Floats:
    """A Gaussian over height and width, which are axes 1 and 2."""
    from scipy import ndimage

    return ndimage.gaussian_filter(fields, sigma, axes=(1, 2), mode=mode, truncate=truncate)


def normal(draws: Draws, shape: tuple[int, ...]) -> Floats:
    """Standard normal numbers, each picture's from its own stream."""
    return np.stack([draw.standard_normal(shape) for draw in draws])


def uniform(draws: Draws, shape: tuple[int, ...]) -> Floats:
    """Numbers in [0, 1), each picture's from its own stream."""
    return np.stack([draw.random(shape) for draw in draws])


def plasma(draws: Draws, side: int, decay: float) -> Floats:
    """Clouds from 0 to 1 by the diamond-square algorithm on a torus; each halving divides the wobble by `decay`."""
    size = 1 << max(1, (side - 1).bit_length())
    pending = uniform(draws, (size * size - 1,)) * 2 - 1
    field = np.zeros((len(draws), size, size))
    step, wobble, used = size, 100.0, 0

    def settled(total: Floats) -> Floats:
        nonlocal used
        count = total[0].size
        own = pending[:, used : used + count].reshape(total.shape)
        used += count
        return total / 4 + wobble * wobble * own

    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        total = corners + np.roll(corners, -1, 1)
        field[:, half::step, half::step] = settled(total + np.roll(total, -1, 2))
        corners, middles = field[:, ::step, ::step], field[:, half::step, half::step]
        top = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 2)
        left = middles + np.roll(middles, 1, 2) + corners + np.roll(corners, -1, 1)
        field[:, ::step, half::step] = settled(top)
        field[:, half::step, ::step] = settled(left)
        step, wobble = half, wobble / decay
    field -= field.min((1, 2), keepdims=True)
    return (field / field.max((1, 2), keepdims=True))[:, :side, :side]


def zoomed(fields: Floats, factor: float) -> Floats:
    """The middle of square fields (N, side, side, ...), enlarged to their size: linear, corner to corner as SciPy's zoom."""
    weights = _zoom_weights(fields.shape[1], factor)
    rows = np.tensordot(fields, weights, axes=(1, 1))  # the new height comes last
    both = np.tensordot(rows, weights, axes=(1, 1))
    return np.moveaxis(both, (-2, -1), (1, 2))


def _zoom_weights(side: int, factor: float) -> Floats:
    """(side, side): how much of each old row is in each new one."""
    inner = int(np.ceil(side / factor))
    first, outer = (side - inner) // 2, round(inner * factor)
    trim = (outer - side) // 2
    at = np.arange(trim, trim + side) * ((inner - 1) / max(outer - 1, 1))
    low = np.minimum(at.astype(np.int64), inner - 1)
    part = at - low
    weights = np.zeros((side, side))
    np.add.at(weights, (np.arange(side), first + low), 1 - part)
    np.add.at(weights, (np.arange(side), first + np.minimum(low + 1, inner - 1)), part)
    return weights


def smeared(pictures: Bytes, radius: float, sigma: float, degrees: Floats) -> Bytes:
    """Motion blur as ImageMagick defines it: half a Gaussian of 2 radius + 1 whole steps along an angle, edges repeated."""
    width = 2 * int(np.ceil(radius)) + 1
    kernel = np.exp(-0.5 * (np.arange(width) / sigma) ** 2)
    angles = np.deg2rad(degrees)[:, None]
    steps = np.arange(width)
    across = np.ceil(steps * np.cos(angles) - 0.5).astype(np.int64)
    down = np.ceil(steps * np.sin(angles) - 0.5).astype(np.int64)
    out = np.empty(pictures.shape, np.float64)
    _smear(pictures, kernel / kernel.sum(), down, across, out)
    return (out + 0.5).astype(np.uint8)


@njit(nogil=True)
def _smear(
    pictures: Bytes, kernel: Floats, down: NDArray[np.int64], across: NDArray[np.int64], out: Floats
) -> None:  # pragma: no cover  compiled
    count, height, width, channels = pictures.shape
    for n in range(count):
        for h in range(height):
            for w in range(width):
                for c in range(channels):
                    total = 0.0
                    for i in range(len(kernel)):
                        y = min(max(h + down[n, i], 0), height - 1)
                        x = min(max(w + across[n, i], 0), width - 1)
                        total += kernel[i] * pictures[n, y, x, c]
                    out[n, h, w, c] = total
