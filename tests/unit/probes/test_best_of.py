"""The expected best of k trials, beside all choices counted one by one, a distribution whose answer is known, and chance."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from priorscope.core.errors import RequestError
from priorscope.probes.tuning.best_of import best_interval, best_spread, expected_best

SCORES = [0.31, 0.7, 0.55, 0.55, 0.12, 0.68]


@pytest.mark.parametrize("k", range(1, 7))
def test_it_is_the_mean_over_every_choice_of_k(k):
    counted = np.mean([max(chosen) for chosen in combinations(SCORES, k)])
    assert expected_best(SCORES, k) == pytest.approx(counted, abs=1e-12)


def test_it_begins_with_the_mean_and_ends_with_the_best():
    assert expected_best(SCORES, 1) == pytest.approx(np.mean(SCORES))
    assert expected_best(SCORES, 6) == 0.7


@pytest.mark.parametrize("k", [2, 4, 6])
def test_draws_with_replacement_read_lower(k):
    with_replacement = np.mean([max(chosen) for chosen in product(SCORES, repeat=k)])
    assert with_replacement < expected_best(SCORES, k)


def test_it_is_unbiased_where_the_truth_is_known():
    """The best of k even draws from 0 to 1 is k / (k + 1) on average; Dodge et al.'s estimate of the best of 5 of 5 is not."""
    drawn = np.random.default_rng(0).random((4000, 5))
    for k in (1, 3, 5):
        found = np.mean([expected_best(row, k) for row in drawn])
        assert found == pytest.approx(k / (k + 1), abs=0.006)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    drawn = np.random.default_rng(1).beta(4, 2, (400, 12))
    truth = {k: np.random.default_rng(2).beta(4, 2, (200_000, k)).max(1).mean() for k in (1, 4, 12)}
    missed = sum(any(not best_interval(row, k).contains(at) for k, at in truth.items()) for row in drawn)
    assert missed / len(drawn) <= 0.05


@pytest.mark.parametrize("n", [1, 2, 8, 60])
def test_the_interval_contains_its_number_and_narrows_with_trials(n):
    scores = np.random.default_rng(n).random(n)
    for k in range(1, n + 1):
        assert best_interval(scores, k).contains(expected_best(scores, k))
    assert best_interval(np.tile(scores, 10), 1).width < best_interval(scores, 1).width


@pytest.mark.parametrize("k", [1, 3, 6])
def test_the_spread_is_that_of_all_choices_counted(k):
    bests = sorted(max(chosen) for chosen in combinations(SCORES, k))
    low, high = best_spread(SCORES, k)
    assert sum(best < low for best in bests) / len(bests) <= 0.05 <= sum(best <= low for best in bests) / len(bests)
    assert sum(best < high for best in bests) / len(bests) <= 0.95 <= sum(best <= high for best in bests) / len(bests)


def test_few_trials_do_not_bound_what_another_could_be():
    assert best_interval([0.5] * 4, 4).high > 0.99
    assert best_interval([0.5] * 4, 4).low <= 0.5


def test_what_is_no_share_is_refused():
    for scores in ([], [55.0, 60.0], [-0.1, 0.5]):
        with pytest.raises(RequestError, match="outside of 0 to 1"):
            expected_best(scores, 1)
    with pytest.raises(RequestError, match="The best of 3 trials was asked for, and there are 2"):
        expected_best([0.1, 0.2], 3)
