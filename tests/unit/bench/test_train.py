from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from priorscope import models
from priorscope.bench.loader import Spread
from priorscope.bench.products import Alone, Product, Recorder, Replay, flops
from priorscope.bench.train import ALL, TrainBench, TrainCase, run
from priorscope.bench.train_peers import reference
from priorscope.bench.train_turns import UNTIMED, Contender, Turn, WatchedLoader
from priorscope.data.loader import Batch, Loader
from priorscope.data.split import ArrayPixels, Split
from priorscope.models import FAMILIES, family_config

FP32 = torch.float32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recorded(loss: Any) -> dict[Product, int]:
    with Recorder() as recorder:
        loss().backward()
    return dict(recorder.products)


def test_a_linear_layer_is_three_products() -> None:
    """y = x W^T, dx = dy W, dW = dy^T x, in whichever order of memory torch takes the last."""
    layer, x = nn.Linear(3, 7), torch.rand(5, 3, requires_grad=True)
    found = recorded(lambda: layer(x).square().sum())
    assert found.pop(Product(1, 5, 3, 7, FP32, right_turned=True)) == 1
    assert found.pop(Product(1, 5, 7, 3, FP32)) == 1
    (weights,) = found
    assert (weights.rows, weights.inner, weights.columns) in ((7, 5, 3), (3, 5, 7))


def test_products_are_seen_in_the_type_they_are_computed_in() -> None:
    layer = nn.Linear(3, 7)

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(torch.rand(5, 3))
        return y.float().sum()

    assert {product.dtype for product in recorded(loss)} == {torch.bfloat16}


def test_a_step_of_an_mlp_costs_three_forward_passes_but_for_the_pixels_gradient() -> None:
    """The closed form: d m + 2 k m^2 a block + m C multiply-adds, each three times, the first layer's twice."""
    batch, pixels, width, blocks, expansion, classes = 4, 3 * 8**2, 16, 2, 3, 10
    model = models.create(f"mlp/b{blocks}-w{width}-e{expansion}", image_size=8, num_classes=classes)
    found = recorded(lambda: model(torch.rand(batch, 3, 8, 8)).square().sum())
    inside = blocks * 2 * expansion * width**2 + width * classes
    assert flops(found) == 2 * batch * (2 * pixels * width + 3 * inside)


@pytest.mark.parametrize(("groups", "wants_input"), [(1, True), (2, True), (1, False)])
def test_a_convolution_counts_as_the_product_on_its_patches(groups: int, wants_input: bool) -> None:
    layer, x = nn.Conv2d(4, 6, 3, stride=2, groups=groups), torch.rand(2, 4, 9, 9, requires_grad=wants_input)
    found = recorded(lambda: layer(x).square().sum())
    once = 2 * (2 * 4 * 4) * 6 * (4 // groups * 9)  # 2 images of 4 x 4 places, 6 maps, patches of 3 x 3 pixels
    assert flops(found) == once * (3 if wants_input else 2)


def test_fused_attention_counts_two_products_and_four_gradients() -> None:
    query, key, value = (torch.rand(2, 3, tokens, 8, requires_grad=True) for tokens in (5, 7, 7))
    found = recorded(lambda: F.scaled_dot_product_attention(query, key, value).square().sum())
    assert sum(found.values()) == 6
    assert flops(found) == 6 * 2 * (2 * 3) * 5 * 7 * 8


def test_products_alone_are_summed_as_often_as_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "_timed", lambda _self, product, _repeats: product.rows * (3.0 if product.left_turned else 1))
    products = {Product(1, 3, 4, 5, FP32): 2, Product(1, 7, 4, 5, FP32, left_turned=True): 10}
    alone = Replay(products, FP32, torch.device("cpu")).seconds()
    assert alone == (2 * 3 + 10 * 21, 2 * 3 + 10 * 7)


def test_operands_lie_in_memory_as_they_did() -> None:
    product = Product(2, 3, 4, 5, FP32, left_turned=True)
    operands = Replay({product: 1}, torch.bfloat16, torch.device("cpu"))._operands
    (left, right, out), plain = operands.values()
    assert (left.shape, left.stride()) == ((2, 3, 4), (12, 1, 3))
    assert (right.shape, right.stride()) == ((2, 4, 5), (20, 5, 1))
    assert (out.shape, out.dtype) == ((2, 3, 5), torch.bfloat16)
    assert plain[0].stride() == (12, 4, 1), "and row by row, which may be faster"


def test_waiting_is_counted_and_changes_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    split = Split("noise", "train", ArrayPixels(pixels), np.arange(8) % 2, ("a", "b"))
    watched = WatchedLoader(split, batch_size=4, shuffle=True, threads=1)
    clock = iter(float(tick) for tick in range(100))
    monkeypatch.setattr("priorscope.bench.train_turns.time.perf_counter", lambda: next(clock))
    batches: list[Batch] = list(watched.epoch(3))
    for one, other in zip(batches, Loader(split, batch_size=4, shuffle=True, threads=1).epoch(3), strict=True):
        assert torch.equal(one.images, other.images)
    assert watched.waited == 3, "one tick for each of two batches, and one for the end"


CASE = TrainCase(
    model="mlp/b12-w1024",
    image_size=64,
    batch=2048,
    precision="bf16",
    img_per_s=812.5,
    gemm_share=0.87,
    gemm_share_best=0.66,
    gemm_gflops=850,
    ratio_fp32_eager=3.25,
    data_wait_share=0.01,
    spread={"gemm_share": Spread(median=0.87, low=0.86, high=0.88)},
)


