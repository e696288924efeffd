"""Ridge regression from features to classes, in closed form: few labelled images, no training, no learning rate.

Everything is float64 and a function of its inputs alone. The strength of the penalty is chosen by leaving out each labelled
image in turn, which for a ridge costs no second fit (the residual divided by 1 - its leverage), so that no other images are
asked and the test images choose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from priorscope.core.errors import RequestError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STRENGTHS = tuple(float(2.0**k) for k in range(-14, 15, 2))
"""Penalties that are tried, times the mean square of a feature times the number of images: free of both."""


@dataclass(frozen=True)
class Ridge:
    """A fitted linear map from features to one score a class; `strength` is the penalty that was taken."""

    mean: Floats
    scale: float
    weights: Floats
    offset: Floats
    strength: float

    def scores(self, features: ArrayLike) -> Floats:
        """(images, classes): the higher, the likelier."""
        asked = np.asarray(features, np.float64)
        _check_finite(asked)  # the highest of scores that are NaN is the first class
        return (asked - self.mean) / self.scale @ self.weights + self.offset


def fit_ridge(features: ArrayLike, labels: ArrayLike, classes: int, strength: float | None = None) -> Ridge:
    """Least squares to +1 for an image's class and -1 for the others, with a penalty on the weights and none on the offset.

    Features are centred and divided by one number, so that the directions keep their proportions. With n images in d
    dimensions the work is that of min(n, d) cubed.
    """
    x, labels = np.asarray(features, np.float64), np.asarray(labels, np.int64)
    _check(x, labels, classes)
    mean = x.mean(0)
    centred = x - mean
    scale = float(np.sqrt((centred**2).mean())) or 1.0
    centred /= scale
    targets = np.full((len(x), classes), -1.0)
    targets[np.arange(len(x)), labels] = 1.0
    offset = targets.mean(0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    inside = left.T @ (targets - offset)
    chosen = strength if strength is not None else _chosen(left, sizes, inside, targets - offset)
    penalty = chosen * len(x)
    weights = right.T @ ((sizes / (sizes**2 + penalty))[:, None] * inside)
    return Ridge(mean, scale, weights, offset, chosen)


def _chosen(left: Floats, sizes: Floats, inside: Floats, targets: Floats) -> float:
    """The strength with the least squared error on images left out one at a time; of equals the strongest."""
    errors = [_left_out(left, sizes, inside, targets, strength) for strength in STRENGTHS]
    return STRENGTHS[len(errors) - 1 - int(np.argmin(errors[::-1]))]


def _left_out(left: Floats, sizes: Floats, inside: Floats, targets: Floats, strength: float) -> float:
    kept = sizes**2 / (sizes**2 + strength * len(left))
    leverage = (left**2) @ kept + 1 / len(left)  # the offset is fitted too, and each image is a share of it
    rest = targets - left @ (kept[:, None] * inside)
    return float(((rest / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2).mean())


def few_of_each(labels: ArrayLike, shots: int, order: ArrayLike, classes: int = 0) -> Ints:
    """The first `shots` images of every class in an order, sorted; a class with fewer is refused, also one without any.

    `classes` is their number: labels alone do not show that the last ones are missing.
    """
    labels, ranked = np.asarray(labels, np.int64), np.asarray(order, np.int64)
    counts = np.bincount(labels[ranked], minlength=classes)
    fewest = int(counts.min())
    if not fewest:
        raise RequestError(
            f"{shots} images of each class were asked for, and class {int(counts.argmin())} has none.",
            "labelled images of every class",
            "a train split that holds all classes",
        )
    if fewest < shots:
        raise RequestError(
            f"{shots} images of each class were asked for, and one class has {fewest}.",
            "no more than that",
            f"shots = {fewest}",
        )
    return np.sort(np.concatenate([ranked[labels[ranked] == label][:shots] for label in range(len(counts))]))


def _check(x: Floats, labels: Ints, classes: int) -> None:
    if x.ndim != 2 or len(x) != len(labels) or len(x) < 2:
        raise RequestError(
            f"Features of shape {x.shape} came with {labels.size} labels.",
            "(images, features), two at least",
            "features.reshape(len(features), -1)",
        )
    _check_finite(x)
    if labels.min() < 0 or labels.max() >= classes:
        raise RequestError(f"{labels.max()} is not a label.", f"0 to {classes - 1}", "check the number of classes")


def _check_finite(features: Floats) -> None:
    if not np.isfinite(features).all():
        raise RequestError("Some features are NaN or infinite.", "finite numbers", "look for a diverged run")
