"""Two numbers beside each other: paired tests, many tests at once, and what may be said.

Two checkpoints are compared on the same images (`paired_proportions`, `paired_bootstrap`), two families over seeds and
images (`seed_by_image_difference`) or over seeds (`over_seeds_difference`). `holm` adjusts the p-values of a table, and
`compare` gives the verdict. "Not distinguishable" is not "equal": equivalence needs a margin and a test of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from priorscope.core.config import Config
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.core.stats import (
    Interval,
    bonett_price,
    clipped,
    image_spread,
    resampled,
    symmetric_interval,
    widened_percentiles,
)
from priorscope.core.variance import (
    Floats,
    VariancePart,
    crossed_over,
    crossed_parts,
    finite,
    interaction_variance,
    is_proportion,
    linearised,
    one_per_seed,
    p_value,
    seed_part,
)
from priorscope.core.wording import chance_said, listed

Verdict = Literal["higher", "lower", "equivalent", "not distinguishable"]
T = TypeVar("T")

ALL_SIGNS = 16
"""Up to this many differences, all combinations of signs are tried: 2^16 take milliseconds."""


class Difference(Config):
    """First minus second: the difference, its interval, and its two-sided p-value against no difference.

    `inner` is the interval at 2 level - 1 (90 % beside 95 %): each of its ends is a one-sided bound at 1 - level, which is
    what an equivalence test asks for. `least_p` is the smallest p-value that the test could have given with so many images.
    `n` is the number of images that both were compared on, which may be fewer than either was asked about; None where the
    difference is not of images.
    """

    value: float
    interval: Interval
    inner: Interval
    p_value: float = Field(ge=0, le=1)
    least_p: float = Field(default=0.0, ge=0, le=1)
    n: int | None = None

    def over(self, images: str = "images") -> str:
        """What the interval is over, the images counted: "seeds and 200 images"."""
        counted = images if self.n is None else f"{self.n:,} {images}"
        return listed([counted if part == "images" else part for part in self.interval.over.split(" x ")])


class Comparison(Config):
    """What a difference allows to be said; `p_value` is the adjusted one where it was one of many."""

    verdict: Verdict
    difference: Difference
    p_value: float = Field(ge=0, le=1)
    margin: float | None = None

    def sentence(self, first: str, second: str, digits: int = 3) -> str:
        """The verdict in words that claim no more than the data: not taken over seeds, it speaks of checkpoints only."""
        interval = self.difference.interval
        if "seeds" not in interval.over:
            first, second = f"this checkpoint of {first}", f"this checkpoint of {second}"
        if self.verdict == "equivalent":
            said = f"{first} and {second} are equivalent within {self.margin:g}"
        elif self.verdict == "not distinguishable":
            said = f"{first} and {second} are not distinguishable here, which does not make them equal"
        else:
            said = f"{first} is {self.verdict} than {second}"
        return (
            f"{said} (difference {self.difference.value:+.{digits}f}, {100 * interval.level:g} % interval "
            f"{interval.low:+.{digits}f} to {interval.high:+.{digits}f} over {self.difference.over()}, "
            f"{chance_said(self.p_value)})"
        )


# Two checkpoints on the same images.


def mcnemar(first_correct: ArrayLike, second_correct: ArrayLike) -> float:
    """The exact two-sided p-value of two networks being right equally often on the same images.

    Of the images on which exactly one is right, each is either's with probability 1/2 (McNemar, Psychometrika 12, 1947, in the
    binomial form).
    """
    from scipy import special

    up, down = _disagreements(first_correct, second_correct)
    return min(1.0, 2 * float(special.bdtr(min(up, down), up + down, 0.5)))


def paired_proportions(first_correct: ArrayLike, second_correct: ArrayLike, level: float = 0.95) -> Difference:
    """The difference of two networks' accuracies on the same images, with McNemar's exact p-value.

    The interval is Bonett and Price's, which has a width also where the two never disagree.
    """
    up, down = _disagreements(first_correct, second_correct)
    n = np.size(first_correct)
    wide, inner = (bonett_price(up, down, n, at) for at in (level, 2 * level - 1))
    p, least = mcnemar(first_correct, second_correct), _all_on_one_side(n)
    return Difference(value=(up - down) / n, interval=wide, inner=inner, p_value=p, least_p=least, n=n)


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 2000
) -> Difference:
    """The mean difference of two networks' per-image numbers (losses, confidences) on the same images.

    The interval is the percentile bootstrap of the differences; the p-value is the sign-flip test's: without a difference, each
    image's sign is a coin's. Of few images all signs are tried, of more `resamples`. For right-or-wrong values take
    `paired_proportions`.
    """
    difference = _paired(first, second)
    value, drawn = float(difference.mean()), resampled(difference, seed, resamples=resamples)

    def at(level: float) -> Interval:
        low, high = widened_percentiles(value, drawn, len(difference), level)
        return Interval(low=low, high=high, level=level, method="paired percentile bootstrap", over="images")

    p, n = _sign_flip(difference, seed, resamples), difference.size
    least = _all_on_one_side(n) if n <= ALL_SIGNS else min(1 / (resamples + 1), 2 * math.exp(-n / 2))
    return Difference(value=value, interval=at(level), inner=at(2 * level - 1), p_value=p, least_p=least, n=n)


# Two families.


def over_seeds_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    paired: bool = False,
    images: tuple[Sequence[Interval | None], Sequence[Interval | None]] = ((), ()),
    level: float = 0.95,
) -> Difference:
    """The difference of two families' means of one number a seed.

    Welch's t; the paired t where `paired` says that entry s of both shares what its seed drew. Where the numbers of seeds are
    far apart Welch's level is not kept: 3 seeds that spread twice as far as 10 others are told from them in 7.7 % of cases at
    5 %. A part of the variance for each family's seeds keeps it, and was tried: of 3 and 3 seeds it asks t = 4.30 for 2.78.

    Where all saw the same images, `images` are the seeds' own intervals, as in `over_seeds`: images that move one family up
    may move the other down, so that at most both spreads add up.
    """
    if paired:
        difference = one_per_seed(_paired(first, second))
        return _difference(float(difference.mean()), [seed_part(difference)], level, "paired t", "seeds")
    a, b = one_per_seed(first), one_per_seed(second)
    value, parts = float(a.mean() - b.mean()), [_welch(seed_part(a), seed_part(b))]
    one, other = (image_spread(v, own) for v, own in zip((a, b), images, strict=True))
    if one is None or other is None:
        return _difference(value, parts, level, "Welch t", "seeds")
    shared = VariancePart((max(one) + max(other)) ** 2, math.inf)
    return _difference(value, [*parts, shared], level, "Welch t, widened", "seeds x images")


def seed_by_image_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    counted: tuple[ArrayLike, ArrayLike] | None = None,
    paired: bool = False,
    level: float = 0.95,
) -> Difference:
    """The difference of two families' means on the same images; each an array, and `counted`, as in `seed_by_image`.

    The images are always paired, and draws are. The seeds are where `paired` says that row s of both shares what its seed drew
    (the world, the order of batches); else their two variances are joined with Welch's degrees of freedom.
    """
    (a, mean_a), (b, mean_b) = (linearised(v, c) for v, c in zip((first, second), counted or (None, None), strict=True))
    if b.shape[1:] != a.shape[1:] or (paired and len(a) != len(b)):
        raise _unlike(a, b)
    parts, name, over = crossed_parts(a - b) if paired else _two_families(a, b), "crossed t", crossed_over(a)
    if not (is_proportion(first) and is_proportion(second)):
        return _difference(mean_a - mean_b, parts, level, name, over, a.shape[-1])
    # Families that never disagree here do so on some image not seen: Bonett and Price's variance without a disagreement.
    parts[1] = parts[1]._replace(variance=max(parts[1].variance, 2 / (a.shape[-1] + 2) ** 2))
    result = _difference(mean_a - mean_b, parts, level, name, over, a.shape[-1])
    return result.model_copy(update={"interval": clipped(result.interval, -1, 1), "inner": clipped(result.inner, -1, 1)})


def difference_of_medians(first: ArrayLike, second: ArrayLike, *, seed: int, level: float = 0.95) -> Difference:
    """The difference of two families' mean medians over the same images; each an array (seeds, images), or (1, images).

    The images are paired: those of a resample are the same for every network, and the variance of the difference over the
    resamples is the images' part. The seeds' is Welch's, from several seeds of each; of single checkpoints there is none.
    """
    a, b = finite(first), finite(second)
    if a.ndim != 2 or b.shape[1:] != a.shape[1:] or (len(a) == 1) != (len(b) == 1):
        raise _unlike(a, b)
    weights = np.concatenate([np.full(len(a), 1 / len(a)), np.full(len(b), -1 / len(b))])

    def difference(values: Floats, /, *, axis: int) -> Floats:
        return np.asarray(np.median(values, axis=axis) @ weights)

    networks, n = np.concatenate([a, b]).T, a.shape[1]
    parts = [VariancePart(float(np.var(resampled(networks, seed, difference), ddof=1)), max(n - 1, 1))]
    if len(a) > 1:
        parts.append(_welch(*(seed_part(np.median(family, axis=1)) for family in (a, b))))
    value, over = float(np.median(networks, axis=0) @ weights), "seeds x images" if len(a) > 1 else "images"
    found = _difference(value, parts, level, "t, of resampled medians", over, n)
    return found.model_copy(update={"least_p": _all_on_one_side(n)})


# Many comparisons, and verdicts.


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being some of many, in the order given (Holm, Scand. J. Stat. 6, 1979).

    The i-th smallest of m, counted from 0, is multiplied by m - i, and none falls below the one before it. Calling significant
    what is then below 0.05 risks one false alarm or more in the whole table with at most 5 %.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise RequestError(
            f"{p_values} are not all p-values.", "a list of numbers from 0 to 1", "leave out tests that gave none"
        )
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return [float(value) for value in adjusted]


def beside_the_best(best: T, others: Sequence[T], difference: Callable[[T, T], Difference | None]) -> list[Verdict | None]:
    """What the best of some is beside each of the others; None where `difference`, first minus second, finds no test.

    It is the best on the data that test it, so that every two could have been asked: all pairs count for `holm`. With its own
    pairs alone, one of 8 equal networks is called best in 13 % of cases.
    """
    pairs = itertools.combinations([best, *others], 2)  # those of the best come first
    tested = {at: found for at, pair in enumerate(pairs) if (found := difference(*pair)) is not None}
    adjusted = holm([found.p_value for found in tested.values()])
    said: dict[int, Verdict] = {}
    for (at, found), p in zip(tested.items(), adjusted, strict=True):
        said[at] = compare(found, adjusted_p=p).verdict
    return [said.get(at) for at in range(len(others))]


def compare(difference: Difference, margin: float | None = None, adjusted_p: float | None = None) -> Comparison:
    """What a difference allows to be said: higher, lower, equivalent within the margin, or not distinguishable.

    Equivalence is two one-sided tests (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987): the inner interval lies within the
    margin, the largest difference that does not matter. So a real difference within it is called equivalent. `adjusted_p` is
    the p-value after `holm`. Data without any spread prove nothing.
    """
    if margin is not None and not 0 < margin < math.inf:
        raise RequestError(
            f"A margin of {margin} was given.", "the largest difference that does not matter, above 0", "margin=0.01"
        )
    p, interval, inner = difference.p_value, difference.interval, difference.inner
    p = p if adjusted_p is None else adjusted_p
    verdict: Verdict = "not distinguishable"
    if margin is not None and inner.width > 0 and -margin < inner.low and inner.high < margin:
        verdict = "equivalent"
    elif p < 1 - interval.level and interval.width > 0 and interval.excludes(0):
        verdict = "higher" if difference.value > 0 else "lower"
    return Comparison(verdict=verdict, difference=difference, p_value=p, margin=margin)


def _difference(
    value: float, parts: list[VariancePart], level: float, method: str, over: str, n: int | None = None
) -> Difference:
    wide, inner = (symmetric_interval(value, parts, at, method, over) for at in (level, 2 * level - 1))
    return Difference(value=value, interval=wide, inner=inner, p_value=p_value(value, parts), n=n)


def _welch(first: VariancePart, second: VariancePart) -> VariancePart:
    """The variance of a difference of two independent means (Welch, Biometrika 34, 1947)."""
    variance = first.variance + second.variance
    if variance == 0:
        return VariancePart(0.0, min(first.df, second.df))
    return VariancePart(variance, variance**2 / (first.variance**2 / first.df + second.variance**2 / second.df))


def _two_families(a: Floats, b: Floats) -> list[VariancePart]:
    """The parts of a difference's variance: both families' seeds, the images, and the draws if there are some."""
    if a.ndim == 3:
        return [*_two_families(a.mean(axis=1), b.mean(axis=1)), seed_part(a.mean(axis=(0, 2)) - b.mean(axis=(0, 2)))]
    n = a.shape[1]
    own = (
        float(np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1))
        - interaction_variance(a) / len(a)
        - interaction_variance(b) / len(b)
    )
    return [_welch(seed_part(a.mean(axis=1)), seed_part(b.mean(axis=1))), VariancePart(max(own, 0.0) / n, n - 1)]


def _all_on_one_side(n: int) -> float:
    """The chance that n coins fall alike."""
    return min(1.0, 2.0 ** (1 - n))


def _sign_flip(difference: Floats, seed: int, resamples: int) -> float:
    """The share of signs, the data's own among them, whose mean lies as far from 0 as the data's.

    For up to `ALL_SIGNS` numbers all signs are tried. For more it is the share of random ones, which cannot fall below 1 in
    `resamples` + 1: too much after `holm` over a hundred pairs. So where none of them lies as far, it is bounded by
    Hoeffding's inequality as well (J. Am. Stat. Assoc. 58, 1963), P(|sum of +-d| >= t) <= 2 exp(-t^2 / (2 sum of d^2)). The
    bound is never below the exact share, and only p-values below those of random signs rest on it, so the test keeps its level.
    """
    draw, n, total = stream(seed, "sign flip"), difference.size, float(difference.sum())

    def as_far(flips: NDArray[np.int8]) -> int:
        return int(np.count_nonzero(np.abs(total - 2 * (flips @ difference)) >= abs(total) * (1 - 1e-12)))

    if n <= ALL_SIGNS:
        return as_far((np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.int8)) / 2**n
    at_once = max(1, 2**20 // n)
    sizes = (min(at_once, resamples - start) for start in range(0, resamples, at_once))
    share = (1 + sum(as_far(draw.integers(0, 2, (size, n), dtype=np.int8)) for size in sizes)) / (resamples + 1)
    if share > 1 / (resamples + 1):
        return share
    bound = 2 * math.exp(-(total**2) / (2 * float(difference @ difference)))
    return min(share, max(bound, float(np.finfo(np.float64).tiny)))  # too small for a number is not none


def _disagreements(first_correct: ArrayLike, second_correct: ArrayLike) -> tuple[int, int]:
    """On how many images only the first is right, and only the second."""
    difference = _paired(first_correct, second_correct)
    if not (is_proportion(first_correct) and is_proportion(second_correct)):
        raise RequestError(
            "Values other than 0 and 1 were given.", "whether each answer was right", "paired_bootstrap(first, second)"
        )
    return int(np.sum(difference > 0)), int(np.sum(difference < 0))


def _paired(first: ArrayLike, second: ArrayLike) -> Floats:
    a, b = finite(first), finite(second)
    if a.shape != b.shape or a.ndim != 1:
        raise _unlike(a, b)
    return a - b


def _unlike(first: Floats, second: Floats) -> RequestError:
    return RequestError(
        f"Values of shapes {first.shape} and {second.shape} cannot be paired.",
        "the same images in the same order, and the same seeds where seeds are paired",
        "score both on one split",
    )
