"""The built-in world: what its splits hold, that pictures are pure functions of their index, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import priorscope.data as data
from priorscope.core.errors import RequestError
from priorscope.data.sources import shapetex, shapetex_render
from priorscope.data.sources.shapetex import ShapetexConfig, draw, look, open_source, pairing, size

SMALL = ShapetexConfig(train=500, val=100, test=200)
WORLD = open_source(SMALL)


def test_the_world_opens_by_its_name() -> None:
    source = data.open({"name": "shapetex", "train": 30, "seed": 3})
    split = source.split("train")
    assert (len(split), split.image_size, len(split.classes)) == (30, 32, 10)
    assert split[0][0].dtype == np.uint8


def test_splits_have_the_sizes_that_were_asked_for() -> None:
    sizes = {name: len(WORLD.split(name)) for name in WORLD.splits()}
    assert sizes == {
        "train": 500,
        "val": 100,
        "test": 200,
        "conflict": 180,
        "shape-only": 200,
        "texture-only": 200,
        "shape-alone": 200,
        "texture-alone": 200,
    }


@pytest.mark.parametrize(("test", "conflict"), [(1, 90), (50, 90), (200, 180), (2000, 1980), (9000, 9000)])
def test_conflict_has_the_multiple_of_90_nearest_to_test(test: int, conflict: int) -> None:
    assert size(ShapetexConfig(test=test), "conflict@0.3") == conflict


@pytest.mark.parametrize("split", [*shapetex.SPLITS, "conflict@0.2"])
def test_a_picture_depends_on_its_index_alone(split: str) -> None:
    index = np.arange(200)
    whole = draw(SMALL, split, index)
    pictures = whole.images()
    some = np.array([199, 3, 91, 3, 90, 0])
    part = draw(SMALL, split, some)
    np.testing.assert_array_equal(part.images(), pictures[some])
    np.testing.assert_array_equal(part.labels, whole.labels[some])
    one = draw(SMALL.replace(train=10_000, test=7), split, np.array([137]))
    np.testing.assert_array_equal(one.images()[0], pictures[137])


@pytest.mark.parametrize("split", ["train", "test", "shape-only", "texture-only"])
@pytest.mark.parametrize("size", [1, 7, 95, 500])
def test_classes_are_balanced_in_every_length(split: str, size: int) -> None:
    counts = np.bincount(draw(SMALL, split, np.arange(size)).labels, minlength=10)
    assert counts.max() - counts.min() <= 1


def test_in_training_shape_k_carries_texture_pi_of_k() -> None:
    for seed in range(3):
        config = ShapetexConfig(seed=seed)
        for split in ("train", "val", "test"):
            drawn = draw(config, split, np.arange(200))
            np.testing.assert_array_equal(drawn.shape, drawn.labels)
            np.testing.assert_array_equal(drawn.texture, drawn.labels)
            np.testing.assert_array_equal(drawn.fill, np.array(pairing(seed))[drawn.labels])


def test_the_pairing_is_a_permutation_that_worlds_draw_anew() -> None:
    drawn = np.array([pairing(seed) for seed in range(400)])
    assert (np.sort(drawn, axis=1) == np.arange(10)).all()
    # Each of the 100 pairs is expected 40 times; 5 standard deviations of a binomial are 30.
    counts = np.array([np.bincount(column, minlength=10) for column in drawn.T])
    assert abs(counts - 40).max() < 30


def test_in_conflict_every_disagreeing_pair_occurs_equally_often_and_no_agreeing_one() -> None:
    drawn = draw(ShapetexConfig(seed=5), "conflict", np.arange(450))
    pairs = np.zeros((10, 10), np.int64)
    np.add.at(pairs, (drawn.shape, drawn.texture), 1)
    np.testing.assert_array_equal(pairs, 5 * (1 - np.eye(10, dtype=np.int64)))
    fills = np.zeros((10, 10), np.int64)
    np.add.at(fills, (drawn.shape, drawn.fill), 1)
    assert (fills[np.arange(10), pairing(5)] == 0).all()
    assert fills.sum() == 450


@pytest.mark.parametrize(
    ("split", "shape", "texture"),
    [("shape-only", 1, 0), ("shape-alone", 1, 0), ("texture-only", 0, 1), ("texture-alone", 0, 1)],
)
def test_single_cue_splits_label_one_cue_and_say_minus_one_for_the_other(split: str, shape: int, texture: int) -> None:
    drawn = WORLD.split(split)
    for name, told in (("shape", shape), ("texture", texture)):
        expected = drawn.labels if told else np.full(len(drawn), -1)
        np.testing.assert_array_equal(drawn.columns[name], expected)
        assert drawn.columns[name].dtype == np.int64
    assert ((drawn.columns["fill"] >= 0) == bool(texture)).all()


@pytest.mark.parametrize(("cue", "same_as"), [("shape", "shape-only"), ("texture", "texture-only")])
def test_a_world_of_one_cue_trains_on_what_the_single_cue_split_shows(cue: str, same_as: str) -> None:
    one = SMALL.replace(cue=cue)
    for split in ("train", "val", "test"):
        drawn, both = draw(one, split, np.arange(100)), draw(SMALL, split, np.arange(100))
        single = draw(SMALL, same_as, np.arange(100))
        assert ((drawn.shape >= 0) == (single.shape >= 0)).all()
        assert ((drawn.texture >= 0) == (single.texture >= 0)).all()
        np.testing.assert_array_equal(drawn.labels, both.labels)
        np.testing.assert_array_equal(drawn.scenes.place, both.scenes.place)


def test_held_out_outlines_and_fills_are_not_among_the_ten_and_differ_between_training_and_testing() -> None:
    for cue, what in (("shape", "fill"), ("texture", "outline")):
        one = SMALL.replace(cue=cue)
        train = set(getattr(draw(one, "train", np.arange(500)).scenes, what).tolist())
        test = set(getattr(draw(one, "test", np.arange(500)).scenes, what).tolist())
        assert train == set(range(10, 26))
        assert test == set(range(26, 42))


def test_splits_are_disjoint_draws() -> None:
    places = np.concatenate([draw(SMALL, split, np.arange(90)).scenes.place[:, 0] for split in shapetex.SPLITS])
    assert len(np.unique(places)) == 90 * len(shapetex.SPLITS)
    other = draw(SMALL.replace(seed=1), "train", np.arange(90)).scenes.place[:, 0]
    assert not np.isin(other, places).any()


def test_conflict_shows_the_same_scenes_at_every_salience() -> None:
    quiet, loud = (draw(SMALL, f"conflict@{dial}", np.arange(90)) for dial in (0.1, 0.9))
    np.testing.assert_array_equal(quiet.shape, loud.shape)
    np.testing.assert_array_equal(quiet.texture, loud.texture)
    np.testing.assert_array_equal(quiet.scenes.turn, loud.scenes.turn)
    np.testing.assert_array_equal(quiet.scenes.fill_shift, loud.scenes.fill_shift)
    assert (quiet.images() != loud.images()).any()


def test_conflict_without_a_dial_stands_at_the_world_s_salience() -> None:
    config = SMALL.replace(salience=0.25)
    plain, named = (draw(config, split, np.arange(30)).images() for split in ("conflict", "conflict@0.25"))
    np.testing.assert_array_equal(plain, named)


def test_the_dial_has_its_closed_form() -> None:
    for salience in (0.0, 0.25, 0.5, 1.0):
        at = look(32, salience)
        assert at.contrast / at.edge == pytest.approx(64**salience / 8)
        assert at.softness == pytest.approx(0.05 * 4**salience, abs=1e-6)


@pytest.mark.parametrize("side", [16, 24, 48, 96])
def test_a_world_looks_the_same_at_another_size(side: int) -> None:
    scenes = draw(SMALL, "shape-alone", np.arange(60)).scenes
    small = shapetex_render.mask_field(scenes, look(32, 0.5)).mean((1, 2))
    other = shapetex_render.mask_field(scenes, look(side, 0.5)).mean((1, 2))
    np.testing.assert_allclose(other, small, rtol=0.02)
    assert draw(SMALL.replace(image_size=side), "train", np.arange(3)).images().shape == (3, side, side, 3)


def test_what_is_removed_is_gone() -> None:
    alone = draw(SMALL, "texture-alone", np.arange(20))
    assert (shapetex_render.mask_field(alone.scenes, alone.look) == 1).all()
    bare = draw(SMALL, "shape-alone", np.arange(20))
    inside = shapetex_render.mask_field(bare.scenes, bare.look) > 0.995
    left = [picture[within].std(0).max() for picture, within in zip(bare.images(), inside, strict=True) if within.sum() > 30]
    assert len(left) >= 10
    # Only sensor noise: 2.5 grey levels and rounding. The texture that is missing would add 21.
    assert max(left) < 4


def test_few_values_are_cut_off_even_at_the_ends_of_the_dial() -> None:
    for dial in (0, 0.5, 1):
        pictures = draw(SMALL, f"conflict@{dial}", np.arange(360)).images()
        assert np.isin(pictures, (0, 255)).mean() < 0.002


def test_an_unknown_split_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError) as error:
        WORLD.split("shape_only")
    assert "'shape_only' is not a split of shapetex." in str(error.value)
    assert "'shape-only' (did you mean that?)" in str(error.value)


@pytest.mark.parametrize("dial", ["1.5", "-0.1", "loud", "", "nan"])
def test_a_salience_outside_the_dial_is_refused(dial: str) -> None:
    with pytest.raises(RequestError) as error:
        WORLD.split(f"conflict@{dial}")
    assert str(error.value) == (
        f"'conflict@{dial}' names the salience {dial!r}.\n  wanted: a number from 0 to 1 after the @\n  try:    conflict@0.25"
    )


@pytest.mark.parametrize(
    "wrong",
    [{"salience": 1.2}, {"image_size": 8}, {"image_size": 97}, {"train": 0}, {"seed": -1}, {"cue": "colour"}, {"sise": 32}],
)
def test_a_config_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=f"^'?{next(iter(wrong))}'? "):
        ShapetexConfig.parse(wrong)


def test_pictures_are_those_of_this_version() -> None:
    """Golden: if this fails, the pictures changed, and VERSION must be raised with the numbers here.

    Sums rather than a hash: another processor may round single pixels the other way.
    """
    assert shapetex.VERSION == 1
    pictures = draw(ShapetexConfig(), "train", np.arange(90)).images().astype(np.int64)
    assert pictures.mean() == pytest.approx(126.789, abs=0.01)
    np.testing.assert_allclose(pictures[[0, 41, 89], 16, 16], [[128, 139, 127], [121, 94, 124], [160, 210, 148]], atol=1)
