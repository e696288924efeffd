"""What runs say of error against compute, and whether they say it: front, curve, intervals, held-out point, allocation.

The unit of sampling is a whole run. Runs that differ in their seed alone are averaged before anything is compared, so that the
front is one of recipes and not of lucky seeds. Every resample draws runs with replacement and takes the front again; a run
drawn twice weighs twice. A few points through which four numbers are fitted scatter less than they would elsewhere, so the
resamples' deviations are taken times sqrt(n / (n - 4)) and t(n - 4) / z. Where a recipe of the front has one run and nothing
nearly as good stands beside it, resamples without it have a worse front: the interval is then wider than noise alone makes it.

A curve with four free numbers always fits. It is called a law only where the runs would give about the same exponent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from priorscope.core.config import Config
from priorscope.core.rng import stream
from priorscope.core.stats import Interval
from priorscope.core.variance import VariancePart, half_width, normal_quantile
from priorscope.probes.scaling.power_law import FREE, Law, fit_law, front_of, local_exponent, slope

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DECADES = 1.5
"""Powers of ten of compute that the front must span: over less, a curve with a floor and one without look the same."""
POINTS = FREE + 3
"""Points that the front must have: the four numbers, and three to say how well they fit."""
LEVEL = 0.95
BY_CHANCE = 0.01
"""How likely runs in a random order may be to rank as well by compute as these do."""
ORDERS = 2000
ALLOCATED = ("parameters", "samples", "seen")


@dataclass(frozen=True)
class Points:
    """One entry for each run at each moment that counts; `run` numbers runs, `config` their recipes without the seed."""

    run: Ints
    config: Ints
    step: Ints
    compute: Floats
    error: Floats
    parameters: Floats
    samples: Floats
    """Different images of the training data."""
    seen: Floats
    """Images that training has shown, again and again."""

    @cached_property
    def _groups(self) -> tuple[Ints, Ints]:
        """The first point of each recipe and moment, and to which of them every point belongs."""
        keys = np.stack([self.config, self.step], 1)
        _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        return first.astype(np.int64), group.reshape(-1).astype(np.int64)

    def means(self, drawn: Floats | None = None) -> Means:
        """The mean over each recipe's runs at each moment, a run counting as often as it was drawn (not given: once)."""
        first, group = self._groups
        weight = np.ones(len(group)) if drawn is None else drawn[self.run]
        count = np.bincount(group, weight, len(first)).astype(np.float64)
        kept = count > 0
        error = np.bincount(group, weight * self.error, len(first))[kept] / count[kept]
        return Means(self.compute[first][kept], error, count[kept], self.config[first][kept], first[kept])


class Means(NamedTuple):
    """What recipes do at each moment; `weight` is the number of runs, `row` their first point."""

    compute: Floats
    error: Floats
    weight: Floats
    config: Ints
    row: Ints

    def where(self, rows: NDArray[np.bool_] | Ints) -> Means:
        """The entries in some rows."""
        return Means(self.compute[rows], self.error[rows], self.weight[rows], self.config[rows], self.row[rows])

    def front(self) -> Means:
        """The front: the entries that nothing cheaper beats."""
        return self.where(front_of(self.compute, self.error))

    def law(self) -> Law:
        """The curve of error against compute that is fitted to the entries."""
        return fit_law(self.compute, self.error, self.weight)

    @property
    def decades(self) -> float:
        """Powers of ten between the least and the most compute."""
        return float(np.log10(self.compute.max() / self.compute.min()))


class Estimate(Config):
    """A number with its interval over runs."""

    value: float
    low: float
    high: float

    def interval(self) -> Interval:
        """The interval, with how it was made."""
        return Interval(low=self.low, high=self.high, level=LEVEL, method="bootstrap, front anew", over="runs")


class HeldOut(Config):
    """The error at the front's largest compute, predicted by the curve of what is cheaper, and as it was."""

    compute: float
    predicted: Estimate
    observed: float

    @property
    def met(self) -> bool:
        """Whether what was observed lies in the prediction's interval."""
        return self.predicted.low <= self.observed <= self.predicted.high


