"""Estimates of calibration: closed forms, a peer's numbers, planted calibrated answers, and coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from priorscope.core.errors import RequestError
from priorscope.core.metrics import log_loss, softmax
from priorscope.probes.calibration.estimating import (
    BINS,
    Answers,
    Null,
    _of_two,
    brier_parts,
    brier_scores,
    equal_mass,
    equal_width,
    estimates,
    fit_temperature,
    squared_error,
)


def drawn(n: int, classes: int = 5, seed: int = 7, sharper: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their probabilities; `sharper` multiplies the logits afterwards: overconfidence."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, classes)) * 2
    labels = np.minimum((rng.random(n)[:, None] >= softmax(z).cumsum(1)).sum(1), classes - 1)
    return z * sharper, labels


def answers(n: int, seed: int = 7, sharper: float = 1.0, classes: int = 5) -> Answers:
    z, labels = drawn(n, classes, seed, sharper)
    return Answers(softmax(z), labels)


def named(given: Answers, seed: int = 0) -> dict[str, float]:
    return {each.name: each.value for each in estimates(given, seed)[0]}


def test_bins_hold_their_upper_edge_and_the_ends() -> None:
    values = np.array([0.0, 1e-9, 0.2, 0.2 + 1e-12, 0.6, 1.0])
    assert equal_width(values, 5).tolist() == [0, 0, 0, 1, 2, 4]
    assert equal_width(np.arange(1, 16) / 15).tolist() == list(range(15))


def test_equal_mass_never_parts_equal_values() -> None:
    assert equal_mass(np.array([0.1, 0.2, 0.3, 0.4]), 2).tolist() == [0, 0, 1, 1]
    assert equal_mass(np.array([0.1, 1.0, 1.0, 1.0]), 4).tolist() == [0, 1, 1, 1]


def test_is_what_netcal_says() -> None:
    """netcal 1.4.0's ECE(15) and MCE(15), scikit-learn 1.6's log loss, uncertainty-calibration 0.1.4's marginal error,

    and the temperature that L-BFGS finds, for drawn(1500) with logits times 1.5.
    """
    given = answers(1500, sharper=1.5)
    found = named(given)
    assert found["ECE"] == pytest.approx(0.12386733953319679, abs=1e-12)
    assert found["MCE"] == pytest.approx(0.1996929757055913, abs=1e-12)
    z, labels = drawn(1500, sharper=1.5)
    assert log_loss(z, labels).mean() == pytest.approx(1.039705437434867, abs=1e-12)
    assert brier_scores(given).mean() == pytest.approx(0.5278947695938919, abs=1e-12)
    fitted = fit_temperature(z, labels)
    assert fitted.value == pytest.approx(1.620266115183907, abs=1e-6)
    assert log_loss(z / fitted.value, labels).mean() == pytest.approx(0.9502642075126566, abs=1e-12)
    assert math.sqrt(squared_error(given)[0]) == pytest.approx(0.1273247862928967, abs=2e-3)  # Kumar's own bins differ


def test_closed_forms() -> None:
    """Four answers of confidence 0.8, three right, and one of 0.6, wrong: errors by hand."""
    p = np.array([[0.8, 0.2]] * 4 + [[0.6, 0.4]])
    given = Answers(p, np.array([0, 0, 0, 1, 1]))
    found = named(given)
    assert found["ECE"] == pytest.approx((4 * 0.05 + 0.6) / 5)
    assert found["MCE"] == pytest.approx(0.6)
    assert found["class-wise ECE"] == pytest.approx((4 * 0.05 + 0.6) / 5)  # both classes tell the same of two
    assert brier_scores(given).tolist() == pytest.approx([0.08, 0.08, 0.08, 1.28, 0.72])


def test_bins_of_equal_mass_part_what_bins_of_equal_width_hold_together() -> None:
    """Four answers in one bin of a fifteenth; of equal mass each has a bin of its own."""
    sure = np.array([0.95, 0.951, 0.952, 0.953])
    found = named(Answers(np.stack([sure, 1 - sure], 1), np.array([1, 0, 0, 0])))
    assert found["ECE"] == pytest.approx(sure.mean() - 0.75)
    assert found["ECE, equal mass"] == pytest.approx((0.95 + 0.049 + 0.048 + 0.047) / 4)


def test_the_band_of_a_bin_is_the_binomial_s() -> None:
    bins = estimates(Answers(np.tile([0.8, 0.2], (400, 1)), (np.arange(400) % 5 == 0).astype(int)), 0)[1]
    low, high = stats.binom.ppf([0.025, 0.975], 400, 0.8) / 400
    (place,) = np.flatnonzero(bins.n)
    assert (bins.low[place], bins.high[place]) == pytest.approx((low, high), abs=0.006)


def test_the_p_value_is_the_share_of_draws_that_are_as_high_the_data_among_them() -> None:
    drawn = np.arange(99) / 99
    assert Null.of("x", 0.5, drawn).p_value == pytest.approx((1 + (drawn >= 0.5).sum()) / 100)
    assert Null.of("x", 2.0, drawn).p_value == pytest.approx(0.01)


def test_the_sweep_takes_as_many_bins_as_rise() -> None:
    """Right answers 0, 0, 1, 1 by rising confidence stay in order in 2 bins and in 4, with 3 in between."""
    confidence = np.array([0.55, 0.65, 0.75, 0.95])
    p = np.stack([confidence, 1 - confidence], 1)
    rises = Answers(p, np.array([1, 1, 0, 0]))
    assert named(rises)["ECE, sweep"] == pytest.approx((0.55 + 0.65 + 0.25 + 0.05) / 4)
    falls = Answers(p, np.array([0, 0, 1, 1]))  # falls already in two bins: one bin is left
    assert named(falls)["ECE, sweep"] == pytest.approx(abs(0.5 - confidence.mean()))


@pytest.mark.parametrize("right", [True, False])
def test_confidence_1_is_a_confidence(right: bool) -> None:
    p = np.array([[1.0, 0.0, 0.0]] * 50)
    given = Answers(p, np.full(50, 0 if right else 1))
    found, bins = estimates(given, 0)
    values = {each.name: each for each in found}
    assert values["ECE"].value == (0.0 if right else 1.0)
    assert values["ECE"].high == 0.0  # a calibrated network that is sure is never wrong
    assert bins.n.tolist() == [0] * (BINS - 1) + [50]
    value, interval = squared_error(given)
    assert value == (0.0 if right else 1.0)
    assert interval.contains(value)
    assert interval.width > 0
    assert math.isfinite(brier_parts(given).score)


def test_brier_is_its_parts_exactly() -> None:
    for seed in range(5):
        given = answers(400, seed, 1.7)
        parts = brier_parts(given)
        assert parts.score == pytest.approx(parts.reliability - parts.resolution + parts.uncertainty + parts.within, abs=1e-12)
        assert parts.score == pytest.approx(brier_scores(given).mean())
    sure = Answers(np.eye(4)[[0, 1, 2, 3]], np.array([0, 1, 2, 3]))
    parts = brier_parts(sure)
    assert (parts.score, parts.reliability, parts.within) == (0.0, 0.0, 0.0)
    assert parts.resolution == parts.uncertainty == 0.75


def test_errors_and_pictures_come_from_the_same_bins() -> None:
    given = answers(700, sharper=1.4)
    found, bins = estimates(given, 0)
    assert bins.error == pytest.approx(found[0].value, abs=1e-12)
    assert bins.n.sum() == 700


def test_a_calibrated_network_lies_inside_its_null_band() -> None:
    """Of 60 planted ones, as many as 95 % of cases leave inside (binomial: fewer than 50 has a chance of 4e-5)."""
    inside: dict[str, int] = {}
    for seed in range(60):
        for each in estimates(answers(300, seed), seed)[0]:
            inside[each.name] = inside.get(each.name, 0) + (each.low <= each.value <= each.high)
    assert all(count >= 50 for count in inside.values()), inside


def test_an_overconfident_network_lies_outside_of_it() -> None:
    for each in estimates(answers(2000, sharper=2.0), 0)[0]:
        if each.name != "MCE":
            assert each.value > each.high, each
            assert each.p_value < 0.01


def test_the_null_level_is_the_one_known() -> None:
    """The mean ECE of calibrated answers spread evenly: 0.029 at 1,000 images and 15 bins (simulated apart)."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 1000)
    confidence = np.maximum(confidence, 1 - confidence)
    p = np.stack([confidence, 1 - confidence], 1)
    null = estimates(Answers(p, (rng.random(1000) >= confidence).astype(int)), 0)[0][0]
    simulated = []
    for _ in range(300):
        right = rng.random(1000) < confidence
        places = np.minimum((confidence * 15 - 1e-12).astype(int), 14)
        gaps = np.bincount(places, right - confidence, 15)
        simulated.append(np.abs(gaps).sum() / 1000)
    assert null.mean == pytest.approx(np.mean(simulated), rel=0.04)


