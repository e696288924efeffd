"""CKA against closed forms, brute force, independence, invariances and planted truths; TwoNN against known dimensions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from priorscope.probes.shared import depth
from priorscope.probes.similarity.cka import Alignment, centred, gram, jackknife, median_distance


def song(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC without bias as Song et al. (2012), equation 5, write it."""
    n = len(k)
    k, m = (part - np.diag(np.diag(part)) for part in (k, m))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def by_fours(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC as what it estimates: the mean of k_ij (m_ij + m_qr - 2 m_iq) over all ordered fours of different images."""
    fours = list(permutations(range(len(k)), 4))
    return sum(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in fours) / len(fours)


def hsic(x: np.ndarray, y: np.ndarray, kernel="linear", widths=(None, None)) -> float:
    alignment = Alignment(2, 1)
    features = [torch.from_numpy(part) for part in (x, y)]
    alignment.add(0, [gram(part, kernel, width) for part, width in zip(features, widths, strict=True)])
    return alignment.sums[0, 0, 1] / len(x)


def test_linear_hsic_is_the_closed_form_and_the_mean_over_fours():
    random = np.random.default_rng(0)
    x = random.normal(size=(9, 5))
    y = x[:, :3] ** 2 + random.normal(size=(9, 3)) + 7
    k, m = x @ x.T, y @ y.T
    assert hsic(x, y) == pytest.approx(song(k, m), rel=1e-6)
    assert hsic(x, y) == pytest.approx(by_fours(k, m), rel=1e-6)


def test_rbf_hsic_is_the_closed_form():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(40, 5)), random.normal(size=(40, 3))
    widths = [0.5 * median_distance(torch.from_numpy(part)) for part in (x, y)]
    kernels = []
    for part, width in zip((x, y), widths, strict=True):
        squared = ((part[:, None] - part[None]) ** 2).sum(2)
        assert width == pytest.approx(0.5 * np.quantile(np.sqrt(squared[np.triu_indices(40, 1)]), 0.5, method="lower"))
        kernels.append(np.exp(-squared / (2 * width**2)))
    assert hsic(x, y, "rbf", widths) == pytest.approx(song(*kernels), rel=1e-6)


def test_centring_takes_off_rows_columns_and_diagonal():
    kernel = torch.rand(12, 12, dtype=torch.float64)
    kernel = kernel + kernel.T
    after = centred(kernel)
    assert after.diagonal().abs().max() == 0
    assert after.sum(0).abs().max() < 1e-12
    shifted = centred(kernel + torch.arange(12)[:, None] + torch.arange(12)[None, :])
    torch.testing.assert_close(shifted, after)


def aligned(parts, batch: int, kernel="linear", groups: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    starts = range(0, len(parts[0]), batch)
    alignment = Alignment(len(parts), groups or len(starts))
    for number, start in enumerate(starts):
        some = [torch.from_numpy(part[start : start + batch]) for part in parts]
        for layer, features in enumerate(some):
            alignment.look(layer, features)
        alignment.add(number * (groups or len(starts)) // len(starts), [gram(part, kernel) for part in some])
    return alignment.values()


@pytest.mark.parametrize("batch", [16, 64, 256, 1024])
def test_independent_gaussian_features_read_zero_at_every_batch(batch):
    """Within four standard deviations, taken from twelve repeats; the biased estimate reads 0.67 to 0.99 here."""
    random = np.random.default_rng(batch)
    values = []
    for _ in range(12):
        parts = [random.normal(size=(1024, 256)).astype(np.float32) for _ in range(2)]
        values.append(aligned(parts, batch)[0][0, 1])
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert np.max(np.abs(values)) < 4 * np.sqrt(2 / (batch * 1024))  # of sums of n (n - 3) products a batch, each its own


def test_the_biased_estimate_would_read_what_field_notes_say():
    """That the test above is no formality: with the diagonal kept, independent features of 2,048 dimensions read 0.99 at 16."""
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(16, 2048)) for _ in range(2))
    centre = np.eye(16) - 1 / 16
    k, m = (centre @ part @ part.T @ centre for part in (x, y))
    assert (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()) > 0.98


def test_a_linear_map_s_cka_is_that_of_its_spectrum():
    """For Gaussian x with covariance I and y = A x, population CKA is |A|_F^2 / (sqrt(p) |A A^T|_F)."""
    random = np.random.default_rng(3)
    a = np.diag([4.0, 2.0, 1.0, 0.5])
    x = random.normal(size=(8192, 4))
    truth = (a**2).sum() / (2 * np.sqrt(((a @ a.T) ** 2).sum()))
    values, left_out = aligned([x, x @ a.T], 128, groups=16)
    assert abs(values[0, 1] - truth) < 1.5 * jackknife(left_out)[0, 1]
    assert jackknife(left_out)[0, 1] < 0.02


@pytest.mark.parametrize("kernel", ["linear", "cosine"])
def test_turning_and_scaling_change_nothing_and_a_layer_is_itself(kernel):
    random = np.random.default_rng(4)
    x = random.normal(size=(256, 20))
    y = np.tanh(x[:, :8]) + 0.3 * random.normal(size=(256, 8))
    turn = np.linalg.qr(random.normal(size=(20, 20)))[0]
    plain, _ = aligned([x, y, x], 64, kernel)
    turned, _ = aligned([5 * x @ turn, 0.01 * y, x], 64, kernel)
    assert plain[0, 1] == pytest.approx(turned[0, 1], abs=1e-9)
    assert plain[0, 2] == pytest.approx(1, abs=1e-12)
    moved, _ = aligned([x + 3, y, x], 64)
    assert moved[0, 1] == pytest.approx(aligned([x, y, x], 64)[0][0, 1], abs=1e-9)


def test_a_layer_far_from_zero_is_no_less_exact_in_float32():
    random = np.random.default_rng(5)
    x, y = (random.normal(size=(256, 30)).astype(np.float32) for _ in range(2))
    y += x
    near, _ = aligned([x, y], 64)
    far, _ = aligned([(1000 + x.astype(np.float64) / 64).astype(np.float32), y], 64)
    assert far[0, 1] == pytest.approx(near[0, 1], abs=1e-3)


def test_dead_layers_are_nan_and_nothing_else_is():
    random = np.random.default_rng(6)
    x = random.normal(size=(128, 10)).astype(np.float32)
    constant = np.full((128, 4), 3.3, np.float32)
    broken = np.full((128, 4), np.nan, np.float32)
    tiny = 1e-12 * x
    values, _ = aligned([x, constant, np.zeros_like(constant), broken, tiny], 32)
    assert np.isnan(values[[1, 2, 3]]).all()
    assert np.isnan(values[:, [1, 2, 3]]).all()
    assert values[0, 4] == pytest.approx(1, abs=1e-5)


def test_the_jackknife_covers_as_often_as_it_says():
    """Sixty repeats of eight groups at a known CKA; at 95 %, fewer than 51 covered has a chance below 1 in 1,000."""
    random = np.random.default_rng(7)
    a = np.diag([2.0, 1.0, 0.5, 0.25, 0.1])
    truth = (a**2).sum() / (np.sqrt(5) * np.sqrt(((a @ a.T) ** 2).sum()))
    covered = 0
    for _ in range(60):
        x = random.normal(size=(512, 5))
        values, left_out = aligned([x, x @ a], 64)
        covered += abs(values[0, 1] - truth) <= jackknife(left_out)[0, 1]
    assert covered >= 51


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_finds_the_dimension_of_a_curved_sheet(dimension):
    """Gaussian points of d dimensions, bent and turned into 30: d within a tenth and a half."""
    random = np.random.default_rng(dimension)
    flat = random.normal(size=(3000, dimension))
    bent = np.concatenate([flat, np.sin(flat)], axis=1) @ random.normal(size=(2 * dimension, 30))
    features = torch.from_numpy(bent.astype(np.float32))
    value, between = depth.two_nn(features, depth.nearest(features, 10), 0)
    assert value == pytest.approx(dimension, abs=0.05 + 0.1 * dimension)
    assert between is not None
    assert between.contains(value)


def test_two_nn_says_nothing_where_images_coincide():
    features = torch.zeros(50, 4)
    value, between = depth.two_nn(features, depth.nearest(features, 3), 0)
    assert np.isnan(value)
    assert between is None


def test_a_readout_is_right_where_classes_are_apart_and_at_chance_where_labels_are_drawn():
    random = np.random.default_rng(8)
    labels = random.integers(0, 4, 800)
    apart = torch.from_numpy((np.eye(4)[labels] * 8 + random.normal(size=(800, 4))).astype(np.float32))
    assert depth.logistic_right(apart, labels).mean() > 0.99
    assert depth.neighbours_right(depth.nearest(apart, 10), labels).mean() > 0.99
    noise = torch.from_numpy(random.normal(size=(800, 60)).astype(np.float32))
    for right in (depth.logistic_right(noise, labels), depth.neighbours_right(depth.nearest(noise, 10), labels)):
        assert abs(right.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 800)
    constant = torch.ones(800, 3)
    assert depth.logistic_right(constant, labels).mean() < 0.4


def test_a_readout_has_an_intercept():
    """Three classes in a row on one axis: the middle one is answered by its intercept alone."""
    labels = np.arange(300) % 3
    line = torch.from_numpy((labels + np.random.default_rng(0).normal(size=300) / 20).astype(np.float32))[:, None]
    order = np.random.default_rng(1).permutation(300)
    assert depth.logistic_right(line[order], labels[order]).mean() > 0.97


def test_the_readout_is_at_its_optimum():
    """The gradient of mean log loss + ridge vanishes there, by numpy."""
    random = np.random.default_rng(9)
    x, labels = random.normal(size=(300, 5)).astype(np.float32), random.integers(0, 3, 300)
    weights = depth.fit_logistic(torch.from_numpy(x), torch.from_numpy(labels), 3).double().numpy()
    inputs = np.c_[x, np.ones(300)]
    scores = np.exp(inputs @ weights)
    gradient = inputs.T @ (scores / scores.sum(1, keepdims=True) - np.eye(3)[labels]) / 300
    gradient[:-1] += depth.RIDGE * weights[:-1]
    assert np.abs(gradient).max() < 1e-4
