"""Metrics of logits: ties, extremes, and what is refused."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from priorscope.core.errors import RequestError
from priorscope.core.metrics import confusion, log_loss, softmax, top_k_correct


def test_top_k_counts_the_label_among_the_k_highest() -> None:
    logits = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
    assert top_k_correct(logits, [0, 0, 2]).tolist() == [True, False, False]
    assert top_k_correct(logits, [0, 0, 2], k=2).tolist() == [True, False, True]
    assert top_k_correct(logits, [0, 0, 2], k=3).tolist() == [True, True, True]


def test_ties_count_against_the_label_wherever_it_stands() -> None:
    logits = np.array([[1.0, 1.0, 0.0]] * 2)
    assert top_k_correct(logits, [0, 1]).tolist() == [False, False]
    assert top_k_correct(logits, [0, 1], k=2).tolist() == [True, True]


def test_a_network_that_says_the_same_of_every_class_is_never_right() -> None:
    for same in (0.0, math.nan, math.inf):
        assert not top_k_correct(np.full((4, 3), same), [0, 1, 2, 0], k=2).any()


def test_nan_anywhere_counts_against_the_label() -> None:
    assert top_k_correct([[5.0, math.nan, 0.0]], [0]).tolist() == [False]
    assert top_k_correct([[math.nan, 0.0, 0.0]], [0], k=3).tolist() == [False]


@pytest.mark.parametrize("k", [0, 4])
def test_a_k_that_no_ranking_has_is_refused(k: int) -> None:
    with pytest.raises(RequestError, match=rf"^Top-{k} was asked for\.\n  wanted: k from 1 to the number of classes, 3"):
        top_k_correct(np.zeros((2, 3)), [0, 1], k=k)


def test_softmax_sums_to_one_and_survives_large_logits() -> None:
    probabilities = softmax(np.array([[1000.0, 1000.0, -1000.0], [0.0, math.log(3), -math.inf]], dtype=np.float64))
    np.testing.assert_allclose(probabilities, [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]], rtol=1e-15)


def test_log_loss_is_exact_where_the_probability_underflows() -> None:
    assert log_loss([[0.0, 2000.0]], [0]).tolist() == [2000.0]
    assert log_loss(np.array([[0.0, 0.0, 0.0, 0.0]], dtype=np.float16), [2])[0] == pytest.approx(math.log(4), rel=1e-15)
    assert log_loss([[-math.inf, 0.0]], [0])[0] == math.inf


def test_log_loss_is_the_same_in_pieces_and_never_holds_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = np.random.default_rng(0).normal(size=(40, 50_000)).astype(np.float32), np.arange(40)
    whole = log_loss(logits, labels)
    monkeypatch.setattr("priorscope.core.metrics.AT_ONCE", 50_000)
    tracemalloc.start()
    assert np.array_equal(log_loss(logits, labels), whole)
    assert tracemalloc.get_traced_memory()[1] < logits.nbytes / 2
    tracemalloc.stop()
    assert log_loss(np.zeros((0, 3)), np.zeros(0, np.int64)).shape == (0,)


def test_log_loss_of_a_diverged_network_is_nan_and_no_warning() -> None:
    assert math.isnan(log_loss([[math.nan, 0.0]], [1])[0])
    assert math.isnan(log_loss([[math.inf, 0.0]], [1])[0])


def test_confusion_has_labels_down_and_answers_across() -> None:
    table = confusion(np.eye(3)[[0, 1, 1, 2, 1]], labels=[0, 0, 1, 2, 0])
    assert table.tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert table.dtype == np.int64


def test_what_is_no_answer_stands_in_the_last_column() -> None:
    logits = [[1.0, 1.0], [math.nan, 2.0], [0.0, 3.0], [math.nan, math.nan], [math.inf, math.inf]]
    labels = [0, 1, 1, 0, 1]
    table = confusion(logits, labels)
    assert table.tolist() == [[0, 0, 2], [0, 1, 2]]
    assert table.trace() == top_k_correct(logits, labels).sum()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    for refused in (
        lambda: top_k_correct(np.zeros((1, 3)), [label]),
        lambda: log_loss(np.zeros((1, 3)), [label]),
        lambda: confusion(np.zeros((1, 3)), [label]),
    ):
        with pytest.raises(RequestError, match=rf"^{label} is not a label\.\n  wanted: 0 to 2\n"):
            refused()


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^Logits of shape \(2, 3\) came with 3 labels\."):
        log_loss(np.zeros((2, 3)), [0, 1, 2])
    with pytest.raises(RequestError, match=r"^Logits of shape \(3,\) came with 3 labels\."):
        top_k_correct(np.zeros(3), [0, 1, 2])
    with pytest.raises(RequestError, match=r"^Logits of shape \(2, 3\) came with 1 labels\."):
        confusion(np.zeros((2, 3)), [0])
    with pytest.raises(RequestError, match=r"^A label array of float64 \(1,\) was given\."):
        confusion(np.zeros((1, 2)), [0.0])
