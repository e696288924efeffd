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


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5)])
def test_singular_values_are_drawn_to_one_and_directions_stay(shape):
    """In float64, beside the polynomial of each singular value; the directions are those of the matrix."""
    given = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    a, b, c = 3.4445, -4.775, 2.0315
    u, s, vh = torch.linalg.svd(given, full_matrices=False)
    wanted = s / s.norm()
    for _ in range(5):
        wanted = a * wanted + b * wanted**3 + c * wanted**5
    torch.testing.assert_close(muon.orthogonalised(given, (a, b, c), 5, 1e-7), u @ torch.diag(wanted) @ vh)
