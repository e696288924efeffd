"""Linear maps in bfloat16 on a CPU, as we multiply them, against float64 and torch's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from priorscope.models.networks import linear
from priorscope.models.networks.linear import Linear, turned

TYPES = (torch.bfloat16, torch.float32)
ONEDNN = pytest.mark.skipif(
    not linear._onednn_multiplies(), reason="oneDNN has no products in bfloat16 here: the map is torch's"
)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 50), (4, 1), (65, 17), (64, 128), (68, 63), (500, 66), (1028, 3), (1206, 384), (4096, 1000)]
)
def test_a_turned_matrix_is_the_transpose_to_the_bit(shape: tuple[int, int], dtype: torch.dtype) -> None:
    matrix = torch.randn(shape).bfloat16()
    matrix[0, 0] = torch.nan  # a copy, not a product
    assert turned(matrix, dtype).is_contiguous()
    torch.testing.assert_close(turned(matrix, dtype), matrix.T.to(dtype), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(turned(matrix.T, dtype), matrix.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [(64,), (3, 20), (2, 5, 7)])
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 80), (80, 48), (24, 1100), (1100, 24)])
def test_a_step_in_bfloat16_learns_what_float64_says(inputs: int, outputs: int, shape: tuple[int, ...]) -> None:
    """Whichever factor is turned, gradients are within bfloat16's rounding (2^-8) of the exact ones, and come in float32."""
    layer, x = Linear(inputs, outputs), torch.randn(*shape, inputs, requires_grad=True)
    wanted = torch.randn(*shape, outputs)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.backward(wanted.bfloat16())
    exact, pixels = (part.detach().bfloat16().double().reshape(-1, part.shape[-1]) for part in (wanted, x))
    for found, truth in (
        (layer.weight.grad, exact.T @ pixels),
        (layer.bias.grad, exact.sum(0)),
        (x.grad, (exact @ layer.weight.detach().bfloat16().double()).view(x.shape)),
    ):
        assert found is not None
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), truth, rtol=2**-8, atol=2**-8 * 0.05 * truth.abs().max().item())


def alike(inputs: int, outputs: int) -> tuple[Linear, nn.Linear]:
    """Our layer and torch's with the same weights."""
    ours, theirs = Linear(inputs, outputs), nn.Linear(inputs, outputs)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def answers(layers: tuple[nn.Module, ...], x: Tensor) -> list[Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        return [layer(x) for layer in layers]


def rounds_once(layer: Linear, x: Tensor) -> bool:
    """Whether the map's answer is the exact one, summed in float32 and rounded to bfloat16 once: by half a unit at most.

    torch's own is not the measure: in what order it sums hangs on the processor and on how many rows there are.
    """
    (y,) = answers((layer,), x)
    added = torch.zeros(1) if layer.bias is None else layer.bias
    x, weight, bias = (part.detach().bfloat16().double() for part in (x, layer.weight, added))
    exact, sizes = x @ weight.T + bias, x.abs() @ weight.abs().T + bias.abs()
    return bool(((y.double() - exact).abs() <= 2**-8 * exact.abs() + 2**-24 * weight.shape[1] * sizes).all())


@ONEDNN
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(64, 48), (2, 3, 48), (2, 48, 5), (48,), (0, 48)], ids=str)
def test_the_forward_pass_in_bfloat16_is_rounded_once(shape: tuple[int, ...], bias: bool) -> None:
    """And the same to the bit with and without gradients, so that training and evaluation see one network."""
    layer, x = Linear(48, 80, bias=bias), torch.randn(shape)
    x = x if x.shape[-1] == 48 else x.mT  # tokens that lie turned
    (learning,) = answers((layer,), x)
    with torch.no_grad():
        assert torch.equal(answers((layer,), x)[0], learning)
    assert rounds_once(layer, x)
    assert learning.shape == (*x.shape[:-1], 80)


@ONEDNN
def test_what_does_not_learn_gets_no_gradient() -> None:
    """A frozen map passes its gradient on; the first one is not asked for that of the pictures."""
    layers, x = alike(48, 80), torch.randn(7, 48, requires_grad=True)
    for layer in layers:
        layer.requires_grad_(False)
    ours, theirs = (torch.autograd.grad(y.float().sum(), x)[0] for y in answers(layers, x))
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=2**-7 * theirs.abs().max().item())
    (y,) = answers((Linear(48, 80),), x.detach())
    assert y.grad_fn is not None
    assert y.grad_fn.next_functions[0][0] is None
    assert not answers(layers[:1], x.detach())[0].requires_grad


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_half_of_a_map_may_learn(frozen: str) -> None:
    layers, x = alike(48, 80), torch.randn(8, 48)
    for layer, y in zip(layers, answers(layers, x), strict=True):
        getattr(layer, frozen).requires_grad_(False)
        y.float().square().sum().backward()
    (whole, part) = (layer.weight.grad if frozen == "bias" else layer.bias.grad for layer in layers)
    assert whole is not None
    assert part is not None
    torch.testing.assert_close(whole, part, rtol=2**-7, atol=2**-7 * whole.abs().max().item())


@ONEDNN
def test_it_keeps_no_more_than_the_gradients_ask_for() -> None:
    """A frozen map keeps no input, and one that nobody asks for the gradient of its input no copy of its weights."""
    layer, x = Linear(48, 80), torch.randn(8, 48)

    def kept(x: Tensor) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda saved: shapes.append(tuple(saved.shape)), lambda _: None):
            answers((layer,), x)
        return shapes

    assert kept(x) == [(8, 48)]
    layer.requires_grad_(False)
    assert kept(x.requires_grad_()) == [(80, 48)]


@ONEDNN
@pytest.mark.parametrize("shape", [(8, 12288, 1024), (256, 1024, 4096), (1, 3000, 10), (500, 7, 3)], ids=str)
def test_long_sums_are_rounded_once(shape: tuple[int, int, int]) -> None:
    rows, inputs, outputs = shape
    assert rounds_once(Linear(inputs, outputs), torch.randn(rows, inputs))


@ONEDNN
def test_weights_may_lie_turned() -> None:
    layer, x = Linear(48, 80), torch.randn(5, 48)
    layer.weight.data = layer.weight.data.T.contiguous().T
    assert rounds_once(layer, x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64], ids=str)
def test_input_that_autocast_does_not_cast_is_torchs_to_refuse(dtype: torch.dtype) -> None:
    said: list[str] = []
    for layer in alike(48, 80):
        with pytest.raises(RuntimeError) as refused:
            answers((layer,), torch.ones(5, 48, dtype=dtype))
        said.append(str(refused.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("off", ["the build", "a user"])
def test_without_onednn_it_is_torchs_own(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if off == "the build":
        monkeypatch.setattr(linear, "_onednn_knows_bfloat16", lambda: False)
    else:
        monkeypatch.setattr(torch.backends, "mkldnn", SimpleNamespace(enabled=False))
    monkeypatch.setattr(linear._Linear, "apply", None)
    assert torch.equal(*answers(alike(48, 80), torch.randn(5, 48)))
