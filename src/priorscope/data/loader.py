"""Batches out of a split: in a fixed order, augmented, as floats in [0, 1], rendered ahead by the loader's own threads.

The order is a function of (seed, epoch), a picture of (seed, epoch, index): neither depends on the batch size, the number of
threads or ranks, or on where an epoch is taken up again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.machine import cores
from priorscope.data.augment import Augment, augment_config
from priorscope.data.augment.cpu import CpuRenderer
from priorscope.data.augment.program import BatchPart, Drawing
from priorscope.data.memory import InPlace, ReadAhead, chunk_of, in_place
from priorscope.data.order import Shuffle, epoch_order
from priorscope.data.rendering import OnDevice, OnThreads, Pending, Rendering, fits
from priorscope.data.split import Split

Ints = NDArray[np.int64]

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

AHEAD: Final = 2
"""Batches rendered ahead of the one that the consumer holds."""


@dataclass(frozen=True)
class Batch:
    """Pictures with their labels. Nothing writes into a batch again while any of its tensors is held."""

    images: Tensor
    """(N, 3, side, side) in [0, 1]."""
    labels: Tensor
    """(N,) int64."""
    index: Tensor
    """(N,) int64: positions in the split."""
    targets: Tensor | None = None
    """(N, classes) float32 where mixing made the labels soft."""
    columns: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Further labels of the split: shape, texture, real."""


