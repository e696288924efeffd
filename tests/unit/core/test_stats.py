"""Intervals: their edges, their refusals, and that they cover what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from priorscope.core.comparison import paired_bootstrap
from priorscope.core.errors import RequestError
from priorscope.core.stats import (
    Interval,
    bootstrap,
    bootstrap_of_shares,
    bracketed,
    over_images,
    over_seeds,
    seed_by_image,
    share_from_resamples,
    wilson,
)
from priorscope.core.variance import crossed_parts, p_value, seed_part

Floats = NDArray[np.float64]


def family(draw: np.random.Generator, seeds: int, images: int, share: float, seed_sd: float, image_sd: float) -> Floats:
    """Latent scores (seeds, images) of a family that is right, where the score is positive, with probability `share`."""
    total = (seed_sd**2 + image_sd**2 + 1) ** 0.5
    effects = draw.normal(0, seed_sd, (seeds, 1)) + draw.normal(0, image_sd, images)
    return NormalDist().inv_cdf(share) * total + effects + draw.normal(0, 1, (seeds, images))


def test_an_interval_is_frozen_and_comes_back_from_json_equal() -> None:
    interval = Interval(low=0.25, high=0.5, method="Wilson", over="images")
    assert Interval.parse(json.loads(json.dumps(interval.plain()))) == interval
    with pytest.raises(ValueError, match="frozen"):
        interval.low = 0.0  # pyright: ignore[reportAttributeAccessIssue]


def test_an_interval_holds_its_ends_and_excludes_what_lies_beyond() -> None:
    interval = Interval(low=0.25, high=0.5, method="Wilson", over="images")
    assert interval.width == 0.25
    assert [interval.contains(x) for x in (0.24, 0.25, 0.4, 0.5, 0.51)] == [False, True, True, True, False]
    assert [interval.excludes(x) for x in (0.24, 0.25, 0.51)] == [True, False, True]


def test_an_interval_with_its_ends_swapped_is_refused() -> None:
    with pytest.raises(RequestError, match=r"low \(2\.0\) at or below high \(1\.0\)"):
        Interval.parse({"low": 2.0, "high": 1.0, "method": "t", "over": "seeds"})


def test_wilson_ends_exactly_at_0_and_1_where_the_proportion_does() -> None:
    for n in range(1, 200):
        none, every = wilson(0, n), wilson(n, n)
        assert (none.low, every.high) == (0.0, 1.0)
        assert none.high > 1 / (n + 1)
        assert wilson(1, n + 1).low > 0


def test_wilson_is_the_same_for_right_and_for_wrong_answers() -> None:
    right, wrong = wilson(37, 120, level=0.9), wilson(83, 120, level=0.9)
    assert (right.low, right.high) == pytest.approx((1 - wrong.high, 1 - wrong.low), abs=1e-15)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 10), (11, 10)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(RequestError, match=f"^{successes} of {n} is not a proportion."):
        wilson(successes, n)


def test_a_level_is_refused_outside_0_and_1() -> None:
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(RequestError, match=f"^A level of {level} was given."):
            wilson(1, 2, level=level)


def test_bootstrap_is_a_function_of_data_and_seed() -> None:
    values = np.random.default_rng(0).exponential(1, 300)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_bootstrap_follows_the_scale_of_its_values() -> None:
    values = np.random.default_rng(0).exponential(1, 300)
    plain, scaled = bootstrap(values, seed=1), bootstrap(5 + 2 * values, seed=1)
    assert (scaled.low, scaled.high) == pytest.approx((5 + 2 * plain.low, 5 + 2 * plain.high))


def test_bootstrap_resamples_whole_rows() -> None:
    """A ratio of two columns that are proportional has no spread, whichever images are drawn."""
    rows = np.random.default_rng(0).exponential(1, 200)[:, None] * np.array([3.0, 1.0])

    def ratio(values: Floats, /, *, axis: int) -> Floats:
        sums = values.sum(axis=axis)
        return sums[:, 0] / sums[:, 1]

    interval = bootstrap(rows, seed=0, statistic=ratio)
    assert (interval.low, interval.high) == pytest.approx((3.0, 3.0))


def test_bootstrap_refuses_a_statistic_that_leaves_more_than_one_number() -> None:
    with pytest.raises(RequestError, match=r"^The statistic gave an array of shape \(2000, 2\)\."):
        bootstrap(np.ones((10, 2)), seed=0, statistic=np.mean)


def test_one_image_has_no_interval_and_a_sentence_no_bracket() -> None:
    assert bootstrap([0.88], seed=0) is None
    assert bracketed(None) == ""
    assert bracketed(Interval(low=0.8, high=0.925, method="t", over="seeds")) == " (80.0% to 92.5%)"
    assert bracketed(Interval(low=0.8, high=0.925, method="t", over="seeds"), ".2f") == " (0.80 to 0.93)"


def test_draws_that_all_seeds_share_are_a_part_of_their_own() -> None:
    """Draws' means 1, 2 and 6 over 2 seeds and 4 images that are all alike: var 7 / 3, and no other part."""
    table = np.broadcast_to(np.array([1.0, 2.0, 6.0])[None, :, None], (2, 3, 4))
    over_seed, over_image, over_draw = crossed_parts(np.array(table))
    assert (over_seed.variance, over_image.variance) == (0.0, 0.0)
    assert (over_draw.variance, over_draw.df) == (pytest.approx(7 / 3), 2)
    interval = seed_by_image(table)
    assert interval.over == "seeds x draws x images"
    assert interval.high == pytest.approx(3 + 4.302653 * (7 / 3) ** 0.5)


