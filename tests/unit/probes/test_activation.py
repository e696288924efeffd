"""Activation maximisation on networks whose favourite picture is known."""

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
from priorscope.evidence import Evidence
from priorscope.models.classifier import Classifier
from priorscope.probes import load_result
from priorscope.probes.activation import PRESETS, ActivationConfig, measure_activation
from priorscope.probes.activation.making import Task, _between

SIDE, CLASSES = 8, 4
STILL = {"shift": 0.0, "zoom": 0.0, "turn": 0.0}


class Linear(nn.Module):
    """A linear network with a template for each class, and a dropout that must stay off."""

    def __init__(self, seed: int = 0, scale: float = 0.1) -> None:
        super().__init__()
        self.last = nn.Linear(3 * SIDE * SIDE, CLASSES)
        self.last.weight.data = scale * torch.randn(CLASSES, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(seed))
        self.last.bias.data.zero_()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop((x - 0.5).flatten(1)))


def wrapped(seed: int = 0, scale: float = 0.1) -> Classifier:
    return models.wrap(Linear(seed, scale), image_size=SIDE, classes=CLASSES)


def template(model: Classifier, row: int) -> Tensor:
    return model.network.get_submodule("last").weight[row].detach().view(3, SIDE, SIDE)  # pyright: ignore


@pytest.fixture(scope="module")
def world() -> Split:
    pixels = np.random.default_rng(0).integers(60, 196, (80, SIDE, SIDE, 3), dtype=np.uint8)
    return Split("made", "test", ArrayPixels(pixels), np.arange(80) % CLASSES, tuple("abcd"))


def test_the_favourite_picture_of_a_linear_network_is_the_sign_of_its_template(world: Split) -> None:
    model = wrapped()
    result = measure_activation({"one": model}, world, starts=1, form="pixels", optimiser="adam", steps=200, **STILL)
    for row in range(CLASSES):
        weight = template(model, row).permute(1, 2, 0).numpy()
        assert (result.pictures[0, row, 0] == np.where(weight > 0, 255, 0)).all()
        best = float(np.abs(weight).sum()) / 2
        assert result.score[0, row, 0] == pytest.approx(best, rel=1e-5)
        scores = np.tensordot(result_real(world) - 0.5, weight, 3)
        assert result.real_score[0, row] == pytest.approx([scores.mean(), scores.std(), scores.max()], abs=1e-5)
    assert result.targets == ("class:a", "class:b", "class:c", "class:d")


class Broken(Linear):
    """Knows nothing of what it sees: one logit is not a number."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x).clone()
        logits[:, 0] = torch.nan
        return logits


def test_a_network_whose_logits_are_no_numbers_is_never_right(world: Split) -> None:
    """The place of NaN is where argmax looks first: a quarter of the pictures are of that class."""
    broken = models.wrap(Broken(), image_size=SIDE, classes=CLASSES)
    result = measure_activation({"broken": broken}, world, starts=1, targets=["class:b"], steps=1, **STILL)
    assert result.accuracy == (0.0,)
    assert any("broken is right on 0% of the real pictures" in caveat for caveat in result.caveats)


@pytest.mark.parametrize(("target", "driven"), [("class:a", {"whole"}), ("class:b", {"broken", "whole"})])
def test_an_answer_that_is_no_number_gives_the_class_nothing(
    world: Split, tmp_path: Path, target: str, driven: set[str]
) -> None:
    """How far its pictures drive the class is left out where the class's own logit is the one that is no number."""
    nets = {"broken": models.wrap(Broken(), image_size=SIDE, classes=CLASSES), "whole": wrapped()}
    result = measure_activation(nets, world, starts=1, targets=[target], steps=1, **STILL)
    assert not result.probability[0].any()
    assert result.value == pytest.approx(result.probability[1, 0].mean() / 2)
    assert {row.setting for row in result.metrics() if row.metric == "driven above real pictures"} == driven
    result.save(tmp_path / "a.json")


def test_a_target_that_is_no_number_is_refused(world: Split) -> None:
    broken = models.wrap(Broken(), image_size=SIDE, classes=CLASSES)
    with pytest.raises(RequestError, match="is no number, or infinite"):
        measure_activation({"broken": broken}, world, starts=1, targets=["channel:logits@0"], steps=1, **STILL)


def result_real(world: Split) -> np.ndarray:
    assert isinstance(world.pixels, ArrayPixels)
    return world.pixels.array.astype(np.float64) / 255


def test_twins_recognise_each_others_pictures_and_strangers_do_not(world: Split) -> None:
    nets = {"one": wrapped(0), "twin": wrapped(0), "stranger": wrapped(9)}
    result = measure_activation(nets, world, steps=60, **STILL)
    assert (result.pictures[0] == result.pictures[1]).all()
    given = result.probability.mean((2, 3))  # judge, maker
    assert given[0, 0] > 0.8
    assert given[0, 0] == given[1, 0] == given[0, 1]
    assert given[2, 2] > 0.8
    assert given[2, 0] < 0.6
    others = (given.sum(0) - given.diagonal()) / 2
    assert result.value == pytest.approx(others.mean())
    assert result.interval is not None
    assert result.interval.contains(result.value)
    assert result.interval.over == "targets"
    assert result.n == 3 * 4 * 2


