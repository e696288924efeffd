"""Readouts of frozen features: of planted ones, of networks of other sizes, beside baselines."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import priorscope as ps
from priorscope.core.contracts import Subject
from priorscope.core.environment import Environment, Learnt
from priorscope.core.errors import RequestError
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.probes import load_result
from priorscope.probes.generalisation import (
    DataSet,
    Generalisation,
    GeneralisationConfig,
    measure_generalisation,
    readouts,
)
from priorscope.probes.generalisation.readouts import answered, pixels, seeing
from priorscope.recipe import Recipe

SHAPETEX = {"name": "shapetex", "train": 120, "val": 20, "test": 60, "image_size": 16}
FEW = {"shots": (2,), "draws": 2, "depths": 2}


def planted(signal: float, n: int = 300, seed: int = 0):
    """Features of three classes that lie `signal` standard deviations apart."""
    draw, labels = np.random.default_rng(seed), np.arange(n, dtype=np.int64) % 3
    features = draw.normal(size=(n, 12)) + signal * np.eye(3, 12)[labels]
    return features.astype(np.float32), labels


@pytest.mark.parametrize("kind", ["ridge", "logistic", "knn"])
def test_every_readout_tells_apart_what_lies_apart_and_guesses_at_noise(kind):
    for signal, expected, within in ((12.0, 1.0, 0.0), (0.0, 1 / 3, 0.09)):
        known, asked = planted(signal), planted(signal, seed=1)
        right = answered(kind, *known, *asked, 3)
        assert right.mean() == pytest.approx(expected, abs=within)


@pytest.mark.parametrize("kind", ["ridge", "logistic", "knn"])
def test_features_that_tell_nothing_read_out_at_chance(kind):
    """One feature, the same for all images: every readout names one class of ten, and is right on a tenth."""
    known, asked = np.ones((100, 1), np.float32), np.ones((50, 1), np.float32)
    right = answered(kind, known, np.arange(100) % 10, asked, np.arange(50) % 10, 10)
    assert right.mean() == pytest.approx(0.1)


def test_readouts_equal_scikit_learn_s():
    """Pinned from scikit-learn 1.9.1 on these features, standardised with the labelled images' own deviation for the first:
    LogisticRegression(C=1 / (1e-3 * 150), tol=1e-10, max_iter=5000) is right on 103 of 150, no image within 0.009 of a tie;
    KNeighborsClassifier(10) on 91 of the 138 whose vote is no tie."""
    known, asked = planted(1.2, 150), planted(1.2, 150, 1)
    assert answered("logistic", *known, *asked, 3).sum() == 103
    right = answered("knn", *known, *asked, 3)
    distance = ((asked[0][:, None] - known[0][None]) ** 2).sum(2)
    votes = np.eye(3)[known[1][np.argsort(distance, axis=1)[:, :10]]].sum(1)
    clear = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2]
    assert (clear.sum(), right[clear].sum()) == (138, 91)


def test_neighbours_are_as_many_as_a_class_has_labelled_images():
    known, asked = planted(1.2, 3), planted(1.2, 150, 1)
    nearest = ((asked[0][:, None] - known[0][None]) ** 2).sum(2).argmin(1)
    np.testing.assert_array_equal(answered("knn", *known, *asked, 3), known[1][nearest] == asked[1])


def colours(name: str, n: int, side: int = 8, seed: int = 0) -> Split:
    """Pictures of noise whose class is the channel that is brighter."""
    labels = np.arange(n, dtype=np.int64) % 3
    array = np.random.default_rng(seed).integers(0, 200, (n, side, side, 3), dtype=np.uint8)
    array[np.arange(n), :, :, labels] += 40
    return Split("colours", name, ArrayPixels(array), labels, ("r", "g", "b"))


def world(side: int = 8, train: int = 90, test: int = 60):
    parts = {"train": colours("train", train, side), "test": colours("test", test, side, 1)}
    return SimpleNamespace(name="colours", classes=("r", "g", "b"), splits=lambda: tuple(parts), split=parts.__getitem__)


class Means(nn.Module):
    """Its one hidden layer holds what a class is told by, or with `blind` what says nothing."""

    def __init__(self, blind: bool) -> None:
        super().__init__()
        self.hidden, self.last = nn.Identity(), nn.Linear(3, 2)
        self.blind = blind

    def forward(self, x):
        means = x.mean((2, 3))
        return self.last(self.hidden(torch.sin(1e4 * means) if self.blind else means))


def test_a_network_that_keeps_colour_is_right_and_a_blind_one_is_not():
    keeps, blind = (
        measure_generalisation(ps.wrap(Means(blind), image_size=8, classes=2), world(), taps=["hidden"], shots=(5,))
        for blind in (False, True)
    )
    assert keeps.value > 0.98
    assert blind.interval.contains(1 / 3)
    assert keeps.caveats == ("There is no untrained twin: the network came without a config to build one from.",)
    assert keeps.untrained.size == 0
    assert keeps.of("colours", shots=5).labelled == 15
    np.testing.assert_array_equal(keeps.pixels, blind.pixels)
    gain = {row.metric: row for row in blind.metrics()}["gain over raw pixels"]
    assert gain.high < 0


def test_the_untrained_twin_has_none_of_the_network_s_weights():
    """Weights of zero tell nothing apart; those that its config begins with do."""
    network = ps.models.create("mlp/tiny", image_size=8, num_classes=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    found = measure_generalisation(network, world(), shots=(2,), draws=2, depths=1)
    assert found.right.mean() == pytest.approx(1 / 3)
    assert found.untrained.mean() > 0.6


def test_images_of_several_data_sets_stand_one_after_the_other():
    told = (DataSet(name="a", classes=2, labelled=1, n=3), DataSet(name="b", classes=2, labelled=1, n=2))
    assert Generalisation.model_construct(sources=told).spans() == [slice(0, 3), slice(3, 5)]


@pytest.fixture(scope="module")
def result() -> Generalisation:
    network = ps.models.create("cnn/tiny", image_size=32, num_classes=7)
    return measure_generalisation(network, world(), sources=[SHAPETEX], **FEW)


def test_every_data_set_is_read_from_every_depth_by_every_readout(result):
    assert [(one.name, one.classes, one.labelled, one.n) for one in result.sources] == [("shapetex", 10, 120, 60)]
    trained = [one for one in result.readings if one.who == "trained"]
    assert len(trained) == 2 * 3 + 3  # two depths by three readouts, and the last from two shots
    assert {one.who for one in result.readings} == {"trained", "untrained", "pixels"}
    assert all(one.low <= one.value <= one.high for one in result.readings)
    assert [one.depth for one in trained[:4]] == [0, 0, 0, 1]
    assert result.value == result.right.mean() == result.of("shapetex").value
    assert result.per_image().mean() == result.value
    assert result.planned_mb < 10


def test_the_images_are_resized_inside_and_the_network_is_left_as_it_was():
    network = ps.models.create("mlp/tiny", image_size=8, num_classes=3).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = measure_generalisation(network, world(16), **FEW)
    assert network.training
    assert network.image_size == 8
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    seen = seeing(network.eval(), 16)
    images = torch.rand(2, 3, 16, 16)
    small = torch.nn.functional.interpolate(images, size=(8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(seen(images), network(small))
    assert result.sources[0].n == 60
    fixed = ps.models.create("mlp/tiny", image_size=8, num_classes=3, resize="none")
    with pytest.raises(RequestError, match="takes images of side 8 and has resize = 'none'; these have 16"):
        measure_generalisation(fixed, world(16))


def test_large_pixels_are_averaged_and_small_ones_kept():
    assert pixels(colours("a", 6, 32)).shape == (6, 768)
    assert pixels(colours("a", 6, 8)).shape == (6, 192)
    first = colours("a", 6, 8)
    np.testing.assert_allclose(pixels(first)[0], first[0][0].transpose(2, 0, 1).ravel() / 255, atol=1e-6)


@pytest.mark.parametrize("family", ["mlp", "cnn", "vit", "swin", "tnt", "perceiver", "perceiver_io", "mixer"])
def test_every_family_is_read(family):
    network = ps.models.create(f"{family}/tiny", image_size=32, num_classes=3)
    result = measure_generalisation(network, world(train=30, test=30), readouts=["knn"], **FEW)
    again = measure_generalisation(network, world(train=30, test=30), readouts=["knn"], **FEW)
    assert result.untrained.shape == result.right.shape == (30,)
    assert result.readings == again.readings


def test_features_are_kept_beside_the_run(tmp_path, monkeypatch):
    network = ps.models.create("mlp/tiny", image_size=8, num_classes=3)
    measure_generalisation(Evidence(network, "key", tmp_path), world(), **FEW)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    reads: list[str] = []
    read = readouts._read

    def counted(model, split, taps):
        reads.append(split.name)
        return read(model, split, taps)

    monkeypatch.setattr(readouts, "_read", counted)
    measure_generalisation(Evidence(network, "key", tmp_path), world(), **FEW)
    assert reads == ["train", "test"]  # of the untrained twin alone


def test_the_data_it_was_trained_on_is_named():
    network = ps.models.create("mlp/tiny", image_size=8, num_classes=3)
    recipe = Recipe.of({"data": {"source": {"name": "folder", "path": "somewhere"}}, "model": "mlp/tiny"})
    environment = Environment(key="a", data=Learnt(source="colours"))
    run = SimpleNamespace(name="a", recipe=recipe, environment=environment, evidence=Evidence(network))
    result = measure_generalisation(run, world(), **FEW)
    assert result.caveats[0].startswith("The network was trained on colours: the images that are labelled there it has seen")


def test_it_is_stored_and_drawn(result, tmp_path):
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, Generalisation)
    assert back.table() == result.table()
    assert [figure.name for figure in back.charts()] == ["generalisation", "generalisation-depth", "generalisation-readouts"]
    pairs = [(Subject(name=f"cnn-s{seed}", family="cnn", recipe="cnn", seed=seed), result) for seed in range(2)]
    pairs.append((Subject(name="mlp-s0", family="mlp", recipe="mlp"), result))
    for figure in [*back.charts(), *Generalisation.draw(pairs)]:
        assert figure.svg().startswith("<svg")


def test_a_title_names_who_tells_most_only_where_a_test_does(result):
    """On 60 images; the untrained twin and the pixels may tell most, too."""

    def told(trained: int, untrained: int, pixels: int, shift: int = 0) -> Generalisation:
        counts = {"right": trained, "untrained": untrained, "pixels": pixels}
        rows = {name: np.roll(np.arange(60) < count, shift * at) for at, (name, count) in enumerate(counts.items())}
        return result.model_copy(update=rows)

    def title(**networks: Generalisation) -> str:
        return Generalisation.draw([(Subject(name=name, family="mlp"), one) for name, one in networks.items()])[0].title

    assert title(a=told(55, 20, 30)) == "Most is read out of a: 91.7% (raw pixels 50.0%)"
    assert title(a=told(30, 29, 50)) == "Most is read out of raw pixels: 83.3%"
    assert title(a=told(30, 29, 28, shift=20)) == (
        "No network stands out: out of a 50.0% is read, out of raw pixels 46.7%, and none is distinguishable from a"
    )
    both = title(a=told(55, 20, 30), b=told(54, 20, 30))
    assert both == "Most is read out of a, but not distinguishably from b: 91.7% (raw pixels 50.0%)"
    seeds = [(Subject(name=f"a-s{s}", family="mlp", recipe="a", seed=s), told(55 + s, 20, 30)) for s in range(3)]
    assert Generalisation.draw(seeds)[0].title == "Most is read out of a: 93.3% (raw pixels 50.0%)"


def test_memory_is_planned_for_as_many_classes_as_there_are():
    """Fitting 600 images to 300 classes holds more for the classes than for their 192 pixels."""
    labels = {"train": np.arange(600, dtype=np.int64) % 300, "test": np.arange(300, dtype=np.int64)}
    names = tuple(f"c{at}" for at in range(300))
    parts = {
        name: Split(
            "many", name, ArrayPixels(np.random.default_rng(0).integers(0, 256, (len(own), 8, 8, 3), np.uint8)), own, names
        )
        for name, own in labels.items()
    }
    source = SimpleNamespace(name="many", classes=names, splits=lambda: tuple(parts), split=parts.__getitem__)
    network = ps.wrap(Means(blind=False), image_size=8, classes=2)
    found = measure_generalisation(network, source, taps=["hidden"], readouts=["ridge"], shots=(1,), draws=2)
    known, asked = pixels(parts["train"]), pixels(parts["test"])
    tracemalloc.start()
    answered("ridge", known, labels["train"], asked, labels["test"], 300)
    peak = tracemalloc.get_traced_memory()[1] / (1 << 20)
    tracemalloc.stop()
    assert peak < found.planned_mb < 2 * peak


def test_wrong_requests_are_refused():
    network = ps.models.create("mlp/tiny", image_size=8, num_classes=3)
    with pytest.raises(RequestError, match=r"MB would be held, and memory = 0\.01"):
        measure_generalisation(network, world(), memory="1/100", **FEW)
    with pytest.raises(RequestError, match=r"^depths = 0 was refused in measure_generalisation\."):
        measure_generalisation(network, world(), depths=0)
    with pytest.raises(RequestError, match="sources names 'shapetex' twice"):
        measure_generalisation(network, world(), sources=[SHAPETEX, SHAPETEX])
    with pytest.raises(RequestError, match="40 images of each class were asked for, and one class has 30"):
        measure_generalisation(network, world(), shots=(40,))
    with pytest.raises(RequestError, match="generalisation looks at several splits"):
        measure_generalisation(network, world().split("test"))
    assert GeneralisationConfig().readouts == ("ridge", "logistic", "knn")
