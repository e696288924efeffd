"""How the power of pictures lies over frequencies, and how far that is from real pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOOR = 1 / 12 / 255**2
"""The power that rounding to 8 bits puts at every frequency: below it nothing is the picture's own."""


def radial_power(images: NDArray[np.uint8]) -> Floats:
    """(pictures, frequencies) log10 of the mean power at 1, 2, ... side / 2 periods a picture, over directions and colours.

    Pictures come as uint8 (N, H, W, 3). Scaled so that white noise has the same power at every side: its variance. The
    mean colour, frequency 0, is left out.
    """
    side = images.shape[1]
    spectrum = np.fft.fft2(images.astype(np.float64) / 255, axes=(1, 2), norm="ortho")
    power = (np.abs(spectrum) ** 2).mean(-1)
    along = np.fft.fftfreq(side, 1 / side)
    ring = np.rint(np.hypot(along[:, None], along[None, :])).astype(np.int64).ravel()
    inside = (ring >= 1) & (ring <= side // 2)
    counts = np.bincount(ring[inside], minlength=side // 2 + 1)[1:]
    sums = np.stack([np.bincount(ring[inside], picture.ravel()[inside], side // 2 + 1)[1:] for picture in power])
    return np.log10(np.maximum(sums / counts, FLOOR))


def spectrum_distance(powers: Floats, real: Floats) -> Floats:
    """How many decibels the power of each picture is away from the real pictures' mean, root mean square over frequencies."""
    return 10 * np.sqrt(np.mean((powers - real.mean(0)) ** 2, axis=-1))
