"""Intervals, paired comparisons and verdicts: what may be said about a number, and about what.

One trained network is a checkpoint; its interval is over images (`wilson`, `bootstrap`), and two networks are compared on the
same images (`paired_proportions`, `paired_bootstrap`). A family is a population of networks: its interval is over seeds and
images at once (`seed_by_image`), or over seeds where a network yields one number only (`over_seeds`).

The crossed design, the same N test images for each of S seeds, is y[s, i] = mean + seed[s] + image[i] + rest[s, i]. Its mean
has the variance (var(seed) + var(rest) / N) / S + var(image) / N. The first part is estimated from S numbers, the second from N, and
they are joined as half-width^2 = t(S - 1)^2 * part1 + t(N - 1)^2 * part2, which covers at least as often as it says for any
mixture of the two (Banerjee, Sankhya 22, 1960). Satterthwaite's single t was tried: it is narrower (by 20 % where the seeds hold
a fifth of the variance and S = 3) but its 95 % interval covered only 92 % of the time where they hold nine tenths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from priorscope.core.config import Config
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream

Floats = NDArray[np.float64]
Verdict = Literal["higher", "lower", "equivalent", "not distinguishable"]


class Interval(Config):
    """Where a number lies, how surely, by which method, and over what it was sampled ("images", "seeds", "seeds x images")."""

    low: float
    high: float
    level: float = Field(default=0.95, gt=0, lt=1)
    method: str
    over: str

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not lie above high ({self.high})")
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


class Difference(Config):
    """First minus second: the difference, its interval and its two-sided p-value against no difference.

    `inner` is the interval at 2 * level - 1 (90 % for 95 %). Each of its ends is a one-sided bound at 1 - level, which is
    what an equivalence test asks for.
    """

    value: float
    interval: Interval
    inner: Interval
    p_value: float = Field(ge=0, le=1)


class Comparison(Config):
    """What a difference allows to be said."""

    verdict: Verdict
    difference: Difference
    p_value: float = Field(ge=0, le=1)
    margin: float | None = None

    def sentence(self, first: str, second: str, digits: int = 3) -> str:
        """The verdict in words that claim no more than the data: over images alone it speaks of checkpoints, not of families."""
        interval = self.difference.interval
        if interval.over == "images":
            first, second = f"this checkpoint of {first}", f"this checkpoint of {second}"
        numbers = (
            f"difference {self.difference.value:+.{digits}f}, {interval.level:.4g} interval {interval.low:+.{digits}f} to "
            f"{interval.high:+.{digits}f} over {interval.over}, p = {_shown(self.p_value)}"
        ).replace(f"{interval.level:.4g} interval", f"{100 * interval.level:.4g} % interval")
        match self.verdict:
            case "higher" | "lower":
                said = f"{first} is {self.verdict} than {second}"
            case "equivalent":
                said = f"{first} and {second} are equivalent within {self.margin:g}"
            case "not distinguishable":
                said = f"{first} and {second} are not distinguishable here, which does not make them equal"
        return f"{said} ({numbers})"


class _Part(NamedTuple):
    """A piece of a mean's variance and the degrees of freedom it was estimated with."""

    variance: float
    df: float


class Statistic(Protocol):
    """Reduces one axis of an array: numpy's mean and median are such."""

    def __call__(self, values: Floats, /, *, axis: int) -> ArrayLike: ...


