"""Texture and shape: a decider by colour must lose grey pictures and keep shuffled ones, a decider by place the reverse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import by_colour, by_place
from priorscope.probes.texture_shape import TextureShape, measure_texture_shape

SIDE, IMAGES = 24, 90


def _world() -> Split:
    """Class k is bright in channel k, in the k-th third of the picture, and dark elsewhere."""
    labels = (np.arange(IMAGES) % 3).astype(np.int64)
    pictures = np.random.default_rng(0).integers(0, 40, (IMAGES, SIDE, SIDE, 3), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[:, label * SIDE // 3 : (label + 1) * SIDE // 3, label] = 220
    return Split("made", "test", ArrayPixels(pictures), labels, ("red", "green", "blue"))


def _left(result: TextureShape, transform: str) -> float:
    at = next(at for at, one in enumerate(result.conditions) if one.transform == transform)
    return float(result.right[at].mean())


def known_answers() -> Iterator[Answer]:
    """What each decider keeps; three equal logits of a grey picture are not an answer."""
    asked = ["grayscale", "shuffle"]
    colour = measure_texture_shape(by_colour(SIDE), _world(), transforms=asked, curves=False)
    place = measure_texture_shape(by_place(SIDE), _world(), transforms=asked, curves=False)
    for who, result, transform, expected, within in (
        ("colour", colour, "grayscale", 0.0, 0.0),
        ("colour", colour, "shuffle", 1.0, 0.0),
        ("place", place, "grayscale", 1.0, 0.0),
        ("place", place, "shuffle", 1 / 3, 0.2),
    ):
        yield Answer(
            probe="texture_shape",
            question=f"share that a decider by {who} keeps after {transform}",
            expected=expected,
            got=_left(result, transform),
            within=within,
        )
