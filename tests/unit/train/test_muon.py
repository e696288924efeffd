"""Muon where a device has no bfloat16: the same steps, in float32."""

from __future__ import annotations

import pytest
import torch
from timm.optim import muon as timms
from timm.optim.muon import Muon as TimmMuon
from torch.optim import _muon as torchs

from priorscope.train import muon

KINDS = {
    "torch": (lambda p: torch.optim.Muon(p, lr=0.1), torchs, "_zeropower_via_newtonschulz"),
    "timm": (lambda p: TimmMuon(p, lr=0.1), timms, "zeropower_via_newtonschulz"),
}


def stepped(make, shape, *, fast: bool, monkeypatch) -> torch.Tensor:
    monkeypatch.setattr(muon, "has_fast_bf16", lambda _: fast)
    weight = torch.nn.Parameter(torch.zeros(shape))
    optimiser = muon.in_fast_precision(make([weight]))
    for seed in range(3):
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        optimiser.step()
    return weight.detach()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
def test_steps_in_float32_are_those_in_bfloat16_but_for_rounding(kind, shape, monkeypatch):
    make, room, name = KINDS[kind]
    before = getattr(room, name)
    short = stepped(make, shape, fast=True, monkeypatch=monkeypatch)
    whole = stepped(make, shape, fast=False, monkeypatch=monkeypatch)
    assert getattr(room, name) is before, "others' steps stay as they are"
    assert 0 < (whole - short).norm() / whole.norm() < 0.03
    bare = make([torch.nn.Parameter(torch.zeros(shape))])
    assert not bare._optimizer_step_pre_hooks


STEPS = [(3.4445, -4.775, 2.0315)] * 4 + [(1.875, -1.25, 0.375)]


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5), (2, 4, 7)])
def test_singular_values_are_drawn_to_one_and_directions_stay(shape):
    """In float64, beside the polynomials of each singular value; the directions are those of the matrix."""
    given = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    given = given / given.norm(dim=(-2, -1), keepdim=True)
    u, wanted, vh = torch.linalg.svd(given, full_matrices=False)
    for a, b, c in STEPS:
        wanted = a * wanted + b * wanted**3 + c * wanted**5
    torch.testing.assert_close(muon.drawn(given, STEPS), u @ torch.diag_embed(wanted) @ vh)


def test_float32_has_the_digits_for_a_matrix_that_is_nearly_of_low_rank():
    draw = torch.Generator().manual_seed(2)
    low = torch.randn(64, 4, generator=draw) @ torch.randn(4, 256, generator=draw)
    given = low + 1e-4 * torch.randn(64, 256, generator=draw)
    given = given / given.norm()
    exact = muon.drawn(given.double(), STEPS)
    assert (muon.drawn(given, STEPS) - exact).norm() / exact.norm() < 1e-3


@pytest.mark.parametrize("steps", [2, 5, 7])
def test_timms_sequences_of_steps_are_cut_and_drawn_out_as_it_does(steps, monkeypatch):
    """A sequence of five coefficients, in fewer, as many and more steps."""

    def made(p):
        return TimmMuon(p, lr=0.1, ns_steps=steps, ns_coefficients="quintic")

    plain = timms.zeropower_via_newtonschulz
    ours = stepped(made, (12, 20), fast=False, monkeypatch=monkeypatch)
    monkeypatch.setattr(timms, "zeropower_via_newtonschulz", lambda *a, **k: plain(*a, **{**k, "dtype": torch.float32}))
    torch.testing.assert_close(ours, stepped(made, (12, 20), fast=True, monkeypatch=monkeypatch), rtol=1e-4, atol=1e-5)