def test_one_network_is_told_that_it_judged_itself(world: Split) -> None:
    result = measure_activation({"one": wrapped()}, world, steps=5, starts=1)
    assert result.caveats[0] == (
        "One network judged its own pictures, as it would adversarial ones: name others to judge them too."
    )
    assert "One start a target" in result.caveats[1]
    assert result.headline().startswith("The network itself gives the class of a made picture a probability of ")


def test_a_network_that_wants_nothing_is_named(world: Split) -> None:
    """Its logits are all equal: it answers nothing, and is not right on the quarter of the pictures of the first class."""
    result = measure_activation({"one": wrapped(), "dead": wrapped(scale=0.0)}, world, steps=5, **STILL)
    assert any("dead drive their target no further than usual real pictures" in caveat for caveat in result.caveats)
    assert any(c.startswith("dead is right on 0% of the real pictures, not above chance") for c in result.caveats)


def test_the_same_seed_gives_the_same_pictures_and_no_target_moves_another(world: Split) -> None:
    nets = {"one": wrapped()}
    first = measure_activation(nets, world, steps=20, seed=3)
    assert (measure_activation(nets, world, steps=20, seed=3).pictures == first.pictures).all()
    assert (measure_activation(nets, world, steps=20, seed=4).pictures != first.pictures).any()
    alone = measure_activation(nets, world, steps=20, seed=3, targets=["class:c"])
    difference = alone.pictures[0, 0].astype(int) - first.pictures[0, 2]
    assert np.abs(difference).max() <= 1  # kernels order the sums of other batch sizes differently
    assert (first.pictures[0, :, 0] != first.pictures[0, :, 1]).any()


def test_the_network_is_left_as_it_was(world: Split) -> None:
    model = wrapped().train()
    model.network.get_submodule("last").weight.requires_grad_(False)  # pyright: ignore
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    measure_activation({"one": model}, world, steps=2)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_zoomings_preset_begins_at_real_pictures_and_stops_when_sure(world: Split) -> None:
    """A network that is sure of every real picture of a class leaves them as they are."""
    sure = wrapped(scale=4000.0).eval()
    answers = sure(torch.from_numpy(result_real(world)).permute(0, 3, 1, 2).float()).argmax(1).numpy()
    own = Split("made", "test", world.pixels, answers.astype(np.int64), world.classes)
    result = measure_activation({"one": sure}, own, preset="zooming", images=80)
    assert isinstance(world.pixels, ArrayPixels)
    for row in range(CLASSES):
        rows = np.flatnonzero(answers == row)[:2]
        assert (result.pictures[0, row] == world.pixels.array[rows]).all()
    assert result.caveats[0].startswith("Preset zooming begins at a real picture")
    assert (result.making.lr, result.making.steps, result.making.enough) == (0.01, 250, 0.95)


def test_of_more_classes_than_real_pictures_each_is_shown_its_own(world: Split) -> None:
    """Two pictures each of 40 classes, of which a sample of 8 holds 8 classes: the others' pictures are not theirs."""
    assert isinstance(world.pixels, ArrayPixels)
    names = tuple(f"c{row}" for row in range(40))
    many = Split("made", "test", world.pixels, np.arange(80) % 40, names)
    task = Task(ActivationConfig(images=8, starts=2), many, None)
    for target in task.targets:
        own = {world.pixels.array[row].tobytes() for row in (target.index, target.index + 40)}
        assert {picture.tobytes() for picture in task.real_of(target)} == own
    three = Task(ActivationConfig(preset="zooming", images=8, starts=3), many, None)
    assert all(len(three.real_of(target)) == 2 for target in three.targets)
    half = Split("made", "test", world.pixels, 2 * (np.arange(80) % 20), names)
    assert {target.index % 2 for target in Task(ActivationConfig(), half, None).targets} == {0}, "classes that have pictures"
    empty = Task(ActivationConfig(targets=("class:c1",)), half, None)
    with pytest.raises(RequestError, match="test has no picture of "):
        empty.real_of(empty.targets[0])


def test_stored_and_drawn_without_the_network(world: Split, tmp_path: Path) -> None:
    nets = {"one": wrapped(0), "two": wrapped(1)}
    result = measure_activation(nets, world, steps=5)
    loaded = load_result(result.save(tmp_path / "a.json"))
    assert loaded.arrays().keys() == result.arrays().keys()
    assert loaded.table() == result.table()
    figures = loaded.draw([(Subject(name="set", family="other"), loaded)])
    assert [figure.name for figure in figures] == [
        "activation",
        "activation-judges",
        "activation-starts",
        "activation-spectrum",
    ]
    assert all("<svg" in figure.svg() for figure in figures)
    rows = {(m.metric, m.setting): m for m in loaded.metrics()}
    assert rows["probability of the target's class", "one -> two"].value == pytest.approx(result.probability[1, 0].mean())