def test_readouts_that_are_always_right_on_n_images_have_wilsons_interval_over_n_images() -> None:
    interval, images = seed_by_image(np.ones((3, 4, 50), dtype=bool)), wilson(50, 50)
    assert (interval.low, interval.high) == (images.low, images.high)


def test_bootstrap_refuses_too_few_resamples() -> None:
    with pytest.raises(RequestError, match=r"^20 resamples were asked for\."):
        bootstrap([1.0, 2.0], seed=0, resamples=20)


def test_values_that_are_missing_or_not_finite_are_refused() -> None:
    with pytest.raises(RequestError, match=r"^No values were given\."):
        bootstrap([], seed=0)
    with pytest.raises(RequestError, match=r"^2 of 3 values are NaN or infinite\."):
        over_seeds([1.0, float("nan"), float("inf")])


@pytest.mark.parametrize("refused", [lambda: over_seeds([0.9]), lambda: seed_by_image(np.ones((1, 50)))])
def test_one_seed_speaks_for_a_checkpoint_only(refused: object) -> None:
    assert callable(refused)
    with pytest.raises(RequestError) as caught:
        refused()
    assert str(caught.value) == (
        "One seed was given: it speaks for a checkpoint only, not for its family.\n"
        "  wanted: two seeds at least, and three before anything is said about a family\n"
        "  try:    train more seeds, or take wilson or bootstrap for this checkpoint"
    )


def test_shapes_that_are_no_design_are_refused() -> None:
    with pytest.raises(RequestError, match=r"shape \(2, 3\) was given"):
        over_seeds(np.ones((2, 3)))
    for shape in ((3,), (3, 1), (2, 1, 4), (2, 3, 1), (2, 3, 4, 5)):
        with pytest.raises(RequestError, match=r"shape .* was given"):
            seed_by_image(np.ones(shape))
    with pytest.raises(RequestError, match=r"^`counted` of shape \(2, 2\) came with values of shape \(2, 3\) and counts 4"):
        seed_by_image(np.ones((2, 3)), counted=np.ones((2, 2)))
    with pytest.raises(RequestError, match="counts 0 of them"):
        seed_by_image(np.ones((2, 3)), counted=np.zeros((2, 3)))


def test_a_family_that_is_always_right_on_n_images_has_wilsons_interval_over_n_images() -> None:
    """Three seeds on 50 images are no 150 images: what all seeds get right may still be wrong on image 51."""
    interval, images = seed_by_image(np.ones((3, 50), dtype=bool)), wilson(50, 50)
    assert (interval.low, interval.high) == (images.low, images.high)
    assert interval.over == "seeds x images"


def test_answers_of_one_seed_have_wilsons_interval_and_of_several_that_of_a_family() -> None:
    answers = np.arange(40) % np.array([[2], [3], [5]]) == 0
    assert over_images(answers[:1]) == wilson(20, 40)
    assert over_images(answers) == seed_by_image(answers)


def test_a_familys_proportion_stays_within_0_and_1() -> None:
    correct = np.zeros((3, 100), dtype=bool)
    correct[0] = True  # the seeds differ as much as they can
    interval = seed_by_image(correct)
    assert 0 <= interval.low < 0.05
    assert 0.95 < interval.high <= 1


def test_no_answer_is_worth_more_than_an_independent_one() -> None:
    """Two seeds that are right on opposite images have almost equal means, by luck: 200 answers at the most, all the same."""
    first = np.arange(100) % 2 == 0
    second = ~first
    second[0] = True
    interval, independent = seed_by_image(np.stack([first, second])), wilson(101, 200)
    assert (interval.low, interval.high) == pytest.approx((independent.low, independent.high))