class Loader:
    """Batches of a split.

    `batch_size` counts all ranks: rank r of R takes every R-th picture of each batch, beginning with the r-th. With
    `partial="keep"` the last batch of an epoch may be smaller (and empty on some ranks), so that every picture is seen once.
    `shuffle="chunks"` is for stores larger than memory: nearly as random, and read in long pieces (`order.py`).
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        augment: str | Mapping[str, Any] | Augment | None = None,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
        shuffle: Shuffle = False,
        partial: Literal["keep", "drop"] = "keep",
        rank: int = 0,
        ranks: int = 1,
        threads: int | None = None,
    ) -> None:
        _check(split, batch_size, dtype, shuffle, partial, rank, ranks, threads)
        self.split = split
        self.batch_size = batch_size
        self.augment = augment_config(augment)
        self.seed = seed
        self.device = torch.device(device)
        self.dtype = DTYPES[dtype]
        self.shuffle: Shuffle = shuffle
        self.partial: Literal["keep", "drop"] = partial
        self.rank = rank
        self.ranks = ranks
        self.threads = threads or cores()
        self.side = self.augment.size or split.image_size
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="loader")
        self._drawing = Drawing(self.augment, seed, self.side)
        store = in_place(split.pixels)
        height, width = split.pixels.size or (self.side, self.side)
        self._chunk = chunk_of(height * width * 3)
        self._ahead = ReadAhead(split.pixels, store, advises=shuffle is not True)
        self._rendering = self._renderer(store)
        self._order: tuple[int, Ints] | None = None
        self._next_epoch = 0

    def __len__(self) -> int:
        """Batches an epoch, the same for every rank."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (1 if rest and self.partial == "keep" else 0)

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch: the first iteration is epoch 0, the second epoch 1."""
        epoch = self._next_epoch
        self._next_epoch += 1
        return self.epoch(epoch)

    def batch(self, epoch: int, step: int) -> Batch:
        """One batch: a pure function of the split, the seed, the epoch, the step and the settings."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} of an epoch of {len(self)} batches")
        return self._batch(*self._start(epoch, step))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on, rendered in the background while the consumer works."""
        order = self.order(epoch)
        pending: deque[tuple[BatchPart, Pending]] = deque()
        try:
            for step in range(start, len(self)):
                self._ahead.enter(order, step * self.batch_size, self.batch_size)
                pending.append(self._start(epoch, step))
                if len(pending) > AHEAD:
                    yield self._batch(*pending.popleft())
            while pending:
                yield self._batch(*pending.popleft())
        finally:
            for _, images in pending:
                images.cancel()
            self._ahead.leave()

    def order(self, epoch: int) -> Ints:
        """Positions in the split in the order in which all ranks together see them in an epoch."""
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order(len(self.split), self.seed, epoch, self.shuffle, self._chunk)
        return self._order[1]

    def _renderer(self, store: InPlace | None) -> Rendering:
        """The device where it can hold or be sent the pictures as bytes, otherwise the threads."""
        if self.device.type != "cpu" and store is not None:
            return OnDevice(store, self._drawing, self._pool, self.dtype, self.device, fits(store, self.device))
        renderer = CpuRenderer(self.split.pixels, store, self._drawing)
        return OnThreads(renderer, self._pool, self.threads, self.dtype, self.device)

    def _start(self, epoch: int, step: int) -> tuple[BatchPart, Pending]:
        part = self._part(epoch, step)
        return part, self._rendering.start(part)

    def _part(self, epoch: int, step: int) -> BatchPart:
        """This rank's pictures of a batch. Partners in mixing are neighbours in the epoch's order: 0 and 1, 2 and 3, ..."""
        order = self.order(epoch)
        first = step * self.batch_size
        places = np.arange(first, min(first + self.batch_size, len(order)))[self.rank :: self.ranks]
        index, partners = order[places], None
        if self._drawing.plan.mixes:
            partners = order[np.where((places ^ 1) < len(order), places ^ 1, places - 1)]
        return BatchPart(epoch, step, index, partners)

    def _batch(self, part: BatchPart, images: Pending) -> Batch:
        """The batch of rendered pictures, with its labels, on its device."""
        index, labels = part.index, self.split.labels
        targets = None
        if part.partners is not None:
            own = self._drawing.mixes(part)
            targets = self._soft_targets(labels[index], labels[part.partners], own[:, 0])
        return Batch(
            images=images.result(),
            labels=self._moved(labels[index]),
            index=self._moved(index),
            targets=targets,
            columns={name: self._moved(column[index]) for name, column in self.split.columns.items()},
        )

    def _soft_targets(self, labels: NDArray[np.int64], partners: NDArray[np.int64], own: NDArray[np.float64]) -> Tensor:
        """(n, classes): each picture's share on its label and the rest on its partner's.

        Filled on the device: of many classes it is larger than the pictures.
        """
        targets = torch.zeros(len(labels), len(self.split.classes), device=self.device)
        rows = torch.arange(len(labels), device=self.device)
        targets[rows, self._moved(labels)] = self._moved(own.astype(np.float32))
        targets[rows, self._moved(partners)] += self._moved((1 - own).astype(np.float32))
        return targets

    def _moved(self, values: NDArray[Any]) -> Tensor:
        if self.device.type == "mps" and values.dtype == np.float64:  # which it does not have
            values = values.astype(np.float32)
        return torch.from_numpy(values).to(self.device)


def _check(
    split: Split,
    batch_size: int,
    dtype: str,
    shuffle: Shuffle,
    partial: str,
    rank: int,
    ranks: int,
    threads: int | None,
) -> None:
    if batch_size < 1:
        raise RequestError(f"batch_size = {batch_size} was asked for.", "at least 1", "batch_size = 128")
    if dtype not in DTYPES:
        raise unknown_name("dtype of batches", dtype, DTYPES)
    if shuffle not in (True, False, "chunks"):
        raise RequestError(f"shuffle = {shuffle!r} was asked for.", 'true, false or "chunks"', "shuffle = true")
    if partial not in ("keep", "drop"):
        raise RequestError(f"partial = {partial!r} was asked for.", '"keep" or "drop"', 'partial = "keep"')
    if partial == "drop" and batch_size > len(split):
        raise RequestError(
            f"A batch of {batch_size} was asked for, without a smaller last one, and there are {len(split)} pictures: nothing"
            " is left.",
            f"a batch_size of at most {len(split)}",
            'a smaller batch_size, or partial = "keep"',
        )
    if not 0 <= rank < ranks:
        raise RequestError(f"rank {rank} of {ranks} was asked for.", f"0 to {ranks - 1}", "rank = 0, ranks = 1")
    if threads is not None and threads < 1:
        raise RequestError(f"threads = {threads} was asked for.", "at least 1", "leave it out: one a core")
