"""Ridge regression against the normal equations and against leaving images out one by one."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.core.errors import RequestError
from priorscope.probes.shared.ridge import STRENGTHS, few_of_each, fit_ridge

RNG = np.random.default_rng(0)
LABELS = np.arange(24) % 3
WIDE = RNG.normal(size=(24, 40)) + np.eye(3)[LABELS] @ RNG.normal(size=(3, 40))
NARROW = WIDE[:, :6]


def solved(x: np.ndarray, labels: np.ndarray, strength: float, at: np.ndarray) -> np.ndarray:
    """The normal equations, with a column of ones that is not penalised: features scaled as the fit does."""
    mean = x.mean(0)
    scale = np.sqrt(((x - mean) ** 2).mean())
    design = np.c_[(x - mean) / scale, np.ones(len(x))]
    penalty = np.diag([*[strength * len(x)] * x.shape[1], 0.0])
    targets = np.where(np.eye(3)[labels] == 1, 1.0, -1.0)
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ targets)
    return np.c_[(at - mean) / scale, np.ones(len(at))] @ weights


@pytest.mark.parametrize("x", [WIDE, NARROW], ids=["more features", "more images"])
@pytest.mark.parametrize("strength", [2.0**-8, 1.0])
def test_solves_the_normal_equations(x: np.ndarray, strength: float) -> None:
    at = np.random.default_rng(1).normal(size=(7, x.shape[1]))
    fitted = fit_ridge(x, LABELS, 3, strength)
    np.testing.assert_allclose(fitted.scores(at), solved(x, LABELS, strength, at), atol=1e-9)


@pytest.mark.parametrize("x", [WIDE, NARROW], ids=["more features", "more images"])
def test_the_penalty_is_the_best_by_leaving_one_out(x: np.ndarray) -> None:
    """By hand: each image left out in turn, scaling and centring kept as they are with all of them."""
    mean = x.mean(0)
    z = (x - mean) / np.sqrt(((x - mean) ** 2).mean())
    targets = np.where(np.eye(3)[LABELS] == 1, 1.0, -1.0)

    def error(strength: float) -> float:
        design, penalty = np.c_[z, np.ones(24)], np.diag([*[strength * 24] * x.shape[1], 0.0])
        rest = []
        for i in range(24):
            kept = np.arange(24) != i
            weights = np.linalg.solve(design[kept].T @ design[kept] + penalty, design[kept].T @ targets[kept])
            rest.append(targets[i] - design[i] @ weights)
        return float(np.mean(np.square(rest)))

    assert fit_ridge(x, LABELS, 3).strength == min(STRENGTHS, key=error)


def test_does_not_depend_on_the_unit_or_the_origin_of_the_features() -> None:
    plain, moved = fit_ridge(WIDE, LABELS, 3), fit_ridge(1000 * WIDE + 7, LABELS, 3)
    assert plain.strength == moved.strength
    np.testing.assert_allclose(plain.scores(WIDE), moved.scores(1000 * WIDE + 7), atol=1e-8)


def test_features_that_are_all_equal_tell_nothing() -> None:
    scores = fit_ridge(np.ones((6, 4)), [0, 0, 0, 0, 1, 1], 2).scores(np.ones((1, 4)))
    np.testing.assert_allclose(scores, [[1 / 3, -1 / 3]])


def test_few_of_each_takes_the_first_of_an_order() -> None:
    assert few_of_each(LABELS, 2, np.arange(24)[::-1]).tolist() == [18, 19, 20, 21, 22, 23]
    with pytest.raises(RequestError) as error:
        few_of_each([0, 0, 1], 2, [0, 1, 2])
    assert str(error.value) == (
        "2 images of each class were asked for, and one class has 1.\n  wanted: no more than that\n  try:    shots = 1"
    )


@pytest.mark.parametrize(("labels", "classes", "absent"), [([0, 0, 2, 2], 0, 1), ([0, 0, 1, 1], 3, 2)])
def test_few_of_each_refuses_a_class_that_is_absent(labels: list[int], classes: int, absent: int) -> None:
    with pytest.raises(RequestError) as error:
        few_of_each(labels, 2, np.arange(4), classes)
    assert str(error.value) == (
        f"2 images of each class were asked for, and class {absent} has none.\n  wanted: labelled images of every class\n"
        "  try:    a train split that holds all classes"
    )


@pytest.mark.parametrize(
    ("x", "labels", "text"),
    [
        (np.ones((3, 2, 2)), [0, 1, 0], "Features of shape (3, 2, 2) came with 3 labels."),
        (np.full((3, 2), np.nan), [0, 1, 0], "Some features are NaN or infinite."),
        (np.ones((3, 2)), [0, 1, 5], "5 is not a label."),
    ],
)
def test_what_cannot_be_fitted_is_refused(x: np.ndarray, labels: list[int], text: str) -> None:
    with pytest.raises(RequestError) as error:
        fit_ridge(x, labels, 2)
    assert str(error.value).startswith(text)


def test_features_to_be_scored_are_finite_too() -> None:
    """A NaN would be the highest score of the first class."""
    fitted = fit_ridge(np.eye(4), [0, 1, 0, 1], 2)
    with pytest.raises(RequestError, match=r"^Some features are NaN or infinite\."):
        fitted.scores(np.array([[0, 0, np.nan, 0]]))
