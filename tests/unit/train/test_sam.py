"""Sharpness-aware steps against a quadratic's closed form; weights come back to the bit, batch statistics stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from priorscope.train.sam import SamConfig, uphill


class Quadratic(nn.Module):
    """The loss 0.5 * sum(c * w^2), whose gradient is c * w: known anywhere."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=dtype))
        self.v = nn.Parameter(torch.tensor([0.25], dtype=dtype))

    def loss(self):
        return 0.5 * (torch.tensor([1.0, 3.0, -1.0]) * self.w**2).sum() + 2.0 * (self.v**2).sum()


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_second_gradient_is_that_of_the_closed_form(adaptive):
    model = Quadratic(torch.float64)
    w = torch.tensor([1.0, -2.0, 0.5, 0.25], dtype=torch.float64)
    c = torch.tensor([1.0, 3.0, -1.0, 4.0], dtype=torch.float64)
    g = c * w
    e = (w**2 if adaptive else 1) * g * 0.3 / (((w.abs() * g) if adaptive else g).norm() + 1e-12)
    model.loss().backward()
    with uphill(model, SamConfig(rho=0.3, adaptive=adaptive)):
        assert model.w.grad is None
        model.loss().backward()
    got = torch.cat([model.w.grad, model.v.grad])
    torch.testing.assert_close(got, c * (w + e), rtol=1e-12, atol=0)


def test_the_weights_come_back_to_the_bit_even_after_an_error():
    model = Quadratic(torch.float32)
    before = model.w.detach().clone()
    model.loss().backward()
    with uphill(model, SamConfig(rho=0.1)):
        assert not torch.equal(model.w, before)
    assert torch.equal(model.w, before)
    model.loss().backward()
    with pytest.raises(KeyError), uphill(model, SamConfig(rho=0.1)):
        raise KeyError
    assert torch.equal(model.w, before)


def test_batch_statistics_are_noted_once():
    norm = nn.BatchNorm1d(2)
    images = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    norm(images).square().sum().backward()
    mean, count = norm.running_mean.clone(), norm.num_batches_tracked.clone()
    with uphill(norm, SamConfig()):
        out = norm(images)
        torch.testing.assert_close(out.mean(0), norm.bias)  # still normalised by the batch's own statistics
    assert torch.equal(norm.running_mean, mean)
    assert torch.equal(norm.num_batches_tracked, count)
    norm(images)
    assert not torch.equal(norm.running_mean, mean)
