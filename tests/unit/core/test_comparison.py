"""Paired tests, many tests at once, and verdicts: their edges, their refusals and their words."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from priorscope.core.comparison import (
    Difference,
    beside_the_best,
    compare,
    difference_of_medians,
    holm,
    mcnemar,
    over_seeds_difference,
    paired_bootstrap,
    paired_proportions,
    seed_by_image_difference,
)
from priorscope.core.errors import RequestError
from priorscope.core.stats import Interval, seed_by_image


def difference(value: float, half: float, p_value: float, over: str = "seeds x images") -> Difference:
    wide = Interval(low=value - half, high=value + half, method="t", over=over)
    inner = Interval(low=value - 0.8 * half, high=value + 0.8 * half, level=0.9, method="t", over=over)
    return Difference(value=value, interval=wide, inner=inner, p_value=p_value)


def test_networks_that_never_disagree_have_p_1_and_an_interval_with_a_width() -> None:
    right = np.arange(100) < 80
    result = paired_proportions(right, right)
    assert (result.value, result.p_value, result.least_p) == (0.0, 1.0, 2 / 2**100)
    assert -0.06 < result.interval.low < -0.01
    assert 0.01 < result.interval.high < 0.06


def test_swapping_the_networks_swaps_the_signs() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.random(300) < 0.7, draw.random(300) < 0.8
    one, other = paired_proportions(a, b), paired_proportions(b, a)
    assert one.value == -other.value
    assert (one.interval.low, one.interval.high) == pytest.approx((-other.interval.high, -other.interval.low))
    assert one.p_value == other.p_value


def test_accuracies_as_far_apart_as_can_be_stay_within_1() -> None:
    assert paired_proportions(np.ones(10), np.zeros(10)).interval.high <= 1.0
    unlike, wrong = np.zeros((3, 50)), np.zeros((3, 50))
    unlike[0] = 1  # one seed always right, two always wrong
    result = seed_by_image_difference(unlike, wrong)
    assert result.interval.high == 1.0
    assert result.value == pytest.approx(1 / 3)
    assert seed_by_image_difference(2 * unlike, wrong).interval.high > 2  # no proportions, so no bounds


def test_mcnemar_is_for_right_or_wrong() -> None:
    with pytest.raises(RequestError, match=r"^Values other than 0 and 1 were given\."):
        mcnemar([0.5, 0.2], [1, 0])


def test_values_that_cannot_be_paired_are_refused() -> None:
    for refused in (
        lambda: mcnemar([1, 0], [1, 0, 1]),
        lambda: paired_bootstrap(np.ones((2, 3)), np.ones((2, 3)), seed=0),
        lambda: over_seeds_difference([1.0, 2.0, 3.0], [1.0, 2.0], paired=True),
        lambda: seed_by_image_difference(np.ones((3, 10)), np.ones((3, 11))),
        lambda: seed_by_image_difference(np.ones((3, 10)), np.ones((4, 10)), paired=True),
        lambda: seed_by_image_difference(np.ones((3, 5, 10)), np.ones((3, 4, 10))),
    ):
        with pytest.raises(RequestError, match=r"^Values of shapes .* and .* cannot be paired\."):
            refused()


def test_one_seed_speaks_for_no_family() -> None:
    for refused in (
        lambda: over_seeds_difference([1.0], [1.0, 2.0]),
        lambda: over_seeds_difference([1.0], [2.0], paired=True),
        lambda: seed_by_image_difference(np.ones((3, 10)), np.ones((1, 10))),
    ):
        with pytest.raises(RequestError, match=r"^One seed was given: it speaks for a checkpoint only"):
            refused()


def test_paired_bootstrap_is_a_function_of_data_and_seed() -> None:
    draw = np.random.default_rng(0)
    a = draw.normal(0, 1, 200)
    b = a + draw.normal(0.02, 0.1, 200)
    assert paired_bootstrap(a, b, seed=1) == paired_bootstrap(a, b, seed=1)
    assert paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)


def test_no_p_value_of_random_signs_is_zero() -> None:
    """Of 60 equal differences the exact one is 2 / 2^60; where none of 100 signs lies as far, Hoeffding's bound is given."""
    assert paired_bootstrap(np.ones(60), np.zeros(60), seed=0, resamples=100).p_value == pytest.approx(2 * np.exp(-30), abs=0)
    assert 0 < paired_bootstrap(np.ones(9999), np.zeros(9999), seed=0, resamples=100).p_value < 1e-300


