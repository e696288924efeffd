"""What several probes read of networks: layers averaged over positions, their sizes, small raw pixels, untrained twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope.core.rng import seed_of
from priorscope.models import create
from priorscope.models.classifier import Classifier, Layout, looking

PIXEL_SIDE = 16
"""Raw pixels are averaged to this side at most: a ridge on all pixels of larger images would take their square of memory."""


class Size(NamedTuple):
    """How many numbers a layer holds of one image: in all, and averaged over positions."""

    whole: int
    pooled: int


def sizes(model: Classifier, taps: Sequence[str]) -> list[Size]:
    """The size of each layer, from a look at two images."""
    with looking(model), torch.inference_mode():
        read = model.activations(torch.rand(2, 3, model.image_size, model.image_size).to(model.device), taps)
    return [Size(read[tap].numel() // 2, pooled(read[tap], model.tap(tap).layout, 2).shape[1]) for tap in taps]


def pooled(value: Tensor, layout: Layout, n: int) -> Tensor:
    """A layer's features averaged over positions, (n, channels)."""
    if len(value) != n:  # each row is a piece of an image: the pixels of a patch, say
        value = value.reshape(n, -1, *value.shape[1:]).mean(1)
    if value.ndim == 2:
        return value
    if layout in ("NCL", "NCHW") or (layout == "any" and value.ndim == 4):
        return value.flatten(2).mean(2)
    return value.flatten(1, -2).mean(1)


def small_pixels(images: Tensor) -> Tensor:
    """(n, pixels) of images (n, 3, side, side), averaged to `PIXEL_SIDE` where they are larger."""
    return F.adaptive_avg_pool2d(images, min(images.shape[-1], PIXEL_SIDE)).flatten(1)


def pixel_count(image_size: int) -> int:
    """How many numbers `small_pixels` makes of one image."""
    return 3 * min(image_size, PIXEL_SIDE) ** 2


def twin_of(model: Classifier, name: str, seed: int) -> Classifier | None:
    """The untrained twin: a network of the same architecture with random weights; None for a network without a config."""
    if model.config is None:
        return None
    return create(
        model.config.without_start(),
        image_size=model.image_size,
        num_classes=model.num_classes,
        statistics=model.statistics,
        seed=seed_of(seed, "untrained twin", name),  # two networks of one config have two twins
    ).to(model.device)
