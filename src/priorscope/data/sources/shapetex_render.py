"""How a ShapeTex picture is drawn: outlines of equal area, fills of equal histogram, and the lookups that put them on pixels.

Every outline and every fill is drawn once, finely, into a table; a picture is two lookups (is the pixel inside? how bright is
the fill there?) at coordinates that are turned, scaled and shifted, and one weighted sum of colours. Two properties hold by
construction, so that neither cue leaks through area, colour or contrast:

- every outline is scaled to the area of the unit disc, by measuring it, and softened by a filter that preserves area;
- every fill has the histogram of a sine wave (values are mapped by rank), and what lies inside the outline is
  brought to mean 0 and rms 1 in each picture, so that even all grey levels together tell nothing about which fill it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from priorscope.core.rng import stream

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

REACH = 1.68
"""No outline reaches further from its centre than this, in radii of the disc of equal area (the hourglass: 1.673)."""
FIELD = 2.3
"""The tables of outlines extend to here: REACH, and three times the most softening there is (0.2)."""
BLOBS = 32
"""Random outlines that are none of the ten; half of them for training, half for the other splits."""
FILLS = 32
"""Random fills that are none of the ten; half of them for training, half for the other splits."""
NOISE = 2.5
"""Standard deviation of the sensor noise on every channel of every pixel, in grey levels of 255."""

_TILE = 256  # samples along a fill's tile, which spans 32 pixels of a 32x32 picture: 8 samples a pixel
_FINEST = 24  # pictures smaller than this keep its texture, in pixels: the finest fill would fall below two pixels a wave
_CHUNK = 18  # pictures drawn at once: their fields stay in the second-level cache
NOISE_STARTS = 1 << 16
"""Places on the tape of sensor noise at which a picture's noise may start."""


def _disc(x: Doubles, y: Doubles) -> Bools:
    return np.hypot(x, y) < 1


def _ring(x: Doubles, y: Doubles) -> Bools:
    return np.abs(np.hypot(x, y) - 0.78) < 0.22


def _square(x: Doubles, y: Doubles) -> Bools:
    return np.maximum(np.abs(x), np.abs(y)) < 1


def _triangle(x: Doubles, y: Doubles) -> Bools:
    return np.maximum(np.abs(x) * np.sqrt(3) / 2 + y / 2, -y) < 0.5