# Over images: one checkpoint ------------------------------------------------------------------------------------------------


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (JASA 22, 1927): right also near 0 and 1, and never empty.

    The p for which |successes/n - p| = z sqrt(p (1 - p) / n).
    """
    if n < 1 or not 0 <= successes <= n:
        raise RequestError(
            f"{successes} of {n} is not a proportion.", "0 <= successes <= n and n >= 1", "count the images again"
        )
    low, high = _wilson_ends(successes / n, n, _normal_quantile(level))
    return Interval(low=low, high=high, level=level, method="Wilson", over="images")


def bootstrap(
    values: ArrayLike, *, seed: int, statistic: Statistic = np.mean, level: float = 0.95, resamples: int = 2000
) -> Interval:
    """The percentile bootstrap interval of a statistic over images, which are the first axis of `values`.

    The percentile form, because it needs no jackknife (one evaluation per image), keeps its sense for medians and quantiles
    where BCa's acceleration has none, and for the means of hundreds of images differs from BCa by less than 2,000 resamples
    can resolve. `statistic` reduces axis 1 of an array (resamples, images, ...). Right-or-wrong values belong to `wilson`: where
    all values are equal a bootstrap has zero width, whatever n.
    """
    data = _finite(values, "bootstrap")
    drawn = _resampled(data, statistic, seed, resamples)
    low, high = _percentiles(drawn, level)
    return Interval(low=low, high=high, level=level, method="percentile bootstrap", over="images")


def mcnemar(first_correct: ArrayLike, second_correct: ArrayLike) -> float:
    """The exact two-sided p-value that two networks err equally often on the same images.

    Of the images on which exactly one is right, either is right with probability 1/2 (McNemar, Psychometrika 12, 1947; the
    binomial form).
    """
    from scipy import special

    first, second = _pair(first_correct, second_correct, proportions=True)
    only_first, only_second = int(np.sum(first > second)), int(np.sum(first < second))
    return min(1.0, 2 * float(special.bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def paired_proportions(first_correct: ArrayLike, second_correct: ArrayLike, level: float = 0.95) -> Difference:
    """The difference of two networks' accuracies on the same images, with McNemar's exact p-value.

    The interval is Bonett and Price's (J. Educ. Behav. Stat. 37, 2012): Wald's after one image is added to each kind of
    disagreement, so that it has a width even where the two never disagree.
    """
    first, second = _pair(first_correct, second_correct, proportions=True)
    n = first.size + 2
    up, down = (float(np.sum(first > second)) + 1) / n, (float(np.sum(first < second)) + 1) / n
    part = _Part((up + down - (up - down) ** 2) / n, math.inf)
    narrow, wide = (
        _around(up - down, [part], at, "Bonett-Price", "images", bounds=(-1.0, 1.0)) for at in (2 * level - 1, level)
    )
    p_value = mcnemar(first, second)
    return Difference(value=float(np.mean(first - second)), interval=wide, inner=narrow, p_value=p_value)


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 2000
) -> Difference:
    """The mean difference of two networks' per-image numbers (losses, confidences) on the same images.

    The interval is the percentile bootstrap of the differences. The p-value is that of the sign-flip test: without a
    difference each image's sign is a coin's. For right-or-wrong values take `paired_proportions`.
    """
    a, b = _pair(first, second)
    drawn = _resampled(a - b, np.mean, seed, resamples)
    ends = {at: _percentiles(drawn, at) for at in (level, 2 * level - 1)}
    wide, narrow = (
        Interval(low=low, high=high, level=at, method="paired percentile bootstrap", over="images")
        for at, (low, high) in ends.items()
    )
    p_value = _sign_flip(a - b, seed, resamples)
    return Difference(value=float(np.mean(a - b)), interval=wide, inner=narrow, p_value=p_value)


# Over seeds: a family -------------------------------------------------------------------------------------------------------


def over_seeds(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of one number a seed: for what has no per-image values, such as an indifference point."""
    data = _seeds(values)
    return _around(float(data.mean()), [_seed_part(data)], level, "t", "seeds")


def over_seeds_difference(first: ArrayLike, second: ArrayLike, *, paired: bool = False, level: float = 0.95) -> Difference:
    """The difference of two families' means, one number a seed: Welch's t, or the paired t where value s of both shares seed s."""
    a, b = _seeds(first), _seeds(second)
    if paired:
        _same_shape(a, b)
        return _difference(float(np.mean(a - b)), [_seed_part(a - b)], level, "paired t", "seeds")
    return _difference(float(a.mean() - b.mean()), [_welch(_seed_part(a), _seed_part(b))], level, "Welch t", "seeds")