class Found(NamedTuple):
    """Everything that is estimated. `law` is the curve through the front, identified or not; `lacking` says why not."""

    means: Means
    front: Means
    local: Estimate | None
    """None where the front has fewer than three points, of which no slope has an interval."""
    law: Law | None
    exponent: Estimate | None
    floor: Estimate | None
    lacking: tuple[str, ...]
    band: Floats
    """(compute, 3): compute, and the ends of the curve's interval there."""
    held_out: HeldOut | None
    allocation: dict[str, Estimate]
    """The exponents with which parameters, different images and images shown grow along the front, where they do."""


def estimate(points: Points, resamples: int, width: float, seed: int) -> Found:
    """The front, how it falls, and the curve with what is known of it."""
    whole = points.means()
    front = whole.front()
    drawn = [points.means(counts) for counts in _draws(points, resamples, seed)]
    fronts = [one.front() for one in drawn]
    law, exponent, floor, lacking, band = None, None, None, _too_little(whole, front, seed), np.zeros((0, 3))
    if _fits(front):
        law, laws = front.law(), [one.law() for one in fronts if _fits(one)]
        if len(laws) > resamples / 2:
            wider = _wider(len(front.compute), FREE)
            exponent = _positive(law.exponent, np.array([one.exponent for one in laws]), wider)
            floor = _estimate(law.floor, np.array([one.floor for one in laws]), wider)
            floor = floor.replace(low=max(floor.low, 0.0))
            band = _band(law, laws, front, wider)
        lacking = (*lacking, *_unsure(law, exponent, floor, width))
    return Found(
        whole,
        front,
        _local(front, fronts),
        law,
        exponent,
        floor,
        lacking,
        band,
        _held_out(whole, front, drawn),
        _allocation(points, front, fronts),
    )


def _draws(points: Points, resamples: int, seed: int) -> list[Floats]:
    """How often each run is drawn, in each resample."""
    runs = int(points.run.max()) + 1
    draw = stream(seed, "scaling", "runs")
    return [np.bincount(draw.integers(0, runs, runs), minlength=runs).astype(np.float64) for _ in range(resamples)]


def _fits(front: Means) -> bool:
    return len(front.compute) > FREE


def _wider(points: int, free: int) -> float:
    """By how much deviations of resamples are too small, where `free` numbers were fitted to a few points."""
    left = max(points - free, 1)
    return float(np.sqrt(points / left)) * half_width([VariancePart(1.0, left)], LEVEL) / normal_quantile(LEVEL)


def _estimate(value: float, drawn: Floats, wider: float) -> Estimate:
    """A number with its interval: percentiles of the resamples' deviations from it, `wider` times as far."""
    drawn = drawn[np.isfinite(drawn)]
    ends = np.quantile(drawn - value, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) * wider if len(drawn) else np.zeros(2)
    return Estimate(value=value, low=value + min(float(ends[0]), 0.0), high=value + max(float(ends[1]), 0.0))


def _positive(value: float, drawn: Floats, wider: float) -> Estimate:
    """A number above 0 with its interval, taken in the logarithm."""
    logs = _estimate(float(np.log(value)), np.log(drawn), wider)
    most = np.log(1e6)  # a resample may say anything: numbers stay finite
    low, high = (float(np.exp(logs.value + np.clip(end - logs.value, -most, most))) for end in (logs.low, logs.high))
    return Estimate(value=value, low=low, high=high)


def _local(front: Means, fronts: list[Means]) -> Estimate | None:
    if len(front.compute) < 3:
        return None
    found = [local_exponent(one.compute, one.error, one.weight) for one in fronts if len(one.compute) > 1]
    value = local_exponent(front.compute, front.error, front.weight)
    return _estimate(value, np.array(found), _wider(len(front.compute), 2))


