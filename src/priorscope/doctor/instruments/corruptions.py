"""Corruptions: what a blind network loses (nothing), how many pictures are scored, and noise of the published strength."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.data.corruptions import corrupted
from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import blind, by_noise
from priorscope.probes.corruptions import measure_corruptions

SIDE, IMAGES = 32, 30
NOISE = {1: 0.04, 3: 0.08, 5: 0.10}
"""Standard deviations of CIFAR-10-C's Gaussian noise, of pixels in [0, 1]."""


def known_answers() -> Iterator[Answer]:
    """A network that always says class 0, one that tells noise; and the deviation of grey pictures under Gaussian noise."""
    grey = np.full((IMAGES, SIDE, SIDE, 3), 128, np.uint8)
    split = Split("grey", "test", ArrayPixels(grey), np.arange(IMAGES) % 3, ("a", "b", "c"))
    result = measure_corruptions(blind(SIDE, 3), split, kinds=["contrast", "pixelate"], images=None)
    yield Answer(
        probe="corruptions", question="error of a network that sees nothing", expected=2 / 3, got=result.value, within=1e-9
    )
    yield Answer(
        probe="corruptions",
        question="pictures scored: 2 kinds at 5 severities",
        expected=2 * 5 * IMAGES,
        got=result.right.size,
        within=0,
    )
    noticed = measure_corruptions(by_noise(SIDE), split, kinds=["gaussian_noise"], images=None)
    yield Answer(
        probe="corruptions",
        question="share right of the class that a network gives pictures with noise",
        expected=1,
        got=float(noticed.right[..., split.labels == 1].mean()),
        within=0,
    )
    for severity, deviation in NOISE.items():
        noisy = corrupted(split, "gaussian_noise", severity)
        pixels = np.stack([noisy[i][0] for i in range(IMAGES)]) / 255
        yield Answer(
            probe="corruptions",
            question=f"deviation of Gaussian noise at severity {severity}",
            expected=deviation,
            got=float(pixels.std()),
            within=0.02 * deviation,
        )
