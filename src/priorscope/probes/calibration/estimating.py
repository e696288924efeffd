"""Is a confidence a probability? Estimates of calibration error, what chance alone would make of them, and a temperature.

A network is calibrated if of the answers that it gives with confidence p a share p is right. Whether it is can only be seen in
bins of answers, and in finite bins a calibrated network shows an error too: 0.029 on average with 15 bins and 1,000 images
that are spread evenly. So no estimate stands alone. The labels are drawn again and again out of the network's own
probabilities, as if those were true, and every estimate is computed from these labels by the code that computes it from the
real ones: that is its null level. A bootstrap of the images would not do: it adds the same upward bias a second time.

Where several classes share the highest probability there is no answer, as everywhere: it is never right, and drawn labels do
not make it so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import RequestError
from priorscope.core.metrics import answers_alone, softmax
from priorscope.core.rng import stream
from priorscope.core.stats import Interval
from priorscope.core.variance import normal_quantile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BINS = 15
"""The field's number of bins (Guo et al. 2017)."""
SWEEP_MOST = 100
"""Bins at which the sweep ends: beyond it bins hold too few answers to change anything."""
RESAMPLES = 1000
AT_ONCE = 2**22
"""Random numbers held at a time."""


def equal_width(values: Floats, bins: int = BINS) -> Ints:
    """The bin of each value in [0, 1], of `bins` bins (low, high] of equal width; 0 belongs to the first and 1 to the last.

    Compared with the edges and not multiplied: a bin beyond the last for confidence 1 is a known fault of other tools.
    """
    return np.clip(np.searchsorted(np.arange(bins + 1) / bins, values, side="left") - 1, 0, bins - 1)


def equal_mass(rising: Floats, bins: int = BINS) -> Ints:
    """The bin of each of some rising values, of `bins` bins with equally many; equal values always share the lower bin."""
    return np.searchsorted(rising, rising, side="left") * bins // len(rising)


@dataclass(frozen=True)
class Answers:
    """Probabilities of every class for every image (float64, rows sum to 1), and the labels."""

    probabilities: Floats
    labels: Ints

    @cached_property
    def guess(self) -> Ints:
        """The likeliest class of each image; -1 where several are."""
        return answers_alone(self.probabilities)

    @cached_property
    def order(self) -> Ints:
        """The images by rising confidence."""
        return np.argsort(self.probabilities.max(1), kind="stable")

    @cached_property
    def confidence(self) -> Floats:
        """The probabilities of the guesses, rising."""
        return self.probabilities.max(1)[self.order]

    @cached_property
    def right(self) -> Bools:
        """Whether each guess is right, by rising confidence."""
        return (self.guess == self.labels)[self.order]

    @cached_property
    def chance(self) -> Floats:
        """How often each guess would be right if the probabilities were true, by rising confidence: never, where it is -1."""
        return np.where(self.guess >= 0, self.probabilities.max(1), 0.0)[self.order]

    @cached_property
    def class_bins(self) -> tuple[Ints, Floats, Ints]:
        """The bin of each probability (one class's after another's), the sum of each bin, and how many it holds."""
        p, many = self.probabilities, BINS * self.probabilities.shape[1]
        places = equal_width(p.ravel()).reshape(p.shape) + BINS * np.arange(p.shape[1])
        sums = np.bincount(places.ravel(), p.ravel(), many).astype(np.float64)
        return places, sums, np.bincount(places.ravel(), minlength=many).astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width: how many answers, how sure, how many right, and what share a calibrated network would have right."""

    n: Ints
    confidence: Floats
    right: Floats
    low: Floats
    high: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the gap between confidence and share right, averaged over answers."""
        return float((self.n * np.abs(self.right - self.confidence)).sum() / self.n.sum())


