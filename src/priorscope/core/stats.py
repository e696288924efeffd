"""Intervals: where a number lies, and what it is a number about.

One trained network is a checkpoint; its interval is over images (`wilson`, `bootstrap`). A family is a population of networks:
its interval is over seeds and images at once (`seed_by_image`), or over seeds where a network yields one number only
(`over_seeds`, widened where these looked at the same images). How two of them compare is `priorscope.core.comparison`'s, and
what both stand on `priorscope.core.variance`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from priorscope.core.config import Config
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.core.variance import (
    Floats,
    VariancePart,
    check_level,
    crossed_over,
    crossed_parts,
    finite,
    half_width,
    is_proportion,
    linearised,
    normal_quantile,
    one_per_seed,
    seed_part,
)


class Interval(Config):
    """Where a number lies, how surely, by which method, and over what it was sampled: "images", "seeds x images" and so on."""

    low: float
    high: float
    level: float = Field(default=0.95, gt=0, lt=1)
    method: str
    over: str

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) at or below high ({self.high})")
        return self

    @property
    def width(self) -> float:
        """From the low end to the high end."""
        return self.high - self.low

    def contains(self, value: float) -> bool:
        """Whether the value lies inside, the ends included."""
        return self.low <= value <= self.high

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside: the data speak against it at this level."""
        return not self.contains(value)


def bracketed(interval: Interval | None, spec: str = ".1%") -> str:
    """An interval as a sentence has it behind its number, " (80.0% to 90.0%)"; nothing where there is none."""
    return f" ({interval.low:{spec}} to {interval.high:{spec}})" if interval else ""


def ends(interval: Interval | None) -> dict[str, float | None]:
    """An interval as a row of a figure has it; a row without one has neither end."""
    return {"low": interval.low, "high": interval.high} if interval else {"low": None, "high": None}


class Statistic(Protocol):
    """Reduces one axis of an array, as numpy's mean and median do."""

    def __call__(self, values: Floats, /, *, axis: int) -> ArrayLike: ...


def _mean(values: Floats, /, *, axis: int) -> Floats:
    return np.asarray(values.mean(axis=axis))


