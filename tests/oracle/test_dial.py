"""The dial's ends are exact: each map is the next one in other clothes, and sizes are what they are solved to be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from priorscope import models
from priorscope.core.errors import RequestError
from priorscope.models import dial
from priorscope.models.classifier import Classifier
from priorscope.models.networks.dial import Dial, Local, network

CONV = dial.DialConfig(name="dial/conv", mixing="conv", depth=2)
LOCAL = CONV.replace(mixing="local", name="dial/local")
DENSE = CONV.replace(mixing="dense", name="dial/dense")
SIDE, CLASSES, WIDTH, HIDDEN = 16, 10, 5, 7
PLACES = (SIDE // CONV.patch) ** 2


def create(name: str, side: int = 32, **settings: object) -> Classifier:
    return models.create(f"dial/{name}", image_size=side, num_classes=CLASSES, **settings).eval()


def images(n: int, side: int = SIDE) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def built(config: dial.DialConfig, width: int = WIDTH, hidden: int = HIDDEN) -> Dial:
    torch.manual_seed(0)
    return network(config, dial.size(config, SIDE, CLASSES, width, hidden), SIDE, CLASSES).double()


def tie(local: Local, conv: nn.Conv2d) -> None:
    """The same weights at every place."""
    local.weight.data.copy_(conv.weight.flatten(1).expand_as(local.weight))
    local.bias.data.copy_(conv.bias.expand_as(local.bias))


def as_matrix(module: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Any affine map as a matrix and a vector, read off from unit inputs."""
    count = torch.Size(shape).numel()
    with torch.no_grad():
        shift = module(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        columns = module(torch.eye(count, dtype=torch.float64).view(count, *shape)).flatten(1) - shift
    return columns.T, shift


def maps(net: Dial) -> list[nn.Module]:
    return [net.embed, *(part for block in net.blocks for part in (block.mlp.widen, block.mlp.narrow))]


def test_a_local_layer_with_tied_weights_is_the_convolution() -> None:
    for kernel, stride, padding in ((3, 1, 1), (5, 1, 2), (1, 1, 0), (4, 4, 0)):
        conv, local = nn.Conv2d(3, 6, kernel, stride, padding), Local(SIDE, 3, 6, kernel, stride)
        tie(local, conv)
        torch.testing.assert_close(local(images(2)), conv(images(2)), atol=1e-6, rtol=1e-5)


def test_the_tied_local_network_is_the_convolutional_one() -> None:
    conv, local = built(CONV), built(LOCAL)
    for one, other in zip(maps(local), maps(conv), strict=True):
        tie(one, other)
    local.head.load_state_dict(conv.head.state_dict())
    x = images(3).double()
    torch.testing.assert_close(local(x), conv(x), atol=1e-12, rtol=1e-12)


def test_a_dense_network_can_be_the_local_one() -> None:
    """Every local map as a dense matrix: locality and sharing are zeros and repetitions in it."""
    local, dense = built(LOCAL), built(DENSE, PLACES * WIDTH, PLACES * HIDDEN)
    across = SIDE // CONV.patch
    shapes = [(3, SIDE, SIDE), *(CONV.depth * [(WIDTH, across, across), (HIDDEN, across, across)])]
    flat = [dense.embed[1], *maps(dense)[1:]]
    for linear, module, shape in zip(flat, maps(local), shapes, strict=True):
        weight, bias = as_matrix(module, shape)
        linear.weight.data.copy_(weight)
        linear.bias.data.copy_(bias)
    dense.head.load_state_dict(local.head.state_dict())
    x = images(3).double()
    torch.testing.assert_close(dense(x), local(x), atol=1e-10, rtol=1e-10)
    beyond = (as_matrix(local.blocks[0].mlp.widen, shapes[1])[0] == 0).double().mean()
    assert beyond > 0.4  # a 3 x 3 neighbourhood of a 4 x 4 grid leaves (16 - 100/16)/16 of the places out


def test_a_dense_network_does_not_know_where_pixels_are() -> None:
    """Pixels permuted, and the first layer's columns with them: the same network."""
    plain = built(DENSE, 40, 30)
    order = torch.randperm(3 * SIDE**2, generator=torch.Generator().manual_seed(3))
    permuted = copy.deepcopy(plain)
    permuted.embed[1].weight.data = plain.embed[1].weight.data[:, order]
    x = images(3).double()
    shuffled = x.flatten(1)[:, order].view_as(x)
    torch.testing.assert_close(permuted(shuffled), plain(x), atol=1e-12, rtol=1e-12)
    conv = built(CONV)
    assert (conv(shuffled) - conv(x)).abs().max() > 1e-3


def shuffled_patches(x: Tensor, patch: int, order: Tensor) -> Tensor:
    across = x.shape[-1] // patch
    grid = x.view(-1, 3, across, patch, across, patch).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    return grid[:, order].view(-1, across, across, 3, patch, patch).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


@pytest.mark.parametrize("mixing", ["patch-mlp", "attention-unordered", "attention", "mixer"])
def test_only_mixer_and_positions_know_the_order_of_patches(mixing: str) -> None:
    net = built(CONV.replace(mixing=mixing), 16, 24)
    x = images(2).double()
    moved = shuffled_patches(x, CONV.patch, torch.randperm(PLACES, generator=torch.Generator().manual_seed(5)))
    difference = (net(moved) - net(x)).abs().max()
    assert (difference > 1e-6) == (mixing in ("attention", "mixer"))


def stream(net: Dial, x: Tensor) -> Tensor:
    x = net.embed(x)
    for block in net.blocks:
        x = block(x)
    return x


def test_a_patch_on_its_own_does_not_see_its_neighbours() -> None:
    net = built(CONV.replace(mixing="patch-mlp"), 16, 24)
    x = images(1).double()
    other = x.clone()
    other[:, :, CONV.patch :, :] = 0
    across = SIDE // CONV.patch
    torch.testing.assert_close(stream(net, x)[:, :across], stream(net, other)[:, :across], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("name", dial.PRESETS)
def test_sizes_are_what_they_are_counted_to_be(name: str, side: int) -> None:
    """The counts that widths are solved by, against torch's own of the built network."""
    try:
        model = create(name, side)
    except RequestError:
        assert side == 64
        return
    counted = dial.solved(model.config, side, CLASSES)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images(1, side))
    assert model.parameter_count() == counted.parameters
    assert counter.get_total_flops() == counted.flops
    matched = counted.parameters if model.config.match == "parameters" else counted.flops
    assert abs(matched / model.config.budget - 1) <= dial.TOLERANCE


def test_a_budget_that_cannot_be_met_is_refused_with_one_that_can() -> None:
    with pytest.raises(RequestError) as error:
        create("mixer", side=64)
    assert str(error.value) == (
        "dial/mixer cannot have 500,000 parameters at 64 pixels: the nearest are 526,421.\n"
        "  wanted: a budget that whole widths meet within 2%\n"
        "  try:    budget = 526421, or another patch"
    )
    assert create("mixer", side=64, budget=526_421).parameter_count() == 526_421
