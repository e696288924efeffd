"""Pieces of sentences."""

from __future__ import annotations

from priorscope.core.wording import amount_said


def test_amounts_are_said_as_people_say_them():
    said = {999: "999", 1500: "1.5 k", 2.1e6: "2.1 M", 40.6e6: "40.6 M", 3.2e9: "3.2 G", 7e12: "7 T"}
    assert {value: amount_said(value).replace("\u00a0", " ") for value in said} == said


def test_an_amount_that_rounds_up_takes_the_next_letter():
    assert [amount_said(value) for value in (999.6, 999_600, 999.7e6)] == ["1\u00a0k", "1\u00a0M", "1\u00a0G"]
