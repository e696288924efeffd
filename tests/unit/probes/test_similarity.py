"""Similarity of planted and of real networks: what is compared with what, what is masked, and in how much memory."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import priorscope as ps
from priorscope.core.errors import RequestError, WorkError
from priorscope.data import open as open_source
from priorscope.data.split import ArrayPixels, Split
from priorscope.probes import load_result
from priorscope.probes.shared import depth
from priorscope.probes.shared.networks import Size, pooled
from priorscope.probes.similarity import (
    Pair,
    Similarity,
    SimilarityConfig,
    _batches,
    matching,
    measure_similarity,
    reading,
)
from priorscope.probes.similarity.cka import Alignment, gram
from priorscope.probes.similarity.reading import ChosenLayers


@pytest.fixture(scope="module")
def world():
    return open_source({"name": "shapetex", "train": 20, "val": 20, "test": 96, "image_size": 16})


def model(name: str, seed: int = 0, **settings):
    return ps.models.create(name, image_size=16, num_classes=10, seed=seed, **settings)


@pytest.fixture(scope="module")
def result(world) -> Similarity:
    networks = {"a-s0": model("mlp/tiny"), "a-s1": model("mlp/tiny", 1), "cnn": model("cnn/tiny")}
    return measure_similarity(networks, world, images=96, batch=16)


def test_every_pair_has_a_match_an_interval_and_an_untrained_twin(result):
    assert [(pair.first, pair.second, pair.kin) for pair in result.pairs] == [
        ("a-s0", "a-s1", True), ("a-s0", "cnn", False), ("a-s1", "cnn", False),
    ]  # fmt: skip
    for pair in result.pairs:
        assert pair.low <= pair.value <= pair.high <= 1
        assert pair.untrained is not None
        assert 0 < pair.untrained < 0.999  # twins of one config are two networks, not one
    assert result.value == pytest.approx(np.mean([pair.value for pair in result.pairs]))
    assert result.interval.over == "batches of images"


def test_the_matrix_is_symmetric_with_ones_and_holds_every_network_s_layers(result):
    layers = sum(map(len, result.taps))
    assert result.cka.shape == result.half.shape == result.untrained.shape == (layers, layers)
    np.testing.assert_allclose(result.cka, result.cka.T)
    np.testing.assert_allclose(np.diagonal(result.cka), 1)
    assert result.taps[0] == ("embed/out", "blocks/0/out", "blocks/1/out", "head/in", "logits")
    own = result.match[result.rows_of(1), 1]
    assert np.isnan(own).all()
    block = result.cka[result.rows_of(0), result.rows_of(2)]
    np.testing.assert_allclose(result.match[result.rows_of(0), 2], block.max(1))


def test_a_network_is_wholly_matched_by_itself_and_its_two_twins_are_not_one(world):
    twice = model("mlp/tiny")
    result = measure_similarity({"a": twice, "b": twice}, world, images=64, batch=16, depth=False)
    assert result.value == pytest.approx(1)
    assert result.pairs[0].untrained < 0.99
    assert result.logistic.size == 0
    assert "linear readout" not in result.table()


def test_memory_and_the_order_of_networks_change_no_number(world):
    networks = {"mlp": model("mlp/tiny"), "vit": model("vit/tiny")}
    settings = {"images": 64, "batch": 16, "depth": False, "taps": ["*"]}
    roomy = measure_similarity(networks, world, **settings)
    tight = measure_similarity(networks, world, memory=0.1, **settings)
    np.testing.assert_allclose(roomy.cka, tight.cka, atol=1e-9)
    assert tight.planned_mb < roomy.planned_mb
    swapped = measure_similarity(dict(reversed(networks.items())), world, **settings)
    np.testing.assert_allclose(swapped.value, roomy.value, atol=1e-9)


def test_it_is_the_cka_of_the_activations_themselves(world):
    """All in one batch, against activations read by hand."""
    networks = {"mlp": model("mlp/tiny"), "cnn": model("cnn/tiny")}
    result = measure_similarity(networks, world, images=96, batch=96, twins=False, depth=False)
    split = world.split("test")
    images = torch.from_numpy(np.stack([split[i][0] for i in range(96)])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        read = [network.eval().activations(images, ["embed/out"])["embed/out"].flatten(1) for network in networks.values()]
    alignment = Alignment(2, 1)
    alignment.add(0, [gram(part) for part in read])
    (a, b), (_, d) = alignment.sums[0]
    assert result.cka[0, result.rows_of(1).start] == pytest.approx(b / np.sqrt(a * d), abs=1e-5)


class Dying(nn.Module):
    """A network one of whose layers says the same of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.dead, self.last = nn.Linear(768, 12), nn.Linear(12, 5), nn.Linear(12, 10)
        nn.init.zeros_(self.dead.weight)

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        self.dead(hidden)
        return self.last(hidden)


