"""Digital: contrast, elastic warps, coarse pixels, JPEG, and saturation."""

from __future__ import annotations

import io

import numpy as np

from priorscope.core.compiled import njit
from priorscope.data.corruptions.fields import Bytes, Draws, Floats, as_bytes, smoothed, uniform, unit

CONSTANTS = {
    "contrast": (((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)), ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))),
    "elastic_transform": (
        ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    "pixelate": (((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)), ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))),
    "jpeg_compression": (((80,), (65,), (58,), (50,), (40,)), ((25,), (18,), (15,), (10,), (7,))),
    "saturate": (
        ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
        ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
    ),
}
"""For each kind its five severities, first for pictures up to 64 pixels, then for larger ones."""

PUBLISHED_SIDE = 244
"""By what ImageNet-C scales its elastic constants: 244 stands in its code where 224 was meant."""


def contrast(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """Each channel is drawn towards its mean."""
    x = unit(pictures)
    mean = x.mean((1, 2), keepdims=True)
    return as_bytes((x - mean) * constants[0] + mean)


def elastic_transform(pictures: Bytes, constants: tuple[float, float, float], draws: Draws) -> Bytes:
    """A small random affine map, then a smooth random displacement of every pixel."""
    side = pictures.shape[1]
    unit_length = side if side <= 64 else side * PUBLISHED_SIDE / 224
    strength, sigma, corner = (c * unit_length for c in constants)
    moves = uniform(draws, (3, 2)) * 2 - 1
    shifts = uniform(draws, (2, side, side)) * 2 - 1
    y, x = np.mgrid[:side, :side].astype(np.float64)
    warped = np.empty(pictures.shape)
    _sample(unit(pictures), *_affine(moves * corner, side), True, warped)
    down, across = (strength * smoothed(shifts[:, i], sigma, mode="reflect", truncate=3.0) for i in (1, 0))
    out = np.empty(pictures.shape)
    _sample(warped, y + down, x + across, False, out)
    return as_bytes(out)


def _affine(moves: Floats, side: int) -> tuple[Floats, Floats]:
    """Where each output pixel is read, so that three corners of the middle square move by `moves` (x, y)."""
    middle, reach = side // 2, side // 3
    before = np.array([[middle + reach, middle + reach], [middle + reach, middle - reach], [middle - reach, middle - reach]])
    after = before + moves
    ones = np.ones((len(moves), 3, 1))
    back = np.linalg.solve(np.concatenate([after, ones], 2), np.broadcast_to(before.astype(np.float64), after.shape))
    y, x = np.mgrid[:side, :side].astype(np.float64)
    at = np.stack([x, y, np.ones_like(x)], -1) @ back[:, None]
    return np.ascontiguousarray(at[..., 1], np.float64), np.ascontiguousarray(at[..., 0], np.float64)


@njit(nogil=True)
def _mirrored(position: int, side: int, inner: bool) -> int:  # pragma: no cover  compiled
    """A position beyond the edge as its mirror image: about the last pixel's centre (`inner`) or about its outer edge."""
    period = 2 * side - 2 if inner else 2 * side
    place = position % period
    if place < side:
        return place
    return period - place if inner else period - 1 - place


@njit(nogil=True)
def _sample(pictures: Floats, ys: Floats, xs: Floats, inner: bool, out: Floats) -> None:  # pragma: no cover  compiled
    """Fills `out` with pictures read bilinearly at positions (ys, xs), mirrored beyond their edges."""
    count, side = len(pictures), pictures.shape[1]
    for n in range(count):
        for h in range(side):
            for w in range(side):
                y, x = np.floor(ys[n, h, w]), np.floor(xs[n, h, w])
                v, u = ys[n, h, w] - y, xs[n, h, w] - x
                top, bottom = _mirrored(int(y), side, inner), _mirrored(int(y) + 1, side, inner)
                left, right = _mirrored(int(x), side, inner), _mirrored(int(x) + 1, side, inner)
                for c in range(3):
                    above = (1 - u) * pictures[n, top, left, c] + u * pictures[n, top, right, c]
                    below = (1 - u) * pictures[n, bottom, left, c] + u * pictures[n, bottom, right, c]
                    out[n, h, w, c] = (1 - v) * above + v * below


def pixelate(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """Averaged over boxes onto fewer pixels, and enlarged again, in 8 bits."""
    from PIL import Image

    side = pictures.shape[1]
    few, box = int(side * constants[0]), Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(own).resize((few, few), box).resize((side, side), box)) for own in pictures])


def jpeg_compression(pictures: Bytes, constants: tuple[float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """Through Pillow's JPEG codec and back."""
    from PIL import Image

    out = np.empty_like(pictures)
    for i, own in enumerate(pictures):
        file = io.BytesIO()
        Image.fromarray(own).save(file, "JPEG", quality=int(constants[0]))
        out[i] = np.asarray(Image.open(file))
    return out


def saturate(pictures: Bytes, constants: tuple[float, float], draws: Draws) -> Bytes:  # noqa: ARG001  nothing is drawn
    """HSV's saturation times one constant plus another; grey has hue 0, so what is added to it is red."""
    x = unit(pictures)
    value = x.max(3, keepdims=True)
    span = value - x.min(3, keepdims=True)
    before = span / np.where(value > 0, value, 1)
    after = np.clip(before * constants[0] + constants[1], 0, 1)
    coloured = value - (value - x) * after / np.where(before > 0, before, 1)
    red = np.array([0.0, 1.0, 1.0])
    return as_bytes(np.where(before > 0, coloured, value * (1 - after * red)))
