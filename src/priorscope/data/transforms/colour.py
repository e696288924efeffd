"""Colour taken away: greys, and the colours of another picture."""

from __future__ import annotations

import torch
from torch import Tensor

from priorscope.data.transforms.draws import Scene

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue look (Rec. 601), as image libraries turn colours to grey."""
Z_LUMA = (0.2989, 0.587, 0.114)
"""How bright red, green and blue look, as torchvision rounds the weights of Rec. 601."""


def luma(images: Tensor, weights: tuple[float, ...] = LUMA) -> Tensor:
    """(N, H, W): how bright each pixel looks."""
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(weights))


def three(grey: Tensor) -> Tensor:
    """(N, H, W) as three equal channels."""
    return grey[:, None].repeat(1, 3, 1, 1)


def grayscale(images: Tensor, _level: float | None, _scene: Scene) -> Tensor:
    """Brightness in all three channels."""
    return three(luma(images))


def histogram(images: Tensor, _level: float | None, scene: Scene) -> Tensor:
    """Every pixel gets the donor's value of its own rank, channel by channel: the donor's colours in the old places."""
    return matched(images, scene.lenders())


def matched(images: Tensor, donors: Tensor) -> Tensor:
    """The donors' values over the last two axes, in the order of the images' own; equal values rank by position."""
    ranked = images.flatten(-2).argsort(dim=-1, stable=True)
    values = donors.flatten(-2).sort(dim=-1).values
    return torch.empty_like(values).scatter_(-1, ranked, values).view_as(images)


def z_grayscale(images: Tensor, _level: float | None, scene: Scene) -> Tensor:
    """Grey of the normalised channels, given back as pixels that normalise to it."""
    known = scene.known("z-grayscale")
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (known.mean, known.std))
    return mean + std * three(luma((images - mean) / std, Z_LUMA))
