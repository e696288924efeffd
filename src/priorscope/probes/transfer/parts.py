"""What a matrix of transfer is made of: how strong each source is, how weak each target, and what is left to the pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

PARTS = ("strength", "weakness", "affinity", "strength_low", "strength_high", "weakness_low", "weakness_high")


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
    common = clean.all(0)
    every = np.broadcast_to(common, clean.shape)
    strength, weakness, affinity = additive_parts(both_right(every, fooled, ones)[0], float(common.sum()))
    drawn = [
        additive_parts(np.nan_to_num(shares), max(float(n), 1.0))[:2]
        for shares, n in zip(both_right(every, fooled, draws), draws @ common, strict=True)
    ]
    strengths, weaknesses = (np.stack(side) for side in zip(*drawn, strict=True))
    (strength_low, strength_high), (weakness_low, weakness_high) = (
        np.percentile(side, [2.5, 97.5], axis=0) for side in (strengths, weaknesses)
    )
    return {
        "strength": strength,
        "weakness": weakness,
        "affinity": affinity,
        "strength_low": strength_low,
        "strength_high": strength_high,
        "weakness_low": weakness_low,
        "weakness_high": weakness_high,
    }
