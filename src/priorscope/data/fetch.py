"""Some pictures of a split, and their pixels on a device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.data.loader import Loader
from priorscope.data.split import Split, balanced_order

Fetch = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
"""Rows of the split -> images in [0, 1] and labels, on a device."""


def some_images(split: Split, count: int | None) -> tuple[Split, NDArray[np.int64]]:
    """A class-balanced part of a split, and the position of each of its images in the whole: it names their streams."""
    if count is None or count >= len(split):
        return split, np.arange(len(split))
    index = np.sort(balanced_order(split.labels)[:count])
    return split.choose(index), index


def evenly(count: int, some: int) -> NDArray[np.int64]:
    """Up to `some` of `count` rows, from the first to the last at equal distances: pictures often lie class by class."""
    return np.unique(np.linspace(0, count - 1, min(some, count)).round().astype(np.int64))


def fetcher(split: Split, device: torch.device) -> Fetch:
    """Rows of a split as float images and labels on a device."""

    def fetch(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        some = split.choose(rows)
        batch = next(iter(Loader(some, batch_size=len(rows), device=str(device)).epoch(0)))
        return batch.images, batch.labels

    return fetch
