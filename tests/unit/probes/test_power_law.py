"""The curve of error against compute, on points that lie on one."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.core.errors import RequestError
from priorscope.probes.scaling.power_law import fit_law, front_of, local_exponent, slope

COMPUTE = np.geomspace(1e12, 1e16, 16)


@pytest.mark.parametrize(("shift", "exponent", "floor"), [(0, 0.35, 0.0), (1e12, 0.25, 0.16), (1e13, 0.5, 0.05), (0, 1.2, 0.1)])
def test_a_curve_without_noise_is_found_again(shift, exponent, floor):
    error = 0.6 * ((shift + COMPUTE) / (shift + 1e12)) ** -exponent + floor
    law = fit_law(COMPUTE, error)
    assert law.exponent == pytest.approx(exponent, rel=0.01)
    assert law.floor == pytest.approx(floor, abs=0.002)
    assert law.shift == pytest.approx(shift, rel=0.05, abs=2e10)
    assert law.spread < 1e-3
    np.testing.assert_allclose(law.at(COMPUTE), error, rtol=1e-3)
    assert not law.at_edge


def test_units_of_compute_change_the_exponent_by_nothing():
    error = 0.5 * (COMPUTE / 1e12) ** -0.3 + 0.1
    assert fit_law(COMPUTE * 1e6, error).exponent == pytest.approx(fit_law(COMPUTE, error).exponent, rel=1e-6)


def test_a_weight_is_as_good_as_a_repetition():
    error = 0.5 * (COMPUTE / 1e12) ** -0.3 + 0.1 + 0.01 * np.sin(np.arange(16))
    weight = np.where(np.arange(16) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(16), weight.astype(int))
    weighted, repeated = fit_law(COMPUTE, error, weight), fit_law(COMPUTE[twice], error[twice])
    assert weighted.floor == pytest.approx(repeated.floor, rel=1e-6)
    assert weighted.exponent == pytest.approx(repeated.exponent, rel=0.01)  # two middles of compute, two grids


def test_it_beats_scipy_s_search_or_equals_it():
    """scipy's trust-region search, begun at the truth, on noisy points: no smaller sum of squares than ours."""
    from scipy.optimize import least_squares

    draw = np.random.default_rng(0)
    for _ in range(5):
        error = (0.5 * (COMPUTE / 1e12 + 0.5) ** -0.3 + 0.1) * np.exp(0.03 * draw.normal(size=16))

        def rest(p, error=error):
            return 1 - (p[0] * (p[1] + COMPUTE / 1e12) ** -p[2] + p[3]) / error

        theirs = least_squares(rest, [0.5, 0.5, 0.3, 0.1], bounds=([0, 0, 0.01, 0], [np.inf, 1e4, 3, 1]), xtol=1e-12)
        law = fit_law(COMPUTE, error)
        assert ((1 - law.at(COMPUTE) / error) ** 2).sum() <= 2 * theirs.cost * 1.002


def test_errors_that_rise_or_stay_have_no_amplitude_of_their_own():
    assert fit_law(COMPUTE, np.full(16, 0.4)).spread < 1e-6
    assert fit_law(COMPUTE, np.linspace(0.4, 0.5, 16)).amplitude == 0


def test_the_local_exponent_is_minus_a_slope():
    assert local_exponent(COMPUTE, 0.4 * (COMPUTE / 1e12) ** -0.2) == pytest.approx(0.2)
    assert np.isnan(slope([5.0, 5.0], [1.0, 2.0]))


def test_the_front_is_of_what_nothing_cheaper_beats_one_a_bin():
    compute = np.array([1e3, 1e4, 1e4, 1e5, 1e6, 1.01e6, 1e7])
    error = np.array([0.9, 0.8, 0.7, 0.75, 0.5, 0.4, 0.4])
    assert front_of(compute, error).tolist() == [0, 2, 5]
    assert front_of([2.0, 1.0], [0.1, 0.1]).tolist() == [1]


def test_too_few_points_or_errors_of_nothing_are_refused():
    with pytest.raises(RequestError, match="4 amounts of compute came with 5 errors"):
        fit_law([1, 2, 3, 4, 4], [0.5, 0.4, 0.3, 0.2, 0.2])
    with pytest.raises(RequestError, match="not above 0"):
        fit_law([1, 2, 3, 4, 5], [0.5, 0.4, 0.3, 0.2, 0.0])
