"""Calibration of deciders whose confidence is planted: off by exactly a fifth, calibrated by construction, twice as sure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from priorscope.core.metrics import softmax
from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import Speaker, source_of
from priorscope.probes.calibration import measure_calibration

CLASSES = ("a", "b", "c", "d")
SURE = 0.8
"""The constant confidence of the first decider, which is right on 3 of 5."""


def _split(name: str, labels: NDArray[np.int64]) -> Split:
    pixels = np.full((len(labels), 2, 2, 3), len(name), np.uint8)
    return Split("made", name, ArrayPixels(pixels), labels, CLASSES)


def _drawn(name: str, n: int, seed: int) -> tuple[Split, NDArray[np.float64]]:
    """Labels drawn from the probabilities of random logits: whoever says these probabilities is calibrated."""
    draw = np.random.default_rng(seed)
    logits = 2 * draw.normal(size=(n, 4))
    labels = np.minimum((draw.random(n)[:, None] >= softmax(logits).cumsum(1)).sum(1), 3)
    return _split(name, labels.astype(np.int64)), logits


def known_answers() -> Iterator[Answer]:
    """An error of exactly 0.8 - 0.6; no sign where there is nothing; the temperature that was planted."""
    labels = np.where(np.arange(500) % 5 < 3, 0, 1).astype(np.int64)
    constant = np.log(np.array([SURE, *[(1 - SURE) / 3] * 3]))
    said = np.tile(constant, (500, 1))
    result = measure_calibration(Speaker({"test": said}), _split("test", labels), temperature=False)
    yield Answer(
        probe="calibration", question="sure of 0.8 and right on 0.6", expected=SURE - 0.6, got=result.value, within=1e-6
    )
    (val, own), (test, other) = _drawn("val", 2000, 0), _drawn("test", 2000, 1)
    for sharper, further in ((1.0, 1.0), (2.0, 3.0)):  # val alone says which temperature
        speaker = Speaker({"val": sharper * own, "test": further * other})
        found = measure_calibration(speaker, source_of({"val": val, "test": test}))
        error = found.scores[0].error
        yield Answer(
            probe="calibration",
            question=f"logits times {sharper:g}: called off (1: yes)",
            expected=float(sharper != 1),
            got=float(error.value > error.null_high),
            within=0,
        )
        yield Answer(
            probe="calibration",
            question=f"logits times {sharper:g}: the temperature that mends them",
            expected=sharper,
            got=found.temperature or 0.0,
            within=0.1 * sharper,
        )
