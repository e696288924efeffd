"""The colour operations of `kernels/colour.py` for whole batches of tensors.

Pixels are levels 0 to 255, rounded after each operation.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from priorscope.data.kernels import codes as c


def coloured(images: Tensor, ops: NDArray[np.float64]) -> Tensor:
    """Pictures in [0, 1] after their colour operations `ops` (n, most, 2: code, number); code 0 ends them."""
    touched = np.flatnonzero(ops[:, 0, 0])
    if not len(touched):
        return images
    at = torch.from_numpy(touched).to(images.device)
    levels = _rounded(images[at] * 255)
    for column in ops[touched].transpose(1, 0, 2):
        for code in np.unique(column[:, 0]).astype(int):
            if code == 0:
                continue
            chosen = np.flatnonzero(column[:, 0] == code)
            rows = torch.from_numpy(chosen).to(images.device)
            number = torch.from_numpy(column[chosen, 1].astype(np.float32)).to(images.device)[:, None, None, None]
            levels[rows] = _rounded(_done(code, levels[rows], number))
    images = images.clone()
    images[at] = levels / 255
    return images


def _rounded(levels: Tensor) -> Tensor:
    return (levels.clamp(0, 255) + 0.5).floor()


def _done(code: int, x: Tensor, number: Tensor) -> Tensor:
    """One operation on pictures that all have it, each with its number."""
    if code == c.BRIGHTNESS:
        return number * x
    if code == c.CONTRAST:
        return number * x + (1 - number) * _grey(x).mean((1, 2, 3), keepdim=True)
    if code == c.SATURATION:
        return number * x + (1 - number) * _grey(x)
    if code == c.HUE:
        return _hue_turned(x, number)
    if code == c.EQUALIZE:
        return _equalized(x)
    if code == c.AUTOCONTRAST:
        return _stretched(x)
    if code == c.POSTERIZE:
        step = 2.0 ** (8 - number.round())
        return (x / step).floor() * step
    if code == c.SOLARIZE:
        return torch.where(x >= number, 255 - x, x)
    if code == c.INVERT:
        return 255 - x
    return _sharpened(x, number)


def _grey(x: Tensor) -> Tensor:
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def _hue_turned(x: Tensor, turns: Tensor) -> Tensor:
    red, green, blue = x.split(1, 1)
    top, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    span = top - low
    safe = span.clamp(min=1)
    hue = torch.where(
        top == red, (green - blue) / safe, torch.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sector = torch.remainder(hue + 6 * turns + torch.tensor([5.0, 3.0, 1.0], device=x.device)[:, None, None], 6)
    return top - span * torch.minimum(sector, 4 - sector).clamp(0, 1)


def _equalized(x: Tensor) -> Tensor:
    levels = x.flatten(2).flatten(0, 1).long()
    rows = torch.arange(len(levels), device=x.device)[:, None]
    counts = torch.bincount((levels + 256 * rows).flatten(), minlength=256 * len(levels)).view(-1, 256)
    last = 255 - (counts.flip(1) > 0).long().argmax(1, keepdim=True)
    step = (levels.shape[1] - counts.gather(1, last)) // 255
    below = counts.cumsum(1) - counts + step // 2
    table = (below // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step == 0, torch.arange(256, device=x.device), table)
    return table.gather(1, levels).view(x.shape).to(x.dtype)


def _stretched(x: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) * (255 / (high - low).clamp(min=1)), x)


def _sharpened(x: Tensor, factor: Tensor) -> Tensor:
    if x.shape[2] <= 2:
        return x
    kernel = torch.ones(3, 1, 3, 3, device=x.device, dtype=x.dtype)
    kernel[:, :, 1, 1] = 5
    smooth = F.conv2d(x, kernel / 13, groups=3)
    out = x.clone()
    out[:, :, 1:-1, 1:-1] = factor * x[:, :, 1:-1, 1:-1] + (1 - factor) * smooth
    return out