def _star(x: Doubles, y: Doubles) -> Bools:
    """Five points, notches at 0.42 of their reach."""
    fold = np.abs(np.mod(np.arctan2(x, y) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5)
    across, along = np.hypot(x, y) * np.sin(fold), np.hypot(x, y) * np.cos(fold)
    notch_across, notch_along = 0.42 * np.sin(np.pi / 5), 0.42 * np.cos(np.pi / 5)
    return along * notch_across + across * (1 - notch_along) < notch_across


def _cross(x: Doubles, y: Doubles) -> Bools:
    long, short = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return (long < 1) & (short < 0.34)


def _crescent(x: Doubles, y: Doubles) -> Bools:
    return (np.hypot(x, y) < 1) & (np.hypot(x - 0.62, y) > 0.72)


def _ell(x: Doubles, y: Doubles) -> Bools:
    """A square without one of its quarters."""
    return (np.maximum(np.abs(x), np.abs(y)) < 1) & ((x < 0) | (y < 0))


def _bar(x: Doubles, y: Doubles) -> Bools:
    return (np.abs(x) < 1) & (np.abs(y) < 0.38)


def _hourglass(x: Doubles, y: Doubles) -> Bools:
    return (np.abs(y) < 1) & (np.abs(x) < 0.12 + 0.68 * np.abs(y))


OUTLINES: dict[str, Callable[[Doubles, Doubles], Bools]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "ell": _ell,
    "bar": _bar,
    "hourglass": _hourglass,
}


def _stripes(x: Doubles, _y: Doubles) -> Doubles:
    return np.cos(2 * np.pi * 6 * x)


def _pinstripes(x: Doubles, _y: Doubles) -> Doubles:
    return np.cos(2 * np.pi * 11 * x)


def _checks(x: Doubles, y: Doubles) -> Doubles:
    return np.sin(2 * np.pi * 5 * x) * np.sin(2 * np.pi * 5 * y)


def _dots(x: Doubles, y: Doubles) -> Doubles:
    """Hexagonal: six rows of five, every second row shifted by half a step."""
    row = np.floor(6 * y)
    best = np.full(np.shape(x), np.inf)
    for other in (row - 1, row, row + 1):
        away = np.mod(5 * x + 0.5 * np.mod(other, 2), 1) - 0.5
        best = np.minimum(best, (away / 5) ** 2 + (y - (other + 0.5) / 6) ** 2)
    return best


def _waves(x: Doubles, y: Doubles) -> Doubles:
    return np.cos(2 * np.pi * 6 * y + 2.6 * np.sin(2 * np.pi * 3 * x))


def _weave(x: Doubles, y: Doubles) -> Doubles:
    """A chessboard of 8-pixel blocks, striped along and across in turn."""
    along = np.mod(np.floor(4 * x) + np.floor(4 * y), 2) == 0
    return np.where(along, np.cos(2 * np.pi * 8 * x), np.cos(2 * np.pi * 8 * y))


def _rings(x: Doubles, y: Doubles) -> Doubles:
    """Targets of concentric rings, one in each 16-pixel cell."""
    away = np.hypot(np.mod(2 * x, 1) - 0.5, np.mod(2 * y, 1) - 0.5) / 2
    return np.cos(2 * np.pi * 7 * away)


def _noise(x: Doubles, weight: Callable[[Doubles, Doubles], Doubles], name: str) -> Doubles:
    """Gaussian noise with a spectrum: `weight` of the cycles a tile along x and y."""
    cycles = np.fft.fftfreq(_TILE, 1 / _TILE).astype(np.float64)
    white = stream(0, "shapetex", "fill", name).standard_normal(np.shape(x))
    spectrum = np.fft.fft2(white) * weight(cycles[None, :], cycles[:, None])
    return np.fft.ifft2(spectrum).real


def _speckle(x: Doubles, _y: Doubles) -> Doubles:
    return _noise(x, lambda u, v: np.exp(-(((np.hypot(u, v) - 10) / 1.5) ** 2)), "speckle")


def _blotches(x: Doubles, _y: Doubles) -> Doubles:
    return _noise(x, lambda u, v: np.exp(-(((np.hypot(u, v) - 4) / 1.2) ** 2)), "blotches")


def _grain(x: Doubles, _y: Doubles) -> Doubles:
    return _noise(x, lambda u, v: np.exp(-(((np.abs(u) - 7) / 3) ** 2) - (v / 2.5) ** 2), "grain")


TEXTURES: dict[str, Callable[[Doubles, Doubles], Doubles]] = {
    "stripes": _stripes,
    "pinstripes": _pinstripes,
    "checks": _checks,
    "dots": _dots,
    "waves": _waves,
    "weave": _weave,
    "rings": _rings,
    "speckle": _speckle,
    "blotches": _blotches,
    "grain": _grain,
}


def _blob(number: int) -> Callable[[Doubles, Doubles], Bools]:
    """A smooth random outline: a circle whose radius wanders with the angle, in 2 to 6 waves of which none is alone."""
    random = stream(0, "shapetex", "blob", number)
    waves = np.arange(2, 7)
    height = random.uniform(0.3, 1, len(waves)) * random.choice([-1, 1], len(waves))
    height *= random.uniform(0.35, 0.5) / np.abs(height).sum()
    angles = np.linspace(-np.pi, np.pi, 1025)
    radii = 1 + height @ np.cos(waves[:, None] * angles + random.uniform(0, 2 * np.pi, (len(waves), 1)))

    def inside(x: Doubles, y: Doubles) -> Bools:
        return np.hypot(x, y) < radii[((np.arctan2(y, x) + np.pi) * (1024 / (2 * np.pi))).astype(np.int64)]

    return inside


def _held_out_fill(number: int) -> Callable[[Doubles, Doubles], Doubles]:
    """Three to five plane waves across each other, of the wavelengths of the ten."""
    random = stream(0, "shapetex", "held-out fill", number)
    count = random.integers(3, 6)
    angle, cycles = random.uniform(0, np.pi, count), random.uniform(3.5, 11, count)
    across, along = np.rint(cycles * np.cos(angle)), np.rint(cycles * np.sin(angle))
    phase, height = random.uniform(0, 2 * np.pi, count), random.uniform(0.7, 1.3, count)

    def field(x: Doubles, y: Doubles) -> Doubles:
        waves = zip(across, along, phase, height, strict=True)
        return np.sum([h * np.cos(2 * np.pi * (a * x + b * y) + p) for a, b, p, h in waves], axis=0)

    return field


def _grid(samples: int, reach: float) -> tuple[Doubles, Doubles]:
    """Centres of samples x samples cells over [-reach, reach] squared."""
    axis: Doubles = (np.arange(samples, dtype=np.float64) + 0.5) * (2 * reach / samples) - reach
    x, y = np.meshgrid(axis, axis)
    return x, y


def _centred(inside: Callable[[Doubles, Doubles], Bools]) -> Callable[[Doubles, Doubles], Bools]:
    """The outline moved to its centroid and scaled to the area of the unit disc, both as measured.

    It is turned by half a radian as well: an edge along the grid would gain or lose up to half a sample over its whole length,
    2 % of the area of the cross.
    """
    cos, sin = np.cos(0.5), np.sin(0.5)
    x, y = _grid(400, 1.8)
    within = inside(cos * x + sin * y, cos * y - sin * x)
    scale = np.sqrt(within.mean() * 3.6**2 / np.pi)
    left, low = x[within].mean(), y[within].mean()

    def centred(u: Doubles, v: Doubles) -> Bools:
        x, y = u * scale + left, v * scale + low
        return inside(cos * x + sin * y, cos * y - sin * x)

    return centred


@lru_cache(maxsize=2)
def _sharp_outlines(samples: int) -> Bools:
    """Inside or outside, before softening: (10 + BLOBS, samples, samples), the ten outlines first."""
    x, y = _grid(samples, FIELD)
    return np.stack([_centred(inside)(x, y) for inside in [*OUTLINES.values(), *map(_blob, range(BLOBS))]])


@lru_cache(maxsize=12)
def outline_tables(softness: float, samples: int) -> Floats:
    """How much of each place in [-FIELD, FIELD] squared is inside: (10 + BLOBS, samples, samples), the ten outlines first.

    Each is softened by a Gaussian of standard deviation `softness` (in radii of the unit disc), which leaves its area alone.
    """
    cycles = np.fft.fftfreq(samples, 2 * FIELD / samples)
    blur = np.exp(-2 * (np.pi * softness) ** 2 * (cycles[:, None] ** 2 + cycles[None, : samples // 2 + 1] ** 2))
    tables = np.empty((len(OUTLINES) + BLOBS, samples, samples), np.float32)
    for table, sharp in zip(tables, _sharp_outlines(samples), strict=True):
        soft = np.fft.irfft2(np.fft.rfft2(sharp) * blur, (samples, samples)).clip(0, 1)
        soft[[0, -1]] = soft[:, [0, -1]] = 0  # what lies further out reads the border
        table[:] = soft * (np.pi / (soft.mean() * 4 * FIELD**2))
    return tables


def _ranked(values: Doubles) -> Floats:
    """The field with the histogram of a sine wave: mean 0, rms 1, peak 1.414. Equal values stay equal."""
    _, place, counts = np.unique(np.round(values, 9), return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - counts / 2) / values.size
    return (np.sqrt(2) * np.sin(np.pi * (rank - 0.5)))[place].reshape(values.shape).astype(np.float32)


@lru_cache(maxsize=1)
def fill_tables() -> Floats:
    """The fills as tiles that repeat: (10 + FILLS, 256, 256), the ten textures first."""
    axis = (np.arange(_TILE) + 0.5) / _TILE
    x, y = np.meshgrid(axis, axis)
    fields = [*TEXTURES.values(), *map(_held_out_fill, range(FILLS))]
    return np.stack([_ranked(field(x, y)) for field in fields])


@lru_cache(maxsize=1)
def _noise_tape() -> Floats:
    """Sensor noise, of which every picture takes a stretch from a random place."""
    tape = stream(0, "shapetex", "noise").standard_normal(NOISE_STARTS, np.float32)
    return NOISE * np.concatenate([tape, tape[: 3 * 96 * 96]])


@dataclass(frozen=True)
class Look:
    """What all pictures of a split have in common. Lengths are in shares of the picture's side."""

    image_size: int
    softness: float
    edge: float
    """rms over the channels of the difference between foreground and background, in [0, 1] pixels."""
    contrast: float
    """rms of the texture inside the outline, in [0, 1] pixels."""
    whole: bool = False
    """Without an outline: the fill covers the picture."""


@dataclass(frozen=True)
class Scenes:
    """What is drawn, one row a picture. Lengths are in shares of the picture's side, turns in radians."""

    outline: Ints
    fill: Ints
    radius: Doubles
    place: Doubles
    turn: Doubles
    fill_turn: Doubles
    fill_scale: Doubles
    fill_shift: Doubles
    middle: Doubles
    step: Doubles
    tint: Doubles
    noise: Ints

    def rows(self, chosen: slice | Ints) -> Scenes:
        """Some of the scenes."""
        return Scenes(**{name: column[chosen] for name, column in vars(self).items()})

    def showing(self, outline: Ints, fill: Ints) -> Scenes:
        """The same scenes with other outlines and fills."""
        return replace(self, outline=outline, fill=fill)

    @classmethod
    def join(cls, parts: list[Scenes]) -> Scenes:
        """Several scenes after one another."""
        return cls(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def render(scenes: Scenes, look: Look) -> Bytes:
    """The pictures, uint8 (N, H, W, 3). Each depends on its own row alone."""
    count, size = len(scenes.outline), look.image_size
    pictures = np.empty((count, size, size, 3), np.uint8)
    for start in range(0, count, _CHUNK):
        some = slice(start, start + _CHUNK)
        _paint(scenes.rows(some), look, pictures[some])
    return pictures


def mask_field(scenes: Scenes, look: Look) -> Floats:
    """How much of each pixel is foreground, in [0, 1]: (N, H, W)."""
    size = look.image_size
    if look.whole:
        return np.ones((len(scenes.outline), size, size), np.float32)
    samples = 256 if size <= 48 else 512
    step = samples / (2 * FIELD) / scenes.radius
    across, along = _coordinates(size, scenes.place, scenes.turn, step * 2**16, samples * 2**15, np.int32)
    np.clip(across, 0, (samples << 16) - 1, out=across)
    np.clip(along, 0, (samples << 16) - 1, out=along)
    across >>= 16
    along >>= 16
    along *= samples
    along += across
    along += (scenes.outline * samples**2).astype(np.int32)[:, None, None]
    return outline_tables(look.softness, samples).ravel().take(along)


def fill_field(scenes: Scenes, look: Look) -> Floats:
    """The fill at each pixel, which knows nothing of the outline, before it is standardised inside it: (N, H, W)."""
    span = max(1.0, _FINEST / look.image_size) * scenes.fill_scale
    # One tile is 2**32 steps wide, so that repeating it is what unsigned integers do by themselves.
    across, along = _coordinates(look.image_size, scenes.fill_shift, scenes.fill_turn, 2**32 / span, 0, np.uint32)
    across >>= 24
    along >>= 16
    along &= 0xFF00
    along |= across
    along += (scenes.fill * _TILE**2).astype(np.uint32)[:, None, None]
    return fill_tables().ravel().take(along)


def _coordinates(
    size: int, origin: Doubles, turn: Doubles, step: Doubles, shift: int, kind: type[np.int32] | type[np.uint32]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every pixel's place in a turned, scaled and shifted frame, as integers: two (N, H, W) arrays, across and along."""
    axis = (np.arange(size) + 0.5) / size
    x = (axis - origin[:, :1]) * step[:, None]
    y = (axis - origin[:, 1:]) * step[:, None]
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]

    def plane(by_column: Doubles, by_row: Doubles) -> NDArray[Any]:
        columns, rows = np.rint(by_column + shift).astype(np.int64), np.rint(by_row).astype(np.int64)
        return columns.astype(kind)[:, None, :] + rows.astype(kind)[:, :, None]

    return plane(x * cos, y * sin), plane(-x * sin, y * cos)


def _paint(scenes: Scenes, look: Look, pictures: Bytes) -> None:
    """Colours a chunk of scenes into `pictures`: background + step * mask + tint * (standardised fill) * mask + noise."""
    count, pixels = len(pictures), look.image_size**2
    mask = mask_field(scenes, look).reshape(count, pixels)
    fill = fill_field(scenes, look).reshape(count, pixels)
    masked = mask * fill
    area = mask.sum(1)
    mean = masked.sum(1) / area
    rms = np.sqrt(np.maximum((masked * fill).sum(1) / area - mean**2, 1e-4))
    tint = 255 * look.contrast * scenes.tint / rms[:, None]
    step = 255 * look.edge * scenes.step
    background = 255 * scenes.middle - step / 2 + 0.5  # half a level, so that cutting off rounds
    by_mask = (step - tint * mean[:, None]).astype(np.float32)
    by_fill, base = tint.astype(np.float32), background.astype(np.float32)
    noise = sliding_window_view(_noise_tape(), 3 * pixels)
    for channel in range(3):
        plane = masked * by_fill[:, channel, None]
        plane += mask * by_mask[:, channel, None]
        plane += base[:, channel, None]
        plane += noise[scenes.noise, channel * pixels : (channel + 1) * pixels]
        np.clip(plane, 0, 255, out=plane)
        pictures.reshape(count, pixels, 3)[:, :, channel] = plane
