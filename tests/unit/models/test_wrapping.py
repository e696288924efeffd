"""A network of one's own as a classifier: its taps, its head, and what it must return."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.models.classifier import Tap

STATISTICS = Statistics(mean=(0.5, 0.25, 0.125), std=(0.5, 0.25, 2.0))


def network(classes: int = 5, side: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 8), nn.ReLU(inplace=True), nn.Linear(8, classes))


def test_a_network_of_ones_own() -> None:
    own = network()
    model = models.wrap(own, image_size=4, classes=list("abcde"), mean=STATISTICS.mean, std=STATISTICS.std)
    x = torch.rand(3, 3, 4, 4)
    assert torch.equal(model(x), own(model.prepare(x)))
    assert model.num_classes == 5
    assert model.taps() == ["0", "1", "2", "3"]
    before = own[1](own[0](model.prepare(x)))
    assert torch.equal(model.activations(x, ["1"])["1"], before)  # as it was before the ReLU wrote over it
    assert torch.equal(model.features(x), before.relu())
    assert model.head is own[3]


class Registered(nn.Module):
    """Modules registered in another order than they run: the head first, a map of as many outputs and an unused one last."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.out = nn.Linear(4, 5)
        self.body = nn.Linear(48, 5)
        self.narrow = nn.Linear(5, 4)
        self.after = after
        self.unused = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.out(self.narrow(self.body(x.flatten(1)))))


@pytest.mark.parametrize("after", [nn.Identity(), nn.Dropout(0.5)])
def test_the_head_is_the_map_that_gives_the_logits_whatever_the_order_of_registration(after: nn.Module) -> None:
    own = Registered(after)
    model = models.wrap(own, image_size=4, classes=5).eval()
    assert model.taps() == ["body", "narrow", "out", "after"]
    x = torch.rand(3, 3, 4, 4)
    assert model.head is own.out
    assert torch.equal(model.features(x), own.narrow(own.body(x.flatten(1))))
    model.replace_head(2, seed=0)
    assert model(x).shape == (3, 2)


@pytest.mark.parametrize("after", [nn.Softmax(1), nn.ReLU(inplace=True), nn.Sequential(nn.Softplus(), nn.BatchNorm1d(5))])
def test_a_map_whose_output_is_changed_is_no_head(after: nn.Module) -> None:
    own = Registered(after)
    nn.init.ones_(own.out.bias)
    nn.init.zeros_(own.out.weight)  # positive logits, which a ReLU leaves as they are
    model = models.wrap(own, image_size=4, classes=5)
    assert model.head_path is None
    with pytest.raises(RequestError, match="Registered has no single linear head"):
        model.features(torch.rand(1, 3, 4, 4))
    assert all(not m._forward_hooks for m in model.modules())


def test_half_a_normalisation_is_refused() -> None:
    with pytest.raises(RequestError, match="wrap got only one of mean and std"):
        models.wrap(network(), image_size=4, classes=5, mean=(0.5, 0.5, 0.5))
    with pytest.raises(RequestError, match=r"The standard deviation came as \(0\.5, 0\.0, 0\.5\)"):
        models.wrap(network(), image_size=4, classes=5, mean=(0.5, 0.5, 0.5), std=(0.5, 0.0, 0.5))


def test_logits_must_be_one_a_class() -> None:
    with pytest.raises(RequestError) as refused:
        models.wrap(network(), image_size=4, classes=6)
    assert refused.value.came == "The network gives (2, 5) for 2 images."


