"""Readouts of features that tell the classes apart in a line, and of noise, which tells nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import SIDE, lit_noise, reader, source_of
from priorscope.probes.generalisation import measure_generalisation

IMAGES = 200


def known_answers() -> Iterator[Answer]:
    """Every readout right on all, or on one half within three standard errors of a coin."""
    network = reader(np.random.default_rng(2).normal(size=(16, 3 * SIDE * SIDE)) / 10)
    for told, expected, within in ((True, 1.0, 0.02), (False, 0.5, 3 * 0.5 / IMAGES**0.5)):
        source = source_of({"train": lit_noise("train", 0, told, IMAGES), "test": lit_noise("test", 1, told, IMAGES)})
        result = measure_generalisation(network, source, taps=["1"], shots=())
        for readout in result.readouts:
            yield Answer(
                probe="generalisation",
                question=f"{readout} on features that {'tell' if told else 'do not tell'} the classes apart",
                expected=expected,
                got=result.of("made", readout=readout).value,
                within=within,
            )
