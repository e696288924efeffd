"""Intervals, tests and metrics beside published figures, hand-worked examples, closed forms and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special
from scipy import stats as scipy_stats

from priorscope.core.comparison import (
    compare,
    holm,
    mcnemar,
    over_seeds_difference,
    paired_bootstrap,
    paired_proportions,
    seed_by_image_difference,
)
from priorscope.core.metrics import log_loss, softmax
from priorscope.core.stats import bootstrap, over_seeds, seed_by_image, wilson
from priorscope.core.variance import VariancePart, crossed_parts, half_width, interaction_variance, p_value


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 857-872, method 3."""
    interval = wilson(successes, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (950, 1000), (10000, 10000), (1, 50000)])
def test_wilson_is_scipys(successes: int, n: int, level: float) -> None:
    theirs = scipy_stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    ours = wilson(successes, n, level)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_the_bootstrap_is_scipys_within_monte_carlo_error(statistic: object) -> None:
    values = np.random.default_rng(0).exponential(1, 400)
    ours = bootstrap(values, seed=0, statistic=statistic, resamples=20_000)  # pyright: ignore[reportArgumentType]
    theirs = scipy_stats.bootstrap((values,), statistic, n_resamples=20_000, method="percentile", rng=1)
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.04 * ours.width)


def test_the_percentile_bootstrap_of_a_skewed_mean_is_close_to_bca() -> None:
    values = np.random.default_rng(0).exponential(1, 500)
    ours = bootstrap(values, seed=0, resamples=20_000)
    bca = scipy_stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(bca, abs=0.06 * ours.width)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (10, 2), (50, 71), (600, 500)])
def test_mcnemar_is_the_binomial_test_of_the_disagreements(only_first: int, only_second: int) -> None:
    first = np.repeat([1, 0, 1, 0], [only_first, only_second, 30, 20])
    second = np.repeat([0, 1, 1, 0], [only_first, only_second, 30, 20])
    disagreements = only_first + only_second
    theirs = scipy_stats.binomtest(only_first, disagreements).pvalue if disagreements else 1.0
    assert mcnemar(first, second) == pytest.approx(theirs, rel=1e-12)


def test_mcnemar_by_hand() -> None:
    """Of 12 disagreements 2 or fewer are one network's: 2 (1 + 12 + 66) / 2^12."""
    assert mcnemar(np.arange(12) < 10, np.arange(12) >= 10) == pytest.approx(158 / 4096, rel=1e-12)


def test_bonett_and_prices_interval_by_hand() -> None:
    """21 images, 1 that only the first gets right and 7 that only the second does: 2/23 and 8/23 after the adjustment."""
    first, second = np.repeat([1, 0, 1], [1, 7, 13]), np.repeat([0, 1, 1], [1, 7, 13])
    result = paired_proportions(first, second)
    half = 1.959964 * math.sqrt((10 / 23 - 36 / 529) / 23)
    assert result.value == pytest.approx(-6 / 21)
    assert (result.interval.low, result.interval.high) == pytest.approx((-6 / 23 - half, -6 / 23 + half), rel=1e-6)


def test_the_sign_flip_test_is_scipys_exact_permutation_test() -> None:
    draw = np.random.default_rng(5)
    first, second = draw.normal(0.6, 1, 12), draw.normal(0, 1, 12)
    exact = scipy_stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=10**5
    )
    assert 0.02 < exact.pvalue < 0.5
    ours = paired_bootstrap(first, second, seed=0, resamples=20_000)
    assert ours.p_value == pytest.approx(exact.pvalue, abs=4 * math.sqrt(exact.pvalue / 20_000))


