"""What a matrix of transfer is made of: how strong each source is, how weak each target, and what is left to the pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.rng import stream

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

RESAMPLES = 1000
PARTS = ("strength", "weakness", "affinity")


def both_right(clean: Bools, fooled: Bools, weights: NDArray[Any]) -> Floats:
    """(draws, sources, targets): the fooled share of the images that both get right, each image with its weight in a draw."""
    both = clean[:, None] & clean[None, :]
    weighed, shape = weights.astype(np.float64), (len(weights), *both.shape[:2])
    counted = (weighed @ both.reshape(-1, both.shape[2]).T.astype(np.float64)).reshape(shape)
    hit = (weighed @ (both & fooled).reshape(-1, both.shape[2]).T.astype(np.float64)).reshape(shape)
    return np.where(counted > 0, hit / np.maximum(counted, 1e-12), np.nan)


def additive_parts(shares: Floats, n: float) -> tuple[Floats, Floats, Floats]:
    """Strength of sources, weakness of targets and affinity of pairs, from shares (sources, targets) of n images each.

    logit(share) = mean + strength[s] + weakness[t] + affinity[s, t] over all s != t, by least squares, with strengths and
    weaknesses that sum to 0. Half an image is added to each side of a share: even 0 and 1 then have a logit.
    """
    count = len(shares)
    off = ~np.eye(count, dtype=np.bool_)
    softened = (shares * n + 0.5) / (n + 1)
    logit = np.log(softened / (1 - softened))
    s, t = np.nonzero(off)
    design = np.zeros((len(s) + 2, 1 + 2 * count))
    rows = np.arange(len(s))
    design[rows, 0] = design[rows, 1 + s] = design[rows, 1 + count + t] = 1
    design[-2, 1 : 1 + count] = design[-1, 1 + count :] = 1  # both sum to 0
    fitted = np.linalg.lstsq(design, np.r_[logit[off], 0, 0], rcond=None)[0]
    strength, weakness = fitted[1 : 1 + count], fitted[1 + count :]
    affinity = np.where(off, logit - fitted[0] - strength[:, None] - weakness[None, :], np.nan)
    return strength, weakness, affinity


def parts_with_intervals(clean: Bools, fooled: Bools, ones: Floats, draws: NDArray[np.int64]) -> dict[str, Floats]:
    """The additive parts on the images that all networks get right, with percentile intervals over images."""
    common = np.asarray(clean.all(0))
    shares = both_right(np.broadcast_to(common, clean.shape), fooled, ones)[0]
    parts: dict[str, Floats] = {}
    for name, value, resampled in zip(
        PARTS, additive_parts(shares, float(common.sum())), _resampled(common, fooled, draws), strict=True
    ):
        low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
        parts |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return parts


def spread_of_parts(clean: Bools, fooled: Bools, seed: int) -> tuple[Floats, Floats]:
    """(draws, networks) each: strengths and weaknesses of the images that all networks get right and of two more.

    The first draw is these images themselves, the others are resamples. One of the two every picture fools, and one none does:
    without them a share that is all or nothing would have no spread, however few the images. Bonett and Price (2012) compare
    two proportions likewise.
    """
    ends = np.broadcast_to(np.array([True, False]), (*fooled.shape[:2], 2))
    counted = np.concatenate([fooled[:, :, clean.all(0)], ends], axis=2)
    n = counted.shape[2]
    draws = stream(seed, "transfer", "spread").multinomial(n, np.full(n, 1 / n), RESAMPLES)
    strengths, weaknesses, _ = _resampled(np.ones(n, np.bool_), counted, np.concatenate([np.ones((1, n), np.int64), draws]))
    return strengths, weaknesses


def _resampled(common: Bools, fooled: Bools, draws: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """(draws, ...) strengths, weaknesses and affinities on the common images, each with its weight in a draw."""
    shares = both_right(np.broadcast_to(common, (len(fooled), len(common))), fooled, draws)
    drawn = [additive_parts(np.nan_to_num(of), max(float(n), 1.0)) for of, n in zip(shares, draws @ common, strict=True)]
    strengths, weaknesses, affinities = (np.stack(part) for part in zip(*drawn, strict=True))
    return strengths, weaknesses, affinities
