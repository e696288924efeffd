"""Inversion of layers that lose nothing, a known part, or everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError
from priorscope.data.split import ArrayPixels, Split
from priorscope.models.classifier import Classifier
from priorscope.probes import load_result
from priorscope.probes.inversion import PRESETS, Inversion, InversionConfig, measure_inversion

SIDE = 8
PIXELS = 3 * SIDE * SIDE


class Layers(nn.Module):
    """An orthogonal map that loses nothing, one that sees the upper half alone, one that sees nothing, then a head."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.turned = nn.Linear(PIXELS, PIXELS, bias=False)
        self.turned.weight.data = torch.linalg.qr(torch.randn(PIXELS, PIXELS, generator=draw))[0]
        self.upper = nn.Identity()
        self.nothing = nn.Identity()
        self.last = nn.Linear(PIXELS, 2)

    def forward(self, x: Tensor) -> Tensor:
        half = self.upper(torch.cat([x[:, :, : SIDE // 2], torch.zeros_like(x[:, :, SIDE // 2 :])], 2))
        return self.last(self.turned(x.flatten(1))) + self.nothing(half * 0).flatten(1).sum(1, keepdim=True)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return models.wrap(Layers(), image_size=SIDE, classes=2, mean=(0.5,) * 3, std=(0.25,) * 3).eval()


@pytest.fixture(scope="module")
def world() -> Split:
    """Smooth pictures."""
    coarse = torch.rand(80, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.7 + 0.15
    smooth = nn.functional.interpolate(coarse, size=SIDE, mode="bilinear")
    pixels = (smooth * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return Split("made", "test", ArrayPixels(pixels), np.arange(80) % 2, ("a", "b"))


@pytest.mark.parametrize("form", ["natural", "fourier", "pixels"])
def test_a_layer_that_loses_nothing_gives_the_picture_back(model: Classifier, world: Split, form: str) -> None:
    result = measure_inversion(model, world, taps=["turned"], images=4, form=form, prior=0.0, steps=400, lr=0.05)
    assert result.error.max() < 2 / 255
    assert np.abs(result.found[0].astype(int) - result.real).max() <= 6
    assert result.residual.max() < 1e-3
    assert result.value == pytest.approx(result.error.mean())
    assert not result.caveats


def test_what_a_layer_does_not_see_stays_at_the_mean_colour(model: Classifier, world: Split) -> None:
    result = measure_inversion(model, world, taps=["upper"], images=4, form="pixels", steps=400, prior=0.0)
    found, real = result.found[0].astype(int), result.real.astype(int)
    assert np.abs(found[:, : SIDE // 2] - real[:, : SIDE // 2]).max() <= 3
    mean = world.pixels.array[:64].reshape(-1, 3).mean(0)  # pyright: ignore
    assert np.abs(found[:, SIDE // 2 :] - mean).max() < 12  # the start: noise of 0.01 around it
    lower = ((real[:, SIDE // 2 :] - found[:, SIDE // 2 :]) / 255.0) ** 2
    assert result.error[0] == pytest.approx(np.sqrt(lower.mean((1, 2, 3)) / 2), abs=2e-3)
    assert result.good().all()


def test_the_residual_is_relative_to_the_distance_of_two_real_pictures(model: Classifier, world: Split) -> None:
    """The orthogonal layer keeps distances, so one step of nothing leaves what the plain picture has."""
    result = measure_inversion(model, world, taps=["turned"], images=64, steps=1, lr=1e-9)
    pixels = world.pixels.array[np.sort(result.index)].reshape(64, -1) / 255.0  # pyright: ignore
    pairs = [((pixels[i] - pixels[j]) ** 2).sum() for i in range(64) for j in range(i)]
    wanted = ((result.found[0].reshape(64, -1) / 255.0 - pixels) ** 2).sum(1) / np.mean(pairs)
    assert result.residual[0] == pytest.approx(wanted, rel=1e-3)
    assert result.blind == pytest.approx(np.sqrt(((pixels - pixels.mean(0)) ** 2).mean(1)), rel=1e-5)


def test_a_search_that_fails_is_marked(model: Classifier, world: Split) -> None:
    result = measure_inversion(model, world, taps=["turned", "last"], images=4, steps=1, lr=1e-6)
    assert not result.good()[0].any()
    assert "did not converge for 4 of 4 from turned" in result.caveats[0]
    rows = {(m.metric, m.setting): m for m in result.metrics()}
    assert rows["converged", "turned"].value == 0
    assert rows["converged", "turned"].high is not None


def test_a_tap_at_which_all_pictures_look_alike_is_left_out_and_named(model: Classifier, world: Split) -> None:
    result = measure_inversion(model, world, taps=["turned", "nothing"], images=3, steps=2)
    assert result.taps == ("turned",)
    assert result.caveats[0] == "At nothing all pictures give the same activations: there is nothing to seek from."
    with pytest.raises(RequestError, match="At no tap do two pictures differ"):
        measure_inversion(model, world, taps=["nothing"], images=3, steps=2)


def test_same_seed_same_pictures_in_any_company_and_the_network_is_left_as_it_was(world: Split) -> None:
    one = models.create("mlp/tiny", image_size=SIDE, num_classes=2).train()
    state = {name: value.clone() for name, value in one.state_dict().items()}
    first = measure_inversion(one, world, images=2, steps=8)
    assert (measure_inversion(one, world, images=2, steps=8).found == first.found).all()
    alone = measure_inversion(one, world, taps=["head/in"], images=2, steps=8)
    assert (alone.found[0] == first.found[-1]).all()
    assert alone.depths == (1.0,)
    assert (first.taps[0], first.taps[-1], first.depths[0]) == ("embed/out", "head/in", 0.0)
    assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in one.parameters())
    assert all(module.training for module in one.modules())


def test_zoomings_preset_finds_nothing_darker_than_the_mean_and_says_so(model: Classifier, world: Split) -> None:
    result = measure_inversion(model, world, taps=["turned"], images=3, preset="zooming", steps=20)
    assert result.caveats[0].startswith("Preset zooming clamps normalised pixels to [0.0001, 1]")
    assert result.found.min() >= 127  # the mean, 0.5
    assert result.found.max() <= 192  # a standard deviation above it
    assert (result.seeking.lr, result.seeking.momentum, result.seeking.weight) == (1500, 0.9, 0.1)


def test_kept_in_a_folder_stored_and_drawn(
    model: Classifier, world: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"taps": ["turned", "last"], "images": 3, "steps": 3}
    first = measure_inversion(model, world, folder=tmp_path / "kept", **asked)
    assert len(list((tmp_path / "kept").glob("inversion-*.npy"))) == 2
    monkeypatch.setattr("priorscope.probes.inversion.seeking.descend", None)
    again = measure_inversion(model, world, folder=tmp_path / "kept", **asked)
    assert (again.found == first.found).all()
    loaded = load_result(first.save(tmp_path / "a.json"))
    assert isinstance(loaded, Inversion)
    assert loaded.table() == first.table()
    assert (loaded.per_image() == first.error[-1]).all()
    alone = loaded.draw([(Subject(name="one", family="mlp"), loaded)])
    beside = loaded.draw(
        [(Subject(name=name, family="cnn", recipe=name[0], seed=s), loaded) for s, name in enumerate(("a0", "a1", "b0"))]
    )
    for figures in (alone, beside):
        assert [figure.name for figure in figures] == ["inversion", "inversion-gallery", "inversion-residual"]
        assert all("<svg" in figure.svg() for figure in figures)


def test_seeds_are_averaged_tap_by_tap(model: Classifier, world: Split) -> None:
    """A seed that left out a dead tap has one depth less: what stands at the other's first tap is not its."""
    both, last = (measure_inversion(model, world, taps=taps, images=3, steps=3) for taps in (["turned", "last"], ["last"]))
    seeds = [(Subject(name=f"a{s}", family="cnn", recipe="a", seed=s), one) for s, one in enumerate((both, last))]
    (row,) = Inversion.draw(seeds)[0].rows
    assert row["y"] == pytest.approx((both.error[1].mean() + last.error[0].mean()) / 2)


def test_equal_networks_have_lost_alike(model: Classifier, world: Split) -> None:
    one = measure_inversion(model, world, taps=["turned", "last"], images=3, steps=3)
    one = one.model_copy(update={"depths": (0.0, 1.0)})

    def title(**lost: float) -> str:
        """Of networks that lose so much, and whose search converged."""
        named = [
            (Subject(name=name, family="mlp"), one.model_copy(update={"value": at, "residual": 0 * one.residual}))
            for name, at in lost.items()
        ]
        return Inversion.draw(named)[0].title

    assert title(a=0.1, b=0.1).startswith("From what the head of a and b sees, pictures come back 0.100 off")
    assert title(a=0.1, b=0.2, c=0.2) == "From what the head sees, pictures come back 0.100 (a) to 0.200 (b and c) off"
    four = measure_inversion(model, world, taps=["last"], images=4, steps=1)
    half = four.model_copy(update={"depths": (1.0,), "residual": np.array([[0.0, 0.0, 1.0, 1.0]])})
    assert half.standing().believed
    assert "finds few pictures" not in Inversion.draw([(Subject(name="a", family="mlp"), half)])[0].title


def test_where_the_head_was_not_asked_no_title_speaks_of_it(model: Classifier, world: Split) -> None:
    first = measure_inversion(model, world, taps=["turned"], images=3, steps=3)
    assert first.depths[-1] < 1
    for sought in (first.model_copy(update={"residual": 0 * first.residual}), first):
        title = Inversion.draw([(Subject(name="a", family="mlp"), sought)])[0].title
        assert "the head" not in title
        assert "the deepest tap asked" in title


def test_what_is_refused(model: Classifier, world: Split) -> None:
    with pytest.raises(RequestError, match="preset = 'zoom' was refused in measure_inversion"):
        measure_inversion(model, world, preset="zoom")
    with pytest.raises(RequestError, match="'turnd' is not a tap of Layers"):
        measure_inversion(model, world, taps=["turnd"])
    with pytest.raises(RequestError, match="mlp/tiny takes images of side 16; made/test has 8"):
        measure_inversion(models.create("mlp/tiny", image_size=16, num_classes=2), world)
    diverged = Layers()
    diverged.turned.weight.data[0] = torch.nan
    wrapped = models.wrap(diverged, image_size=SIDE, classes=2, mean=(0.5,) * 3, std=(0.25,) * 3).eval()
    with pytest.raises(RequestError, match=r"^Some activations at turned are NaN or infinite\."):
        measure_inversion(wrapped, world, taps=["upper", "turned"])


def test_settings_take_the_place_of_the_presets() -> None:
    asked = InversionConfig.parse({"preset": "zooming", "steps": 3, "prior": 0.5, "images": 2})
    assert asked.seeking() == PRESETS["zooming"].replace(steps=3, prior=0.5)
    assert InversionConfig().seeking() == PRESETS["priorscope"]