def test_the_paired_bootstrap_is_the_bootstrap_of_the_differences() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.exponential(1, 300), draw.exponential(1.2, 300)
    ours = paired_bootstrap(first, second, seed=0, resamples=20_000)
    theirs = scipy_stats.bootstrap((first - second,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    inner = scipy_stats.bootstrap(
        (first - second,), np.mean, n_resamples=20_000, method="percentile", confidence_level=0.9, rng=1
    )
    assert ours.value == pytest.approx(first.mean() - second.mean())
    assert (ours.interval.low, ours.interval.high) == pytest.approx(theirs.confidence_interval, abs=0.04 * ours.interval.width)
    assert (ours.inner.low, ours.inner.high) == pytest.approx(inner.confidence_interval, abs=0.04 * ours.interval.width)


def test_over_seeds_is_students_interval() -> None:
    values = [0.31, 0.42, 0.38, 0.29, 0.45]
    theirs = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    ours = over_seeds(values, level=0.9)
    assert (ours.low, ours.high) == pytest.approx(theirs, rel=1e-10)


@pytest.mark.parametrize("paired", [False, True])
def test_over_seeds_difference_is_welchs_and_the_paired_t_test(paired: bool) -> None:
    draw = np.random.default_rng(0)
    first, second = draw.normal(0.3, 1, 6), draw.normal(0, 0.3, 6)
    theirs = scipy_stats.ttest_rel(first, second) if paired else scipy_stats.ttest_ind(first, second, equal_var=False)
    ours = over_seeds_difference(first, second, paired=paired)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (ours.interval.low, ours.interval.high) == pytest.approx(theirs.confidence_interval(0.95), rel=1e-9)
    assert (ours.inner.low, ours.inner.high) == pytest.approx(theirs.confidence_interval(0.9), rel=1e-9)


@pytest.mark.parametrize("p", [1e-200, 1e-12, 0.04, 0.999])
@pytest.mark.parametrize("df", [2, 7.5, math.inf])
def test_p_values_are_students_down_to_the_far_tail(p: float, df: float) -> None:
    value = -special.ndtri(p / 2) if math.isinf(df) else -special.stdtrit(df, p / 2)
    expected = 2 * scipy_stats.norm.sf(value) if math.isinf(df) else 2 * scipy_stats.t.sf(value, df)
    assert p_value(float(value), [VariancePart(1.0, df)]) == pytest.approx(expected, rel=1e-6)


def test_the_two_parts_join_as_banerjee_says() -> None:
    by_hand = math.sqrt(4.302653**2 * 0.5 + 2.262157**2 * 0.25)  # t(2) and t(9) from a printed table
    assert half_width([VariancePart(0.5, 2), VariancePart(0.25, 9)], 0.95) == pytest.approx(by_hand, rel=1e-6)


def test_the_parts_of_a_crossed_table_by_hand() -> None:
    """Seeds' means 2, 4; images' means 1, 3, 5; rest +-1 in a pattern that sums to nothing.

    Between seeds 3 * (1 + 1) / 1 = 6, between images 2 * (4 + 0 + 4) / 2 = 8, rest (4 * 0.25 + 2 * 1) / 2 = 1.5 by hand.
    """
    rest = np.array([[0.5, -1.0, 0.5], [-0.5, 1.0, -0.5]])
    table = 3 + np.array([[-1.0], [1.0]]) + np.array([-2.0, 0.0, 2.0]) + rest
    assert interaction_variance(table) == pytest.approx(1.5)
    over_seed, over_image = crossed_parts(table)
    assert over_seed == pytest.approx((6 / 6, 1))
    assert over_image == pytest.approx(((8 - 1.5) / 6, 2))


def test_a_family_whose_images_are_all_alike_has_students_interval_over_seeds() -> None:
    means = np.array([0.3, 0.5, 0.45, 0.6])
    theirs = scipy_stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    ours = seed_by_image(np.repeat(means[:, None], 50, axis=1))
    assert (ours.low, ours.high) == pytest.approx(theirs, rel=1e-9)


def test_a_family_whose_seeds_are_all_alike_has_students_interval_over_images() -> None:
    images = np.random.default_rng(0).normal(0, 1, 40)
    theirs = scipy_stats.ttest_1samp(images, 0.0).confidence_interval(0.95)
    ours = seed_by_image(np.repeat(images[None], 5, axis=0))
    assert (ours.low, ours.high) == pytest.approx(theirs, rel=1e-9)


def test_a_familys_share_has_wilsons_interval_where_its_seeds_are_all_alike() -> None:
    """The effective n is then n - 1, and t(n - 1) stands for z."""
    ours, theirs = seed_by_image(np.tile(np.arange(1000) < 900, (4, 1))), wilson(900, 1000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-4)


@pytest.mark.parametrize("paired", [False, True])
def test_the_difference_of_families_is_the_t_test_that_its_design_comes_down_to(paired: bool) -> None:
    draw = np.random.default_rng(0)
    first, second = draw.normal(0.3, 1, 6), draw.normal(0, 0.5, 6)
    alike_images = seed_by_image_difference(*(np.repeat(v[:, None], 30, axis=1) for v in (first, second)), paired=paired)
    by_seed = scipy_stats.ttest_rel(first, second) if paired else scipy_stats.ttest_ind(first, second, equal_var=False)
    assert alike_images.p_value == pytest.approx(by_seed.pvalue, rel=1e-8)
    alike_seeds = seed_by_image_difference(*(np.repeat(v[None], 3, axis=0) for v in (first, second)), paired=paired)
    assert alike_seeds.p_value == pytest.approx(scipy_stats.ttest_rel(first, second).pvalue, rel=1e-8)


def test_the_difference_of_counted_shares_is_the_difference_of_their_ratios() -> None:
    draw = np.random.default_rng(0)
    chosen, counted = draw.random((2, 4, 200)) < 0.4, draw.random((2, 4, 200)) < 0.6
    ratios = [(c & k).sum() / k.sum() for c, k in zip(chosen, counted, strict=True)]
    ours = seed_by_image_difference(chosen[0], chosen[1], counted=(counted[0], counted[1]))
    assert ours.value == pytest.approx(ratios[0] - ratios[1])
    # As if independent, 480 answers each: z sqrt(2 * 0.24 / 480) * 2 = 0.124; seeds and pairing widen and vary it.
    assert 0.08 < ours.interval.width < 0.25


def test_holm_by_hand() -> None:
    """0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1 raised to the 0.06 before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("seed", range(5))
def test_equivalence_is_schuirmanns_two_one_sided_tests(seed: int) -> None:
    draw = np.random.default_rng(seed)
    first, second = draw.normal(0.1, 0.5, 8), draw.normal(0, 0.4, 10)
    result, verdicts = over_seeds_difference(first, second), []
    for margin in np.linspace(0.05, 2, 60):
        above = scipy_stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater").pvalue
        below = scipy_stats.ttest_ind(first - margin, second, equal_var=False, alternative="less").pvalue
        verdicts.append(max(above, below) < 0.05)
        assert (compare(result, margin=float(margin)).verdict == "equivalent") == verdicts[-1]
    assert set(verdicts) == {True, False}


def test_softmax_and_log_loss_are_scipys() -> None:
    logits = np.random.default_rng(0).normal(0, 30, (200, 10)).astype(np.float32)
    labels = np.arange(200) % 10
    np.testing.assert_allclose(softmax(logits), special.softmax(logits.astype(np.float64), axis=1), rtol=1e-13)
    theirs = -special.log_softmax(logits.astype(np.float64), axis=1)[np.arange(200), labels]
    np.testing.assert_allclose(log_loss(logits, labels), theirs, rtol=1e-13, atol=1e-15)
