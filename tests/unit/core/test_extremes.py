"""Who stands at the end of some numbers: equals share the place."""

from __future__ import annotations

import math

import pytest

from priorscope.core.extremes import largest, named, smallest


def test_equals_share_a_place_and_where_all_are_equal_nobody_stands_out() -> None:
    values = {"a": 0.1 + 0.2, "b": 0.3, "c": 0.1}
    most, least = largest(values), smallest(values)
    assert (most.names, most.equal, most.do("is", "are")) == (("a", "b"), False, "a and b are")
    assert (least.value, least.names, least.do("is", "are")) == (0.1, ("c",), "c is")
    assert largest({"a": 0.5, "b": 0.5}).equal
    assert largest({"a": 0.5}).equal


def test_what_is_no_number_is_left_out() -> None:
    assert largest({"a": math.nan, "b": 0.1, "c": 0.2}).names == ("c",)
    nothing = smallest({"a": math.nan, "b": math.nan})
    assert nothing.equal
    assert math.isnan(nothing.value)


@pytest.mark.parametrize(
    ("names", "said"), [("a", "a"), ("ab", "a and b"), ("abcd", "a, b, c and d"), ("abcde", "a, b, c and 2 others")]
)
def test_many_names_are_counted(names: str, said: str) -> None:
    assert named(names) == said
