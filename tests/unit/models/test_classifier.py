"""The classifier: one pixel space, the resize and normalisation inside it, and taps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError

STATISTICS = Statistics(mean=(0.5, 0.25, 0.125), std=(0.5, 0.25, 2.0))


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


def test_a_fresh_head_is_a_function_of_its_seed() -> None:
    def head(seed: int) -> Tensor:
        model = models.create("mlp/tiny", image_size=4, num_classes=2)
        model.replace_head(3, seed)
        return model.head.weight  # pyright: ignore[reportReturnType]

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_statistics_that_are_none_are_refused() -> None:
    with pytest.raises(RequestError) as refused:
        models.create("mlp/tiny", image_size=4, num_classes=2, statistics=((0.5,) * 3, (0.2,) * 3))  # pyright: ignore[reportArgumentType]
    assert refused.value.came == "The statistics came as a tuple."