def test_images_that_never_count_might_as_well_be_left_out() -> None:
    scores = family(np.random.default_rng(0), 4, 600, 0.7, 0.1, 1.0)
    counted = np.zeros_like(scores)
    counted[:, :200] = 1
    part, alone = seed_by_image(scores, counted), seed_by_image(scores[:, :200])
    assert (part.low, part.high) == pytest.approx((alone.low, alone.high), abs=0.005 * alone.width)


def test_counting_every_value_changes_nothing() -> None:
    correct = family(np.random.default_rng(0), 4, 60, 0.7, 0.2, 1.0) > 0
    assert seed_by_image(correct, counted=np.ones_like(correct)) == seed_by_image(correct)


def test_values_that_do_not_count_are_not_looked_at() -> None:
    draw = np.random.default_rng(0)
    correct, counted = draw.random((4, 60)) < 0.7, draw.random((4, 60)) < 0.5
    assert seed_by_image(correct & counted, counted=counted) == seed_by_image(correct | ~counted, counted=counted)


def test_no_spread_is_no_evidence() -> None:
    assert p_value(0.5, [seed_part(np.array([1.0, 1.0, 1.0]))]) == 1.0


def test_the_p_value_is_the_level_at_which_the_interval_ends_at_zero() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, 8)
    part = seed_part(values)
    p = p_value(float(values.mean()), [part])
    interval = over_seeds(values, level=1 - p)
    assert 0.01 < p < 0.99
    assert interval.low * interval.high == pytest.approx(0, abs=1e-9)


def covered(design: tuple[int, int, float, float, float], times: int, seed: int = 0) -> tuple[float, float, float]:
    """How often the crossed intervals of a share and of a mean cover, and how often Wilson's over all answers would."""
    draw = np.random.default_rng(seed)
    _, _, share, seed_sd, image_sd = design
    mean = NormalDist().inv_cdf(share) * (seed_sd**2 + image_sd**2 + 1) ** 0.5
    hits = np.zeros(3)
    for _ in range(times):
        scores = family(draw, *design)
        pooled = wilson(int((scores > 0).sum()), scores.size)
        hits += [seed_by_image(scores > 0).contains(share), seed_by_image(scores).contains(mean), pooled.contains(share)]
    share_covered, mean_covered, pooled_covered = hits / times
    return share_covered, mean_covered, pooled_covered


def test_a_familys_interval_covers_where_pooling_the_answers_does_not() -> None:
    share, mean, pooled = covered((3, 200, 0.8, 0.3, 1.2), times=300)
    assert share >= 0.92
    assert mean >= 0.92
    assert pooled < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("images", [100, 1000])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("seed_sd", "image_sd"), [(0, 0), (0, 1.5), (0.05, 1.5), (0.2, 1.2), (0.4, 0.5)])
