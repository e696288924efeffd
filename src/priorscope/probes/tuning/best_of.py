"""The best of several trials, as a number that grows with how many were made (Dodge et al., arXiv 1909.03004).

A network that was tuned with fifty trials beats one that was tuned with five, whatever its architecture. What can be
compared is the best of k trials for the same k. Its expectation follows from the trials made, in closed form: each is the
best of k drawn among the n with a probability that its rank decides. Dodge et al. draw with replacement, which reads low (at
k = n it stays below the best that was found); here the draws are without, which is unbiased (Tang et al., arXiv 2004.13705).

Resampling the trials says nothing valid about a largest value. The interval is another: the distribution of scores lies, with
the probability `level` and everywhere at once, within sqrt(log(2 / (1 - level)) / 2n) of the one that was seen (Dvoretzky,
Kiefer and Wolfowitz 1956; Massart 1990), and the expected best of k of the extreme distributions in that band bounds ours,
for every k at once. Scores lie between 0 and 1. Where trials are few the upper end is near 1, and rightly so: eight trials
do not say how good a ninth could be.
"""

from __future__ import annotations

from math import comb, log, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from priorscope.core.errors import RequestError
from priorscope.core.stats import Interval


def expected_best(scores: ArrayLike, k: int) -> float:
    """The mean over all choices of k of the scores of the best among them."""
    ranked = _ranked(scores)
    n = len(ranked)
    if not 1 <= k <= n:
        raise RequestError(f"The best of {k} trials was asked for, and there are {n}.", f"1 to {n}", f"k = {n}")
    weights = [comb(rank, k - 1) / comb(n, k) for rank in range(n)]
    return float(np.dot(weights, ranked))


def best_spread(scores: ArrayLike, k: int, level: float = 0.9) -> tuple[float, float]:
    """The scores between which the best of k trials lies in a share `level` of all choices of k: how lucky k can be.

    It says how the trials that were made differ and nothing about others; `best_interval` does.
    """
    ranked = _ranked(scores)
    n = len(ranked)
    below = [comb(rank, k) / comb(n, k) for rank in range(1, n + 1)]
    low, high = (
        float(ranked[next(i for i in range(n) if below[i] >= share - 1e-12)]) for share in ((1 - level) / 2, (1 + level) / 2)
    )
    return low, high


def best_interval(scores: ArrayLike, k: int, level: float = 0.95) -> Interval:
    """The interval of the expected best of k new trials, for every k at once; valid however few the trials."""
    ranked = _ranked(scores)
    n = len(ranked)
    margin = sqrt(log(2 / (1 - level)) / (2 * n))
    edges = np.concatenate(([0.0], ranked, [1.0]))
    seen = np.arange(n + 1) / n  # the share of scores at or below, between one edge and the next
    low, high = (1.0 - float(np.dot(np.clip(seen + shift, 0.0, 1.0) ** k, np.diff(edges))) for shift in (margin, -margin))
    return Interval(low=low, high=high, level=level, method="Dvoretzky-Kiefer-Wolfowitz", over="trials")


def _ranked(scores: ArrayLike) -> NDArray[np.float64]:
    ranked = np.sort(np.asarray(scores, np.float64).ravel())
    if not len(ranked) or not (ranked[0] >= 0 and ranked[-1] <= 1):
        raise RequestError("No scores, or scores outside of 0 to 1, came.", "one share a trial", "accuracy, not per cent")
    return ranked
