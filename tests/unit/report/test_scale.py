"""Where numbers stand on a scale of their own."""

from __future__ import annotations

import pytest

from priorscope.core.stats import Interval
from priorscope.report.scale import scale_of


def about(value: float, low: float, high: float) -> tuple[float, Interval]:
    return value, Interval(low=low, high=high, method="made", over="images")


def test_numbers_stand_between_the_ends_of_their_intervals() -> None:
    scale = scale_of([about(0.4, 0.3, 0.5), about(0.7, 0.6, 0.8)])
    assert (scale.low, scale.high) == (0.3, 0.8)
    assert [scale.place(value) for value in (0.3, 0.4, 0.8)] == [0.0, 20.0, 100.0]


def test_a_wide_interval_is_cut_a_span_beyond_the_numbers() -> None:
    """One that ends far below: the numbers would all stand at one end."""
    scale = scale_of([about(0.4, -9.0, 0.5), (0.6, None)])
    assert (scale.low, scale.high) == pytest.approx((0.2, 0.6))
    assert scale.place(-9.0) == 0.0


def test_equal_numbers_show_their_intervals_whole() -> None:
    scale = scale_of([about(0.01, 0.0, 0.05), (0.01, None)])
    assert (scale.low, scale.high) == (0.0, 0.05)
    assert [scale.place(value) for value in (0.01, 0.05)] == [20.0, 100.0]
    assert scale_of([(0.5, None)]).place(0.5) == 50.0


def test_numbers_far_apart_stand_on_a_logarithmic_scale_where_one_is_asked_for() -> None:
    numbers = [(1.0, None), (10.0, None), (1000.0, None)]
    assert [scale_of(numbers, wide=20).place(value) for value, _ in numbers] == [0.0, 33.33, 100.0]
    assert [scale_of(numbers).place(value) for value, _ in numbers] == [0.0, 0.9, 100.0]
    assert not scale_of([about(1.0, -1.0, 2.0), (1000.0, None)], wide=20).log
