"""Weather: snow, frost, fog, brightness, and spatters of water or mud."""

from __future__ import annotations

import numpy as np

from priorscope.data.corruptions.fields import (
    GREY,
    Bytes,
    Draws,
    Floats,
    as_bytes,
    normal,
    plasma,
    smeared,
    smoothed,
    uniform,
    unit,
    zoomed,
)
from priorscope.data.corruptions.liquid import water

CONSTANTS = {
    "snow": (
        (
            (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
        ),
        (
            (0.1, 0.3, 3.0, 0.5, 10.0, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12.0, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12.0, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12.0, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12.0, 12.0, 0.55),
        ),
    ),
    "frost": (
        ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "fog": (
        ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    ),
    "brightness": (((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)), ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))),
    "spatter": (
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1.0, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        (
            (0.65, 0.3, 4.0, 0.69, 0.6, 0),
            (0.65, 0.3, 3.0, 0.68, 0.6, 0),
            (0.65, 0.3, 2.0, 0.68, 0.5, 0),
            (0.65, 0.3, 1.0, 0.65, 1.5, 1),
            (0.67, 0.4, 1.0, 0.65, 1.5, 1),
        ),
    ),
}
"""For each kind its five severities, first for pictures up to 64 pixels, then for larger ones."""

ICE = np.array([0.78, 0.88, 1.0])
WATER = np.array([175, 238, 238]) / 255
MUD = np.array([63, 42, 20]) / 255


def snow(pictures: Bytes, constants: tuple[float, ...], draws: Draws) -> Bytes:
    """Flakes from thresholded noise, enlarged and smeared downwards, on a whitened picture; once more turned upside down."""
    mean, deviation, zoom, threshold, radius, sigma, kept = constants
    flakes = zoomed(mean + deviation * normal(draws, pictures.shape[1:3]), zoom)
    flakes = as_bytes(np.where(flakes < threshold, 0.0, flakes))[..., None]
    layer = unit(smeared(flakes, radius, sigma, np.array([draw.uniform(-135, -45) for draw in draws])))
    x = unit(pictures)
    white = np.maximum(x, (x @ GREY)[..., None] * 1.5 + 0.5)
    return as_bytes(kept * x + (1 - kept) * white + layer + np.rot90(layer, 2, axes=(1, 2)))


def frost(pictures: Bytes, constants: tuple[float, float], draws: Draws) -> Bytes:
    """The picture and a layer of ice, each with its weight. The ice is ours: see `ice`."""
    keep, cover = constants
    return as_bytes(keep * unit(pictures) + cover * ice(draws, pictures.shape[1]))


def ice(draws: Draws, side: int) -> Floats:
    """Frost on a pane, procedurally: ridges between clouds as crystals' edges, and needles in three directions.

    In the place of the published photographs. The mean brightness is about 0.5, the colour a bluish white.
    """
    ridges = sum((1 - np.abs(2 * plasma(draws, side, decay) - 1)) ** 4 * share for decay, share in ((1.8, 0.6), (1.4, 0.4)))
    seeds = as_bytes((uniform(draws, (side, side)) < 0.06).astype(np.float64))[..., None]
    reach = max(3.0, side / 10)
    angles = np.array([draw.uniform(0, 180) for draw in draws])
    needles = sum(unit(smeared(seeds, reach, reach, angles + turn))[..., 0] for turn in (0, 60, 120, 180, 240, 300))
    return np.clip(0.25 + 0.6 * ridges + 0.5 * needles, 0, 1)[..., None] * ICE


def fog(pictures: Bytes, constants: tuple[float, float], draws: Draws) -> Bytes:
    """Clouds are laid over the picture, which is darkened so that its brightest value stays."""
    thickness, decay = constants
    x = unit(pictures)
    most = x.max((1, 2, 3), keepdims=True)
    return as_bytes((x + thickness * plasma(draws, pictures.shape[1], decay)[..., None]) * most / (most + thickness))


def brightness(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """HSV's value is raised by a constant: all channels are scaled alike, and black becomes grey."""
    x = unit(pictures)
    value = x.max(3, keepdims=True)
    raised = np.minimum(value + constants[0], 1)
    return as_bytes(np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised))


def spatter(pictures: Bytes, constants: tuple[float, ...], draws: Draws) -> Bytes:
    """Drops where smoothed noise is high: of water that glistens at its edge, or of mud that hides what is behind."""
    mean, deviation, sigma, threshold, strength, muddy = constants
    layer = smoothed(mean + deviation * normal(draws, pictures.shape[1:3]), sigma)
    layer = np.where(layer < threshold, 0.0, layer)
    x = unit(pictures)
    if not muddy:
        return as_bytes(x + strength * water(layer)[..., None] * WATER)
    cover = smoothed((layer > threshold).astype(np.float64), strength)[..., None]
    cover = np.where(cover < 0.8, 0.0, cover)
    return as_bytes(x * (1 - cover) + cover * MUD)
