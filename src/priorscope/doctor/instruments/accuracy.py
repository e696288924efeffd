"""Accuracy of a decider that is wrong on one class of four, of a network in several batches, and of intervals that solve their
own equation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.data.split import ArrayPixels, Ints, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import Decider, blind
from priorscope.evidence import BATCH
from priorscope.probes.accuracy import measure_accuracy

Z = 1.959963984540054
"""The 97.5th percentile of a normal distribution."""


def _wrong_on_c(split: Split) -> Ints:
    return np.where(split.labels == 2, 0, split.labels)


def known_answers() -> Iterator[Answer]:
    """Three of four classes right; one of four in batches of which the last is not whole.

    Wilson's ends p solve (share - p)^2 = z^2 p (1 - p) / n.
    """
    labels = (np.arange(202) % 4).astype(np.int64)
    split = Split("made", "test", ArrayPixels(np.zeros((202, 4, 4, 3), np.uint8)), labels, ("a", "b", "c", "d"))
    result = measure_accuracy(Decider(_wrong_on_c), split, k=2)
    right = float((labels != 2).mean())
    yield Answer(probe="accuracy", question="top-1 of a decider wrong on one class", expected=right, got=result.value, within=0)
    many = np.arange(BATCH + 202) % 4 // 3  # three of four are of class 0, which is all that the network says
    batches = Split("made", "test", ArrayPixels(np.zeros((len(many), 4, 4, 3), np.uint8)), many, ("a", "b", "c", "d"))
    asked = measure_accuracy(blind(4, 4), batches, k=2)
    yield Answer(
        probe="accuracy",
        question="right answers of a network, the last partial batch's too",
        expected=float((many == 0).sum()),
        got=float(asked.correct.sum()),
        within=0,
    )
    yield Answer(
        probe="accuracy",
        question="images of class c taken for a",
        expected=float((labels == 2).sum()),
        got=float(result.confusion[2, 0]),
        within=0,
    )
    for end in ("low", "high"):
        p = float(getattr(result.interval, end))
        off = (right - p) ** 2 - Z**2 * p * (1 - p) / 202
        yield Answer(probe="accuracy", question=f"Wilson's equation at its {end} end", expected=0, got=off, within=1e-9)
