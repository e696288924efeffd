"""The cue conflict of deciders whose preference is planted."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from priorscope import models
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError
from priorscope.core.figure import Figure
from priorscope.core.rng import stream
from priorscope.core.stats import Interval
from priorscope.data import open as open_source
from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.probes import cue_conflict, load_result
from priorscope.probes.cue_conflict import (
    CueConflict,
    CueConflictConfig,
    Learning,
    fit_dial,
    measure_cue_conflict,
    share_over_dial,
)
from priorscope.probes.cue_conflict.figures import arm_row
from priorscope.recipe import Recipe

from .planted import Planted

WORLD = {"name": "shapetex", "train": 20, "val": 20, "test": 450, "image_size": 16}


@pytest.fixture(scope="module")
def world():
    """A world that draws each of its splits once."""
    source = open_source(WORLD)
    return SimpleNamespace(name=source.name, split=cache(source.split))


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
    assert result.point == pytest.approx(point, abs=0.04)
    assert result.point_interval.contains(point)
    assert result.point_interval.width < 0.1
    area = (np.logaddexp(0, 12 * point) - np.logaddexp(0, 12 * (point - 1))) / 12  # the planted curve's, over the dial
    assert result.value == pytest.approx(area, abs=0.02)
    assert result.interval.contains(area)
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


def test_the_fit_is_the_likeliest_curve_however_steep():
    """Counts on which undamped Newton steps go back and forth for ever; the gradient of the penalised likelihood is 0."""
    levels = np.linspace(0, 1, 9)
    shape = np.array([[1000] * 7 + [949, 0], [1000] * 4 + [1] + [0] * 4])
    points, slopes = fit_dial(levels, shape, 1000 - shape)
    assert points[0] == pytest.approx(0.911, abs=0.001)
    assert slopes[0] == pytest.approx(81, abs=1)
    z = -slopes[:, None] * (levels - points[:, None])
    x = np.stack([np.ones_like(levels), levels - 0.5])
    beta = np.stack([slopes * (points - 0.5), -slopes], 1)
    gradient = (shape - 1000 / (1 + np.exp(-z))) @ x.T - 1e-3 * beta
    assert np.abs(gradient).max() < 1e-4


@pytest.mark.parametrize(("decide", "end"), [(by_shape, 1.0), (by_texture, 0.0)])
def test_a_decider_by_one_cue_has_all_or_nothing_and_no_point(world, decide, end):
    result = measure_cue_conflict(Planted(decide), world)
    assert result.value == end
    assert 0 < result.interval.width < 0.02
    assert result.point is None
    assert "indifferent" not in result.headline()
    assert any("is not identified" in caveat for caveat in result.caveats)


def coin(seed: int, share: float):
    """Goes by the shape with this probability, whatever the setting."""

    def decide(split):
        heads = stream(seed, split.name).random(len(split)) < share
        return np.where(heads, split.columns["shape"], split.columns["texture"])

    return decide


def test_of_no_decision_for_either_cue_nothing_is_known(world):
    result = measure_cue_conflict(Planted(lambda split: np.full(len(split), -1)), world, salience=(0, 1))
    assert result.value == 0.5
    assert (result.interval.low, result.interval.high) == (0, 1)


def test_a_decider_that_the_dial_does_not_move_has_a_share_and_no_point(world, monkeypatch):
    """Every second fair coin has a curve that falls a little; that three of twenty have a point has a chance near 1 %."""
    unfair = measure_cue_conflict(Planted(coin(0, 0.55)), world)
    assert unfair.value == pytest.approx(0.55, abs=0.03)
    assert unfair.interval.contains(0.55)
    monkeypatch.setattr(cue_conflict, "RESAMPLES", 200)
    fair = [measure_cue_conflict(Planted(coin(seed, 0.5)), world) for seed in range(20)]
    assert sum(result.slope > 0 for result in fair) > 5
    assert sum(result.point is not None for result in fair) <= 2


def test_a_setting_without_a_decision_is_left_out_of_the_share():
    share = share_over_dial(np.array([0.0, 0.5, 1.0]), np.array([[4, 0, 0]]), np.array([[0, 0, 4]]))
    assert share.tolist() == [0.5]


def test_a_curve_that_crosses_beyond_the_dial_has_no_point(world):
    result = measure_cue_conflict(Planted(torn_at(1.3)), world)
    assert result.point is None
    assert any("does not cross one half on the dial" in caveat for caveat in result.caveats)


def test_nan_decides_for_neither(world):
    def lost(split):
        return np.full(len(split), -1)

    result = measure_cue_conflict(Planted(lost), world)
    assert result.shape.sum() == result.texture.sum() == 0


def test_equal_logits_decide_for_neither(world):
    class Flat(Planted):
        def logits(self, split, views=None):
            return np.zeros_like(super().logits(split, views))

    result = measure_cue_conflict(Flat(by_shape), world)
    assert result.shape.sum() == result.texture.sum() == 0
    assert any("Only 0% of the decisions are for either cue's class" in caveat for caveat in result.caveats)


@pytest.mark.parametrize("test", [90, 900])
def test_a_turn_between_two_settings_lies_between_them_however_many_scenes_there_are(test):
    """All scenes turn between 0.5 and 0.625, whether all of them decide or, drawn anew at each setting, half do."""

    def turns(split):
        loud = float(split.name.partition("@")[2]) > 0.55
        return split.columns["texture"] if loud else split.columns["shape"]

    def half(split):
        return np.where(stream(2, split.name).random(len(split)) < 0.5, turns(split), -1)

    source = open_source({**WORLD, "test": test})
    for decide in (turns, half):
        result = measure_cue_conflict(Planted(decide), source)
        assert (result.point_interval.low, result.point_interval.high) == (0.5, 0.625)
        assert result.point_interval.method == "between two settings"
        assert 0.5 < result.point < 0.625


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
        return SimpleNamespace(history=[planted_epoch(a, images=100 * (i + 1)) for i, a in enumerate(accuracy)])

    alone = {"shape": curve(0.1, 0.3, 0.7, 0.9), "texture": curve(0.1, 0.2)}
    result = measure_cue_conflict(Planted(by_shape), world, salience=(0, 1), companions=alone)
    shape, texture = result.learning
    assert (shape.cue, shape.images, shape.final) == ("shape", pytest.approx(250), 0.9)
    assert texture.images is None
    assert "Trained on texture alone it stayed below one half right." in result.caveats


def test_the_companions_are_the_worlds_with_one_cue():
    recipe = Recipe.of({"data": {"source": WORLD, "subset": 9}, "model": "mlp/tiny", "seed": 4})
    companions = CueConflictConfig().companions
    found = companions(recipe)
    assert found.keys() == {"shape", "texture"}
    for cue, other in found.items():
        assert other == Recipe.of(recipe.plain(), [f"data.source.cue={cue}"])
    assert companions(found["shape"]) == {}
    assert companions(Recipe.of({"data": {"source": "cifar10"}, "model": "mlp/tiny"})) == {}


def test_it_is_stored_and_drawn(world, tmp_path):
    result = measure_cue_conflict(Planted(torn_at(0.5)), world)
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, CueConflict)
    assert back.table() == result.table()
    assert [figure.name for figure in back.charts()] == ["shape-share", "cue-conflict-dial"]
    for figure in back.charts():
        assert figure.svg().startswith("<svg")


def learnt(shape: float | None, texture: float | None, value: float = 0.5) -> CueConflict:
    """A result of a run whose companions had seen this many images when they were half right, or never were."""
    speeds = (("shape", shape), ("texture", texture))
    return CueConflict(
        value=value,
        interval=None,
        n=100,
        unit="share of decisions",
        salience=(0.0, 1.0),
        shape=np.array([50, 10]),
        texture=np.array([10, 50]),
        slope=1.0,
        learning=tuple(Learning(cue=cue, images=images, final=0.9 if images else 0.3, n=500) for cue, images in speeds),
    )


def drawn(**arms: list[CueConflict]) -> dict[str, Figure]:
    seeds = [
        (Subject(name=f"{name}-s{seed}", family="mlp", recipe=name, seed=seed), result)
        for name, results in arms.items()
        for seed, result in enumerate(results)
    ]
    return {figure.name: figure for figure in CueConflict.draw(seeds)}


@pytest.mark.parametrize(
    ("arms", "title"),
    [
        (
            {"cnn": [(None, 2e3), (9e3, 2e3)], "mlp": [(5e3, 1e3), (5.2e3, 1e3)]},
            "cnn did not learn shape alone in 1 of 2 seeds",
        ),
        ({"cnn": [(None, None), (9e3, 2e3)]}, "cnn did not learn {} alone in 1 of 2 seeds"),
        ({"cnn": [(None, 2e3)]}, "cnn-s0 did not learn shape alone"),
        ({"cnn": [(None, None)], "mlp": [(None, None)]}, "No network learnt either cue alone to one half right"),
        (
            {"cnn": [(4e3, 2e3)], "mlp": [(5e3, 2e3)]},
            "Half right after 2,000 images (cnn-s0 from texture alone and mlp-s0 from texture alone) to 5,000 (mlp-s0",
        ),
        (
            {"cnn": [(5e3, 2e3)], "mlp": [(5e3, 2e3)]},
            "Half right after 2,000 images (cnn-s0 from texture alone and mlp-s0 from texture alone) to 5,000 (cnn-s0",
        ),
        ({"cnn": [(2e3, 2e3)]}, "cnn-s0 from shape alone and cnn-s0 from texture alone are each half right after 2,000 images"),
    ],
)
def test_who_never_learnt_a_cue_comes_before_who_was_slow(arms, title):
    told = drawn(**{name: [learnt(*speeds) for speeds in seeds] for name, seeds in arms.items()})["learning-speed"].title
    assert told.startswith("; ".join(title.format(cue) for cue in ("shape", "texture")) if "{}" in title else title)


def test_shares_have_seeds_of_their_own_and_end_at_one():
    figure = drawn(a=[learnt(1, 1, value) for value in (1.0, 0.99, 0.9)], b=[learnt(1, 1, 0.2)])["shape-share"]
    assert figure.n == "100 scenes, 1 to 3 seeds"
    assert figure.rows[0]["high"] == 1
    assert figure.title == "a decides by shape in 96%, b-s0 in 20%"
    assert drawn(a=[learnt(1, 1)])["shape-share"].title == "a-s0 decides by shape in 50%"
    assert drawn(a=[learnt(1, 1)], b=[learnt(1, 1)])["shape-share"].title == "a-s0 and b-s0 each decide by shape in 50%"


def test_settings_for_other_data_are_said_to_change_nothing(world):
    result = measure_cue_conflict(Planted(by_shape), world, made="phase-swap", images=100)
    assert "On ShapeTex the dial is turned: made, images changed nothing." in result.caveats
    assert not any("changed nothing" in caveat for caveat in measure_cue_conflict(Planted(by_shape), world).caveats)
    pictures = ArrayPixels(np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8))
    mine = Split("mine", "test", pictures, np.arange(40) % 4, tuple("abcd"))
    one = models.create("mlp/tiny", image_size=16, num_classes=4)
    made = measure_cue_conflict(one, mine, salience=(0.3, 0.7), humans="nowhere.csv", images=40)
    assert "Conflicts are made of the data's own pictures: humans, salience changed nothing." in made.caveats


def test_other_worlds_and_single_settings_are_refused(world):
    with pytest.raises(RequestError, match="was given one, shapetex/test"):
        measure_cue_conflict(Planted(by_shape), world.split("test"))
    with pytest.raises(RequestError, match="two or more"):
        measure_cue_conflict(Planted(by_shape), world, salience=[0.5])


def test_the_interval_of_several_seeds_holds_what_other_images_would_change():
    """Two seeds at 0.5 whose own images leave 0.4 to 0.6: between the seeds there is nothing, and over images that much."""
    own = Interval(low=0.4, high=0.6, method="Wilson", over="images")
    row = arm_row(Subject(name="mlp", family="mlp"), [0.5, 0.5], [own, own])
    assert (row["low"], row["high"]) == pytest.approx((0.4, 0.6))
    assert arm_row(Subject(name="mlp", family="mlp"), [0.5, 0.5], [None, None])["low"] == 0.5
    assert arm_row(Subject(name="mlp", family="mlp"), [0.5], [own])["high"] == 0.6
