"""What a model costs: against closed forms and the published table of multiply-adds."""

from __future__ import annotations

import copy

import pytest
import torch

from priorscope import models
from priorscope.cli import app
from priorscope.models.arithmetic import macs_as_run
from priorscope.models.classifier import Classifier
from priorscope.models.counting import info, macs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("mlp/b6-w256", 9_166_336),
        ("mlp/b12-w256", 12_312_064),
        ("mlp/b6-w512", 24_624_128),
        ("mlp/b12-w512", 37_207_040),
        ("mlp/b6-w1024", 74_414_080),
        ("mlp/b12-w1024", 124_745_728),
    ],
)
def test_multiply_adds_of_the_published_mlps(name: str, macs: int) -> None:
    counted = info(models.create(name, image_size=64, num_classes=11230))
    assert counted.macs == macs
    assert counted.flops == 2 * macs


def test_multiply_adds_of_attention() -> None:
    """Per block: qkv, output and MLP maps on L tokens, and two products of L x L for the attention itself."""
    depth, width, tokens = 4, 64, 65
    counted = info(models.create("vit/tiny", image_size=32, num_classes=10))
    block = tokens * width * width * (3 + 1 + 4 + 4) + 2 * tokens * tokens * width
    assert counted.macs == (tokens - 1) * 48 * width + depth * block + width * 10


def test_multiply_adds_of_a_head_with_a_hidden_layer() -> None:
    """As above, with MLPs as wide as the stream, and a hidden layer before the classes."""
    width, tokens = 512, 65
    counted = info(models.create("vit/v-baseline", image_size=32, num_classes=10))
    block = tokens * width * width * (3 + 1 + 1 + 1) + 2 * tokens * tokens * width
    assert counted.macs == (tokens - 1) * 48 * width + 6 * block + width * width + width * 10


@pytest.mark.parametrize("side", [8, 16])
def test_what_weights_do_with_weights_is_no_images_cost(side: int) -> None:
    """A Perceiver's image: of each layer, attention of the latents to the standardised tokens themselves, that of the latents
    to one another (queries, keys, values, output, two products), and two gated MLPs; then the head."""
    model = models.create("perceiver/tiny", image_size=side, num_classes=10)
    latents, width, tokens, channels = 16, 32, (side // 2) ** 2, 40  # 3 * 4 + 2 * 13 = 38, one of ones, one of zeros
    inner, mlp = 4 * 8, 12 * width * width
    cross = latents * width * channels + 2 * latents * tokens * channels + latents * channels * width
    own = latents * 4 * width * inner + 2 * latents * latents * inner
    once = latents * width * channels  # the first layer's questions are the same for every image
    macs = 2 * (cross + own + 2 * latents * mlp) + width * 10 - once
    assert info(model).macs == macs_as_run(model) == macs


def test_multiply_adds_of_convolutions() -> None:
    counted = info(models.create("cnn/resnet20", image_size=32, num_classes=10))
    stages = [(32, 16), (16, 32), (8, 64)]
    macs = 32 * 32 * 9 * 3 * 16 + 64 * 10
    inputs = 16
    for side, width in stages:
        macs += side * side * 9 * (inputs * width + 5 * width * width)
        inputs = width
    assert counted.macs == macs


def test_activation_memory_of_an_mlp() -> None:
    """Kept for the backward pass: the pixels; of each block the norm's input and output, its mean and deviation, the wide layer
    before and after GELU; the head's input. Four bytes each."""
    counted = info(models.create("mlp/tiny", image_size=32, num_classes=10))
    width, wide = 128, 256
    assert counted.activation_bytes == 4 * (3072 + 2 * (width + width + 2 + wide + wide) + width)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("mlp/tiny", {"embed/out": 1}),
        ("vit/tiny", {"embed/out": 65}),
        ("mixer/tiny", {"embed/out": 64}),
        ("swin/tiny", {"embed/out": 64, "stages/1/blocks/0/out": 16}),
        ("cnn/resnet20", {"embed/out": 1024, "stages/1/blocks/0/out": 256, "stages/2/blocks/0/out": 64}),
    ],
)
def test_tokens(name: str, tokens: dict[str, int]) -> None:
    assert info(models.create(name, image_size=32, num_classes=10)).tokens == tokens


def test_the_command_tells_every_count(capsys: pytest.CaptureFixture[str]) -> None:
    app(["models", "info", "cnn/tiny"], standalone_mode=False)
    said = capsys.readouterr().out
    counted = info(models.create("cnn/tiny", image_size=32, num_classes=10))
    for name in ("parameters", "macs", "flops", "activation_bytes"):
        assert f"{name} " in said
        assert f" {getattr(counted, name):,}\n" in said
    assert f"tokens: {', '.join(f'{count:,} at {tap}' for tap, count in counted.tokens.items())}\n" in said


@pytest.mark.parametrize("name", ["cnn/tiny", "vit/tiny"])
def test_multiply_adds_alone_are_those_of_the_info(name: str) -> None:
    model = models.create(name, image_size=32, num_classes=10).train()
    before = torch.random.get_rng_state()
    assert macs(model) == info(model).macs
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training


@pytest.mark.parametrize("name", ["mlp/tiny", "cnn/tiny", "swin/tiny", "tnt/tiny", "perceiver/tiny", "dial/attention"])
def test_multiply_adds_are_counted_without_a_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By shapes alone, as a run of the network has them; nothing is run."""
    model = models.create(name, image_size=32, num_classes=10)
    wanted = macs_as_run(model)
    monkeypatch.setattr(Classifier, "cpu", None)
    assert macs(model) == wanted


def test_a_network_that_looks_at_its_numbers_is_run() -> None:
    class Choosy(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1) if float(x.mean()) > 0 else -x.flatten(1))

    assert macs(models.wrap(Choosy(48, 5), image_size=4, classes=5)) == 240


def test_counting_changes_nothing() -> None:
    model = models.create("cnn/tiny", image_size=32, num_classes=10).train()
    state, random = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    info(model)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_a_network_of_ones_own_is_counted() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    counted = info(models.wrap(network, image_size=4, classes=5))
    assert (counted.parameters, counted.macs, counted.tokens) == (245, 240, {})


def test_a_frozen_network_holds_what_it_would_hold_if_it_learnt() -> None:
    def wrapped() -> Classifier:
        layers = (torch.nn.Flatten(), torch.nn.Linear(48, 9), torch.nn.ReLU(), torch.nn.Linear(9, 10))
        return models.wrap(torch.nn.Sequential(*layers), image_size=4, classes=10)

    free, frozen = wrapped(), wrapped().requires_grad_(False)
    assert info(frozen).activation_bytes == info(free).activation_bytes > 0
    assert not any(p.requires_grad for p in frozen.parameters())