def seed_by_image(values: ArrayLike, counted: ArrayLike | None = None, level: float = 0.95) -> Interval:
    """The interval of a family's mean over seeds and images, from an array (seeds, the same images for every seed).

    `counted` (same shape) says which values count, for shares of a part of the images (of those on which a network chose
    either cue, say): the interval is then that of the ratio of totals, by linearisation. Values that are all 0 or 1 are a
    proportion: Wilson's interval at the effective number of images, the n at which sqrt(p (1 - p) / n) z is the half-width
    found, so that the interval stays within [0, 1] and has a width where every answer is right. Where each seed has images
    of its own, the design is not crossed: take `over_seeds` of the seeds' means.
    """
    data, mean, share = _crossed(values, counted)
    seeds, images = _crossed_parts(data)
    method, over = "seeds x images", "seeds x images"
    if not _proportion(values):
        return _around(mean, [seeds, images], level, method, over)
    z, half = _normal_quantile(level), _half_width([seeds, images], level)
    spread = mean * (1 - mean)
    n = spread * (z / half) ** 2 if half > 0 and spread > 0 else data.shape[1] * share
    low, high = _wilson_ends(mean, n, z)
    return Interval(low=low, high=high, level=level, method=f"{method}, Wilson", over=over)


def seed_by_image_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    counted: tuple[ArrayLike, ArrayLike] | None = None,
    paired: bool = False,
    level: float = 0.95,
) -> Difference:
    """The difference of two families' means on the same images, each an array (seeds, images).

    The images are always paired. The seeds are where `paired` says that row s of both shares what its seed drew (the world,
    the order of batches); else their two parts are joined with Welch's degrees of freedom. `counted` as in `seed_by_image`.
    """
    a, mean_a, _ = _crossed(first, counted[0] if counted else None)
    b, mean_b, _ = _crossed(second, counted[1] if counted else None)
    if a.shape[1] != b.shape[1] or (paired and a.shape != b.shape):
        _same_shape(a if paired else a[0], b if paired else b[0])
    if paired:
        seeds, images = _crossed_parts(a - b)
    else:
        (seeds_a, _), (seeds_b, _) = _crossed_parts(a), _crossed_parts(b)
        seeds = _welch(seeds_a, seeds_b)
        rest = _residual(a) / len(a) + _residual(b) / len(b)
        n = a.shape[1]
        images = _Part(max(float(np.var(a.mean(0) - b.mean(0), ddof=1)) - rest, 0.0) / n, n - 1)
    if _proportion(first) and _proportion(second):  # two networks that never disagree still do so on some unseen images
        images = images._replace(variance=max(images.variance, 2 / (a.shape[1] + 2) ** 2))
    return _difference(
        mean_a - mean_b, [seeds, images], level, "paired seeds x images" if paired else "seeds x images", "seeds x images"
    )


# Many comparisons, and verdicts ---------------------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being one of many (Holm, Scand. J. Stat. 6, 1979), in the order given.

    The i-th smallest of m (from 0) is multiplied by m - i, and none may fall below the one before it. An adjusted p below 0.05
    is significant with at most 5 % risk of a single false alarm in the whole table.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not bool(np.all((p >= 0) & (p <= 1))):
        raise RequestError(
            f"{list(p_values)} are not p-values.", "numbers between 0 and 1", "leave out the tests that gave none"
        )
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return [float(value) for value in adjusted]


def compare(difference: Difference, margin: float | None = None, p_value: float | None = None) -> Comparison:
    """What a difference allows to be said: higher, lower, equivalent within a margin, or not distinguishable.

    Equivalence is two one-sided tests (Schuirmann, J. Pharmacokin. Biopharm. 15, 1987): the inner interval lies within the
    margin. A difference that is real but within the margin is called equivalent: the margin says what matters. `p_value` is the
    one adjusted for many comparisons, where there are many. An interval without width proves nothing.
    """
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise RequestError(
            f"A margin of {margin} was given.", "a positive number: the largest difference that does not matter", "margin=0.01"
        )
    p = difference.p_value if p_value is None else p_value
    verdict: Verdict = "not distinguishable"
    if margin is not None and difference.inner.width > 0 and -margin < difference.inner.low and difference.inner.high < margin:
        verdict = "equivalent"
    elif p < 1 - difference.interval.level and difference.interval.width > 0 and difference.interval.excludes(0):
        verdict = "higher" if difference.value > 0 else "lower"
    return Comparison(verdict=verdict, difference=difference, p_value=p, margin=margin)
