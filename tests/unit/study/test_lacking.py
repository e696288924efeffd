"""What a plan says is not on this machine, before anything is begun."""

from __future__ import annotations

import pytest

from priorscope.study.lacking import lacking
from priorscope.study.plan import make_plan
from priorscope.study.study import Study


@pytest.fixture
def nothing_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    return tmp_path


def said(tmp_path, recipes, probes=(), **more) -> list[str]:
    values = {
        "name": "made",
        "question": "?",
        "base": {"model": "mlp/tiny"},
        "recipes": recipes,
        "probes": list(probes),
        **more,
    }
    return lacking(make_plan(Study.parse(values), tmp_path / "out"))


def test_the_built_in_world_is_always_here(nothing_here):
    assert said(nothing_here, {"a": {"data": {"source": "shapetex"}}}, [{"name": "accuracy"}]) == []


def test_data_that_are_not_here_are_named_with_all_that_waits_for_them(nothing_here):
    recipes = {
        "far": {"data": {"source": "stl10"}},
        "fine": {"data": {"source": "shapetex"}, "init": {"kind": "recipe", "recipe": "far"}},
        "near": {"data": {"source": "shapetex"}},
    }
    assert said(nothing_here, recipes, [{"name": "accuracy"}]) == [
        "stl10 is not here (priorscope data get stl10, or set PRIORSCOPE_DATA): 4 steps need it."
    ]


def test_once_they_are_here_nothing_is_said(nothing_here):
    (nothing_here / "data" / "stl10").mkdir(parents=True)
    assert said(nothing_here, {"far": {"data": {"source": "stl10"}}}) == []


def test_other_data_of_probes_count_too(nothing_here):
    probes = [{"name": "generalisation", "sources": ["cifar100"]}, {"name": "accuracy", "data": "cifar10"}]
    assert said(nothing_here, {"a": {"data": {"source": "shapetex"}}}, probes) == [
        "cifar100 is not here (priorscope data get cifar100, or set PRIORSCOPE_DATA): 1 step needs it.",
        "cifar10 is not here (priorscope data get cifar10, or set PRIORSCOPE_DATA): 1 step needs it.",
    ]


def test_what_a_probe_reads_beside_its_data_counts_too(nothing_here):
    probes = [
        {"name": "cue_conflict", "stimuli": "cue_conflict", "humans": "no/csv"},
        {"name": "texture_shape", "stylised": "no/pictures"},
    ]
    assert said(nothing_here, {"a": {"data": {"source": "shapetex"}}}, probes) == [
        "cue_conflict is not here (set PRIORSCOPE_DATA): 1 step needs it.",
        "no/csv is not here: 1 step needs it.",
        "no/pictures is not here: 1 step needs it.",
    ]


def test_a_path_and_weights_that_are_not_there_are_named(nothing_here):
    recipes = {
        "a": {"data": {"source": {"name": "cifar10", "path": "no/where"}}},
        "b": {"data": {"source": "shapetex"}, "init": {"kind": "published", "published": "B-12_weights"}},
        "c": {"data": {"source": "shapetex"}, "model": "timm/mixer_b16_224"},
        "d": {"data": {"source": "shapetex"}, "model": {"name": "timm/mixer_b16_224", "pretrained": False}},
    }
    assert said(nothing_here, recipes) == [
        "no/where is not here: 1 step needs it.",
        "The file of weights B-12_weights is not here: 1 step needs it.",
        "timm's weights of mixer_b16_224 are fetched from the hub, unless its cache holds them: 1 step needs it.",
    ]


def test_tables_on_the_hub_are_fetched(nothing_here):
    (line,) = said(nothing_here, {"a": {"data": {"source": "hf://somebody/pets"}}})
    assert line == "The tables of hf://somebody/pets are fetched from the hub, unless its cache holds them: 1 step needs it."
