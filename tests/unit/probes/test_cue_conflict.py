"""The cue conflict of deciders whose preference is planted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.data import open as open_source
from priorscope.probes import load_result
from priorscope.probes.cue_conflict import CueConflict, companions, fit_dial, measure_cue_conflict

from .planted import Planted

WORLD = {"name": "shapetex", "train": 20, "val": 20, "test": 450, "image_size": 16}


@pytest.fixture(scope="module")
def world():
    return open_source(WORLD)


def by_shape(split):
    return split.columns["shape"]


def by_texture(split):
    return split.columns["texture"]


def torn_at(point: float):
    """Goes by the shape with the probability 1 / (1 + exp(12 (s - point))): the indifference point is planted."""

    def decide(split):
        salience = float(split.name.partition("@")[2])
        shape = stream(1, split.name).random(len(split)) < 1 / (1 + np.exp(12 * (salience - point)))
        return np.where(shape, split.columns["shape"], split.columns["texture"])

    return decide


@pytest.mark.parametrize("point", [0.2, 0.5, 0.8])
def test_a_planted_indifference_point_is_found(world, point):
    result = measure_cue_conflict(Planted(torn_at(point)), world)
    assert result.value == pytest.approx(point, abs=0.04)
    assert result.interval.contains(point)
    assert result.interval.width < 0.1
    assert result.slope == pytest.approx(12, rel=0.25)
    assert (result.shape + result.texture == result.n).all()


def test_the_interval_covers_the_planted_point_as_often_as_it_says():
    """Forty fits to binomial counts at a planted point; at 95 %, fewer than 34 covered has a chance below 1 in 10,000."""
    levels = np.linspace(0, 1, 9)
    share = 1 / (1 + np.exp(10 * (levels - 0.4)))
    random = stream(0, "coverage")
    covered = 0
    for _ in range(40):
        shape = random.binomial(200, share)
        boot = random.binomial(200, shape / 200, (400, 9))
        points, _ = fit_dial(levels, boot, 200 - boot)
        low, high = np.percentile(points, [2.5, 97.5])
        covered += low <= 0.4 <= high
    assert covered >= 34


@pytest.mark.parametrize(("decide", "end", "said"), [(by_shape, 1.0, "shape decides"), (by_texture, 0.0, "texture decides")])
def test_a_decider_by_one_cue_lies_at_the_dial_s_end_and_says_so(world, decide, end, said):
    result = measure_cue_conflict(Planted(decide), world)
    assert result.value == end
    assert said in result.headline()
    assert any("does not cross one half" in caveat for caveat in result.caveats)


def test_a_decider_by_neither_cue_is_named(world):
    def neither(split):
        return (np.maximum(split.columns["shape"], split.columns["texture"]) + 1) % 10

    def elsewhere(split):
        taken = neither(split)
        clash = (taken == split.columns["shape"]) | (taken == split.columns["texture"])
        return np.where(clash, (taken + 1) % 10, taken)

    result = measure_cue_conflict(Planted(elsewhere), world)
    assert any("of the decisions are for either cue's class" in caveat for caveat in result.caveats)


def test_speed_is_where_validation_reaches_one_half(world):
    def curve(*accuracy):
        rows = [{"images": 100 * (i + 1), "val": {"accuracy": a, "n": 50}} for i, a in enumerate(accuracy)]
        return SimpleNamespace(history=rows)

    alone = {"shape": curve(0.1, 0.3, 0.7, 0.9), "texture": curve(0.1, 0.2)}
    result = measure_cue_conflict(Planted(by_shape), world, salience=(0, 1), companions=alone)
    shape, texture = result.learning
    assert (shape.cue, shape.images, shape.final) == ("shape", pytest.approx(250), 0.9)
    assert texture.images is None
    assert "Trained on texture alone it stayed below one half right." in result.caveats


def test_the_companions_are_the_worlds_with_one_cue():
    from priorscope.data import source_config

    recipe = {"data": {"source": source_config(WORLD).plain(), "subset": 9}, "seed": 4}
    found = companions(recipe)
    assert {cue: other["data"]["source"]["cue"] for cue, other in found.items()} == {"shape": "shape", "texture": "texture"}
    assert {(other["seed"], other["data"]["subset"]) for other in found.values()} == {(4, 9)}
    assert companions(found["shape"]) == {}


def test_it_is_stored_and_drawn(world, tmp_path):
    result = measure_cue_conflict(Planted(torn_at(0.5)), world)
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, CueConflict)
    assert back.table() == result.table()
    assert [figure.name for figure in back.charts()] == ["indifference-point", "cue-conflict-dial"]
    for figure in back.charts():
        assert figure.svg().startswith("<svg")


def test_other_worlds_and_single_settings_are_refused(world):
    with pytest.raises(RequestError, match="was given one, shapetex/test"):
        measure_cue_conflict(Planted(by_shape), world.split("test"))
    with pytest.raises(RequestError, match="two or more"):
        measure_cue_conflict(Planted(by_shape), world, salience=[0.5])