@pytest.mark.parametrize("n", [1, 5, 12, 16])
def test_of_few_images_the_p_value_is_that_of_all_signs(n: int) -> None:
    difference = np.random.default_rng(n).normal(0.5, 1, n)
    sums = [abs(np.dot(signs, difference)) for signs in itertools.product((1, -1), repeat=n)]
    wanted = np.mean([one >= abs(difference.sum()) - 1e-9 for one in sums])
    assert paired_bootstrap(difference, np.zeros(n), seed=0).p_value == pytest.approx(wanted, abs=0)
    least = paired_bootstrap(np.arange(1.0, n + 1), np.zeros(n), seed=0)
    assert least.p_value == least.least_p == 2 / 2**n


@pytest.mark.parametrize("n", [17, 20])
def test_the_bound_on_a_p_value_is_never_below_the_exact_one(n: int) -> None:
    difference = np.random.default_rng(n).normal(2, 0.2, n)
    signs = 1 - 2 * (np.arange(2**n, dtype=np.int32)[:, None] >> np.arange(n, dtype=np.int32) & 1).astype(np.int8)
    exact = np.mean(np.abs(signs @ difference) >= abs(difference.sum()) * (1 - 1e-12))
    found = paired_bootstrap(difference, np.zeros(n), seed=0)
    assert exact <= found.p_value < 1 / 2001
    assert found.least_p <= found.p_value


def test_twenty_differences_to_one_side_have_the_least_p_value_that_twenty_can_have() -> None:
    """Hoeffding's bound, 2 exp(-20^2 / (2 x 20)): above the exact 2 / 2^20, and below what 2,000 random signs can show."""
    found = paired_bootstrap(np.ones(20), np.zeros(20), seed=0)
    assert found.p_value == found.least_p == pytest.approx(2 * math.exp(-10))
    few = paired_bootstrap(np.ones(20), np.zeros(20), seed=0, resamples=100_000)
    assert few.p_value == few.least_p == pytest.approx(1 / 100_001)


def test_differences_that_cancel_have_p_1() -> None:
    found = paired_bootstrap(np.array([0.1, -0.1] * 20), np.zeros(40), seed=0)
    assert (found.value, found.p_value) == (pytest.approx(0, abs=1e-15), 1)


def test_among_105_pairs_a_strong_difference_is_found() -> None:
    """Fifteen networks: 2,000 random signs alone give no p-value below 105 / 2001 = 0.052."""
    base = np.random.default_rng(0).normal(size=500)
    scores = [base + 5 * i + np.random.default_rng(i + 1).normal(0, 0.1, 500) for i in range(15)]
    found = [paired_bootstrap(b, a, seed=0) for a, b in itertools.combinations(scores, 2)]
    adjusted = holm([one.p_value for one in found])
    assert len(found) == 105
    assert {compare(one, adjusted_p=p).verdict for one, p in zip(found, adjusted, strict=True)} == {"higher"}


def test_a_family_beside_nothing_has_its_own_interval() -> None:
    table, nothing = np.random.default_rng(0).normal(0.3, 1, (4, 50)), np.zeros((4, 50))
    alone = seed_by_image(table)
    minuend, subtrahend = seed_by_image_difference(table, nothing), seed_by_image_difference(nothing, table)
    assert (minuend.interval.low, minuend.interval.high) == pytest.approx((alone.low, alone.high))
    assert (subtrahend.interval.low, subtrahend.interval.high) == pytest.approx((-alone.high, -alone.low))


