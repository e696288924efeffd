"""What keeps a followed picture near pictures: penalties on pixels in [0, 1], one number a picture.

All are means over pixels and colours, so that one weight means the same at 32 and at 224 pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def total_variation(images: Tensor, power: float = 2.0) -> Tensor:
    """The mean of (dx^2 + dy^2)^(power / 2) over neighbours below and to the right; exactly 0 for a plain colour.

    Mahendran and Vedaldi (arXiv 1412.0035), equation 6. Where both differences are 0 the gradient is taken as 0: that of
    a power below 2 has none there.
    """
    here = images[..., :-1, :-1]
    squares = (images[..., :-1, 1:] - here).square() + (images[..., 1:, :-1] - here).square()
    if power != 2:
        flat = squares == 0
        squares = torch.where(flat, torch.ones_like(squares), squares).pow(power / 2).masked_fill(flat, 0.0)
    return squares.flatten(1).sum(1) / images[0].numel()


def glare(images: Tensor, power: float = 6.0) -> Tensor:
    """The mean of |2x - 1|^power: next to nothing for greys, 1 for pixels at 0 or 1 (the alpha-norm of the same paper)."""
    return (2 * images - 1).abs().pow(power).flatten(1).mean(1)


def z_penalty(normalised: Tensor) -> Tensor:
    """The "zooming in on MLPs" study's 1e-7 sum(x^6) + 1e-8 TV, on its normalised pixels and with its TV.

    That TV takes a batch of pictures for one picture: it punishes differences between the colours of a pixel and between
    rows, but not between columns. To it a plain colour varies and vertical stripes do not.
    """
    here = normalised[:, :-1, :-1]
    variation = (normalised[:, 1:, :-1] - here).square() + (normalised[:, :-1, 1:] - here).square()
    return 1e-7 * normalised.pow(6).flatten(1).sum(1) + 1e-8 * variation.flatten(1).sum(1)
