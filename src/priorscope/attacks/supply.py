"""Where attacked pictures come from: a part of a split, in blocks, on the network's device; and what names its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from priorscope.data.loader import Loader
from priorscope.data.split import Split, balanced_order

Fetch = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
"""Rows of the split -> images in [0, 1] and labels, on the network's device."""


def some_images(split: Split, count: int | None) -> tuple[Split, NDArray[np.int64]]:
    """A class-balanced part of a split, and the position of each of its images in the whole: it names their streams."""
    if count is None or count >= len(split):
        return split, np.arange(len(split))
    index = np.sort(balanced_order(split.labels)[:count])
    return split.choose(index), index


def fetcher(model: nn.Module, split: Split) -> Fetch:
    """Rows of a split as float images and labels on the model's device."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def fetch(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        some = split.choose(rows)
        batch = next(iter(Loader(some, batch_size=len(rows), device=str(device)).epoch(0)))
        return batch.images, batch.labels

    return fetch


def weights_key(model: nn.Module) -> str:
    """A hash of every weight: what an adversarial image is a function of, beside data and attack."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
