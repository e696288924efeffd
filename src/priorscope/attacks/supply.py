"""Where attacked pictures come from: a part of a split, in blocks, on the network's device; and what names the network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.config import content_key
from priorscope.data.loader import Loader
from priorscope.data.split import Split, balanced_order
from priorscope.models.classifier import Classifier, evaluating

Fetch = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
"""Rows of the split -> images in [0, 1] and labels, on the network's device."""


def some_images(split: Split, count: int | None) -> tuple[Split, NDArray[np.int64]]:
    """A class-balanced part of a split, and the position of each of its images in the whole: it names their streams."""
    if count is None or count >= len(split):
        return split, np.arange(len(split))
    index = np.sort(balanced_order(split.labels)[:count])
    return split.choose(index), index


def evenly(count: int, some: int) -> NDArray[np.int64]:
    """Up to `some` of `count` rows, from the first to the last at equal distances: pictures often lie class by class."""
    return np.unique(np.linspace(0, count - 1, min(some, count)).round().astype(np.int64))


def fetcher(model: Classifier, split: Split) -> Fetch:
    """Rows of a split as float images and labels on the model's device."""
    device = model.device

    def fetch(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        some = split.choose(rows)
        batch = next(iter(Loader(some, batch_size=len(rows), device=str(device)).epoch(0)))
        return batch.images, batch.labels

    return fetch


def network_key(model: Classifier) -> str:
    """A hash of every weight and of what the network does with them: an adversarial picture depends on it, data and attack.

    A family's config says what its network does; for any other, whose code may do anything, its answers on fixed pictures do.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())  # bfloat16 too
    does = model.config.plain() if model.config is not None else [repr(model.network), _answers(model)]
    digest.update(content_key([does, model.image_size, model.input_size, model.resize]).encode())
    return digest.hexdigest()


def _answers(model: Classifier) -> list[str]:
    """Logits of a few fixed pictures, to three digits: rounding differs between machines and numbers of threads."""
    pictures = torch.linspace(0, 997, 4 * 3 * model.image_size**2).sin().square().view(4, 3, model.image_size, model.image_size)
    with evaluating(model), torch.no_grad():
        logits = model(pictures.to(model.device)).float().cpu()
    return [f"{value:.3g}" for value in logits.flatten().tolist()]
