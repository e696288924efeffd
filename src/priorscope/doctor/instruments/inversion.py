"""Inversion of a layer that only turns its input, from which all comes back, and of one that sees the upper half alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import SIDE, grey_world, reader
from priorscope.probes.inversion import measure_inversion

IMAGES = 4
HOW: dict[str, Any] = {"form": "pixels", "prior": 0.0, "steps": 400, "lr": 0.05}


def known_answers() -> Iterator[Answer]:
    """No error of what is turned; of what is not seen the distance from the mean colour, at which a search begins."""
    split, pixels = grey_world(64), 3 * SIDE * SIDE
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(pixels, pixels)))[0]
    whole = measure_inversion(reader(turn), split, taps=["1"], images=IMAGES, **HOW)
    yield Answer(
        probe="inversion",
        question="image error from a layer that turns its input",
        expected=0.0,
        got=whole.value,
        within=2 / 255,
    )
    upper = np.diag((np.arange(pixels) % SIDE**2 < SIDE**2 // 2).astype(np.float64))
    half = measure_inversion(reader(upper), split, taps=["1"], images=IMAGES, **HOW)
    unseen = half.real[:, SIDE // 2 :] / 255 - np.array(split.statistics.mean)
    yield Answer(
        probe="inversion",
        question="image error from a layer that sees the upper half alone",
        expected=float(np.sqrt((unseen**2).mean((1, 2, 3)) / 2).mean()),
        got=half.value,
        within=0.005,
    )
