"""What many probes ask of logits: right or wrong, how wrong, and which class for which."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from priorscope.core.errors import RequestError

Floats = NDArray[np.float64]

AT_ONCE = 1 << 22
"""Logits that are held in float64 at a time: with a copy or two, 100 MB, where 10,000 images x 21,000 classes are 6.8 GB."""


def top_k_correct(logits: ArrayLike, labels: ArrayLike, k: int = 1) -> NDArray[np.bool_]:
    """Whether each image's label is among its k highest logits; ties count against the label.

    So a network that gives every class the same logit, or NaN, is never right, and nothing depends on how a sort breaks ties.
    """
    scores, labels = _scored(logits, labels)
    classes = scores.shape[1]
    if not 1 <= k <= classes:
        raise RequestError(f"Top-{k} was asked for.", f"k from 1 to the number of classes, {classes}", f"k={min(5, classes)}")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    rivals = np.count_nonzero(~(scores < own), axis=1)  # the label's own logit is one of them
    return (rivals <= k) & ~np.isnan(own[:, 0])


def decisions(logits: ArrayLike) -> NDArray[np.int64]:
    """The class with each image's highest logit, the first of several; -1 where a logit is NaN: that decides for none."""
    scores = np.asarray(logits)
    known = np.atleast_1d(~np.isnan(scores).any(axis=1))
    return np.where(known, np.where(known[:, None], scores, 0.0).argmax(axis=1), -1)


def answers_alone(logits: ArrayLike) -> NDArray[np.int64]:
    """The one class with each image's highest logit; -1 where several have it, or a logit is NaN."""
    scores = np.asarray(logits)
    alone = np.count_nonzero(scores >= scores.max(axis=1, keepdims=True), axis=1) == 1
    return np.where(alone, decisions(scores), -1)


def softmax(logits: ArrayLike) -> Floats:
    """Probabilities along the last axis in float64: exp(z - max z) over its sum."""
    scores = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # an infinite logit gives NaN, which says so itself
        raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return raised / raised.sum(axis=-1, keepdims=True)


def log_loss(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Each image's cross-entropy in nats, in float64: log(sum exp(z)) - z[label], exact also where a probability underflows."""
    scores, labels = _scored(logits, labels)
    rows = max(1, AT_ONCE // max(scores.shape[1], 1))
    parts = [_log_loss(scores[at : at + rows], labels[at : at + rows]) for at in range(0, len(scores), rows)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _log_loss(scores: NDArray[Any], labels: NDArray[np.int64]) -> Floats:
    scores = scores.astype(np.float64)
    with np.errstate(invalid="ignore"):
        below = scores - scores.max(axis=1, keepdims=True)
        own = np.take_along_axis(below, labels[:, None], axis=1)[:, 0]
        return np.log(np.exp(below).sum(axis=1)) - own


def confusion(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """How often each label (row) was answered with each class (column), and in the last column with no one class: ties and NaN.

    So the diagonal is what `top_k_correct` counts.
    """
    scores, labels = _scored(logits, labels)
    classes, given = scores.shape[1], answers_alone(scores)
    given = np.where(given >= 0, given, classes)
    counts = np.bincount(labels * (classes + 1) + given, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1).astype(np.int64)


def _scored(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    scores = np.asarray(logits)
    if scores.ndim != 2 or scores.shape[1] < 1 or len(scores) != np.size(labels):
        raise RequestError(
            f"Logits of shape {scores.shape} came with {np.size(labels)} labels.",
            "logits (images, classes)",
            "evidence.logits(split) with split.labels",
        )
    return scores, _classes(labels, scores.shape[1], "label")


def _classes(values: ArrayLike, classes: int, kind: str) -> NDArray[np.int64]:
    """Class numbers as int64; a number that is no class would wrap around or be counted elsewhere, so it is refused."""
    given = np.asarray(values)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        raise RequestError(
            f"A {kind} array of {given.dtype} {given.shape} was given.", "one whole number an image", "argmax(axis=1)"
        )
    outside = given[(given < 0) | (given >= classes)]
    if outside.size:
        raise RequestError(f"{outside[0]} is not a {kind}.", f"0 to {classes - 1}", "check the number of classes")
    return given.astype(np.int64)
