"""Pieces of sentences."""

from __future__ import annotations

from priorscope.core.wording import amount_said, capitalised, chance_said, counted, from_to


def test_amounts_are_said_as_people_say_them():
    said = {999: "999", 1500: "1.5 k", 2.1e6: "2.1 M", 40.6e6: "40.6 M", 3.2e9: "3.2 G", 7e12: "7 T"}
    assert {value: amount_said(value).replace("\u00a0", " ") for value in said} == said


def test_an_amount_that_rounds_up_takes_the_next_letter():
    assert [amount_said(value) for value in (999.6, 999_600, 999.7e6)] == ["1\u00a0k", "1\u00a0M", "1\u00a0G"]


def test_counts_and_ranges():
    assert [counted(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert [from_to(values) for values in ([3], [5, 3, 3], {2.0, 4.5}, [4, 4])] == ["3", "3 to 5", "2 to 4.5", "4"]
    assert from_to([10_000, 2_000], ",") == "2,000 to 10,000"


def test_a_sentence_begins_with_a_capital_and_keeps_the_rest():
    assert [capitalised(text) for text in ("error on CIFAR-10", "MLP", "")] == ["Error on CIFAR-10", "MLP", ""]


def test_a_small_chance_is_not_said_to_be_none():
    assert [chance_said(p) for p in (0.0, 0.00099, 0.001, 0.0494, 1.0)] == [
        "p < 0.001",
        "p < 0.001",
        "p = 0.001",
        "p = 0.049",
        "p = 1.000",
    ]
