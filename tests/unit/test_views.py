"""Test-time augmentation: which views there are, what is averaged, and that nothing but them is looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.core.errors import RequestError
from priorscope.core.metrics import softmax
from priorscope.data.loader import Loader
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.probes import evidence_of
from priorscope.probes.accuracy import measure_accuracy
from priorscope.views import Views, views_config

SIDE = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (23, SIDE, SIDE, 3)).astype(np.uint8)
SPLIT = Split("made", "test", ArrayPixels(PIXELS), np.arange(23, dtype=np.int64) % 3, ("a", "b", "c"))
X = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255


class Weighted(nn.Module):
    """Logits that depend on where each pixel lies, and not linearly."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(3 * SIDE * SIDE, 3, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weights", weights)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return (x.flatten(1) @ self.weights) ** 2 / 20


@pytest.fixture
def network() -> Weighted:
    return Weighted()


@pytest.fixture
def evidence(network: Weighted) -> Evidence:
    return Evidence(models.wrap(network, image_size=SIDE, classes=("a", "b", "c")))


def six(x: Tensor, shift: int = 1) -> list[tuple[float, Tensor]]:
    """airbench's views, from its description: half of the weight unshifted, reflected borders."""
    padded = torch.nn.functional.pad(x, (shift,) * 4, mode="reflect")
    moved = [padded[:, :, :SIDE, :SIDE], padded[:, :, 2 * shift :, 2 * shift :]]
    return [(0.25, x), (0.25, x.flip(3))] + [(0.125, turned) for m in moved for turned in (m, m.flip(3))]


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
@pytest.mark.parametrize("name", ["flip", "six"])
def test_the_mean_is_over_the_views_that_it_says(network: Weighted, evidence: Evidence, name: str, mean: str) -> None:
    views = six(X) if name == "six" else [(0.5, X), (0.5, X.flip(3))]
    answers = [(weight, network(x).double().numpy()) for weight, x in views]
    got = evidence.logits(SPLIT, Views(name=name, mean=mean))
    assert sum(weight for weight, _ in answers) == 1
    if mean == "logits":
        np.testing.assert_allclose(got, sum(weight * z for weight, z in answers), rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_allclose(softmax(got), sum(weight * softmax(z) for weight, z in answers), atol=1e-6)


def test_crops_are_the_loaders_own(network: Weighted, evidence: Evidence) -> None:
    got = evidence.logits(SPLIT, views_config({"name": "crops", "n": 3, "scale": [0.5, 1], "seed": 4}))
    augment = {"ops": [{"op": "resized-crop", "scale": (0.5, 1), "ratio": (1, 1)}, "flip"]}
    loader = Loader(SPLIT, batch_size=7, augment=augment, seed=4)  # pictures do not depend on the batch size
    views = [torch.cat([network(batch.images) for batch in loader.epoch(view)]).numpy() for view in range(3)]
    np.testing.assert_allclose(softmax(got), np.mean([softmax(z) for z in views], axis=0), atol=1e-6)


def test_views_are_computed_once_and_apart_from_the_plain_answers(network: Weighted, evidence: Evidence) -> None:
    network.seen = 0
    plain, flipped = evidence.logits(SPLIT), evidence.logits(SPLIT, Views(name="flip"))
    evidence.logits(SPLIT, Views(name="flip"))
    assert network.seen == 3 * 23
    assert not np.allclose(plain, flipped)
    assert not np.array_equal(evidence.logits(SPLIT, Views(name="flip", mean="logits")), flipped)


def test_what_was_computed_outlives_the_process(network: Weighted, evidence: Evidence, tmp_path) -> None:
    kept = Evidence(evidence.model, "weights", tmp_path)
    first = kept.logits(SPLIT, Views(name="six"))
    network.seen = 0
    np.testing.assert_array_equal(Evidence(evidence.model, "weights", tmp_path).logits(SPLIT, Views(name="six")), first)
    assert network.seen == 0


@pytest.mark.parametrize("views", [None, Views(name="six")])
def test_what_was_kept_is_of_the_same_weights_alone(evidence: Evidence, tmp_path, views: Views | None) -> None:
    first = Evidence(evidence.model, "some weights", tmp_path).logits(SPLIT, views)
    evidence.model.network.weights *= 2
    second = Evidence(evidence.model, "other weights", tmp_path).logits(SPLIT, views)
    assert not np.allclose(first, second)


def test_answers_in_memory_are_of_the_weights_as_they_are_now(evidence: Evidence) -> None:
    first, views = evidence.logits(SPLIT), Views(name="flip")
    assert evidence.logits(SPLIT) is first
    evidence.logits(SPLIT, views)
    with torch.no_grad():
        evidence.model.network.weights *= 2  # logits are squares
    np.testing.assert_allclose(evidence.logits(SPLIT), 4 * first, rtol=1e-5)
    np.testing.assert_array_equal(evidence.logits(SPLIT, views), Evidence(evidence.model).logits(SPLIT, views))
    evidence.model.network.weights = torch.zeros_like(evidence.model.network.weights)
    assert not evidence.logits(SPLIT).any()


class Scaled(nn.Module):
    """A network that has a module called `logits`, and answers ten times what that gives."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Sequential(nn.Flatten(), Weighted())

    def forward(self, x: Tensor) -> Tensor:
        return 10 * self.logits(x)


@pytest.mark.parametrize("first", ["tap", "answer"])
def test_a_module_called_logits_is_a_tap_like_others(first: str) -> None:
    evidence = Evidence(models.wrap(Scaled(), image_size=SIDE, classes=("a", "b", "c")))
    if first == "answer":
        evidence.logits(SPLIT)
    read, plain = evidence.features(SPLIT, "logits"), Weighted()(X).numpy()
    np.testing.assert_allclose(read, plain, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(evidence.logits(SPLIT), 10 * plain, rtol=1e-4, atol=1e-3)


def test_certain_answers_stay_finite(evidence: Evidence) -> None:
    """A view whose probability underflows to 0 has a logarithm all the same."""
    evidence.model.network.weights *= 1e3
    assert np.isfinite(evidence.logits(SPLIT, Views(name="flip"))).all()


def test_accuracy_says_its_views(evidence: Evidence) -> None:
    result = measure_accuracy(evidence, SPLIT, k=2, views="six")
    assert result.views == Views(name="six")
    assert "6 views (mirrored, shifted by 1; half of the weight unshifted), mean of probabilities" in result.protocol()
    assert "6 views" in result.chart().protocol
    plain = measure_accuracy(evidence, SPLIT, k=2)
    assert plain.views is None
    assert "views" not in plain.protocol()


@pytest.mark.parametrize(
    ("views", "text"),
    [
        ({"name": "flip", "n": 3}, "views 'flip' came with n.\n  wanted: its own settings: mean\n  try:    remove n"),
        ("sixx", "name = 'sixx' was refused in views.\n  wanted: 'flip', 'six' or 'crops'"),
        ({"name": "six", "shfit": 1}, "'shfit' is not a setting in views."),
    ],
)
def test_what_views_cannot_honour_is_refused(views: object, text: str) -> None:
    with pytest.raises(RequestError) as error:
        views_config(views)  # type: ignore[arg-type]
    assert str(error.value).startswith(text)


@pytest.mark.parametrize(
    ("subject", "do"), [("runs/a", "ps.load('runs/a')"), (nn.Linear(2, 2), "ps.wrap(network, image_size=..., classes=...)")]
)
def test_what_is_no_network_is_told_how_to_become_one(subject: object, do: str) -> None:
    with pytest.raises(RequestError) as refused:
        evidence_of(subject)  # pyright: ignore[reportArgumentType]
    assert refused.value.came == f"A {type(subject).__name__} came in place of a network."
    assert refused.value.do == do


def test_a_shift_as_large_as_the_picture_is_refused() -> None:
    model = models.create("mlp/tiny", image_size=4, num_classes=3)
    split = Split("made", "test", ArrayPixels(np.zeros((2, 4, 4, 3), np.uint8)), np.zeros(2, np.int64), ("a", "b", "c"))
    with pytest.raises(RequestError, match=r"views\.shift = 4 came with pictures of 4 pixels"):
        Evidence(model).logits(split, Views(name="six", shift=4))
