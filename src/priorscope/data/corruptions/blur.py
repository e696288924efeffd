"""Blur: out of focus, frosted glass, motion, zoom, and a plain Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from priorscope.core.compiled import njit
from priorscope.data.corruptions.fields import Bytes, Draws, Floats, as_bytes, smeared, smoothed, unit, zoomed

CONSTANTS = {
    "defocus_blur": (
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    ),
    "glass_blur": (
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": (
        ((6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)),
        ((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0)),
    ),
    "zoom_blur": (
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "gaussian_blur": (((0.4,), (0.6,), (0.7,), (0.8,), (1.0,)), ((1.0,), (2.0,), (3.0,), (4.0,), (6.0,))),
}
"""For each kind its five severities, first for pictures up to 64 pixels, then for larger ones."""


def defocus_blur(pictures: Bytes, constants: tuple[float, float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """The mean over a disc whose edge is softened, borders mirrored."""
    import torch
    from torch.nn import functional as F

    kernel = torch.from_numpy(disc(*constants))
    count, side, channels = len(pictures), pictures.shape[1], 3
    planes = torch.from_numpy(unit(pictures)).permute(0, 3, 1, 2).reshape(-1, 1, side, side)
    reach = len(kernel) // 2
    blurred = F.conv2d(F.pad(planes, (reach,) * 4, mode="reflect"), kernel[None, None])
    return as_bytes(blurred.view(count, channels, side, side).permute(0, 2, 3, 1).numpy())


def disc(radius: float, softness: float) -> Floats:
    """A disc of weights that sum to 1, smoothed by a Gaussian of 3 pixels (5 beyond radius 8), as small as it can be."""
    from scipy import ndimage

    most = max(8, int(radius))
    at = np.arange(-most, most + 1)
    flat = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    reach = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    tap = np.exp(-(reach**2) / (2 * softness**2))
    soft = flat / flat.sum()
    for axis in (0, 1):
        soft = ndimage.correlate1d(soft, tap / tap.sum(), axis=axis, mode="mirror")
    used = int(np.abs(at[(soft > 1e-12).any(0)]).max())
    return soft[most - used : most + used + 1, most - used : most + used + 1].copy()


def glass_blur(pictures: Bytes, constants: tuple[float, int, int], draws: Draws) -> Bytes:
    """Each pixel becomes one of its neighbours, between two Gaussians."""
    sigma, reach, times = constants[0], int(constants[1]), int(constants[2])
    side = pictures.shape[1]
    offsets = np.stack([draw.integers(-reach, reach, (times, side, side, 2)) for draw in draws])
    shuffled = as_bytes(smoothed(unit(pictures), sigma))
    _shuffle(shuffled, offsets, reach)
    return as_bytes(smoothed(unit(shuffled), sigma))


@njit(nogil=True)
def _shuffle(pictures: Bytes, offsets: NDArray[np.int64], reach: int) -> None:  # pragma: no cover  compiled
    count, times, side = len(pictures), offsets.shape[1], pictures.shape[1]
    for n in range(count):
        for time in range(times):
            for h in range(side - reach, reach, -1):
                for w in range(side - reach, reach, -1):
                    y, x = h + offsets[n, time, h - 1, w - 1, 1], w + offsets[n, time, h - 1, w - 1, 0]
                    for c in range(3):
                        pictures[n, h, w, c] = pictures[n, y, x, c]


def motion_blur(pictures: Bytes, constants: tuple[float, float], draws: Draws) -> Bytes:
    """A smear at an angle between -45 and 45 degrees."""
    return smeared(pictures, *constants, np.array([draw.uniform(-45, 45) for draw in draws]))


def zoom_blur(pictures: Bytes, constants: tuple[float, float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """The mean of the picture and of its middle, enlarged more and more."""
    x = unit(pictures)
    factors = np.arange(1, *constants)
    return as_bytes((x + sum(zoomed(x, float(factor)) for factor in factors)) / (len(factors) + 1))


def gaussian_blur(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """A Gaussian, borders repeated."""
    return as_bytes(smoothed(unit(pictures), constants[0]))
