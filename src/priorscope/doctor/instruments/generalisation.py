"""Readouts of features that tell the classes apart in a line, and of noise, which tells nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import SIDE, reader, source_of
from priorscope.probes.generalisation import measure_generalisation

IMAGES = 200


def _part(name: str, seed: int, told: bool) -> Split:
    """Noise, and where the class is told, one channel that is lit."""
    labels = (np.arange(IMAGES) % 2).astype(np.int64)
    pixels = np.random.default_rng(seed).integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    if told:
        pixels[np.arange(IMAGES), :, :, labels] = 255
    return Split("made", name, ArrayPixels(pixels), labels, ("a", "b"))


def known_answers() -> Iterator[Answer]:
    """Every readout right on all, or on one half within three standard errors of a coin."""
    network = reader(np.random.default_rng(2).normal(size=(16, 3 * SIDE * SIDE)) / 10)
    for told, expected, within in ((True, 1.0, 0.02), (False, 0.5, 3 * 0.5 / IMAGES**0.5)):
        source = source_of({"train": _part("train", 0, told), "test": _part("test", 1, told)})
        result = measure_generalisation(network, source, taps=["1"], shots=())
        for readout in result.readouts:
            yield Answer(
                probe="generalisation",
                question=f"{readout} on features that {'tell' if told else 'do not tell'} the classes apart",
                expected=expected,
                got=result.of("made", readout=readout).value,
                within=within,
            )