def test_dead_layers_are_named_and_masked_and_a_network_of_one_s_own_has_no_twin(world):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dying = ps.wrap(Dying(), image_size=16, classes=10)
    result = measure_similarity({"mine": dying, "mlp": model("mlp/tiny")}, world, images=64, batch=16, taps=["*"])
    assert result.dead == ("mine dead",)
    row = result.taps[0].index("dead")
    assert np.isnan(result.cka[row]).all()
    assert np.isnan(result.match[row]).all()
    assert np.isfinite(np.delete(np.delete(result.cka, row, 0), row, 1)).all()
    assert result.pairs[0].untrained is None
    assert "Dead layers, which do not vary over the images, are left out: mine dead." in result.caveats
    assert "No untrained twins: mine came without a config to build one from." in result.caveats
    assert [figure.svg()[:4] for figure in result.charts()] == ["<svg"] * len(result.charts())


def test_rows_by_depth_are_named_by_their_layer(result):
    planted = result.model_copy(update={"logistic": np.arange(len(result.logistic))})
    told = {row.setting: round(row.value * result.n) for row in planted.metrics() if row.metric == "linear readout"}
    assert next(iter(told.items())) == ("raw pixels", 0)
    assert told["a-s0 embed/out"] == 1
    assert told["a-s1 embed/out"] == 1 + len(result.taps[0])


def test_tokens_are_averaged_where_that_is_asked():
    value = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    assert torch.equal(pooled(value, "NCHW", 2), value.mean((2, 3)))
    assert torch.equal(pooled(value, "NHWC", 2), value.mean((1, 2)))
    assert torch.equal(pooled(value[:, :, 0], "NLC", 2), value[:, :, 0].mean(1))
    assert torch.equal(pooled(value[:, :, 0], "NCL", 2), value[:, :, 0].mean(2))
    assert torch.equal(pooled(value.flatten(1), "NC", 2), value.flatten(1))
    pieces = torch.arange(12.0).view(6, 2)
    assert torch.equal(pooled(pieces, "NC", 2), torch.stack([pieces[:3].mean(0), pieces[3:].mean(0)]))


@pytest.mark.parametrize("family", ["mlp", "cnn", "vit", "swin", "tnt", "perceiver", "perceiver_io", "mixer"])
def test_every_family_s_taps_are_read(family):
    world = open_source({"name": "shapetex", "train": 20, "val": 20, "test": 16})
    networks = {
        name: ps.models.create(f"{family}/tiny", image_size=32, num_classes=10, seed=seed) for seed, name in enumerate("ab")
    }
    result = measure_similarity(networks, world, images=16, batch=8, taps=["*"], pooling="mean", twins=False, depth=False)
    flat = measure_similarity(networks, world, images=16, batch=8, taps=["*"], twins=False, depth=False)
    assert result.cka.shape == flat.cka.shape == (2 * len(networks["a"].taps()),) * 2
    for one in (result, flat):  # some begin with a head of zeros, TNT with patch tokens of zeros: dead, and nothing else is
        assert set(one.dead) <= {f"{name} {tap}" for name in "ab" for tap in ("logits", "embed/out")}
        assert np.isnan(np.diagonal(one.cka)).sum() == len(one.dead)