def _band(law: Law, laws: list[Law], front: Means, wider: float) -> Floats:
    """Between which errors the curve lies, at 40 amounts of compute, to half a decade beyond what was tried."""
    compute = np.geomspace(front.compute.min(), front.compute.max() * 10**0.5, 40)
    here = np.log(law.at(compute))
    ends = np.quantile(np.log(np.stack([one.at(compute) for one in laws])) - here, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    low, high = here + wider * np.minimum(ends[0], 0), here + wider * np.maximum(ends[1], 0)
    return np.stack([compute, np.exp(low), np.minimum(np.exp(high), 1.0)], 1)


def _too_little(whole: Means, front: Means, seed: int) -> tuple[str, ...]:
    """What the runs lack before any curve is fitted, and what would mend it."""
    said: list[str] = []
    chance = _by_chance(whole, seed)
    if chance > BY_CHANCE:
        said.append(
            f"error does not surely fall with compute (runs in a random order rank as well in {chance:.0%} of cases): "
            "more seeds, or runs further apart in compute"
        )
    if front.decades < DECADES:
        said.append(
            f"the front spans {front.decades:.1f} decades of compute, and {DECADES:g} are the least: "
            f"runs of {front.compute.min() * 10**DECADES:.2g} or more, or far smaller ones"
        )
    count, recipes = len(front.compute), len(np.unique(front.config))
    if count < POINTS:
        said.append(f"the front has {count} points, and {POINTS} are the least: more sizes, lengths or amounts of data")
    elif recipes <= FREE:
        said.append(f"the front's points are of {recipes} recipes, and {FREE + 1} are the least: more sizes or amounts of data")
    return tuple(said)


def _by_chance(whole: Means, seed: int) -> float:
    """How often recipes in a random order rank as well by compute and error, at the end of their runs, as these do.

    Recipes that are equal each have the mean of their ranks.
    """
    from scipy.stats import rankdata

    last = np.array(
        [rows[np.argmax(whole.compute[rows])] for rows in (np.flatnonzero(whole.config == c) for c in np.unique(whole.config))]
    )
    last = last[np.lexsort((whole.error[last], whole.compute[last]))]  # so that the order in which runs were named is nothing
    rank = [rankdata(values[last]) for values in (whole.compute, whole.error)]
    draw = stream(seed, "scaling", "orders")
    here = float(rank[0] @ rank[1])
    orders = np.array([float(rank[0] @ draw.permutation(rank[1])) for _ in range(ORDERS)])
    return float((1 + np.count_nonzero(orders <= here)) / (1 + ORDERS))


def _unsure(law: Law, exponent: Estimate | None, floor: Estimate | None, width: float) -> tuple[str, ...]:
    """What the curve lacks once it is fitted."""
    if exponent is None:
        return ("the front rests on a few recipes, without which no curve can be fitted: more of them near the front",)
    if law.at_edge or law.amplitude == 0:
        return ("the curve wants an exponent beyond any that is sought: more compute, or less noise (seeds)",)
    if exponent.high - exponent.low > width * exponent.value:
        mend = (
            "runs of more compute, where the floor begins to show"
            if floor and floor.low == 0
            else "more seeds, or more decades"
        )
        return (f"runs like these give exponents from {exponent.low:.2g} to {exponent.high:.2g}: {mend}",)
    return ()


def _held_out(whole: Means, front: Means, drawn: list[Means]) -> HeldOut | None:
    """Fits what is cheaper than the front's last point, of other recipes, and predicts that point."""
    compute, observed, config = front.compute[-1], front.error[-1], front.config[-1]

    def cheaper(of: Means) -> Means:
        return of.where((of.compute < compute) & (of.config != config))

    shorter = cheaper(whole).front()
    if len(shorter.compute) < FREE + 2:
        return None
    law = shorter.law()
    fronts = [cheaper(one).front() for one in drawn]
    predicted = np.log([float(one.law().at(compute)) for one in fronts if _fits(one)])
    wider, left = _wider(len(shorter.compute), FREE), max(len(shorter.compute) - FREE, 1)
    here = float(np.log(law.at(compute)))
    of_law = _estimate(here, predicted, wider)
    noise = half_width([VariancePart(law.spread**2, left)], LEVEL)
    low, high = here - np.hypot(here - of_law.low, noise), here + np.hypot(of_law.high - here, noise)
    ends = Estimate(value=float(np.exp(here)), low=float(np.exp(low)), high=float(min(np.exp(high), 1.0)))
    return HeldOut(compute=float(compute), predicted=ends, observed=float(observed))


def _allocation(points: Points, front: Means, fronts: list[Means]) -> dict[str, Estimate]:
    """How what compute is spent on grows along the front: the slope of its logarithm over that of compute."""
    found: dict[str, Estimate] = {}
    for name in ALLOCATED:
        amount: Floats = getattr(points, name)
        if len(np.unique(amount[front.row])) < 3:
            continue
        drawn = [slope(one.compute, amount[one.row], one.weight) for one in fronts if len(one.compute) > 2]
        value = slope(front.compute, amount[front.row], front.weight)
        found[name] = _estimate(value, np.array(drawn), _wider(len(front.compute), 2))
    return found