@dataclass(frozen=True)
class Null:
    """An estimate beside what labels drawn from the network's own probabilities give: mean, central 95 % and p-value."""

    name: str
    value: float
    mean: float
    low: float
    high: float
    p_value: float

    @classmethod
    def of(cls, name: str, value: float, drawn: Floats) -> Null:
        """An estimate beside its `drawn` values; the p-value counts the data themselves among the draws, so it is never 0."""
        low, high = np.quantile(drawn, [0.025, 0.975])
        as_high = 1 + int(np.count_nonzero(drawn >= value - 1e-12))
        return cls(name, value, float(drawn.mean()), float(low), float(high), as_high / (len(drawn) + 1))


WIDTH, MASS, SWEEP, MOST, CLASSES = "ECE", "ECE, equal mass", "ECE, sweep", "MCE", "class-wise ECE"


def estimates(answers: Answers, seed: int) -> tuple[list[Null], Reliability]:
    """Every estimate of the calibration error beside its null level, and the bins of the first of them."""
    observed = _errors(answers.confidence, answers.right[None])
    parts: dict[str, list[Floats]] = {name: [] for name in observed}
    counts: list[Ints] = []
    place = equal_width(answers.confidence)
    for hits in _drawn_hits(answers.chance, seed):
        for name, values in _errors(answers.confidence, hits).items():
            parts[name].append(values)
        counts.append(_sums(hits, _starts(place, BINS)))
    found = [Null.of(name, float(observed[name][0]), np.concatenate(parts[name])) for name in observed]
    drawn = np.array([_class_error(answers, labels) for labels in _drawn_labels(answers.probabilities, seed)])
    found.append(Null.of(CLASSES, _class_error(answers, answers.labels), drawn))
    return found, _reliability(answers, place, np.concatenate(counts))


def _reliability(answers: Answers, place: Ints, drawn: Ints) -> Reliability:
    n = np.bincount(place, minlength=BINS)
    each = np.maximum(n, 1)
    low, high = np.quantile(drawn / each, [0.025, 0.975], axis=0)
    sure = np.bincount(place, answers.confidence, minlength=BINS) / each
    right = np.bincount(place, answers.right, minlength=BINS) / each
    return Reliability(n, sure, right, low, high)