def test_the_json_holds_what_scripts_read() -> None:
    bench = TrainBench(cases=(CASE,), threads=2, device="cpu", load=0.5)
    plain = bench.plain()
    wanted = {"model", "image_size", "batch", "precision", "img_per_s", "gemm_share", "ratio_fp32_eager", "data_wait_share"}
    assert wanted <= plain["cases"][0].keys()
    assert "ratio_reference" not in plain["cases"][0], "what has no reference has no ratio"
    assert TrainBench.parse(plain) == bench


def test_the_table_says_what_was_reached() -> None:
    bench = TrainBench(cases=(CASE,), threads=2, device="cpu", load=0.5)
    line = bench.table().splitlines()[1].split()
    assert line == ["mlp/b12-w1024", "64", "2048", "bf16", "812.5", "850", "87.0%", "66.0%", "3.25", "-", "-", "1.0%", "-"]


def test_all_is_one_model_of_every_family_that_is_ours() -> None:
    families = [name.partition("/")[0] for name in ALL]
    assert sorted(families) == sorted(set(FAMILIES) - {"timm"})


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("vit/tiny", "timm"),
        ("swin/tiny", "timm"),
        ("mixer/tiny", "timm"),
        ("cnn/resnet18", "timm"),
        ("perceiver/v-cifar10", "perceiver_pytorch"),
        ("perceiver_io/s", "perceiver_pytorch"),
        ("perceiver_io/v-cifar10", "perceiver_pytorch"),
        pytest.param("tnt/s-patch16-224", "timm", marks=pytest.mark.slow),
    ],
)
def test_references_have_our_sizes(name: str, library: str) -> None:
    """Parameter by parameter: as many of each shape."""
    pytest.importorskip(library)
    config = family_config(name)
    side = config.input_size or 32
    ours = models.create(name, image_size=32, num_classes=10)
    theirs = reference(config, side, 10)
    assert theirs is not None
    shapes = [sorted(tuple(p.squeeze().shape) for p in net.parameters() if p.requires_grad) for net in (ours, theirs.network)]
    assert shapes[0] == shapes[1]
    assert theirs.network.eval()(torch.rand(1, 3, side, side)).shape == (1, 10)


@pytest.mark.parametrize("name", ["mlp/tiny", "cnn/tiny", "cnn/resnet20", "tnt/tiny", "dial/conv"])
def test_what_has_no_reference_says_so(name: str) -> None:
    assert reference(family_config(name), 32, 10) is None


def test_a_model_is_measured() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    said: list[str] = []
    bench = run("vit/tiny", image_size=16, batch_size=4, precision="bf16", threads=1, steps=1, rounds=2, say=said.append)
    assert said == ["vit/tiny, 16 pixels, batches of 4"]
    (case,) = bench.cases
    assert (case.model, case.image_size, case.batch, case.precision, case.reference) == ("vit/tiny", 16, 4, "bf16", "timm")
    assert 0 < case.gemm_share_best <= case.gemm_share
    assert 0 <= case.data_wait_share < 1
    assert {"ratio_fp32_eager", "ratio_reference", "ratio_reference_fp32"} <= case.spread.keys()
    assert all(figure.low <= figure.median <= figure.high for figure in case.spread.values())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state), "random numbers are as they were"


def test_each_ratio_is_taken_round_by_round_between_the_two_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted times: of ours beside references, which have no dropout, half of what ours takes."""

    class Takes:
        def __init__(self, *seconds: float) -> None:
            self.turns = [Turn(taken, taken / 4) for taken in seconds]

        def turn(self, _: int) -> Turn:
            return self.turns.pop(0)

        def recorded(self) -> dict[Product, int]:
            return {Product(1, 10, 20, 50, FP32): 1}

    ours = Takes(1, 2, 4)
    contenders = {
        "ours": ours,
        "ratio_fp32_eager": Takes(3, 4, 16),
        "ratio_reference": Takes(1, 1, 1),
        "ratio_reference_fp32": Takes(2, 2, 2),
        "beside": Takes(0.5, 1, 2),
    }
    monkeypatch.setattr("priorscope.bench.train._contenders", lambda *_: (contenders, ours, "theirs"))
    monkeypatch.setattr(Replay, "seconds", lambda _: Alone(lying=0.5, best=0.25))
    (case,) = run("mlp/tiny", image_size=8, batch_size=12, threads=1, rounds=3).cases
    assert (case.img_per_s, case.data_wait_share) == (6, 0.25)
    assert (case.gemm_share, case.gemm_share_best, case.gemm_gflops) == (0.25, 0.125, 2 * 10 * 20 * 50 / 0.5 / 1e9)
    assert case.ratio_fp32_eager == 3
    assert (case.reference, case.ratio_reference, case.ratio_reference_fp32) == ("theirs", 1, 2)
    assert case.spread["ratio_fp32_eager"] == Spread(median=3, low=2, high=4)


def test_a_turn_is_timed_without_the_steps_that_warm_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second a step."""
    now = [0.0]
    taken = iter(now.__setitem__(0, float(step)) for step in range(1, 100))
    contender = Contender.__new__(Contender)
    contender._precision, contender._device, contender._steps = "fp32", torch.device("cpu"), taken
    contender._loader = type("Waits", (), {"waited": property(lambda _: now[0] / 4)})()
    monkeypatch.setattr("priorscope.bench.train_turns.time.perf_counter", lambda: now[0])
    assert contender.turn(3) == Turn(1.0, 0.25)
    assert now[0] == UNTIMED + 3


def test_in_float32_there_is_no_ratio_to_float32() -> None:
    (case,) = run("mlp/tiny", image_size=8, batch_size=4, precision="fp32", threads=1, steps=1, rounds=1).cases
    assert case.precision == "fp32"
    assert case.ratio_fp32_eager is None
