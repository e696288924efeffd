"""What a network does not mind, on networks of which that is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from priorscope import models
from priorscope.core import progress
from priorscope.core.contracts import Subject
from priorscope.core.errors import WorkError
from priorscope.core.stats import bootstrap, over_seeds
from priorscope.data.fetch import evenly
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.models.classifier import Tap
from priorscope.probes import load_result
from priorscope.probes.invariance import WHOLE, Invariance, InvarianceConfig, measure_invariance
from priorscope.probes.invariance import moves as made
from priorscope.probes.invariance.figures import draw_locality
from priorscope.recipe import Recipe

SIDE, CLASSES, N = 16, 4, 60
CHESSBOARD = np.indices((SIDE, SIDE)).sum(0) % 2


class Brightest(nn.Module):
    """Answers by how bright the whole picture is: moves hardly matter to it."""

    def forward(self, x):
        level = x.mean((1, 2, 3)) * CLASSES
        return -(level[:, None] - torch.arange(CLASSES) - 0.5).abs()


class Corner(nn.Module):
    """Answers by one pixel in the corner: every move matters."""

    def forward(self, x):
        level = x[:, 0, 0, 0] * CLASSES
        return -(level[:, None] - torch.arange(CLASSES) - 0.5).abs()


class Fine(nn.Module):
    """Answers 0 where neighbouring pixels differ, else 1."""

    def forward(self, x):
        rough = x.diff(dim=-1).abs().mean((1, 2, 3)) - 0.5
        return torch.stack([rough, -rough, rough - 9, rough - 9], 1)


class Silent(nn.Module):
    """Never answers."""

    def forward(self, x):
        return torch.full((len(x), CLASSES), torch.nan)


class Even(nn.Module):
    """Gives every class the same logit."""

    def forward(self, x):
        return torch.zeros(len(x), CLASSES)


class Counted(Brightest):
    """Counts the pictures that it sees."""

    seen = 0

    def forward(self, x):
        self.seen += len(x)
        return super().forward(x)


class Window(nn.Module):
    """One convolution of 3x3 that sees its neighbours, and a layer that sees everything."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.near = nn.Conv2d(3, 8, 3, padding=1)
        self.far = nn.Linear(8 * SIDE * SIDE, CLASSES)

    def forward(self, x):
        return self.far(self.near(x).flatten(1))


class Band(nn.Module):
    """Answers by whether one wave is strong in the picture."""

    def __init__(self, down, across):
        super().__init__()
        rows = torch.arange(SIDE) / SIDE
        self.wave = torch.cos(2 * torch.pi * (down * rows[:, None] + across * rows[None]))

    def forward(self, x):
        strength = (x.mean(1) * self.wave).mean((1, 2)) * 100 - 2
        return torch.stack([strength, -strength, torch.full_like(strength, -9), torch.full_like(strength, -9)], 1)


class Fragile(nn.Module):
    """Gives dark pictures another answer as soon as they are not of one grey; bright ones have theirs whatever happens."""

    def forward(self, x):
        disturbed = (x.flatten(1).std(1) > 1e-3) & (x.mean((1, 2, 3)) < 0.5)
        return nn.functional.one_hot(disturbed.long(), CLASSES).float()


def wrapped(network):
    return models.wrap(network, image_size=SIDE, classes=CLASSES)