class Attentive(nn.Module):
    """torch's own attention gives a pair, and hands no tensor where weights are not wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
        self.pair = Pair()
        self.late = nn.Linear(3, 3)
        self.unused = nn.Linear(3, 3)
        self.end = nn.Conv1d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed = self.attention(tokens, tokens, tokens)[0]
        if not self.training:
            mixed = self.late(mixed)
        return self.end(self.pair(mixed)["x"].transpose(1, 2)).mean(2)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"x": x}


def test_taps_where_no_single_tensor_passes() -> None:
    model = models.wrap(Attentive(), image_size=4, classes=2).eval()
    x = torch.rand(2, 3, 4, 4)
    assert model.activations(x, ["attention"])["attention"].shape == (2, 16, 3)
    with model._reading({"weights": Tap("attention", "any", item=1)}) as read:
        model(x)
    assert read["weights"].shape == (2, 16, 16)
    with pytest.raises(RequestError, match="'pair' gives a dict"):
        model.activations(x, ["pair"])
    with pytest.raises(RequestError, match="Nothing passed through 'late'"):
        model.train().activations(x, ["late"])
    assert model.taps() == ["attention", "late", "pair", "end"]  # not `unused`, nor what torch's attention does not call
    with pytest.raises(RequestError, match="Attentive has no single linear head"):
        model.features(x)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


class Answering(nn.Module):
    """A network that returns its logits in some wrapping."""

    def __init__(self, how: Any) -> None:
        super().__init__()
        self.inside = network()
        self.how = how

    def forward(self, x: Tensor) -> Any:
        return self.how(self.inside(x))


@pytest.mark.parametrize(
    ("how", "kind"), [(lambda logits: {"logits": logits}, "dict"), (lambda logits: (logits, logits), "tuple")]
)
def test_an_answer_that_is_not_a_tensor_is_refused(how: Any, kind: str) -> None:
    with pytest.raises(RequestError) as refused:
        models.wrap(Answering(how), image_size=4, classes=5)
    assert refused.value.came == f"Answering returns a {kind}."
    assert refused.value.do.startswith("return the logits alone")


def test_memory_that_ran_out_is_not_blamed_on_the_size() -> None:
    def run_out(_logits: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        models.wrap(Answering(run_out), image_size=4, classes=5)


def test_a_network_of_another_size_is_told_its_shape_and_the_resize() -> None:
    own = network(side=8)
    with pytest.raises(RequestError) as refused:
        models.wrap(own, image_size=4, classes=5)
    assert refused.value.came.startswith("Sequential fails on images of shape (2, 3, 4, 4): addmm: mat1 and mat2 shapes")
    assert "input_size=<that size>" in refused.value.do
    assert all(not m._forward_hooks for m in own.modules())
    assert models.wrap(own, image_size=4, classes=5, input_size=8)(torch.rand(1, 3, 4, 4)).shape == (1, 5)


def test_a_network_of_another_precision_is_told_to_be_float() -> None:
    with pytest.raises(RequestError) as refused:
        models.wrap(network().bfloat16(), image_size=4, classes=5)
    assert refused.value.do == "network.float()"


def test_the_number_of_classes_that_it_has_is_said() -> None:
    with pytest.raises(RequestError) as refused:
        models.wrap(network(classes=7), image_size=4, classes=10)
    assert refused.value.do == "data with 7 classes (--data), or classes=7 in ps.wrap"
    with pytest.raises(RequestError) as refused:
        models.wrap(Answering(Tensor.sum), image_size=4, classes=5)
    assert refused.value.do == "return one row of logits for each image"


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.2), ((0.5, 0.5), (0.2, 0.2))])
def test_a_normalisation_is_three_numbers(mean: Any, std: Any) -> None:
    with pytest.raises(RequestError) as refused:
        models.wrap(network(), image_size=4, classes=5, mean=mean, std=std)
    assert str(refused.value) == (
        f"wrap got mean = {mean} and std = {std}.\n"
        "  wanted: three numbers each: one for each channel\n"
        "  try:    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), for example"
    )


def test_pixels_go_where_the_network_is() -> None:
    model = models.wrap(network().to("meta"), image_size=4, classes=5)
    assert model.device.type == "meta"
    assert model(torch.rand(2, 3, 4, 4, device=model.device)).shape == (2, 5)


class TokensFirst(nn.Module):
    """torch's encoder as it is by default: (tokens, images, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).permute(2, 0, 1).repeat(1, 1, 3)[..., :8]
        return self.head(self.encoder(tokens).mean(0))


def test_where_nobody_can_tell_whose_an_activation_is_there_is_no_tap() -> None:
    model = models.wrap(TokensFirst(), image_size=4, classes=10)
    assert "head" in model.taps()
    assert not [tap for tap in model.taps() if tap.startswith("encoder")]


def test_a_head_that_is_known_by_two_names_is_replaced_under_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(48, 10)
            self.net = nn.Sequential(nn.Flatten(), self.fc)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = models.wrap(Twice(), image_size=4, classes=10)
    model.replace_head(3, seed=0)
    assert model(torch.rand(2, 3, 4, 4)).shape == (2, 3)


def test_weights_that_are_loaded_bring_their_normalisation() -> None:
    trained = models.create("cnn/tiny", image_size=32, num_classes=3, statistics=STATISTICS)
    fresh = models.create("cnn/tiny", image_size=32, num_classes=3)
    assert fresh.statistics is None
    fresh.load_state_dict(trained.state_dict())
    assert fresh.statistics == trained.statistics == STATISTICS
    images = torch.rand(2, 3, 40, 40)
    assert torch.equal(models.at_size(fresh, 40)(images), models.at_size(trained, 40)(images))
