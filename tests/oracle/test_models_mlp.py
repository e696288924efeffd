"""MLPs against a float64 reading of their definition in numpy, and against the published parameter counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf

from priorscope import models
from priorscope.core.contracts import Statistics

Floats = NDArray[np.float64]
Weights = dict[str, Floats]

SIZES = [(64, 11230), (64, 1000), (64, 200), (64, 100), (64, 10), (32, 10), (32, 100)]
COUNTS = {
    "B_6-Wi_256": (9188574, 6559464, 6353864, 6328164, 6305034, 3945738, 3968868),
    "B_12-Wi_256": (12345054, 9715944, 9510344, 9484644, 9461514, 7102218, 7125348),
    "B_6-Wi_512": (24657374, 19409384, 18998984, 18947684, 18901514, 14182922, 14229092),
    "B_12-Wi_512": (37261790, 32013800, 31603400, 31552100, 31505930, 26787338, 26833508),
    "B_6-Wi_1024": (74469342, 63983592, 63163592, 63061092, 62968842, 53531658, 53623908),
    "B_12-Wi_1024": (124843998, 114358248, 113538248, 113435748, 113343498, 103906314, 103998564),
}


@pytest.mark.parametrize(("published", "counts"), COUNTS.items())
def test_published_parameter_counts(published: str, counts: tuple[int, ...]) -> None:
    with torch.device("meta"):
        found = [models.create(published, image_size=side, num_classes=classes).parameter_count() for side, classes in SIZES]
    assert tuple(found) == counts


def test_parameter_counts_of_the_standard_mlp() -> None:
    with torch.device("meta"):
        assert models.create("mlp/s6-w1024", image_size=64, num_classes=10).parameter_count() == 17_852_426
        assert models.create("mlp/s6-w2048", image_size=64, num_classes=11230).parameter_count() == 69_180_382


def test_keys_and_shapes_are_the_published_ones() -> None:
    width, expansion, blocks = 8, 3, 2
    model = models.create(f"mlp/b{blocks}-w{width}-e{expansion}", image_size=4, num_classes=5)
    expected = {"linear_in.weight": (8, 48), "linear_in.bias": (8,), "linear_out.weight": (5, 8), "linear_out.bias": (5,)}
    for i in range(blocks):
        expected |= {f"blocks.{i}.block.0.weight": (24, 8), f"blocks.{i}.block.0.bias": (24,)}
        expected |= {f"blocks.{i}.block.2.weight": (8, 24), f"blocks.{i}.block.2.bias": (8,)}
        expected |= {f"layernorms.{i}.weight": (8,), f"layernorms.{i}.bias": (8,)}
    assert {key: tuple(value.shape) for key, value in model.network.state_dict().items()} == expected
    assert len(expected) == 4 + 6 * blocks


def _norm(x: Floats, weights: Weights, name: str, kind: str) -> Floats:
    if kind == "none":
        return x
    if kind == "batch":
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    else:
        mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(x: Floats, weights: Weights, name: str) -> Floats:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _gelu(x: Floats) -> Floats:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


def _pixels(images: Floats, statistics: Statistics) -> Floats:
    """Every pixel at index c*H*W + y*W + x, written out."""
    n, channels, height, width = images.shape
    flat = np.empty((n, channels * height * width))
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                flat[:, c * height * width + y * width + x] = (images[:, c, y, x] - statistics.mean[c]) / statistics.std[c]
    return flat


def _bottleneck(x: Floats, w: Weights, blocks: int, kind: str, act: str) -> Floats:
    x = _linear(x, w, "linear_in")
    for i in range(blocks):
        wide = _linear(_norm(x, w, f"layernorms.{i}", kind), w, f"blocks.{i}.block.0")
        x = x + _linear(_gelu(wide) if act == "gelu" else _relu(wide), w, f"blocks.{i}.block.2")
    return _linear(x, w, "linear_out")


def _standard(x: Floats, w: Weights, blocks: int, kind: str, act: str) -> Floats:
    x = _linear(x, w, "linear_in")
    for i in range(blocks - 1):
        x = _norm(x, w, f"layernorms.{i}", kind)
        x = _linear(_gelu(x) if act == "gelu" else _relu(x), w, f"layers.{i}")
    return _linear(x, w, "linear_out")


@pytest.mark.parametrize("act", ["gelu", "relu"])
@pytest.mark.parametrize("kind", ["layer", "batch", "none"])
@pytest.mark.parametrize(("name", "reference"), [("mlp/b3-w16-e2", _bottleneck), ("mlp/s4-w16", _standard)])
def test_logits_are_those_of_the_definition(name: str, reference, kind: str, act: str) -> None:
    statistics = Statistics(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    model = models.create(name, image_size=6, num_classes=7, statistics=statistics, norm=kind, act=act).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.network.state_dict().items():
            if "layernorms" in key and value.is_floating_point():  # else every norm would be the plain one
                value.uniform_(0.5, 1.5, generator=generator)
    images = torch.rand(5, 3, 6, 6, generator=generator)
    weights = {key: value.double().numpy() for key, value in model.network.state_dict().items()}
    expected = reference(_pixels(images.double().numpy(), statistics), weights, int(name[5]), kind, act)
    with torch.no_grad():
        np.testing.assert_allclose(model(images).numpy(), expected, rtol=0, atol=2e-6)
        np.testing.assert_allclose(model.double()(images.double()).numpy(), expected, rtol=0, atol=1e-7)


def test_dropout_acts_in_training_only() -> None:
    images = torch.rand(4, 3, 8, 8)
    for name in ("mlp/b2-w32", "mlp/s3-w32"):
        model = models.create(name, image_size=8, num_classes=4, dropout=0.5)
        plain = models.create(name, image_size=8, num_classes=4)
        with torch.no_grad():
            assert not torch.equal(model(images), model(images))
            assert torch.equal(model.eval()(images), plain.eval()(images))