def test_made_pictures_are_kept_in_a_folder(world: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = {"one": wrapped(0), "two": wrapped(1)}
    first = measure_activation(nets, world, steps=5, folder=tmp_path)
    assert len(list(tmp_path.glob("activation-*.npy"))) == 2
    monkeypatch.setattr("priorscope.probes.activation.making.descend", None)
    again = measure_activation(nets, world, steps=5, folder=tmp_path)
    assert (again.pictures == first.pictures).all()


def test_equal_networks_recognise_alike(world: Split) -> None:
    result = measure_activation({name: wrapped() for name in ("one", "two")}, world, steps=2)

    def titles(given: list[list[float]]) -> dict[str, str]:
        """Of networks (judges down) that give the pictures made for each such a probability."""
        shown = np.broadcast_to(np.array(given)[:, :, None, None], result.probability.shape)
        return {figure.name: figure.title for figure in result.model_copy(update={"probability": shown}).charts()}

    alike, apart = titles([[0.9, 0.3], [0.3, 0.9]]), titles([[0.9, 0.3], [0.4, 0.9]])
    assert alike["activation"] == "What one and two want to see, others recognise with probability 0.30"
    assert alike["activation-judges"] == "Pictures made for others are given a probability of 0.30"
    assert apart["activation"] == "What one wants to see, others recognise with probability 0.40; of two 0.30"
    assert apart["activation-judges"] == (
        "Pictures made for others are given a probability of 0.30 (two's by one) to 0.40 (one's by two)"
    )


def test_other_targets_are_held_against_real_pictures(world: Split) -> None:
    model = wrapped()
    result = measure_activation({"one": model}, world, targets=["channel:last@2", "unit:drop@5"], steps=40, **STILL)
    assert result.unit == "standard deviations"
    assert np.isnan(result.probability).all()
    assert (result.driven() > 2).all()
    assert result.value == pytest.approx(result.driven().mean())
    mixed = measure_activation({"one": model}, world, targets=["class:a", "unit:drop@5"], steps=5)
    assert mixed.unit == "probability"
    assert mixed.value == pytest.approx(mixed.probability[0, 0, 0].mean())
    assert any("The headline is about the class targets alone" in caveat for caveat in mixed.caveats)
    assert all("<svg" in figure.svg() for figure in [*result.charts(), *mixed.charts()])


def test_what_starts_differ_by_is_the_root_mean_square_over_pixels_and_pairs() -> None:
    black, white = np.zeros((4, 4, 3)), np.full((4, 4, 3), 255)
    pictures = np.stack([np.stack([black, white]), np.stack([white, white])])[None].astype(np.uint8)
    assert _between(pictures).tolist() == [pytest.approx([1, 0])]


def test_what_is_refused(world: Split) -> None:
    one = wrapped()
    for asked, message in (
        ({"preset": "zoom"}, "preset = 'zoom' was refused in measure_activation"),
        ({"targets": []}, r"targets = \[\]."),
        ({"targets": ["class:a", "class:0"]}, r"targets = \['class:a', 'class:0'\]"),
        ({"form": "z-normalised"}, "form = 'z-normalised' was refused"),
        ({"starts": 0}, "starts = 0 was refused in measure_activation"),
        ({"preset": "zooming", "climb": "logit"}, "stops at a probability of 0.95, and climb = 'logit' came for it"),
        ({"preset": "zooming", "targets": ["unit:last@4"]}, "stops at a probability of 0.95, and unit:last@4 came for it"),
        ({"targets": ["channel:last@4"]}, "'last' of Linear has 1 places and 4 channels"),
    ):
        with pytest.raises(RequestError, match=message):
            measure_activation({"one": one}, world, **asked)
    with pytest.raises(RequestError, match="knows 'd' at another place"):
        measure_activation({"one": Evidence(one, classes=("d", "c", "b", "a"))}, world)
    with pytest.raises(RequestError, match="No network was given"):
        measure_activation({}, world)
    other = models.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 5)), image_size=SIDE, classes=5)
    with pytest.raises(RequestError, match="five answers 5 classes on images of side 8; made/test has 4 of side 8"):
        measure_activation({"five": other}, world)


def test_settings_take_the_place_of_the_presets() -> None:
    asked = ActivationConfig.parse({"preset": "zooming", "steps": 3, "optimiser": "adam", "targets": ["class:a"], "starts": 1})
    assert asked.making() == PRESETS["zooming"].replace(steps=3, optimiser="adam")
    assert ActivationConfig().making() == PRESETS["priorscope"]
