"""The classifier: one pixel space, the resize and normalisation inside it, taps, and networks of one's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError

STATISTICS = Statistics(mean=(0.5, 0.25, 0.125), std=(0.5, 0.25, 2.0))


def network(classes: int = 5, side: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 8), nn.ReLU(inplace=True), nn.Linear(8, classes))


def test_pixels_are_normalised_channel_by_channel() -> None:
    model = models.create("mlp/tiny", image_size=2, num_classes=2, statistics=STATISTICS)
    x = torch.rand(2, 3, 2, 2)
    for channel, (mean, std) in enumerate(zip(STATISTICS.mean, STATISTICS.std, strict=True)):
        torch.testing.assert_close(model.prepare(x)[:, channel], (x[:, channel] - mean) / std)


@pytest.mark.parametrize("resize", ["bilinear", "area"])
@pytest.mark.parametrize("inside", [2, 4, 8])
def test_a_flat_image_stays_flat_through_the_resize(resize: str, inside: int) -> None:
    model = models.create("mlp/tiny", image_size=4, num_classes=2, input_size=inside, resize=resize)
    flat = torch.full((1, 3, 4, 4), 0.3)
    assert model.prepare(flat).shape == (1, 3, inside, inside)
    torch.testing.assert_close(model.prepare(flat), torch.full((1, 3, inside, inside), 0.3))


def test_resizes_are_those_named() -> None:
    x = torch.rand(1, 3, 4, 4)
    area = models.create("mlp/tiny", image_size=4, num_classes=2, input_size=2, resize="area")
    torch.testing.assert_close(area.prepare(x), x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)))
    doubled = models.create("mlp/tiny", image_size=4, num_classes=2, input_size=8, resize="area")
    assert torch.equal(doubled.prepare(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    smooth = models.create("mlp/tiny", image_size=4, num_classes=2, input_size=8)
    torch.testing.assert_close(smooth.prepare(x), F.interpolate(x, scale_factor=2, mode="bilinear"))


def test_sizes_that_differ_without_a_resize_are_refused() -> None:
    with pytest.raises(RequestError) as refused:
        models.create("mlp/tiny", image_size=4, num_classes=2, input_size=8, resize="none")
    assert refused.value.came == "The images have side 4 and the backbone wants 8, but resize is 'none'."


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 4, 4), (1, 3, 5, 4), (1, 4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    model = models.create("mlp/tiny", image_size=4, num_classes=2)
    with pytest.raises(RequestError) as refused:
        model(torch.zeros(shape))
    assert str(refused.value) == (
        f"The images came with shape {shape}.\n"
        "  wanted: (N, 3, 4, 4)\n"
        "  try:    resize them, or create the model for their size"
    )


def test_unknown_taps_meet_the_nearest() -> None:
    model = models.create("mlp/tiny", image_size=4, num_classes=2)
    with pytest.raises(RequestError) as refused:
        model.activations(torch.zeros(1, 3, 4, 4), ["blocks/1/outt"])
    assert refused.value.came == "'blocks/1/outt' is not a tap of mlp/tiny."
    assert refused.value.do.startswith("'blocks/1/out' (did you mean that?)")


def test_reading_costs_no_gradient_where_none_is_wanted() -> None:
    model = models.create("mlp/tiny", image_size=4, num_classes=2)
    x = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        assert not model.activations(x, ["blocks/0/out"])["blocks/0/out"].requires_grad
    assert model.activations(x, ["blocks/0/out"])["blocks/0/out"].requires_grad


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
    with model._reading({"weights": models.classifier.Tap("attention", "any", item=1)}) as read:
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


def test_a_fresh_head_is_a_function_of_its_seed() -> None:
    def head(seed: int) -> Tensor:
        model = models.create("mlp/tiny", image_size=4, num_classes=2)
        model.replace_head(3, seed)
        return model.head.weight  # pyright: ignore[reportReturnType]

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))
