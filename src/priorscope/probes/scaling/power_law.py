"""Error against compute: E(C) = a (b + C)^-alpha + E_inf, fitted to what is best at each amount of compute.

For given b and alpha the curve is linear in a and E_inf, both of which are held at 0 or above, so that they have a closed form
and only two numbers are searched for: on a grid that is then zoomed into. There is no starting value, no failure to converge
and no random number. Residuals are relative to the error observed: 1 % of an error of 0.02 counts as much as 1 % of one of 0.9.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from priorscope.core.config import Config
from priorscope.core.errors import RequestError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FREE = 4
"""Numbers that the curve has to choose."""
STEEPEST, FLATTEST = 3.0, 0.01
"""Exponents between which one is sought: a curve that wants more than 3 falls at once, one that wants 0.01 not at all."""
BINS_PER_DECADE = 6
"""How many points of the front count in ten times of compute: a log of many epochs must not outvote runs that have one."""


class Law(Config):
    """A fitted curve. `spread` is the root mean square of the relative residuals, with `FREE` degrees of freedom taken off."""

    amplitude: float
    shift: float
    exponent: float
    floor: float
    spread: float

    def at(self, compute: ArrayLike) -> Floats:
        """The error at some compute."""
        return self.amplitude * (self.shift + np.asarray(compute, np.float64)) ** -self.exponent + self.floor

    @property
    def at_edge(self) -> bool:
        """Whether the exponent ended where the search does."""
        return not 1.02 * FLATTEST < self.exponent < STEEPEST / 1.02


def fit_law(compute: ArrayLike, error: ArrayLike, weight: ArrayLike | None = None) -> Law:
    """The curve with the least weighted sum of squared relative residuals; five points or more, at five amounts of compute."""
    c, e, w = _checked(compute, error, weight)
    middle = float(np.exp(np.log(c).mean()))
    scaled = c / middle
    shifts = np.geomspace(0.02 * scaled.min(), scaled.max(), 18)
    best = min(_zoomed(scaled, e, w, np.zeros(1)), _zoomed(scaled, e, w, shifts), key=lambda one: one.loss)
    rest = 1 - (best.amplitude * (best.shift + scaled) ** -best.exponent + best.floor) / e
    freedom = max(len(e) - FREE, 1)
    return Law(
        amplitude=best.amplitude * middle**best.exponent,
        shift=best.shift * middle,
        exponent=best.exponent,
        floor=best.floor,
        spread=float(np.sqrt((w * rest**2).sum() / w.mean() / freedom)),
    )


def local_exponent(compute: ArrayLike, error: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Minus the slope of the logarithm of the error over that of compute: how it falls over these points, and no law."""
    return -slope(compute, error, weight)


def slope(x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> float:
    """The weighted least-squares slope of log y over log x; NaN of one x."""
    u, v = np.log(np.asarray(x, np.float64)), np.log(np.asarray(y, np.float64))
    w = np.ones_like(u) if weight is None else np.asarray(weight, np.float64)
    u = u - np.average(u, weights=w)
    across = float((w * u**2).sum())
    return float((w * u * v).sum() / across) if across > 1e-12 else float("nan")


def front_of(compute: ArrayLike, error: ArrayLike) -> Ints:
    """Which points nothing cheaper, or as cheap, is better than or equal to; in the order of compute, one a bin at most.

    The last point of a bin stays, which has the least error.
    """
    c, e = np.asarray(compute, np.float64), np.asarray(error, np.float64)
    order = np.lexsort((e, c))
    before = np.concatenate([[np.inf], np.minimum.accumulate(e[order])[:-1]])
    records = order[e[order] < before]
    if not len(records):
        return records
    bins = np.floor(np.log10(c[records]) * BINS_PER_DECADE + 1e-9)
    return records[np.append(bins[1:] != bins[:-1], True)]


class _Found(NamedTuple):
    loss: float
    shift: float
    exponent: float
    amplitude: float
    floor: float


def _zoomed(c: Floats, e: Floats, w: Floats, shifts: Floats) -> _Found:
    """The best of a grid over shifts and exponents, then of ever finer ones around it."""
    exponents = np.geomspace(FLATTEST, STEEPEST, 36)
    best = _search(c, e, w, shifts, exponents)
    step_b = shifts[1] / shifts[0] if len(shifts) > 1 else 1.0
    step_a = exponents[1] / exponents[0]
    for _ in range(4):
        around_b = best.shift * np.geomspace(1 / step_b, step_b, 7 if len(shifts) > 1 else 1)
        around_a = np.clip(best.exponent * np.geomspace(1 / step_a, step_a, 7), FLATTEST, STEEPEST)
        best = min(best, _search(c, e, w, around_b, around_a), key=lambda one: one.loss)
        step_b, step_a = step_b ** (1 / 3), step_a ** (1 / 3)
    return best


def _search(c: Floats, e: Floats, w: Floats, shifts: Floats, exponents: Floats) -> _Found:
    """The best pair of a grid, with the amplitude and the floor that belong to it."""
    x = (shifts[:, None, None] + c) ** -exponents[None, :, None] / e
    one = 1 / e
    xx, x1, xy = (x**2 @ w), (x @ (w * one)), (x @ w)
    oo, oy, yy = float(w @ one**2), float(w @ one), float(w.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = xx * oo - x1**2
        amplitude, floor = (oo * xy - x1 * oy) / apart, (xx * oy - x1 * xy) / apart
    flat = ~(apart > 1e-12 * xx * oo) | (amplitude < 0)  # no fall at all
    no_floor = ~flat & (floor < 0)
    amplitude = np.where(flat, 0.0, np.where(no_floor, xy / xx, amplitude))
    floor = np.where(flat, oy / oo, np.where(no_floor, 0.0, floor))
    loss = yy - 2 * amplitude * xy - 2 * floor * oy + amplitude**2 * xx + 2 * amplitude * floor * x1 + floor**2 * oo
    i, j = (int(at) for at in np.unravel_index(int(loss.argmin()), loss.shape))
    return _Found(float(loss[i, j]), float(shifts[i]), float(exponents[j]), float(amplitude[i, j]), float(floor[i, j]))


def _checked(compute: ArrayLike, error: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    c, e = np.asarray(compute, np.float64), np.asarray(error, np.float64)
    w = np.ones_like(c) if weight is None else np.asarray(weight, np.float64)
    if c.ndim != 1 or c.shape != e.shape or c.shape != w.shape or len(np.unique(c)) <= FREE:
        raise RequestError(
            f"{len(np.unique(c))} amounts of compute came with {e.size} errors.",
            f"more amounts than the {FREE} numbers of the curve",
            "runs of other lengths, sizes or data",
        )
    if not (np.isfinite(c).all() and np.isfinite(e).all() and (c > 0).all() and (e > 0).all()):
        raise RequestError("Some compute or error is not above 0, or not finite.", "positive numbers", "look at the runs' logs")
    return c, e, w