def test_pairing_images_finds_what_their_difficulty_hides() -> None:
    """The images differ 20 times as much as the networks do: only the pairing sees the 0.05 between these."""
    draw = np.random.default_rng(0)
    difficulty = draw.normal(0, 1, 500)
    a, b = (difficulty + shift + draw.normal(0, 0.1, (3, 500)) for shift in (0.05, 0.0))
    result = seed_by_image_difference(a, b)
    assert result.interval.contains(0.05)
    assert result.interval.width < 0.08
    assert compare(result).verdict == "higher"


def test_pairing_seeds_finds_what_their_luck_hides() -> None:
    draw = np.random.default_rng(0)
    luck = draw.normal(0, 1, (5, 1))
    a, b = (luck + shift + draw.normal(0, 0.3, (5, 200)) for shift in (0.2, 0.0))
    assert seed_by_image_difference(a, b, paired=True).interval.width < 0.2
    assert seed_by_image_difference(a, b).interval.width > 1


def test_families_that_never_disagree_are_not_known_to_be_equal() -> None:
    right = np.ones((3, 50), dtype=bool)
    result = seed_by_image_difference(right, right)
    assert result.p_value == 1.0
    assert 0.01 < result.interval.high < 0.1
    assert compare(result, margin=0.01).verdict == "not distinguishable"


def null_rejected(seeds: int, images: int, seed_sd: float, times: int) -> float:
    """How often two families that share every parameter are told apart at 5 %."""
    draw = np.random.default_rng(seeds + images)
    rejected = 0
    for _ in range(times):
        shared = draw.normal(0, 1.2, images)
        a, b = (
            0.8
            + shared
            + draw.normal(0, seed_sd, (seeds, 1))
            + draw.normal(0, 0.5, images)
            + draw.normal(0, 1, (seeds, images))
            > 0
            for _ in range(2)
        )
        rejected += compare(seed_by_image_difference(a, b)).verdict != "not distinguishable"
    return rejected / times


def test_equal_families_are_rarely_told_apart() -> None:
    assert null_rejected(3, 200, 0.1, times=300) <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("images", [100, 1000])
@pytest.mark.parametrize("seed_sd", [0.0, 0.05, 0.3])
def test_equal_families_are_rarely_told_apart_whatever_the_spread(seeds: int, images: int, seed_sd: float) -> None:
    assert null_rejected(seeds, images, seed_sd, times=1000) <= 0.08


def test_the_interval_of_two_medians_has_the_width_of_the_closed_form() -> None:
    """A median of n normal values varies by pi / 2 / n; of two that share three quarters of their variance less is left."""
    rng = np.random.default_rng(0)
    hard, own = rng.normal(0, 2, 4000), rng.normal(size=(2, 4000))
    apart = difference_of_medians(own[:1] + 3, own[1:], seed=0)
    assert apart.value == pytest.approx(3, abs=0.1)
    assert apart.interval.width == pytest.approx(2 * 1.96 * math.sqrt(2 * math.pi / 2 / 4000), rel=0.15)
    unpaired = difference_of_medians(own[:1] + hard + 3, own[1:] + rng.permutation(hard), seed=0)
    paired = difference_of_medians(own[:1] + hard + 3, own[1:] + hard, seed=0)
    assert paired.interval.width < 0.8 * unpaired.interval.width
    assert paired.over() == "4,000 images"