# Over images: one checkpoint.


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion: right also near 0 and 1, and never without width.

    All p for which |successes / n - p| <= z sqrt(p (1 - p) / n) (Wilson, J. Am. Stat. Assoc. 22, 1927).
    """
    if n < 1 or not 0 <= successes <= n:
        raise RequestError(
            f"{successes} of {n} is not a proportion.", "0 <= successes <= n, and n >= 1", "count the images again"
        )
    return _wilson(successes / n, n, level)


def _wilson(share: float, n: int, level: float = 0.95) -> Interval:
    low, high = _score_ends(share, n, normal_quantile(level))
    return Interval(low=low, high=high, level=level, method="Wilson", over="images")


def bonett_price(up: float, down: float, n: int, level: float = 0.95) -> Interval:
    """The interval of a difference of two shares of the same n images: `up` are the first's alone, `down` the second's.

    It is Wald's after one image more of each kind of disagreement, so that it has a width also where the two never disagree
    (Bonett and Price, J. Educ. Behav. Stat. 37, 2012).
    """
    n += 2
    centre = (up - down) / n
    part = VariancePart(((up + down + 2) / n - centre**2) / n, math.inf)
    found = symmetric_interval(centre, [part], level, "Bonett-Price", "images")
    return clipped(found, -1.0, 1.0)


def bootstrap(
    values: ArrayLike, *, seed: int, statistic: Statistic = _mean, level: float = 0.95, resamples: int = 2000
) -> Interval | None:
    """The percentile bootstrap interval of a statistic over images, which are the first axis of `values`; None of one.

    The percentile form, because it needs no jackknife (one evaluation an image), keeps its sense for medians and quantiles,
    where BCa's acceleration has none, and for means of hundreds of images differs from BCa by little (tested). Of few images
    it is widened (`widened_percentiles`). `statistic` reduces axis 1 of an array (resamples, images, ...) to one number for
    each resample. Right-or-wrong values belong to `wilson`: where all values are equal, a bootstrap has no width however few
    they are.
    """
    if np.shape(values)[:1] == (1,):
        return None
    data = finite(values)
    drawn = resampled(data, seed, statistic, resamples)
    low, high = widened_percentiles(float(np.asarray(statistic(data[None], axis=1))[0]), drawn, len(data), level)
    return Interval(low=low, high=high, level=level, method="percentile bootstrap", over="images")


def bootstrap_of_shares(values: ArrayLike, *, seed: int, differences: bool = False) -> Interval | None:
    """The bootstrap's interval of a mean of shares, or of `differences` of shares; None for a single image.

    Where all images agree a bootstrap has no width. It is then as if that share of the images were right, or told the two
    apart: Wilson's, or Bonett and Price's.
    """
    data = finite(values)
    n, value = len(data), float(data[0])
    if n < 2:
        return None
    if data.min() < data.max():
        found = bootstrap(data, seed=seed)
        return found and clipped(found, -1.0 if differences else 0.0, 1.0)
    return bonett_price(n * max(value, 0.0), n * max(-value, 0.0), n) if differences else _wilson(value, n)


def share_from_resamples(drawn: ArrayLike, value: float, n: int, level: float = 0.95) -> Interval:
    """Percentiles of a share's resamples, the value between them; Wilson's where all resamples agree, which has a width."""
    low, high = (float(end) for end in np.nanpercentile(np.asarray(drawn), [50 * (1 - level), 50 * (1 + level)]))
    if low == high:
        return wilson(round(value * n), n, level)
    return Interval(low=min(low, value), high=max(high, value), level=level, method="percentile bootstrap", over="images")


NO_DECISION = Interval(low=0.0, high=1.0, method="no decision", over="images")
"""The interval of a share of no decision at all."""

# Over seeds: a family.


def over_seeds(values: ArrayLike, level: float = 0.95, *, images: Sequence[Interval | None] = ()) -> Interval:
    """Student's t interval of the mean of one number a seed: for what has no per-image values, such as a median.

    mean +- t(S - 1) s / sqrt(S). Where all seeds saw the same images, s does not show what other images would change in all
    of them: `images` are the seeds' own intervals, and each end goes by `image_spread` farther, root of squares. As the seeds'
    own part of it counts twice, the interval covers more often than it says: nobody knows how far the seeds err alike.
    """
    data = one_per_seed(values)
    found, spread = symmetric_interval(float(data.mean()), [seed_part(data)], level, "t", "seeds"), image_spread(data, images)
    if spread is None:
        return found
    mean, z = float(data.mean()), normal_quantile(level)
    below, above = (math.hypot(found.width / 2, z * side) for side in spread)
    return Interval(low=mean - below, high=mean + above, level=level, method="t, widened", over="seeds x images")


def image_spread(values: ArrayLike, images: Sequence[Interval | None]) -> tuple[float, float] | None:
    """How far, in standard deviations, other images move the mean of seeds down and up at most: as if all seeds erred alike.

    It is the mean of the seeds' own, read off their intervals; None where some seed has none over images.
    """
    own = [one for one in images if one is not None and one.over == "images"]
    data = finite(values)
    if len(own) != len(data):
        return None
    sds = [[(v - i.low) / z, (i.high - v) / z] for v, i in zip(data, own, strict=True) for z in [normal_quantile(i.level)]]
    below, above = np.maximum(sds, 0.0).mean(axis=0)
    return float(below), float(above)


def seed_by_image(values: ArrayLike, counted: ArrayLike | None = None, level: float = 0.95) -> Interval:
    """The interval of a family's mean over seeds and images, from an array (seeds, the same images for every seed).

    Where every seed was asked once for each of the same draws, the array is (seeds, draws, images).

    `counted` (same shape) says which values count, for a share of a part of the images (of those on which a network chose
    either cue, say): the interval is then that of the ratio of totals. Values that are all 0 or 1 are a proportion; its
    interval is Wilson's at the effective n for which z sqrt(p (1 - p) / n) is the crossed design's half-width (as surveys do:
    Korn and Graubard, Surv. Methodol. 24, 1998), so that it stays within [0, 1] and keeps a width where every answer is right.
    Where each seed has images of its own, the design is not crossed: take `over_seeds` of the seeds' means.

    A few seeds show nothing of a long tail: where one seed in six falls from 0.998 to 0.97 or below, 95 % intervals from 3 to
    10 seeds cover the mean in 77 to 81 % of cases (plain t: 62 to 74 %). No method that sees these seeds alone mends that.
    """
    data, mean = linearised(values, counted)
    parts = crossed_parts(data)
    over = crossed_over(data)
    if not is_proportion(values):
        return symmetric_interval(mean, parts, level, "crossed t", over)
    z, half = normal_quantile(level), half_width(parts, level)
    answers = data.size if counted is None else int(np.count_nonzero(counted))
    spread = mean * (1 - mean)
    n = answers * data.shape[-1] / data.size  # where there is no spread to go by, the images are what is surely independent
    if half > 0 and spread > 0:
        n = min(spread * (z / half) ** 2, float(answers))  # no answer is worth more than an independent one
    low, high = _score_ends(mean, n, z)
    return Interval(low=low, high=high, level=level, method="crossed Wilson", over=over)


def over_images(answers: ArrayLike) -> Interval:
    """The interval of a share of right-or-wrong answers (seeds, the same images): one seed's is Wilson's over images."""
    rows = np.asarray(answers)
    return wilson(int(rows.sum()), rows.size) if len(rows) == 1 else seed_by_image(rows)


# What the intervals and the comparisons are made of.


def symmetric_interval(value: float, parts: list[VariancePart], level: float, method: str, over: str) -> Interval:
    """The symmetric interval around a value whose variance has these parts."""
    half = half_width(parts, level)
    return Interval(low=value - half, high=value + half, level=level, method=method, over=over)


def clipped(interval: Interval, least: float, most: float) -> Interval:
    """The interval without what lies beyond where its number can be."""
    return interval.replace(low=max(interval.low, least), high=min(interval.high, most))


def resampled(data: Floats, seed: int, statistic: Statistic = _mean, resamples: int = 2000) -> Floats:
    """The statistic of `resamples` samples of n images drawn with replacement from n: a function of data and seed alone."""
    if resamples < 100:
        raise RequestError(f"{resamples} resamples were asked for.", "at least 100, or the ends are noise", "resamples=2000")
    draw, n = stream(seed, "bootstrap"), len(data)
    at_once = max(1, 2**20 // data.size)
    chunks = [
        np.asarray(statistic(data[draw.integers(0, n, (min(at_once, resamples - start), n))], axis=1), dtype=np.float64)
        for start in range(0, resamples, at_once)
    ]
    if chunks[0].ndim != 1:
        raise RequestError(
            f"The statistic gave an array of shape {chunks[0].shape}.",
            "one number for each resample: (resamples, images, ...) reduced along axis 1, and along the rest",
            "lambda values, axis: ... with values.mean(axis=axis)",
        )
    return np.concatenate(chunks)


def widened_percentiles(value: float, drawn: Floats, n: int, level: float) -> tuple[float, float]:
    """The ends between which `level` of the resamples of n values lie, around the value itself, widened where n is small.

    Resamples deviate too little by the root of (n - 1) / n, and a spread that is estimated from few values misses more often
    than a normal one's quantile says: as in Student's interval, t(n - 1) takes its place. Unwidened, 95 % intervals of means
    of 3, 5 and 8 normal values cover in 77, 82 and 89 % of cases, widened in 95, 94 and 94 %. At 200 the factor is 1.009.
    One value says nothing of its spread: the interval has no width.
    """
    check_level(level)
    if n == 1:
        return value, value
    wider = math.sqrt(n / (n - 1)) * half_width([VariancePart(1.0, n - 1)], level) / normal_quantile(level)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - value
    return value + wider * min(float(low), 0.0), value + wider * max(float(high), 0.0)


def _score_ends(p: float, n: float, z: float) -> tuple[float, float]:
    """The ends of Wilson's interval; exactly 0 and 1 where the proportion is."""
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (0.0 if p == 0 else max(0.0, (centre - half) / scale)), (1.0 if p == 1 else min(1.0, (centre + half) / scale))
