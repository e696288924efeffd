"""Similarity of linear layers: a turned or scaled copy is the same to CKA; those of other pixels have nothing in common.

On pictures of noise the two halves are independent, so that the unbiased CKA of what they hold has mean 0. The biased one,
averaged over batches of this size, is 0.20.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import SIDE, reader
from priorscope.probes.similarity import measure_similarity

IMAGES, WIDTH = 1024, 48


def known_answers() -> Iterator[Answer]:
    """One layer of four networks: as it is, turned, scaled, and of the other half of the pixels."""
    draw = np.random.default_rng(0)
    half = 3 * SIDE * SIDE // 2
    weights = np.concatenate([draw.normal(size=(WIDTH, half)), np.zeros((WIDTH, half))], 1)
    turn = np.linalg.qr(draw.normal(size=(WIDTH, WIDTH)))[0]
    pixels = draw.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    split = Split("noise", "test", ArrayPixels(pixels), (np.arange(IMAGES) % 2).astype(np.int64), ("a", "b"))
    networks = {
        "one": reader(weights),
        "turned": reader(turn @ weights),
        "scaled": reader(1000 * weights),
        "other": reader(weights[:, ::-1].copy()),
    }
    result = measure_similarity(networks, split, images=None, batch=128, taps=["1"], twins=False, depth=False)
    truths = (("itself, turned", 1.0, 1e-4), ("itself, scaled", 1.0, 1e-4), ("one of other pixels", 0.0, 0.03))
    for at, (who, expected, within) in enumerate(truths, start=1):
        yield Answer(
            probe="similarity",
            question=f"CKA of a layer with {who}",
            expected=expected,
            got=float(result.cka[0, at]),
            within=within,
        )
