"""Scaling of runs that follow a law by construction, and of runs whose error has nothing to do with compute."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.environment import Environment, Learnt, NetworkRecord
from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import Speaker, planted_epoch
from priorscope.probes.scaling import Scaling, measure_scaling
from priorscope.recipe import Recipe

IMAGES, RUNS, EXPONENT, FLOOR = 20_000, 16, 0.3, 0.1
LEAST, MOST = 1e12, 1e16


def known_answers() -> Iterator[Answer]:
    """The exponent and the floor of 0.6 (C / 1e12)^-0.3 + 0.1; and no law of noise, nor of half a decade."""
    compute = np.geomspace(LEAST, MOST, RUNS)
    (fit,) = _asked(compute, _law(compute)).fits
    for question, expected, estimate, within in (
        ("exponent of a planted law", EXPONENT, fit.exponent, 0.01),
        ("floor of a planted law", FLOOR, fit.floor, 0.005),
    ):
        got = estimate.value if estimate is not None else 0.0
        yield Answer(probe="scaling", question=question, expected=expected, got=got, within=within)
    noise = np.random.default_rng(0).uniform(0.2, 0.6, RUNS)
    short = np.geomspace(LEAST, LEAST * 10**0.5, RUNS)
    for question, expected, result in (
        ("whether a planted law is identified", 1.0, _asked(compute, _law(compute))),
        ("whether noise is", 0.0, _asked(compute, noise)),
        ("whether half a decade of the planted law is", 0.0, _asked(short, _law(short))),
    ):
        yield Answer(probe="scaling", question=question, expected=expected, got=float(result.fits[0].identified), within=0)


def _law(compute: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.6 * (compute / LEAST) ** -EXPONENT + FLOOR


def _asked(compute: NDArray[np.float64], error: NDArray[np.float64]) -> Scaling:
    pixels = ArrayPixels(np.zeros((IMAGES, 1, 1, 3), np.uint8))
    split = Split("made", "test", pixels, np.zeros(IMAGES, np.int64), ("a", "b"))
    pairs = zip(compute.tolist(), error.tolist(), strict=True)
    return measure_scaling({str(at): _run(at, *pair) for at, pair in enumerate(pairs)}, split, resamples=100)


def _run(number: int, compute: float, error: float) -> Any:
    """A finished run that took this much compute, and is wrong on this many images."""
    recipe = Recipe.of({"data": {"source": "shapetex"}, "model": {"name": "mlp/tiny", "width": number + 1}})
    wrong = np.arange(IMAGES) < round(error * IMAGES)
    return SimpleNamespace(
        recipe=recipe,
        history=[planted_epoch()],
        environment=Environment(
            key="made",
            data=Learnt(source="made", train=1),
            model=NetworkRecord(image_size=1, num_classes=2, parameters=number + 1),
            images_seen=1,
            flops=round(compute),
        ),
        evidence=Speaker({"test": np.stack([~wrong, wrong], 1).astype(np.float64)}),
    )
