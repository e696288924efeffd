"""Invariance of a network that sees nothing, which minds nothing, and of one that answers at random, which minds everything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import blind, erratic
from priorscope.probes.invariance import measure_invariance

SIDE, IMAGES, CLASSES = 16, 60, 3


def known_answers() -> Iterator[Answer]:
    """How often the answer stays when noise is shifted by an eighth of its side."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    split = Split("noise", "test", ArrayPixels(pixels), (np.arange(IMAGES) % CLASSES).astype(np.int64), ("a", "b", "c"))
    for who, network, expected, within in (
        ("sees nothing", blind(SIDE, CLASSES), 1.0, 0.0),
        ("answers at random", erratic(SIDE, CLASSES), 1 / CLASSES, 0.1),
    ):
        result = measure_invariance(network, split, wave_images=4, depths=1, units=1)
        yield Answer(
            probe="invariance",
            question=f"how often the answer of a network that {who} stays when pictures move",
            expected=expected,
            got=result.value,
            within=within,
        )