def test_the_squared_error_has_no_bias_and_its_interval_covers() -> None:
    values = [squared_error(answers(500, seed))[0] for seed in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(300)
    covered = sum(squared_error(answers(500, seed))[1].contains(0) for seed in range(300))
    assert covered >= 273  # 95 % of 300 less 3 standard deviations


@pytest.mark.parametrize("n", [8, 15, 20, 28])
def test_few_answers_leave_the_squared_error_without_bias(n: int) -> None:
    values = [squared_error(answers(n, seed, classes=2))[0] for seed in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(400)


@pytest.mark.slow
@pytest.mark.parametrize("sharper", [1.2, 2.0, 4.0])
def test_intervals_cover_the_truth_away_from_0(sharper: float) -> None:
    """The truth: the mean squared gap of 15 equal-mass bins of 400,000 images whose true probabilities are known."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(400_000, 5)) * 2
    confidence, guess = softmax(z * sharper).max(1), z.argmax(1)
    gap = (np.take_along_axis(softmax(z), guess[:, None], 1)[:, 0] - confidence)[confidence.argsort()]
    truth = float(np.mean([part.mean() ** 2 for part in np.array_split(gap, BINS)]))
    covered = sum(squared_error(answers(1000, seed, sharper))[1].contains(truth) for seed in range(300))
    assert covered >= 273


def test_the_temperature_undoes_what_was_done() -> None:
    z, labels = drawn(20_000)
    one = fit_temperature(z, labels).value
    assert one == pytest.approx(1, abs=0.03)
    assert fit_temperature(z * 3, labels).value == pytest.approx(3 * one, rel=1e-6)


def test_a_temperature_without_a_best_value_says_so() -> None:
    z = np.eye(3)[[0, 1, 2]] * 5
    always = fit_temperature(z, np.array([0, 1, 2]))
    never = fit_temperature(z, np.array([1, 2, 0]))
    assert (always.value, always.at_end) == (0.01, True)
    assert (never.value, never.at_end) == (100.0, True)


def test_logits_that_are_not_finite_have_no_temperature() -> None:
    with pytest.raises(RequestError) as error:
        fit_temperature(np.array([[np.nan, 1.0]]), np.array([0]))
    assert str(error.value).startswith("Logits that are not finite have no temperature.")


def test_everything_is_a_function_of_the_seed() -> None:
    given = answers(200)
    assert estimates(given, 3)[0] == estimates(given, 3)[0]
    assert estimates(given, 3)[0] != estimates(given, 4)[0]


def test_where_several_classes_are_likeliest_there_is_no_answer() -> None:
    """Sure by a quarter and never right; labels drawn from these probabilities do not make it right either."""
    given = Answers(np.full((40, 4), 0.25), np.arange(40) % 4)
    assert not given.right.any()
    assert given.chance.tolist() == [0.0] * 40
    (error, *_), bins = estimates(given, 0)
    assert (error.value, error.low, error.high, error.p_value) == (0.25, 0.25, 0.25, 1.0)
    assert bins.high.max() == 0.0


def test_the_squared_error_is_never_above_1() -> None:
    """Twenty answers that are sure and wrong."""
    value, interval = squared_error(Answers(np.eye(2)[np.zeros(20, int)], np.ones(20, int)))
    assert (value, interval.high) == (1.0, 1.0)
    assert interval.low < 1


def test_no_bin_of_the_squared_error_holds_a_single_answer() -> None:
    """Pairs of equal confidences make bins of two and of four; between them an answer of its own joins a neighbour."""
    assert _of_two(np.array([0, 1, 2, 3, 4, 7, 8])).tolist() == [0, 2, 4, 8]
    assert _of_two(np.array([0, 2, 3])).tolist() == [0, 3]
    assert _of_two(np.array([0, 1])).tolist() == [0, 1]


def test_the_squared_error_has_no_bias_where_confidences_are_tied() -> None:
    """4,000 times 30 answers of a calibrated network, 14 pairs of equal ones between two others: the mean is 0, as without."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        values = np.sort(rng.uniform(0.5, 0.7, 16))
        sure = np.concatenate([values[:1], np.repeat(values[1:15], 2), values[15:]])
        right = rng.random(30) < sure
        answers = Answers(np.stack([1 - sure, sure], 1), right.astype(int))
        found.append(squared_error(answers)[0])
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