def test_other_kernels_and_z_s_protocol(world):
    networks = {"a": model("mlp/tiny"), "b": model("mlp/tiny", 1)}
    rbf = measure_similarity(networks, world, images=64, batch=16, kernel="rbf", depth=False)
    assert rbf.protocol().startswith("RBF CKA")
    assert 0 < rbf.value < 1
    z = measure_similarity(networks, world, preset="z", depth=False)
    assert (z.kernel, z.batch, z.n, z.untrained.size) == ("cosine", 32, 96, 0)
    assert any("scaled to length one without a word" in caveat for caveat in z.caveats)
    assert any("The layers are not Z's" in caveat and "embed/out, */out, head/in, logits" in caveat for caveat in z.caveats)


@pytest.mark.parametrize("settings", [{"kernel": "rbf"}, {"batch": 16}, {"pooling": "mean"}])
def test_a_preset_ignores_no_setting(settings):
    with pytest.raises(RequestError, match="which it sets itself"):
        SimilarityConfig.parse({"preset": "z", **settings})
    assert SimilarityConfig.parse(SimilarityConfig(preset="z").plain()).with_preset().batch == 32
    for some, images in (({}, None), ({"images": 64}, 64), ({"images": 2048}, 2048)):
        asked = SimilarityConfig.parse(SimilarityConfig(preset="z", **some).plain())
        assert asked.with_preset().images == images


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [(96, 32, [32, 32, 32]), (47, 16, [16, 16, 15]), (95, 48, [48, 47]), (9, 8, [5, 4]), (9, 4, [5, 4]), (8, 8, [8])],
)
def test_batches_are_no_larger_than_asked_where_four_images_are_left_for_each(world, count, batch, sizes):
    _, batches = _batches(world.split("test"), SimilarityConfig(images=count, batch=batch))
    assert [len(rows) for rows in batches] == sizes


def test_convergence_ends_at_the_value(result):
    assert result.convergence[-1, 0] == 96
    assert result.convergence[-1, 1] == pytest.approx(result.value)
    assert result.convergence[:, 0].tolist() == [16, 32, 64, 96]


def test_it_is_stored_and_drawn(result, tmp_path):
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, Similarity)
    assert back.table() == result.table()
    names = [figure.name for figure in back.charts()]
    least, *_, most = sorted(back.pairs, key=lambda pair: pair.value)
    title = back.charts()[0].title
    assert title.startswith(f"A layer's best match has a CKA from {least.value:.2f} ({least.first} ~ {least.second}")
    assert f" to {most.value:.2f} ({most.first} ~ {most.second}" in title
    assert names == ["similarity", "cka", "similarity-match", "cka-0-1", "cka-0-2", "cka-1-2", "cka-0-0", "cka-1-1", "cka-2-2",
                     "held-by-depth", "dimension-by-depth", "similarity-convergence"]  # fmt: skip
    for figure in back.charts():
        assert figure.svg().startswith("<svg")


NAN = np.nan


