"""What is wrong with a config, in words that people type."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from priorscope.core.config import Config, Plain
from priorscope.core.errors import RequestError
from priorscope.core.refusal import Like


class Rate(Config):
    lr: float = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    steps: int = 3
    fill: tuple[float, float] | Literal["edge"] = "edge"


class Part(Config):
    steps: int = 3


class Whole(Config):
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    question: str = "?"
    quick: bool = False
    parts: tuple[Part, ...] = ()
    rate: Rate = Rate()
    rare: Part | None = None
    named: dict[str, Rate] = Field(default_factory=dict)


class Plan(Config):
    base: Annotated[Plain, Like(Whole)] = Field(default_factory=dict)
    over: Annotated[Plain, Like(Whole, rare=True)] = Field(default_factory=dict)
    seeds: tuple[int, ...] = ()


def refused(model: type[Config], values: Plain) -> RequestError:
    with pytest.raises(RequestError) as caught:
        model.parse(values)
    return caught.value


@pytest.mark.parametrize(
    ("values", "came", "wanted", "do"),
    [
        ({"seeds": 3}, "seeds = 3", "a list", "seeds = [3]"),
        ({"seeds": "a"}, "seeds = 'a'", "a list", 'seeds = ["a"]'),
        ({"seeds": []}, "seeds = []", "at least 1 item", "change seeds"),
        ({"seeds": [0.5]}, "seeds.0 = 0.5", "a whole number", "change seeds.0"),
        ({"parts": 3}, "parts = 3", "a list", "parts = [{NAME = VALUE, ...}]"),
        ({"question": 3}, "question = 3", "text in quotes", 'question = "3"'),
        ({"quick": "maybe"}, "quick = 'maybe'", "true or false", "change quick"),
        ({"quick": "False."}, "quick = 'False.'", "true or false", "change quick"),
        ({"rate": {"steps": "a number"}}, "rate.steps = 'a number'", "a whole number", "change rate.steps"),
        ({"named": {"float": {"lr": "fast"}}}, "named.float.lr = 'fast'", "a number", "change named.float.lr"),
        ({"rate": {"lr": "fast"}}, "rate.lr = 'fast'", "a number", "change rate.lr"),
        (
            {"rate": {"schedule": "cosin"}},
            "rate.schedule = 'cosin'",
            "'cosine' or 'constant'",
            'rate.schedule = "cosine" (did you mean that?)',
        ),
        ({"rate": {"fill": "edgy"}}, "rate.fill = 'edgy'", "a list or 'edge'", 'rate.fill = "edge" (did you mean that?)'),
        ({"rate": {"fill": ["a", 1]}}, "rate.fill.0 = 'a'", "a number", "change rate.fill.0"),
    ],
)
def test_a_value_is_refused_in_the_words_of_those_who_type_it(values, came, wanted, do):
    error = refused(Whole, values)
    assert (error.came, error.wanted, error.do) == (f"{came} was refused.", wanted, do)


@pytest.mark.parametrize(
    ("model", "values", "do"),
    [
        (Whole, {"lr": 1}, "rate.lr = ... (did you mean that?)"),
        (Whole, {"steps": 1}, "rate.steps = ... (did you mean that?)"),
        (Whole, {"rare": {"lr": 1}}, "rate.lr = ... (did you mean that?)"),
        (Whole, {"rat": {"lr": 1}}, "rate.lr = ... (did you mean that?)"),
        (Whole, {"int": 1}, "remove it"),
        (Whole, {"named": {"str": {"ler": 1}}}, "named.str.lr = ... (did you mean that?)"),
        (Plan, {"seed": 1}, "seeds = ... (did you mean that?)"),
        (Plan, {"lr": 1}, "base.rate.lr = ... (did you mean that?)"),
        (Plan, {"rate": {"lr": 1}}, "base.rate.lr = ... (did you mean that?)"),
    ],
)
def test_a_setting_without_its_table_is_told_its_whole_name(model, values, do):
    assert refused(model, values).do == do


@pytest.mark.parametrize("values", [3, [1, 2], None])
def test_what_is_no_table_at_all_is_refused(values):
    assert str(refused(Whole, values)) == (
        f"{values!r} was refused.\n  wanted: a table of settings\n  try:    NAME = VALUE for each of its settings"
    )
