"""The gradient of a convolution's weights in bfloat16, as we multiply it, against float64."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope import models
from priorscope.models.networks import convolution
from priorscope.models.networks.convolution import Convolution, _Convolution

Shape = tuple[int, int, int, int]

CASES = [  # inputs, outputs, kernel, stride; height and width of the map
    ((32, 48, 3, 1), (3, 3)),
    ((48, 32, 3, 2), (5, 3)),
    ((48, 32, 3, 2), (6, 4)),
    ((64, 64, 1, 2), (3, 3)),
    ((64, 80, 1, 1), (1, 2)),
    ((16, 16, 5, 1), (2, 4)),
]


def learnt(layer: Convolution, x: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The output in bfloat16, and the gradients of input and weights."""
    x = x.detach().requires_grad_()
    layer.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.backward(upstream)
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert layer.weight.grad is not None
    return y, x.grad, layer.weight.grad


def in_float64(x: Tensor, weight: Tensor, upstream: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """torch's own output and gradients of input and weights."""
    x.requires_grad_()
    weight.requires_grad_()
    y = F.conv2d(x, weight, None, stride, (weight.shape[-1] - 1) // 2)
    return (y.detach(), *torch.autograd.grad(y, (x, weight), upstream))


@pytest.mark.parametrize(("shape", "side"), CASES)
@pytest.mark.parametrize("at_a_time", [1, 8 << 20])
def test_a_step_in_bfloat16_learns_what_float64_says(
    shape: Shape, side: tuple[int, int], at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, and off by 2^-8 of the sum of all products' sizes at most, however many pictures are copied out at a time."""
    monkeypatch.setattr(convolution, "PATCHES_BYTES", at_a_time)
    layer = Convolution(*shape, bias=False)
    x = torch.randn(7, shape[0], *side).bfloat16().float()
    weight = layer.weight.detach().bfloat16().double()
    upstream = torch.randn(layer(x).shape).bfloat16()
    found = learnt(layer, x, upstream)
    assert found[2].dtype == torch.float32
    exact = in_float64(x.double(), weight, upstream.double(), shape[3])
    sizes = in_float64(x.double().abs(), weight.abs(), upstream.double().abs(), shape[3])
    for ours, truth, size in zip(found, exact, sizes, strict=True):
        assert ((ours - truth).abs() <= 2**-8 * size).all()


@pytest.mark.parametrize(("shape", "side"), CASES)
def test_the_forward_pass_is_that_of_torchs_layer(shape: Shape, side: tuple[int, int]) -> None:
    """To the bit, with and without gradients, so that training and evaluation see one network; float32 is torch's."""
    layer, x = Convolution(*shape, bias=False), torch.randn(7, shape[0], *side)
    torchs = torch.nn.Conv2d(*shape, padding=(shape[2] - 1) // 2, bias=False)
    torchs.load_state_dict(layer.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        wanted = torchs(x)
        assert torch.equal(layer(x), wanted)
        with torch.no_grad():
            assert torch.equal(layer(x), wanted)
    for each in (layer, torchs):
        each(x).square().sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torchs.weight.grad)


def test_the_gradient_of_the_input_keeps_its_layout() -> None:
    """Else the layers before it go through it column by column: a step of air-m took a third longer."""
    layer, x = Convolution(64, 64, 3, 1, bias=False), torch.randn(4, 64, 3, 3).to(memory_format=torch.channels_last)
    _, of_x, _ = learnt(layer, x, torch.randn(4, 64, 3, 3).bfloat16().to(memory_format=torch.channels_last))
    assert of_x.is_contiguous(memory_format=torch.channels_last)


def steps_of(layer: Convolution, side: int) -> set[str]:
    """The names of the steps of autograd that a forward pass in bfloat16 leaves."""
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(2, layer.in_channels, side, side))
    assert y.grad_fn is not None
    return {y.grad_fn.name()}


def test_only_small_maps_of_many_channels_take_our_order() -> None:
    def ours(inputs: int, outputs: int, side: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> bool:
        return any("_Convolution" in name for name in steps_of(Convolution(inputs, outputs, kernel, stride, bias=bias), side))

    assert ours(256, 256, 8)
    assert ours(512, 256, 8, kernel=3, stride=2)
    assert not ours(256, 128, 8)  # too thin a side
    assert not ours(256, 256, 9)  # too large a map
    assert not ours(256, 256, 4, bias=True)
    assert ours(512, 512, 4, kernel=1)
    assert not ours(256, 256, 4, kernel=1)


@pytest.mark.parametrize("name", ["cnn/resnet18", "cnn/air-s"])
def test_the_nets_for_small_images_use_it(name: str) -> None:
    network = models.create(name, image_size=32, num_classes=10).network
    images = torch.randn(2, 3, 32, 32)
    with patch.object(_Convolution, "apply", side_effect=AssertionError), torch.autocast("cpu", torch.bfloat16):
        network.eval()
        with torch.no_grad():
            network(images)
        with pytest.raises(AssertionError):
            network.train()(images)
