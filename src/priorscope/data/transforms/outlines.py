"""Texture taken away: edges, and silhouettes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope.data.transforms.colour import Z_LUMA, luma, three
from priorscope.data.transforms.draws import Scene

SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
ONE_LEVEL = 4 / 255
"""What a step of one grey level gives Sobel's kernel: a picture without a larger step has no edges, only rounding."""
BINS = 64


def edges(images: Tensor, _level: float | None, _scene: Scene) -> Tensor:
    """Dark edges on white: Sobel's gradient of brightness over its largest value; the frame continues the picture."""
    size = _sobel(F.pad(luma(images)[:, None], (1, 1, 1, 1), mode="replicate"))
    size = torch.where(size < 0.5 * ONE_LEVEL, 0, size)  # what is below half a grey level is arithmetic
    return three(1 - size / size.amax((1, 2), keepdim=True).clamp_min(ONE_LEVEL))


def silhouette(images: Tensor, _level: float | None, _scene: Scene) -> Tensor:
    """Black where a pixel's colour is far from that of the picture's border, white elsewhere.

    Far is beyond the threshold that parts the distances into two groups best (Otsu, IEEE Trans. SMC 9, 1979), of 64 bins. This
    is not a segmentation: it finds objects on plain ground.
    """
    frame = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2)
    ground = frame.median(dim=2).values
    far = (images - ground[:, :, None, None]).square().sum(1).sqrt()
    bins = (far / far.amax((1, 2), keepdim=True).clamp_min(1 / 255) * (BINS - 1)).round().long()
    return three((bins <= _otsu(bins)[:, None, None]).to(images.dtype))


def _otsu(bins: Tensor) -> Tensor:
    """For each picture the bin up to which is the nearer group: the largest variance between groups."""
    n = len(bins)
    flat = bins.flatten(1) + BINS * torch.arange(n, device=bins.device)[:, None]
    counts = torch.bincount(flat.flatten(), minlength=n * BINS).view(n, BINS).double()
    weight = counts.cumsum(1)
    mass = (counts * torch.arange(BINS, device=bins.device)).cumsum(1)
    total, whole = weight[:, -1:], mass[:, -1:]
    between = (whole * weight - total * mass).square() / (weight * (total - weight)).clamp_min(1e-9)
    found = between.argmax(1)
    return torch.where(between.amax(1) > 0, found, BINS)


def z_edges(images: Tensor, _level: float | None, scene: Scene) -> Tensor:
    """One minus the gradient over its largest value, frame included, then a white frame; past the normalisation."""
    known = scene.known("z-edges")
    size = _sobel(F.pad(luma(images, Z_LUMA)[:, None], (1, 1, 1, 1)))
    drawn = 1 - torch.nan_to_num(size / size.amax((1, 2), keepdim=True))
    drawn[:, 0] = drawn[:, -2:] = 1
    drawn[:, :, 0] = drawn[:, :, -2:] = 1
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (known.mean, known.std))
    return mean + std * three(drawn)


def _sobel(padded: Tensor) -> Tensor:
    """The size of the gradient of (N, 1, H + 2, W + 2)."""
    kernel = padded.new_tensor(SOBEL)
    both = F.conv2d(padded, torch.stack([kernel, kernel.T])[:, None])
    return both.square().sum(1).sqrt()