def _drawn_hits(chance: Floats, seed: int) -> Iterator[Bools]:
    """Whether each guess would be right, drawn with its own chance, in blocks of resamples."""
    draw, at_once = stream(seed, "calibration", "guesses"), max(1, AT_ONCE // len(chance))
    for start in range(0, RESAMPLES, at_once):
        yield draw.random((min(at_once, RESAMPLES - start), len(chance))) < chance


def _drawn_labels(probabilities: Floats, seed: int) -> Iterator[Ints]:
    """Labels of all images drawn from the network's probabilities: fewer times where images x classes are many."""
    draw, last = stream(seed, "calibration", "labels"), probabilities.shape[1] - 1
    up_to = np.cumsum(probabilities, axis=1)
    for _ in range(int(np.clip(2e9 // probabilities.size, 40, RESAMPLES))):
        yield np.minimum((draw.random(len(up_to))[:, None] >= up_to).sum(1), last)


def _errors(confidence: Floats, hits: Bools) -> dict[str, Floats]:
    """The estimates that look at guesses alone, for each row of `hits`; the confidences rise."""
    gaps = _gaps(confidence, hits, _starts(equal_width(confidence), BINS))
    n = np.diff(_starts(equal_width(confidence), BINS))
    total = len(confidence)
    mass = _gaps(confidence, hits, _starts(equal_mass(confidence), BINS))
    return {
        WIDTH: np.abs(gaps).sum(1) / total,
        MASS: np.abs(mass).sum(1) / total,
        SWEEP: _sweep(confidence, hits),
        MOST: (np.abs(gaps) / np.maximum(n, 1)).max(1),
    }


def _starts(place: Ints, bins: int) -> Ints:
    """The index at which each bin begins among rising values, and the one at which the last bin ends."""
    return np.searchsorted(place, np.arange(bins + 1), side="left")


def _sums(values: NDArray[np.bool_], starts: Ints) -> Ints:
    """How many values of each row are true in each bin."""
    running = np.zeros((len(values), values.shape[1] + 1), np.int64)
    np.cumsum(values, axis=1, out=running[:, 1:])
    return np.diff(running[:, starts], axis=1)


def _gaps(confidence: Floats, hits: Bools, starts: Ints) -> Floats:
    """Right answers less the confidence given for them, summed in each bin."""
    sure = np.diff(np.concatenate([[0.0], np.cumsum(confidence)])[starts])
    return np.asarray(_sums(hits, starts) - sure, np.float64)


def _sweep(confidence: Floats, hits: Bools) -> Floats:
    """Equal-mass bins, as many as leave the share right rising from bin to bin (Roelofs et al. 2020, arXiv 2012.08668)."""
    rows = np.arange(len(hits))
    found = np.abs(hits.sum(1) - confidence.sum()) / len(confidence)
    running = np.zeros((len(hits), hits.shape[1] + 1), np.int64)
    np.cumsum(hits, axis=1, out=running[:, 1:])
    sure = np.concatenate([[0.0], np.cumsum(confidence)])
    for bins in range(2, min(SWEEP_MOST, len(confidence)) + 1):
        starts = np.unique(_starts(equal_mass(confidence, bins), bins))  # bins that ties have emptied are left out
        counts = np.diff(running[rows][:, starts], axis=1)
        rises = (np.diff(counts / np.diff(starts), axis=1) >= 0).all(1)
        rows, counts = rows[rises], counts[rises]
        if not len(rows):
            break
        found[rows] = np.abs(counts - np.diff(sure[starts])).sum(1) / len(confidence)
    return found


def _class_error(answers: Answers, labels: Ints) -> float:
    """The mean over classes of the equal-width error of each class's probability (Kull et al. 2019, arXiv 1910.12656)."""
    places, sure, _ = answers.class_bins
    counts = np.bincount(places[np.arange(len(labels)), labels], minlength=len(sure))
    return float(np.abs(counts - sure).sum() / answers.probabilities.size)


@dataclass(frozen=True)
class Brier:
    """The Brier score's parts: score = reliability - resolution + uncertainty + within, exactly."""

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_scores(answers: Answers) -> Floats:
    """Each image's squared distance between its probabilities and its label as a unit vector: from 0 to 2."""
    truth = np.eye(answers.probabilities.shape[1])[answers.labels]
    return ((answers.probabilities - truth) ** 2).sum(1)


def brier_parts(answers: Answers) -> Brier:
    """Murphy's three parts, summed over classes, in 15 bins of equal width.

    They add up only where all forecasts of a bin are equal; `within` is what the spread inside the bins adds
    (Stephenson, Coelho and Jolliffe, Weather and Forecasting 23, 2008).
    """
    p, labels = answers.probabilities, answers.labels
    places, sure, counts = answers.class_bins
    truth = np.eye(p.shape[1])[labels]
    each = np.maximum(counts, 1)
    mean_p = sure / each
    mean_truth = np.bincount(places[np.arange(len(labels)), labels], minlength=len(counts)) / each
    base = np.repeat(truth.mean(0), BINS)
    apart_p, apart_truth = p - mean_p[places], truth - mean_truth[places]
    return Brier(
        score=float(brier_scores(answers).mean()),
        reliability=float((counts * (mean_p - mean_truth) ** 2).sum() / len(labels)),
        resolution=float((counts * (mean_truth - base) ** 2).sum() / len(labels)),
        uncertainty=float((truth.mean(0) * (1 - truth.mean(0))).sum()),
        within=float((apart_p**2 - 2 * apart_p * apart_truth).sum() / len(labels)),
    )


def squared_error(answers: Answers, level: float = 0.95) -> tuple[float, Interval]:
    """The squared calibration error in equal-mass bins without its bias, and its interval.

    There are 15 bins, or fewer where one would hold a single answer, which has no variance to take off: of few answers, and
    where equal confidences, which share a bin, leave one beside them.

    In a bin of n answers the mean of right - confidence is d, with variance s2 / n, so d^2 - s2 / n has no bias (Kumar et al.
    2019, arXiv 1909.10155, with the differences' own variance); their average over answers may fall below 0. Scaled, it is
    distributed as a noncentral chi-squared whose noncentrality is the true value (Satterthwaite's degrees of freedom), also at
    0, where a bootstrap's interval never reaches: the interval holds the true values, which are at most 1, under which the
    estimate is not in a tail.
    """
    bins = min(BINS, max(len(answers) // 2, 1))
    starts = _of_two(np.unique(_starts(equal_mass(answers.confidence, bins), bins)))
    n = np.diff(starts)
    apart = answers.right - answers.confidence
    mean = np.add.reduceat(apart, starts[:-1]) / n
    rest = apart - np.repeat(mean, n)
    variance = np.add.reduceat(rest**2, starts[:-1]) / np.maximum(n - 1, 1)
    total = len(answers)
    value = float((n * mean**2 - variance).sum() / total)
    # Answers that are all as sure as they are right show no variance; one more could always have been otherwise.
    variance = np.maximum(variance, 1 / (n + 2))
    scale = float((variance**2).sum() / (total * variance.sum()))
    df = float(variance.sum() ** 2 / (variance**2).sum())
    scale *= _wider(mean**2, variance, n / total, scale * total)
    low, high = (scale * end for end in _noncentralities(max(value / scale + df, 0.0), df, level))
    high = min(max(high, value, 0.0), 1.0)
    low = min(low, max(value, 0.0), high)
    return value, Interval(low=low, high=high, level=level, method="noncentral chi-squared", over="images")


def _of_two(starts: Ints) -> Ints:
    """The starts of bins and the end of the last; a bin with one answer is joined to the next, a last one to the bin before."""
    first, *inner, end = starts.tolist()
    kept = [first]
    for at in inner:
        if at - kept[-1] >= 2 and end - at >= 2:
            kept.append(at)
    return np.array([*kept, end])


def _wider(squares: Floats, variance: Floats, share: Floats, scale: float) -> float:
    """By how much the variance far from 0 exceeds what one scale for all bins gives; never below 1.

    It is 4 mean(d^2 s2) + var(d^2) over answers, where one scale gives 4 scale mean(d^2).
    """
    plain = float((share * squares).sum())
    full = 4 * float((share * squares * variance).sum()) + float((share * squares**2).sum()) - plain**2
    return max(1.0, full / (4 * scale * plain)) if plain > 0 else 1.0


def _noncentralities(x: float, df: float, level: float) -> tuple[float, float]:
    """The noncentralities for which x is the upper and the lower (1 - level) / 2 point; 0 where there is none."""
    from scipy import special

    tail = (1 - level) / 2
    most = (math.sqrt(x) + normal_quantile(level) + 5) ** 2 + 10

    def where(share: float) -> float:
        if float(special.chndtr(x, df, 0.0)) <= share:
            return 0.0
        low, high = 0.0, most
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if float(special.chndtr(x, df, middle)) > share else (low, middle)
        return low

    return where(1 - tail), where(tail)


HOTTEST, COLDEST = 100.0, 0.01


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by; `at_end` says that the best value lies beyond the range that is searched."""

    value: float
    at_end: bool


def fit_temperature(logits: NDArray[np.floating], labels: Ints) -> Temperature:
    """The temperature with the least log loss, between 0.01 and 100 (Guo et al. 2017, arXiv 1706.04599).

    The loss is convex in b = 1 / T, with derivative mean(E_p[z] - z[label]), so bisection of that finds the only minimum.
    """
    scores = np.asarray(logits, np.float64)
    if not np.isfinite(scores).all():
        raise RequestError("Logits that are not finite have no temperature.", "finite logits", "leave those images out")
    own = scores[np.arange(len(labels)), labels]

    def slope(b: float) -> float:
        return float(((softmax(b * scores) * scores).sum(1) - own).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0:
        return Temperature(HOTTEST, at_end=True)
    if slope(high) <= 0:
        return Temperature(COLDEST, at_end=True)
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return Temperature(1 / math.sqrt(low * high), at_end=False)
