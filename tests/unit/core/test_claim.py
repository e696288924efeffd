"""Claims: their grammar, and on which side of an edge an interval lies."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.core.claim import Claim
from priorscope.core.comparison import Difference, paired_bootstrap
from priorscope.core.errors import RequestError
from priorscope.core.stats import Interval


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, method="t", over="seeds")


def test_a_claim_is_read_from_its_sentence() -> None:
    claim = Claim.read("mlp > cnn-lr=0.1 in minimal_linf, margin 0.2/255")
    assert (claim.first, claim.relation, claim.second, claim.probe) == ("mlp", ">", "cnn-lr=0.1", "robustness")
    assert claim.margin == pytest.approx(0.2 / 255)
    assert claim.unit is None
    assert claim.settings == {"norm": "linf"}
    assert Claim.read("a<b in accuracy").margin == 0
    doubled = Claim.read("mlp = cnn in robustness, margin 0.5 doublings")
    assert (doubled.margin, doubled.unit, doubled.settings) == (0.5, "doublings", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mlp beats cnn", "is no claim"),
        ("mlp > cnn in accuracy, margin 1/0", "is no number"),
        ("mlp > cnn in accuracy, margin -1", "margin"),
        ("mlp = cnn in accuracy", "can never be shown"),
    ],
)
def test_what_is_no_claim_is_refused(text: str, said: str) -> None:
    with pytest.raises((RequestError, ValueError), match=said):
        Claim.read(text)


@pytest.mark.parametrize(
    ("text", "low", "high", "verdict"),
    [
        ("a > b in accuracy, margin 0.1", 0.11, 0.3, "supported"),
        ("a > b in accuracy, margin 0.1", 0.05, 0.3, "undecided"),
        ("a > b in accuracy, margin 0.1", 0.02, 0.09, "contradicted"),  # higher, but not by the margin
        ("a < b in accuracy", -0.3, -0.1, "supported"),
        ("a < b in accuracy", 0.1, 0.3, "contradicted"),
        ("a < b in accuracy, margin 0.2", -0.3, -0.1, "undecided"),
        ("a = b in accuracy, margin 0.1", -0.05, 0.09, "supported"),
        ("a = b in accuracy, margin 0.1", 0.05, 0.15, "undecided"),
        ("a = b in accuracy, margin 0.1", -0.3, -0.11, "contradicted"),
        ("a > b in accuracy", 0.2, 0.2, "undecided"),  # without any spread nothing is known
    ],
)
def test_an_interval_decides_where_it_lies_on_one_side(text: str, low: float, high: float, verdict: str) -> None:
    told = Difference(value=(low + high) / 2, interval=interval(low, high), inner=interval(low, high), p_value=0.01)
    assert Claim.read(text).verdict(told) == verdict


def test_what_a_test_of_few_images_cannot_tell_is_left_open() -> None:
    """Of three images one in four choices of signs is as far from 0: no interval makes more of them than that."""
    three = paired_bootstrap([3.0, 2.5, 2.0], [1.0, 1.0, 1.0], seed=0)
    assert three.p_value == three.least_p == 0.25
    assert Claim.read("a > b in minimal_linf").verdict(three) == "undecided"
    assert Claim.read("a = b in minimal_linf, margin 1000").verdict(three) == "undecided"
    many = paired_bootstrap(np.linspace(2, 3, 20), np.ones(20), seed=0)
    assert Claim.read("a > b in minimal_linf").verdict(many) == "supported"
    assert Claim.read("a = b in minimal_linf, margin 1000").verdict(many) == "supported"


def test_the_distance_is_to_the_nearest_edge() -> None:
    assert Claim.read("a > b in accuracy, margin 0.1").distance(0.25) == pytest.approx(0.15)
    assert Claim.read("a < b in accuracy, margin 0.1").distance(-0.25) == pytest.approx(0.15)
    assert Claim.read("a = b in accuracy, margin 0.1").distance(-0.08) == pytest.approx(0.02)