def planted(names: tuple[str, ...], cka: list[list[float]], **about) -> Similarity:
    """A result about networks of two layers each, of one batch of images, from the CKA of their layers."""
    table, count = np.array(cka), len(names)
    best = [np.where(np.isnan(table[:, 2 * k : 2 * k + 2]), -np.inf, table[:, 2 * k : 2 * k + 2]).max(1) for k in range(count)]
    match = np.where(np.arange(2 * count)[:, None] // 2 == np.arange(count), -np.inf, np.stack(best, 1))
    fields = {
        "value": 0.5,
        "interval": None,
        "n": 900,
        "unit": "CKA",
        "names": names,
        "families": names,
        "taps": (("a/out", "logits"),) * count,
        "split": "test",
        "kernel": "linear",
        "pooling": "flatten",
        "batch": 20,
        "seed": 0,
        "planned_mb": 1.0,
        "pairs": tuple(Pair(first=a, second=b, value=0.5) for a, b in combinations(names, 2)),
        "classes": 10,
        "cka": table,
        "half": np.full_like(table, NAN),
        "untrained": np.zeros((0, 0)),
        "match": np.where(np.isneginf(match), NAN, match),
        "match_half": np.full_like(match, NAN),
        "convergence": np.array([[900.0, 0.5, NAN]]),
        "logistic": np.zeros(0, int),
        "neighbours": np.zeros(0, int),
        "dimension": np.zeros((0, 3)),
    }
    return Similarity(**(fields | about))


def titles(result: Similarity) -> dict[str, str]:
    figures = result.charts()
    assert all(">null<" not in figure.svg() for figure in figures)
    return {figure.name: figure.title for figure in figures}


DEAD = [NAN] * 4


def test_a_title_speaks_of_layers_that_are_not_dead():
    told = titles(planted(("a", "b"), [[1, NAN, 0.5, 0.4], DEAD, [0.5, NAN, 1, 0.3], [0.4, NAN, 0.3, 1]]))
    assert told["similarity"] == "Between a and b a layer's best match has a CKA of 0.50"
    assert told["cka"] == "Across families, a/out of a and a/out of b are most alike: 0.50"
    assert told["cka-0-1"] == "Of a and b, a/out and a/out are most alike: 0.50"
    assert told["cka-0-0"] == "Inside a: the first or the last layer is dead, and has no CKA"
    assert told["cka-1-1"] == "Inside b: first and last layer have a CKA of 0.30"
    assert told["similarity-match"] == "Least matched is logits of b in a: 0.40 at best"
    gone = titles(planted(("a", "b"), [DEAD, DEAD, [NAN, NAN, 1, 0.3], [NAN, NAN, 0.3, 1]]))
    assert gone["cka"] == "Across families, there are no two layers to compare that are not dead"
    assert gone["cka-0-1"] == "Of a and b, there are no two layers to compare that are not dead"
    assert "similarity-match" not in gone


def test_titles_rank_what_differs_alone():
    told = titles(planted(("a", "b"), [[1, 0.3, 1, 0.3], [0.3, 1, 0.3, 1]] * 2))
    assert told["cka"] == "Across families, a/out of a and a/out of b and 1 other pair are most alike: 1.00"
    assert told["similarity-match"] == "Every layer finds a match of 1.00"
    assert titles(planted(("a", "b"), [[1.0] * 4] * 4))["cka"] == "Across families, all layers have a CKA of 1.00"
    three = ("a", "b", "c")
    assert titles(planted(three, [[1.0] * 6] * 6))["similarity"].startswith("All pairs are equally alike: ")
    pairs = [
        Pair(first=a, second=b, value=value) for (a, b), value in zip(combinations(three, 2), (0.5, 0.5, 0.2), strict=True)
    ]
    assert titles(planted(three, [[1.0] * 6] * 6, pairs=pairs))["similarity"] == (
        "A layer's best match has a CKA from 0.20 (b ~ c) to 0.50 (a ~ b and a ~ c)"
    )
    twins = [pair.model_copy(update={"untrained": 0.1}) for pair in pairs[1:]]
    assert titles(planted(three, [[1.0] * 6] * 6, pairs=twins))["similarity"].endswith(
        " from 0.20 (b ~ c, untrained 0.10) to 0.50 (a ~ c, untrained 0.10)"
    )


def test_convergence_tells_the_step_that_there_was():
    cka = [[1.0, 0.5] * 2, [0.5, 1.0] * 2] * 2
    assert titles(planted(("a", "b"), cka))["similarity-convergence"] == "A single batch: no convergence to show"
    steps = np.array([[128.6, 0.4, NAN], [514.3, 0.5, 0.1], [900, 0.512, 0.1]])
    told = titles(planted(("a", "b"), cka, convergence=steps))["similarity-convergence"]
    assert told == "From 514 to 900 images the mean match moved by 0.012"


def test_what_is_held_by_depth_is_named_once_where_it_is_of_all():
    cka, counts = [[1.0, 0.5] * 2, [0.5, 1.0] * 2] * 2, [90, 450, 270, 450, 270]
    shape = [[30, 29, 31], [9, 8, 10], [7, 6, 8], [9, 8, 10], [7, 6, 8]]
    held = {"logistic": np.array(counts), "neighbours": np.array(counts), "dimension": np.array(shape, float)}
    told = titles(planted(("a", "b"), cka, **held))
    assert told["held-by-depth"] == "Most is read out of a at a/out and b at a/out: 50% right"
    assert told["dimension-by-depth"] == "At the last layer a and b vary in 7.0 directions, the pixels in 30"
    raw = titles(planted(("a", "b"), cka, **held | {"logistic": np.array([500, *counts[1:]])}))
    assert raw["held-by-depth"] == "Most is read out of the pixels: 56% right"


def test_a_pass_holds_no_more_than_it_may():
    sizes = tuple(Size(bytes_taken // 4, 1) for bytes_taken in (600, 600, 100, 2000))
    network = ChosenLayers("a", model("mlp/tiny"), ("w", "x", "y", "z"), sizes)
    assert network.passes(1024, 1.0) == [slice(0, 1), slice(1, 3), slice(3, 4)]
    assert network.passes(1024, 100.0) == [slice(0, 4)]


def test_the_plan_comes_before_the_pass_and_what_cannot_fit_is_refused(world, monkeypatch):
    networks = {"a": model("mlp/tiny"), "b": model("mlp/tiny", 1)}
    settings = {"images": 96, "batch": 48, "twins": False}
    held = measure_similarity(networks, world, **settings).planned_mb * 2**20
    width, layer_count = 4 * 128 + 10, 10
    kernels, sums = layer_count * 3 * 48**2 * 8, 2 * 2 * layer_count**2 * 8
    by_depth = 4 * 96 * (3 * 16**2 + 2 * width + 6 * 768) + 3 * depth.BYTES
    assert held == pytest.approx(48 * 4 * width + kernels + sums + by_depth)

    def no_pass(*_given):
        raise AssertionError("the pass began")

    monkeypatch.setattr(reading.NetworkReading, "gather", no_pass)
    with pytest.raises(
        RequestError, match=r"One layer's kernels alone take 0.053 MB in batches of 48, and memory = 0.01"
    ) as no:
        measure_similarity(networks, world, memory=0.01, **settings)
    assert no.value.do == "--set batch=20"
    monkeypatch.setattr(reading, "memory_bytes", lambda: 2**20)
    with pytest.raises(RequestError, match=r"MB would be held, .* of them kernels of 10 layers in batches of 48; this machine"):
        measure_similarity(networks, world, **settings)


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor) and one._base is None:
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return made


def test_neighbours_and_dimension_in_parts_are_those_of_all_at_once(monkeypatch):
    """Against all differences in float64; far from the origin, with near twins that float32 products cannot tell apart."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(60, 500, generator=rng)
    features[30:] = features[:30] + 1e-4 * torch.randn(30, 500, generator=rng)
    features += 3
    apart = (features.double()[:, None] - features.double()[None]).norm(dim=2)
    apart.fill_diagonal_(torch.inf)
    expected = apart.topk(5, largest=False)
    whole = depth.two_nn(features, expected.indices, 0)
    logs = (expected.values[:, 1] / expected.values[:, 0]).log()
    assert whole[0] == pytest.approx(59 / 60 / float(logs.mean()), rel=1e-3)
    monkeypatch.setattr(depth, "BYTES", 40_000)
    with Largest() as largest:
        near = depth.nearest(features, 5)
        parts = depth.two_nn(features, near, 0)
    assert torch.equal(near, expected.indices)
    assert parts == whole
    assert largest.bytes <= 40_000, "features are 120,000 bytes, and differences of three neighbours were 720,000"


def test_raw_pixels_are_averaged_to_sixteen_a_side():
    side32 = open_source({"name": "shapetex", "train": 20, "val": 20, "test": 64})
    nets = {n: ps.models.create("mlp/tiny", image_size=32, num_classes=10, seed=s) for s, n in enumerate("ab")}
    result = measure_similarity(nets, side32, images=64, batch=32, twins=False)
    split = side32.split("test")
    pixels = np.stack([split[i][0] for i in range(64)]).reshape(64, 16, 2, 16, 2, 3).mean((2, 4)).reshape(64, -1)
    apart = np.linalg.norm(pixels[:, None] - pixels[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    near = torch.from_numpy(apart.argsort(1)[:, :10].copy())
    assert result.neighbours[0] == depth.neighbours_right(near, split.labels[:64]).sum()


def test_a_single_batch_makes_no_interval(world):
    networks = {"a": model("mlp/tiny"), "b": model("cnn/tiny", seed=1)}
    one = measure_similarity(networks, world, images=50, batch=50, twins=False)
    assert one.interval is None
    assert (one.pairs[0].low, one.pairs[0].high) == (None, None)
    assert " to " not in one.headline()
    assert one.caveats[-1] == "A single batch makes no interval: more images or smaller batches would."
    assert {figure.svg()[:4] for figure in one.charts()} == {"<svg"}


def test_wrong_requests_are_refused(world):
    one = model("mlp/tiny")
    with pytest.raises(RequestError, match="1 network was given"):
        measure_similarity({"a": one}, world)
    with pytest.raises(RequestError, match="images were given for batches of 128"):
        measure_similarity({"a": one, "b": one}, world, images=50)
    with pytest.raises(RequestError, match="7 images were given"):
        measure_similarity({"a": one, "b": one}, world.split("test").subset(7), batch=4)
    with pytest.raises(RequestError, match=r"^images = 7 was refused in measure_similarity\."):
        measure_similarity({"a": one, "b": one}, world, images=7, batch=4)
    with pytest.raises(RequestError, match="a has no tap like nowhere"):
        measure_similarity({"a": one, "b": one}, world, images=64, batch=16, taps=["nowhere"])
    other = ps.models.create("mlp/tiny", image_size=32, num_classes=10)
    with pytest.raises(RequestError, match="b takes images of side 32"):
        measure_similarity({"a": one, "b": other}, world, images=64, batch=16)
    assert matching(["a/out", "b/in"], ["*/out"], "x") == ("a/out",)
    assert SimilarityConfig().images == 2048


def test_an_interrupted_comparison_resumes(world, tmp_path, monkeypatch):
    """Stopped after three of eight batches, whatever the kernel, it makes the other five only, and says the same."""
    networks = {"a": model("mlp/tiny"), "b": model("cnn/tiny", seed=1)}
    asked = {"images": 64, "batch": 8, "kernel": "rbf", "twins": False}
    whole = measure_similarity(networks, world, **asked)
    monkeypatch.setattr("priorscope.core.progress.SAVE_EVERY_SECONDS", 0.0)
    add, made = Alignment.add, []

    def stops(self, group, kernels):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(group)
        add(self, group, kernels)

    monkeypatch.setattr(Alignment, "add", stops)
    with pytest.raises(KeyboardInterrupt):
        measure_similarity(networks, world, **asked, folder=tmp_path)
    (state,) = tmp_path.iterdir()
    made[:] = [None] * 10
    monkeypatch.setattr(Alignment, "add", lambda self, group, kernels: (made.append(group), add(self, group, kernels)))
    again = measure_similarity(networks, world, **asked, folder=tmp_path)
    assert len(made) == 15
    assert again.pairs == whole.pairs
    assert np.array_equal(again.cka, whole.cka, equal_nan=True)
    assert np.array_equal(again.logistic, whole.logistic)
    assert list(tmp_path.iterdir()) == []
    state.write_bytes(b"PK torn")
    with pytest.raises(WorkError, match="is damaged"):
        measure_similarity(networks, world, **asked, folder=tmp_path)


def test_networks_are_compared_on_pictures_of_classes_that_they_have_not_learnt():
    pixels = ArrayPixels(np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8))
    other = Split("other", "test", pixels, np.arange(64) % 20, tuple(f"c{i}" for i in range(20)))
    networks = {name: ps.models.create("cnn/tiny", image_size=32, num_classes=10, seed=at) for at, name in enumerate("ab")}
    assert measure_similarity(networks, other, images=64, batch=16, twins=False).n == 64
