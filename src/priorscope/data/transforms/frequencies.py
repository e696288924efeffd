"""One end of the spectrum taken away, or its amplitudes borrowed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from priorscope.core.errors import RequestError
from priorscope.data.transforms.draws import Scene


def low_pass(images: Tensor, level: float | None, _scene: Scene) -> Tensor:
    """What is coarser than the cut-off, in cycles a picture: amplitudes fall as a Gaussian, by 1/sqrt(e) at the cut-off.

    Gaussian, because a sharp cut rings; on the cosine basis, which continues the picture as a mirror does, because a circular
    one would bring the left end's colours to the right.
    """
    return _smooth(images, _cut("low-pass", level)).clamp(0, 1)


def high_pass(images: Tensor, level: float | None, _scene: Scene) -> Tensor:
    """What is finer than the cut-off, on mid-grey: what `low-pass` takes away."""
    return (0.5 + images - _smooth(images, _cut("high-pass", level))).clamp(0, 1)


def phase_swap(images: Tensor, level: float | None, scene: Scene) -> Tensor:
    """The picture's phases with the donor's amplitudes, by channel; `level` mixes the amplitudes; clipped to [0, 1].

    Phases hold where things are, amplitudes how much of each fineness there is (Oppenheim and Lim, Proc. IEEE 69, 1981).
    """
    share = 1.0 if level is None else level
    own, lent = torch.fft.rfft2(images), torch.fft.rfft2(scene.lenders())
    size = own.abs()
    direction = torch.where(size > 0, own / size.clamp_min(1e-20), torch.ones_like(own))
    mixed = direction * ((1 - share) * size + share * lent.abs())
    return torch.fft.irfft2(mixed, s=images.shape[-2:]).clamp(0, 1)


def _smooth(images: Tensor, cycles: float) -> Tensor:
    down, across = (_smoothing(side, cycles).to(images) for side in images.shape[-2:])
    return down @ images @ across.T


def _smoothing(side: int, cycles: float) -> Tensor:
    """(side, side): the Gaussian filter of one axis, exactly, as a matrix: the k-th cosine has k / 2 cycles a picture."""
    k = torch.arange(side, dtype=torch.float64)
    basis = torch.cos(math.pi * (k[None, :] + 0.5) * k[:, None] / side) * math.sqrt(2 / side)
    basis[0] /= math.sqrt(2)
    return basis.T @ (torch.exp(-0.5 * (k / 2 / cycles).square())[:, None] * basis)


def _cut(name: str, level: float | None) -> float:
    if level is None or level <= 0:
        raise RequestError(f"A {name} at {level} was asked for.", "cycles a picture, above 0", "level=4")
    return level