def test_a_familys_interval_covers_seeds_and_images(
    seeds: int, images: int, share: float, seed_sd: float, image_sd: float
) -> None:
    """At nominal 95 %; 1,000 repetitions have a standard error of 0.7 %."""
    of_share, of_mean, _ = covered((seeds, images, share, seed_sd, image_sd), times=1000, seed=seeds + images)
    assert of_share >= 0.92
    assert of_mean >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_a_share_of_the_counted_images_covers(seeds: int) -> None:
    """Cue preference: which cue is chosen depends on the image and the seed, and so does whether either cue is."""
    design = (seeds, 400, 0.3, 0.2, 1.0)
    draw = np.random.default_rng(seeds)

    def once(seeds: int, images: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        scores = family(draw, seeds, images, *design[2:])
        return scores > 0, scores + draw.normal(0, 1, scores.shape) > -1.5

    chosen, counted = once(4000, 4000)
    truth = (chosen & counted).sum() / counted.sum()
    hits = [
        seed_by_image(chosen & counted, counted).contains(truth) for chosen, counted in (once(*design[:2]) for _ in range(500))
    ]
    assert np.mean(hits) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("images", [100, 300])
def test_the_bootstrap_covers_a_skewed_mean(images: int) -> None:
    draw = np.random.default_rng(images)
    hits = [bootstrap(draw.exponential(1, images), seed=i, resamples=1000).contains(1.0) for i in range(1000)]
    assert np.mean(hits) >= 0.92


@pytest.mark.parametrize("images", [3, 5, 8])
@pytest.mark.parametrize("pairs", [False, True])
def test_the_bootstrap_of_few_values_covers_as_often_as_it_says(images: int, pairs: bool) -> None:
    """Percentiles alone hold the mean of 3, 5 and 8 normal values in 77, 82 and 89 % of cases."""
    draw = np.random.default_rng(images)
    hits = 0
    for i in range(600):
        values = draw.normal(size=images)
        found = paired_bootstrap(values, np.zeros(images), seed=i, resamples=300).interval if pairs else None
        hits += (found or bootstrap(values, seed=i, resamples=300)).contains(0.0)
    assert 0.92 <= hits / 600 <= 0.98


def own_interval(value: float, below: float, above: float, level: float = 0.95, over: str = "images") -> Interval:
    return Interval(low=value - below, high=value + above, level=level, method="planted", over=over)


def test_seeds_that_agree_on_shared_images_are_no_surer_than_one_of_them() -> None:
    agreeing = over_seeds([0.5] * 4, images=[own_interval(0.5, 0.1, 0.2)] * 4)
    assert (agreeing.low, agreeing.high, agreeing.over) == (pytest.approx(0.4), pytest.approx(0.7), "seeds x images")
    narrower = NormalDist().inv_cdf(0.9) / NormalDist().inv_cdf(0.975)
    assert over_seeds([0.5] * 4, 0.8, images=[own_interval(0.5, 0.1, 0.2)] * 4).low == pytest.approx(0.5 - 0.1 * narrower)
    values = [0.4, 0.5, 0.6]
    alone, both = over_seeds(values), over_seeds(values, images=[own_interval(v, 0.3, 0.3) for v in values])
    assert both.width**2 == pytest.approx(alone.width**2 + 0.6**2)
    for lacking in ([None] * 3, [own_interval(v, 0.3, 0.3, over="repeats") for v in values], ()):
        assert over_seeds(values, images=lacking) == alone


def test_intervals_of_shares_stay_where_shares_can_be() -> None:
    assert bootstrap_of_shares([0.9, 1.0, 1.0], seed=0).high == 1
    assert bootstrap_of_shares([0.0, 0.0, 0.1], seed=0).low == 0
    assert bootstrap_of_shares([-0.1, 0.0, 0.1], seed=0, differences=True).low < -0.1
    assert bootstrap_of_shares([0.0, 0.0, 0.1], seed=0, differences=True).low < 0
    assert bootstrap_of_shares([0.5], seed=0) is None


def test_shares_that_all_images_agree_on_have_wilsons_interval() -> None:
    """n = 40, z = 1.96: (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)."""
    z, n = NormalDist().inv_cdf(0.975), 40
    for share, half in ((0.0, z / (2 * n)), (0.5, (0.25 / n + (z / (2 * n)) ** 2) ** 0.5), (1.0, z / (2 * n))):
        found = bootstrap_of_shares([share] * n, seed=0)
        centre, scale = share + z**2 / (2 * n), 1 + z**2 / n
        assert (found.low, found.high) == pytest.approx(((centre - z * half) / scale, (centre + z * half) / scale))


@pytest.mark.parametrize("values", [*([d] * 40 for d in (0.0, 0.25, 1.0)), [0.0] * 30 + [0.5] * 10, [-1.0, 0.0, 0.1, 1.0] * 10])
def test_the_interval_of_a_difference_turned_round_is_turned_round(values: list[float]) -> None:
    found, turned = (bootstrap_of_shares(sign * np.array(values), seed=0, differences=True) for sign in (1, -1))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert found.contains(np.mean(values))
    assert found.width > 0
    assert found.low >= -1


def test_two_that_never_disagree_have_bonett_and_prices_interval() -> None:
    """One more of each disagreement of 42: a variance of 2 / 42 over 42."""
    found = bootstrap_of_shares([0.0] * 40, seed=0, differences=True)
    assert found.high == -found.low == pytest.approx(NormalDist().inv_cdf(0.975) * 2**0.5 / 42)


def test_a_share_of_resamples_lies_between_their_percentiles_and_has_wilsons_width_where_they_agree() -> None:
    assert share_from_resamples([0.3] * 50, 0.3, 10) == wilson(3, 10)
    assert share_from_resamples([0.0, float("nan")], 0.0, 10) == wilson(0, 10)
    spread = share_from_resamples(np.linspace(0.2, 0.6, 401), 0.4, 10)
    assert (spread.low, spread.high) == pytest.approx((0.21, 0.59))
    assert share_from_resamples(np.linspace(0.2, 0.6, 401), 0.61, 10).high == 0.61


def test_importing_the_module_loads_no_scipy() -> None:
    """scipy.special alone takes 0.6 s, which a command line that only reads results would pay."""
    code = (
        "import sys, priorscope.core.stats, priorscope.core.comparison, priorscope.core.metrics; print('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