@pytest.fixture
def split():
    random = np.random.default_rng(0)
    levels = random.integers(40, 216, N)
    noise = random.integers(-30, 31, (N, SIDE, SIDE, 3))
    pixels = np.clip(levels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    return Split("made", "test", ArrayPixels(pixels), (levels * CLASSES // 256).astype(np.int64), tuple("abcd"))


def measured(network, split, **settings):
    return measure_invariance(wrapped(network), split, images=None, **{"wave_images": 0, "depths": 0, **settings})


def test_what_looks_at_the_mean_minds_no_move_and_what_looks_at_a_corner_minds_each(split):
    calm, nervous = measured(Brightest(), split), measured(Corner(), split)
    assert calm.value > 0.95
    assert nervous.value < 0.8
    assert (calm.agrees.mean(1) > 0.9).all()
    assert calm.usual.size == 2


def test_equal_logits_are_no_answer(split):
    """The first class would be right on its quarter of the pictures, and stay under every move."""
    result = measured(Even(), split, wave_images=2)
    assert (split.labels == 0).any()
    assert not result.correct.any()
    assert not result.sharp.any()
    assert result.value == 0
    assert result.changed.all()
    assert result.headline().startswith("The answer stays under 0.0% (0.0% to 6.0%) of shifts by 2 px")


def test_the_reach_of_a_recipe_is_over_its_seeds(split):
    """Units of one network are alike, and networks are not: pooled, the interval would be a third as wide."""
    one = measured(Window(), split, depths=1, units=4)
    seeds = [one.model_copy(update={"reach": np.full((1, 4), reach)}) for reach in (0.3, 0.4, 0.5)]

    def row(*results):
        pairs = [(Subject(name=f"a-s{s}", family="cnn", recipe="a", seed=s), result) for s, result in enumerate(results)]
        figure = next(figure for figure in Invariance.draw(pairs) if figure.name == "reach")
        return figure.rows[0]["y"], figure.rows[0]["low"], figure.rows[0]["high"]

    family = over_seeds([0.3, 0.4, 0.5])
    assert row(*seeds) == pytest.approx((0.4, family.low, family.high))
    own = bootstrap(one.reach[0], seed=0)
    assert row(one) == (one.reach[0].mean(), own.low, own.high)
    blind = one.model_copy(update={"reach": np.full((1, 4), np.nan)})
    assert row(seeds[0], blind) == (pytest.approx(0.3), None, None)


def test_a_picture_that_does_not_change_leaves_the_answer():
    flat = Split("flat", "test", ArrayPixels(np.full((6, SIDE, SIDE, 3), 90, np.uint8)), np.zeros(6, np.int64), tuple("abcd"))
    assert measured(Corner(), flat).agrees.min() == 1


def test_moves_move_as_they_say():
    x = torch.zeros(1, 3, SIDE, SIDE)
    x[..., 5, 7] = 1
    by = {(move.about.kind, move.about.size): move for move in made.moves(SIDE)}
    for way, (down, across) in zip(by["shift", 2].ways, made.COMPASS, strict=True):
        assert way(x)[0, 0].argmax() == (5 - 2 * down) * SIDE + 7 - 2 * across
    assert by["mirror", 1].ways[0](x)[0, 0].argmax() == 5 * SIDE + SIDE - 1 - 7
    rough = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(rough, size=(SIDE, SIDE), mode="bilinear")
    there, back = by["turn", 20].ways
    inner = (..., slice(5, 11), slice(5, 11))
    assert (back(there(smooth))[inner] - smooth[inner]).abs().max() < 0.08


def test_a_quarter_turn_is_one_and_a_factor_of_two_shows_the_middle_half():
    x = torch.rand(1, 3, SIDE, SIDE)
    turned = made._warp(angle=90)(x)
    assert any(torch.allclose(turned, torch.rot90(x, way, (2, 3)), atol=1e-5) for way in (1, 3))
    middle = x[..., SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4]
    twice = torch.nn.functional.interpolate(middle, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    torch.testing.assert_close(made._warp(factor=2)(x)[..., 1:-1, 1:-1], twice[..., 1:-1, 1:-1], atol=1e-5, rtol=0)


def test_a_coarse_picture_has_the_means_of_its_blocks():
    x = torch.rand(2, 3, 8, 8)
    assert torch.allclose(made.coarser(x, 8), x, atol=1e-6)
    board = torch.from_numpy(CHESSBOARD).float().expand(1, 3, SIDE, SIDE)
    torch.testing.assert_close(made.coarser(board, SIDE // 2), torch.full_like(board, 0.5))
    blocks = x.view(2, 3, 4, 2, 4, 2).mean((3, 5))
    assert made.coarser(x, 4)[..., 0, 0] == pytest.approx(blocks[..., 0, 0])


def test_accuracy_by_resolution_is_of_the_labels_and_not_of_the_first_answers():
    """Chessboards and grey pictures, all of class 1: what tells them apart is gone at half of the resolution."""
    boards = np.broadcast_to(255 * CHESSBOARD[:, :, None], (20, SIDE, SIDE, 3))
    pixels = np.concatenate([boards, np.full_like(boards, 128)]).astype(np.uint8)
    split = Split("made", "test", ArrayPixels(pixels), np.ones(40, np.int64), tuple("abcd"))
    told = {row.setting: row.value for row in measured(Fine(), split).metrics() if row.metric == "accuracy by resolution"}
    assert told == {"as it is": 0.5, "8 px": 1.0, "4 px": 1.0, "2 px": 1.0}


def test_a_wave_has_its_frequency_and_its_amplitude():
    x = torch.full((3, 3, SIDE, SIDE), 0.5)
    moved = made.with_wave(x, np.array([2, 3]), 0.1, np.arange(3), seed=0) - x
    assert moved.square().mean((1, 2, 3)).sqrt() == pytest.approx([0.1] * 3, rel=1e-4)
    spectrum = torch.fft.fft2(moved[0, 0]).abs()
    assert {tuple(place) for place in torch.nonzero(spectrum > spectrum.max() / 2).tolist()} == {(2, 3), (SIDE - 2, SIDE - 3)}


def test_waves_disturb_pictures_of_every_class_where_they_lie_class_by_class():
    pixels = np.full((40, SIDE, SIDE, 3), 60, np.uint8)
    pixels[20:] = 200
    result = measured(Fragile(), Split("made", "test", ArrayPixels(pixels), np.arange(40) // 20, tuple("abcd")), wave_images=4)
    assert evenly(40, 4).tolist() == [0, 13, 26, 39]
    assert result.changed.all(0).tolist() == [True, True, False, False]
    assert result.changed.any(0).tolist() == [True, True, False, False]


@pytest.mark.parametrize(("side", "count"), [(16, 129), (32, 129), (15, 112)])
def test_every_wave_stands_once_the_highest_as_well(side, count):
    """By the pictures' own spectra: no two waves fill the same places of it, up to phase, and none is missing."""
    waves = made.frequencies(side)
    assert len(waves) == count  # of (side squared - 1) places half, and the three that are their own opposites once
    down, across = (
        (torch.arange(side, dtype=torch.float64) / side)[:, None],
        torch.arange(side, dtype=torch.float64)[None] / side,
    )
    filled = set()
    for v, u in waves.tolist():
        spectrum = torch.fft.fft2(torch.cos(2 * torch.pi * (v * down + u * across + 0.07))).abs()
        filled.add(tuple(torch.nonzero(spectrum.flatten() > spectrum.max() / 2).flatten().tolist()))
    assert len(filled) == count
    assert (0,) not in filled


def test_every_wave_alike_has_its_centre_at_the_mean_of_all_distinct_ones(split):
    """A network whose answer is never known is disturbed by each wave; waves that stood twice would pull the mean."""
    silent = measured(Silent(), split, wave_images=2)
    half = SIDE // 2
    assert silent.changed.all()
    own = [(v, u) for v in range(SIDE) for u in range(SIDE) if (v, u) > (0, 0) and (v, u) <= (-v % SIDE, -u % SIDE)]
    expected = np.mean([np.hypot(min(v, SIDE - v), min(u, SIDE - u)) / half for v, u in own])
    assert len(own) == 129
    assert silent.centre_of_sensitivity()[0] == pytest.approx(expected)


@pytest.mark.parametrize(("side", "passes"), [(16, 33), (32, 41)])
def test_it_takes_as_many_passes_as_the_documentation_says(side, passes):
    """docs/invariance.md counts the pictures that a network sees."""
    counted = Counted()
    flat = Split("flat", "test", ArrayPixels(np.full((6, side, side, 3), 90, np.uint8)), np.arange(6) % 4, tuple("abcd"))
    model = models.wrap(counted, image_size=side, classes=CLASSES)
    counted.seen = 0
    measure_invariance(model, flat, images=None, wave_images=0, depths=0)
    assert counted.seen == 6 * passes
    counted.seen = 0
    measure_invariance(model, flat, images=None, wave_images=4, depths=0)
    assert counted.seen == 6 * passes + 4 * 129


def test_a_network_of_one_band_is_disturbed_there(split):
    low, high = (measured(Band(*wave), split, wave_images=40, amplitude=0.1) for wave in ((0, 1), (0, 7)))
    for result, radius in ((low, 1 / 8), (high, 7 / 8)):
        peak = result.radius()[result.changed.mean(1).argmax()]
        assert peak == pytest.approx(radius)
        centre, interval = result.centre_of_sensitivity()
        assert interval.low <= centre <= interval.high
    assert low.centre_of_sensitivity()[0] < 0.3 < 0.7 < high.centre_of_sensitivity()[0]


def test_units_of_a_small_window_look_near_and_dense_ones_everywhere():
    model = wrapped(Window())
    images = torch.rand(8, 3, SIDE, SIDE)
    taps = ["near", "far"]
    near, far = made.spread_of_units(model, images, taps, 6, seed=0)
    assert np.nanmax(near) < 0.25
    assert np.nanmin(far) > 0.85


def test_an_even_spread_reads_one():
    assert made._half_radius(np.ones((9, 9))) == 1
    point = np.zeros((9, 9))
    point[4, 4] = 1
    assert made._half_radius(point) == 0
    assert np.isnan(made._half_radius(np.zeros((9, 9))))


def test_companions_differ_in_the_order_of_pixels_alone():
    recipe = Recipe.of({"data": {"source": "shapetex"}, "model": {"name": "vit/tiny", "depth": 3}, "seed": 4})
    companions = InvarianceConfig().companions
    found = companions(recipe)
    assert [*found.values()] == [Recipe.of(recipe.plain(), [f"model.permute={order}"]) for order in ("{}", "{patch = 4}")]
    assert companions(next(iter(found.values()))) == {}


def test_what_permutation_costs_is_paired_on_the_same_images(split):
    plain, other = (Evidence(wrapped(network)) for network in (Brightest(), Corner()))
    result = measure_invariance(
        plain, split, images=None, wave_images=0, depths=0, companions={"in the whole picture": SimpleNamespace(evidence=other)}
    )
    right = [(one.logits(split).argmax(1) == split.labels).mean() for one in (plain, other)]
    ((kind, difference),) = result.locality()
    assert kind == "in the whole picture"
    assert difference.value == pytest.approx(right[1] - right[0])
    low, high = difference.interval.low, difference.interval.high
    assert high < 0, "of 60 images, it loses more than chance takes"
    cost = f"cost {-100 * difference.value:.1f} points of accuracy ({-100 * high:.1f} to {-100 * low:.1f}; n = {N})"
    assert result.headline().endswith(f"; pixels out of order in the whole picture {cost}.")
    alone = "What permuted pixels cost is of one training each: the noise of training is not in this interval."
    assert alone in result.caveats
    told = result.trait()
    assert told is not None
    assert told.value == pytest.approx(right[0] - right[1]), "its mark in a fingerprint: what permutation costs"
    assert told.low < told.value < told.high
    assert told in result.metrics()
    assert measure_invariance(plain, split, images=None, wave_images=0, depths=0).trait() is None


def test_it_is_a_function_of_the_picture_not_of_the_batch(split):
    some = measure_invariance(wrapped(Corner()), split, images=20, wave_images=10, depths=0)
    again = measure_invariance(wrapped(Corner()), split, images=20, wave_images=10, depths=0)
    assert some.table() == again.table()


class Stopping(Corner):
    """Stops at a picture of its count, once; counts what it has seen."""

    def __init__(self, after):
        super().__init__()
        self.left, self.seen = after, 0

    def forward(self, x):
        self.seen += len(x)
        if self.left is not None and self.seen > self.left:
            raise KeyboardInterrupt
        return super().forward(x)


@pytest.mark.parametrize("after", [8 * 30, 33 * 30 + 40 * 6])
def test_an_interrupted_measurement_goes_on(split, tmp_path, monkeypatch, after):
    """Stopped among the moves, or among the waves: what was known is not asked again, and the numbers are the same."""
    monkeypatch.setattr(progress, "SAVE_EVERY_SECONDS", 0.0)
    settings = {"images": 30, "wave_images": 6, "depths": 1, "units": 2}
    stopped = Stopping(after)
    model = wrapped(stopped)
    stopped.seen = 0
    with pytest.raises(KeyboardInterrupt):
        measure_invariance(model, split, folder=tmp_path, **settings)
    stopped.left, stopped.seen = None, 0
    result = measure_invariance(model, split, folder=tmp_path, **settings)
    whole = 33 * 30 + 129 * 6
    assert stopped.seen < whole - after + 9 * 30 + 40, "a move of eight ways at most is made anew, and what units look at"
    assert result.table() == measure_invariance(model, split, **settings).table()
    stopped.seen = 0
    again = measure_invariance(model, split, folder=tmp_path, **settings)
    assert stopped.seen <= 4, "all is known: no picture but those that name the network"
    assert again.table() == result.table()
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(WorkError, match="is damaged"):
        measure_invariance(model, split, folder=tmp_path, **settings)


def test_it_is_stored_and_drawn(split, tmp_path):
    one = measure_invariance(wrapped(Window()), split, images=30, wave_images=8, depths=2, units=3)
    back = load_result(one.save(tmp_path / "i.json"))
    assert isinstance(back, Invariance)
    assert back.table() == one.table()
    figures = Invariance.draw([(Subject(name=name, family=name), back) for name in ("mlp", "cnn")])
    assert [figure.name for figure in figures] == ["consistency", "resolution", "reach", "waves"]
    assert one.protocol().startswith("30 images of test, mirrored beyond their edges")
    assert any("what locality is worth to it was not measured" in caveat for caveat in one.caveats)


def test_units_that_no_pixel_reaches_have_no_reach():
    """A TNT's patch tokens begin as positions alone."""
    model = models.create("tnt/tiny", image_size=32, num_classes=4).eval()
    first, last = made.spread_of_units(model, torch.rand(2, 3, 32, 32), ["embed/out", "head/in"], 3, seed=0)
    assert np.isnan(first).all()
    assert np.isfinite(last).any()


class Rows(nn.Module):
    """A token a patch of 4 pixels, behind one that is no patch: each is the sum of its own patch's pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Identity()

    def forward(self, x):
        own = F.avg_pool2d(x, 4).flatten(2).transpose(1, 2)
        first = x.mean((2, 3))[:, None]
        return self.tokens(torch.cat([first, own], 1)).sum(1).mean(1, keepdim=True).expand(-1, 4)


def test_units_with_a_place_are_those_of_the_middle_patch():
    """Its tokens are behind a class token, and nobody says what a wrapped network's axes mean."""
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    model = models.wrap(Rows(), image_size=32, classes=4)
    (spread,) = made.spread_of_units(model, images, ["tokens"], 3, seed=0)
    patch = np.zeros((32, 32))
    patch[16:20, 16:20] = 1
    assert np.allclose(spread, made._half_radius(patch))
    patch = np.roll(patch, (0, -16), (0, 1))
    assert not np.allclose(spread, made._half_radius(patch)), "at the edge an even spread reaches further"


def test_a_map_whose_axes_nobody_told_is_read_in_the_middle():
    """A 3 x 3 convolution looks at three rows and columns, wherever its taps come from."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    model = models.wrap(network, image_size=32, classes=4)
    told = models.wrap(network, image_size=32, classes=4)
    told._taps = {**told._taps, "0": Tap("0", "NCHW")}
    images = torch.rand(3, 3, 32, 32)
    own, known = (made.spread_of_units(one, images, ["0"], 8, seed=0) for one in (model, told))
    assert np.array_equal(own, known)
    assert own.max() < 2 / 12, "within two pixels, of an even spread's twelve and more"


def test_seeds_that_saw_different_orders_are_not_mixed(split):
    whole, patches = "in the whole picture", "within patches of 4"
    alone = measured(Brightest(), split)
    lost = {(patches,): [1.0, 0.75], (whole, patches): [1.0, 0.0, 0.5]}
    seeds = [
        alone.model_copy(update={"permuted": kinds, "permuted_right": np.arange(N) / N < np.array(shares)[:, None]})
        for kinds, shares in lost.items()
    ]
    figure = draw_locality([(Subject(name=f"a-s{i}", family="mlp", recipe="a"), one) for i, one in enumerate(seeds)])
    assert {row["panel"]: row["value"] for row in figure.rows} == {whole: 1.0, patches: pytest.approx((0.25 + 0.5) / 2)}


def test_a_picture_has_the_intervals_of_the_table(split):
    """Also where every answer stays, of which a plain bootstrap would be as sure as of a law."""
    companion = {WHOLE: SimpleNamespace(evidence=Evidence(wrapped(Brightest())))}
    result = measured(Brightest(), split, companions=companion)
    result = result.model_copy(update={"agrees": np.ones_like(result.agrees)})
    figures = {figure.name: figure for figure in result.charts()}
    rows = {(row.metric, row.setting): (row.low, row.high) for row in result.metrics()}
    consistency = [(row["low"], row["high"]) for row in figures["consistency"].rows]
    assert consistency == [rows["consistency", one.said()] for one in result.moved]
    assert consistency[0] == (pytest.approx(0.94, abs=0.001), 1.0)  # Wilson's of 60 in 60
    sides = ["as it is", *(f"{side} px" for side in result.resolutions)]
    by_side = [(row["low"], row["high"]) for row in figures["resolution"].rows]
    assert by_side == [rows["accuracy by resolution", side] for side in sides]
    (lost,) = figures["locality"].rows
    assert (lost["value"], lost["low"], lost["high"]) == (0, *rows["accuracy lost to permutation", WHOLE])
    assert lost["low"] < 0 < lost["high"]
    twice = [(Subject(name=f"a-s{seed}", family="mlp", recipe="a", seed=seed), result) for seed in range(2)]
    (lost,) = draw_locality(twice).rows
    assert lost["low"] < 0 < lost["high"]


def test_titles_rank_what_differs_alone(split):
    companion = {WHOLE: SimpleNamespace(evidence=Evidence(wrapped(Silent())))}
    calm, jumpy = (measured(net, split, wave_images=4, companions=companion) for net in (Brightest(), Corner()))
    still = calm.model_copy(update={"changed": np.zeros_like(calm.changed)})

    def titles(**results: Invariance) -> dict[str, str]:
        drawn = Invariance.draw([(Subject(name=name, family="mlp"), result) for name, result in results.items()])
        return {figure.name: figure.title for figure in drawn}

    alone, both = titles(a=still), titles(a=still, b=still)
    assert alone["waves"] == "No wave changes an answer"
    everything = still.model_copy(update={"changed": np.ones_like(calm.changed)})
    assert titles(a=everything)["waves"] == "Waves of every frequency disturb alike"
    assert alone["locality"] == f"Without locality a loses {100 * calm.correct.mean():.1f} points of accuracy"
    assert both["locality"] == f"Without locality a and b each lose {100 * calm.correct.mean():.1f} points of accuracy"
    ends = f"{100 * jumpy.correct.mean():.1f} (b) to {100 * calm.correct.mean():.1f} points of accuracy (a)"
    assert titles(a=still, b=jumpy)["locality"] == f"Without locality from {ends} are lost"
    assert "of the answers of a and b as they are" in both["consistency"]
    assert titles(a=still, b=jumpy)["consistency"].endswith("(a) of the answers as they are")
    blunt = calm.model_copy(update={"sharp": np.zeros_like(calm.sharp)})
    lost = f"{100 * calm.correct.mean():.1f} points of accuracy"
    assert titles(a=blunt, b=blunt)["resolution"] == f"At 8 pixels a side a and b each lose {lost}"
    kept = calm.model_copy(update={"sharp": np.broadcast_to(calm.correct, calm.sharp.shape)})
    assert titles(a=kept)["resolution"] == "At 8 pixels a side no accuracy is lost"
    assert titles(a=kept, b=blunt)["resolution"] == f"At 8 pixels a side from 0.0 (a) to {lost} (b) are lost"


def test_a_loss_that_images_alone_can_make_is_called_a_change(split):
    """Of 1,000 images 12 are lost and 8 won: 0.4 points, of which chance makes as many either way."""
    plain = np.arange(1000) < 600
    other = plain.copy()
    other[:12], other[600:608] = False, True
    alone = measured(Brightest(), split)
    result = alone.model_copy(update={"permuted": (WHOLE,), "permuted_right": np.stack([plain, other])})
    assert result.headline().endswith("; pixels out of order in the whole picture changed accuracy by -0.4 points "
                                      "(-1.3 to +0.5; n = 1,000).")  # fmt: skip

    def drawn(*results):
        subjects = [Subject(name=f"a-s{s}", family="mlp", recipe="a", seed=s) for s in range(len(results))]
        return draw_locality(list(zip(subjects, results, strict=True)))

    figure = drawn(result)
    assert figure.title == "No loss without locality is distinguishable from none: 0.4 points of accuracy (a-s0)"
    noise = "Of one training each, the noise of training is not in the interval."
    assert noise in figure.protocol
    assert noise not in drawn(result, result, result).protocol, "over seeds it is"
    sure = result.model_copy(update={"permuted_right": np.stack([plain, plain & (np.arange(1000) >= 60)])})
    assert drawn(sure).title == "Without locality a-s0 loses 6.0 points of accuracy"
    assert "cost 6.0 points of accuracy (" in sure.headline()