def test_the_interval_of_two_medians_covers_what_is_true() -> None:
    """Budgets of 60 images, of which the second network's are two thirds; over three seeds with a luck of their own too."""
    for seeds, luck in ((1, 0.0), (3, 0.1)):
        rng, covered = np.random.default_rng(0), 0
        for _ in range(150):
            hard = rng.normal(0, 0.7, 60)
            first, second = (
                np.exp(hard + rng.normal(0, 0.5, (seeds, 60)) + rng.normal(0, luck, (seeds, 1))) * median for median in (3, 2)
            )
            covered += difference_of_medians(first, second, seed=0).interval.contains(1.0)
        assert covered / 150 > 0.91


def test_medians_of_other_images_or_of_one_seed_beside_several_are_not_compared() -> None:
    for first, second in ((np.ones((1, 5)), np.ones((1, 6))), (np.ones((1, 5)), np.ones((3, 5))), (np.ones(5), np.ones(5))):
        with pytest.raises(RequestError, match="cannot be paired"):
            difference_of_medians(first, second, seed=0)


def test_holm_keeps_order_and_ties_and_the_empty_table() -> None:
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    assert holm([0.5, 0.5, 0.5]) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("wrong", [[0.5, 1.5], [-0.1], [float("nan")]])
def test_holm_refuses_what_is_no_p_value(wrong: list[float]) -> None:
    with pytest.raises(RequestError, match="are not all p-values"):
        holm(wrong)


def test_the_four_verdicts() -> None:
    assert compare(difference(0.05, 0.03, 0.001)).verdict == "higher"
    assert compare(difference(-0.05, 0.03, 0.001)).verdict == "lower"
    assert compare(difference(0.01, 0.03, 0.5)).verdict == "not distinguishable"
    assert compare(difference(0.01, 0.03, 0.5), margin=0.05).verdict == "equivalent"
    assert compare(difference(0.01, 0.03, 0.5), margin=0.03).verdict == "not distinguishable"  # 0.034 lies beyond


def test_a_margin_says_what_matters_also_of_a_real_difference() -> None:
    real = difference(0.004, 0.003, 0.01)
    assert compare(real).verdict == "higher"
    assert compare(real, margin=0.01).verdict == "equivalent"
    assert compare(real, margin=0.005).verdict == "higher"


def test_an_adjusted_p_value_decides() -> None:
    assert compare(difference(0.05, 0.03, 0.01), adjusted_p=0.08).verdict == "not distinguishable"
    assert compare(difference(0.05, 0.03, 0.01), adjusted_p=0.08).p_value == 0.08


def test_data_without_spread_prove_nothing() -> None:
    for value in (0.0, 0.1):
        assert compare(difference(value, 0.0, 0.0), margin=0.5).verdict == "not distinguishable"


@pytest.mark.parametrize("margin", [0.0, -0.1, float("inf"), float("nan")])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    with pytest.raises(RequestError, match=rf"^A margin of {margin} was given\."):
        compare(difference(0.0, 0.1, 0.5), margin=margin)


def test_the_sentences() -> None:
    numbers = "(difference +0.050, 95 % interval +0.020 to +0.080 over seeds and images, p < 0.001)"
    assert compare(difference(0.05, 0.03, 0.0001)).sentence("MLP", "CNN") == f"MLP is higher than CNN {numbers}"
    assert compare(difference(0.01, 0.03, 0.5), margin=0.05).sentence("MLP", "CNN") == (
        "MLP and CNN are equivalent within 0.05 "
        "(difference +0.010, 95 % interval -0.020 to +0.040 over seeds and images, p = 0.500)"
    )
    assert compare(difference(0.01, 0.03, 0.5)).sentence("MLP", "CNN", digits=2) == (
        "MLP and CNN are not distinguishable here, which does not make them equal "
        "(difference +0.01, 95 % interval -0.02 to +0.04 over seeds and images, p = 0.500)"
    )


def test_over_images_alone_a_sentence_speaks_of_checkpoints() -> None:
    said = compare(difference(-0.05, 0.03, 0.002, over="images")).sentence("MLP", "CNN")
    assert said.startswith("this checkpoint of MLP is lower than this checkpoint of CNN (difference -0.050,")
    assert said.endswith("over images, p = 0.002)")


