"""Configs: frozen, strict, TOML in and out, errors that name the nearest valid key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

import priorscope as ps
from priorscope.core.config import Config, Number, assign, content_key, flat, inline_toml, is_number, merge, read_toml
from priorscope.core.errors import RequestError


class Inner(Config):
    depth: int = Field(default=3, ge=1)
    eps: Number = 8 / 255


class Outer(Config):
    name: str = "a"
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    maybe: int | None = None


def test_an_unknown_key_is_refused_with_the_nearest_one_and_its_path():
    with pytest.raises(RequestError) as caught:
        Outer.parse({"inner": {"dept": 4}}, "r.toml")
    assert str(caught.value) == (
        "'inner.dept' is not a setting in r.toml.\n"
        "  wanted: one of: depth, eps\n"
        "  try:    inner.depth = ... (did you mean that?)"
    )


def test_what_is_set_to_none_stays_so_when_something_else_is_replaced():
    class Some(Config):
        images: int | None = 200
        seed: int = 0

    assert Some(images=None).replace(seed=1) == Some(images=None, seed=1)
    assert Some(images=None).replace(images=3).images == 3
    assert Some().replace(seed=1).images == 200


def test_an_unknown_key_inside_a_list_of_tables_is_named_too():
    with pytest.raises(RequestError, match=r"'many\.0\.epss' is not a setting"):
        Outer.parse({"many": [{"epss": 1}]})


def test_a_value_out_of_range_says_what_was_wanted():
    with pytest.raises(RequestError) as caught:
        Outer.parse({"inner": {"depth": 0}})
    assert str(caught.value) == (
        "inner.depth = 0 was refused.\n  wanted: greater than or equal to 1\n  try:    change inner.depth"
    )


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Inner().depth = 4  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("written", "read"), [("8/255", 8 / 255), ("1 / 4", 0.25), (0.5, 0.5), (1, 1.0)])
def test_numbers_may_be_fractions(written, read):
    assert Inner.parse({"eps": written}).eps == read


@pytest.mark.parametrize("written", ["8/0", "a/b", "x", float("nan"), float("inf")])
def test_what_is_no_number_is_refused(written):
    with pytest.raises(RequestError, match="eps"):
        Inner.parse({"eps": written})


@given(
    st.builds(
        Outer,
        name=st.text(st.characters(exclude_categories=("Cs", "Cc"))),
        inner=st.builds(Inner, depth=st.integers(1, 99), eps=st.floats(0, 1)),
        maybe=st.none() | st.integers(-5, 5),
    )
)
def test_toml_gives_back_what_it_was_given(config):
    import tomllib

    assert Outer.parse(tomllib.loads(config.toml())) == config


def test_the_key_is_of_the_content_not_of_its_order():
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 1.5})
    assert Outer(maybe=1).digest() != Outer().digest()


@pytest.mark.parametrize(
    ("setting", "result"),
    [
        ("inner.depth=4", {"inner": {"depth": 4}, "name": "x"}),
        ("name=mlp/tiny", {"inner": {}, "name": "mlp/tiny"}),
        ('name="a=b"', {"inner": {}, "name": "a=b"}),
        ("inner.list=[1, 2]", {"inner": {"list": [1, 2]}, "name": "x"}),
        ("name.width=3", {"inner": {}, "name": {"name": "x", "width": 3}}),
    ],
)
def test_set_puts_a_toml_value_at_a_dotted_key(setting, result):
    assert assign({"inner": {}, "name": "x"}, setting) == result


def test_settings_are_put_in_one_after_the_other():
    values = {"a": {"b": 1}}
    assert assign(values, "a.b=2", "c=3", "a.b=4") == {"a": {"b": 4}, "c": 3}
    assert assign(values) == values == {"a": {"b": 1}}


@pytest.mark.parametrize("setting", ["inner.depth", "=4", "a..b=1"])
def test_what_is_no_setting_is_refused(setting):
    with pytest.raises(RequestError, match="is not a setting"):
        assign({}, setting)


def test_tables_are_laid_over_each_other_key_by_key():
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "d": {"e": 5}}) == {"a": {"b": 4, "c": 2}, "d": {"e": 5}}


def test_a_toml_file_that_is_not_there_or_torn_is_named(tmp_path):
    with pytest.raises(RequestError, match="There is no file"):
        read_toml(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("a = [1,")
    with pytest.raises(RequestError, match=r"b\.toml is not valid TOML"):
        read_toml(tmp_path / "b.toml")


@pytest.mark.parametrize(
    "value",
    [
        *(3, 0.5, True, "six", 'a "b" \\ c', "🦊 \x7f\x00\n", [], [1, [2, "x"]]),
        {"name": "six", "scale": [0.4, 1], "inner": {"é": False, "🦊\x7f": 1}},
    ],
)
def test_a_value_on_one_line_is_read_back_equal(value):
    assert assign({}, f"a={inline_toml(value)}") == {"a": value}


def test_nested_tables_are_flattened_to_dotted_keys_and_values_stay_what_they_are():
    table = {"seed": 0, "optim": {"lr": 0.1, "more": {"beta": None}}, "data": {}, "augment": [{"op": "flip"}]}
    assert flat(table) == {"seed": 0, "optim.lr": 0.1, "optim.more.beta": None, "augment": [{"op": "flip"}]}


def test_yes_and_no_are_no_numbers():
    assert [is_number(value) for value in (1, 0.5, True, False, "1", None)] == [True, True, False, False, False, False]


def test_what_is_refused_below_a_value_is_named_by_its_whole_key():
    with pytest.raises(RequestError) as refused:
        assign({"train": {"epochs": 2}}, "train.epochs.x=1")
    assert refused.value.do == "--set train.epochs=VALUE"


def test_a_value_where_a_table_belongs_is_told_how_tables_are_set():
    with pytest.raises(RequestError) as refused:
        ps.Recipe.of({"data": {"source": "shapetex"}, "model": "mlp/tiny", "train": 5})
    assert refused.value.came.startswith("train = 5 was refused")
    assert refused.value.wanted == "a table of settings"
    assert "--set 'train.NAME=VALUE'" in refused.value.do


def test_a_table_whose_quotes_the_shell_took_is_told_of_them():
    with pytest.raises(RequestError, match="no table of settings") as refused:
        ps.Recipe.of({"data": {"source": "{name=folder,path=pictures}"}, "model": "mlp/tiny"})
    assert "quotes" in refused.value.wanted