def test_a_difference_says_of_how_many_images_it_is() -> None:
    right = np.arange(40) < 30
    alone = paired_proportions(right, ~right)
    assert (alone.n, alone.over("images that all get right")) == (40, "40 images that all get right")
    assert "interval" in (said := compare(alone).sentence("MLP", "CNN"))
    assert " over 40 images, p " in said
    assert paired_bootstrap(np.arange(7.0), np.ones(7), seed=0).n == 7
    drawn = np.random.default_rng(0).random((3, 5, 1200)) < 0.5
    assert seed_by_image_difference(drawn, drawn[:2]).over() == "seeds, draws and 1,200 images"
    assert seed_by_image_difference(drawn[:, 0] * 2.0, drawn[:2, 0] * 1.0).n == 1200
    families = over_seeds_difference([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert (families.n, families.over()) == (None, "seeds"), "no image is behind a number that a seed has one of"


def test_the_interval_of_two_families_ends_at_zero_at_their_p_value() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.normal(1, 1, 3), draw.normal(0, 0.3, 7)
    p = over_seeds_difference(first, second).p_value
    ends = over_seeds_difference(first, second, level=1 - p).interval
    assert 0.001 < p < 0.9
    assert ends.low * ends.high == pytest.approx(0, abs=1e-9)
    a, b = first[:, None] + draw.normal(0, 1, (3, 40)), second[:, None] + draw.normal(0, 1, (7, 40))
    p = seed_by_image_difference(a, b).p_value
    ends = seed_by_image_difference(a, b, level=1 - p).interval
    assert ends.low * ends.high == pytest.approx(0, abs=1e-9)


def test_draws_in_common_are_a_part_of_a_difference() -> None:
    """Two families of readouts that differ by 1, 2 and 6 in three draws, and in nothing else."""
    first = np.broadcast_to(np.array([1.0, 2.0, 6.0])[None, :, None], (2, 3, 4))
    for paired in (True, False):
        result = seed_by_image_difference(first, np.zeros((2, 3, 4)), paired=paired)
        assert result.value == 3
        assert result.interval.high == pytest.approx(3 + 4.302653 * (7 / 3) ** 0.5)
        assert result.interval.over == "seeds x draws x images"


def test_images_that_move_two_families_apart_are_a_part_of_their_difference() -> None:
    """Seeds that agree: what is left is the images', which may move one up by 0.1 and the other down by 0.2."""

    def own(value: float, half: float) -> list[Interval]:
        return [Interval(low=value - half, high=value + half, method="planted", over="images")] * 3

    told = over_seeds_difference([0.5] * 3, [0.2] * 3, images=(own(0.5, 0.1), own(0.2, 0.2)))
    assert (told.interval.low, told.interval.high) == (pytest.approx(0), pytest.approx(0.6))
    assert told.interval.over == "seeds x images"
    assert told.p_value == pytest.approx(0.05, rel=1e-6)
    assert over_seeds_difference([0.5] * 3, [0.2] * 3, images=(own(0.5, 0.1), [])).interval.over == "seeds"


def test_beside_the_best_all_pairs_count() -> None:
    """0.01 is enough for one of the best's 3 pairs, and not for one of 6; a pair without a test counts for nothing."""

    def pair(one: str, other: str) -> Difference | None:
        return None if "e" in (one, other) else difference(0.05, 0.03, 0.01 if one == "a" else 1.0)

    assert beside_the_best("a", ["b", "c"], pair) == ["higher", "higher"]
    assert beside_the_best("a", ["b", "c", "d"], pair) == ["not distinguishable"] * 3
    assert beside_the_best("a", ["b", "e", "c"], pair) == ["higher", None, "higher"]
    assert beside_the_best("a", ["e"], pair) == [None]
    assert beside_the_best("a", [], pair) == []
