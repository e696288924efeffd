"""Batches out of a split: in a fixed order, augmented, as floats in [0, 1], rendered ahead by the loader's own threads.

The order is a function of (seed, epoch), a picture of (seed, epoch, index): neither depends on the batch size, the number of
threads or ranks, or on where an epoch is taken up again.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.rng import stream
from priorscope.data.augment import Augment, augment_config
from priorscope.data.augment.cpu import CpuRenderer
from priorscope.data.augment.program import Drawing, Part, soft_targets
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
        shuffle: bool = False,
        partial: Literal["keep", "drop"] = "keep",
        rank: int = 0,
        ranks: int = 1,
        threads: int | None = None,
    ) -> None:
        _check(split, batch_size, dtype, partial, rank, ranks, threads)
        self.split = split
        self.batch_size = batch_size
        self.augment = augment_config(augment)
        self.seed = seed
        self.device = torch.device(device)
        self.dtype = DTYPES[dtype]
        self.shuffle = shuffle
        self.partial: Literal["keep", "drop"] = partial
        self.rank = rank
        self.ranks = ranks
        self.threads = threads or len(os.sched_getaffinity(0))
        self.side = self.augment.size or split.image_size
        self._drawing = Drawing(self.augment, seed, self.side)
        self._renderer = CpuRenderer(split.pixels, self._drawing)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="loader")
        self._buffers = _Buffers()
        self._order: tuple[int, Ints] | None = None
        self._next_epoch = 0

    def __len__(self) -> int:
        """Batches an epoch, the same for every rank."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (1 if rest and self.partial == "keep" else 0)

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch: the first iteration gives epoch 0, the second epoch 1."""
        epoch = self._next_epoch
        self._next_epoch += 1
        return self.epoch(epoch)

    def batch(self, epoch: int, step: int) -> Batch:
        """One batch: a pure function of the split, the seed, the epoch, the step and the settings."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} of an epoch of {len(self)} batches")
        return self._submit(epoch, step).result()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on, rendered in the background while the consumer works."""
        pending: deque[_Pending] = deque()
        steps = iter(range(start, len(self)))
        try:
            for step in steps:
                pending.append(self._submit(epoch, step))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for batch in pending:
                batch.cancel()

    def order(self, epoch: int) -> Ints:
        """Positions in the split in the order in which all ranks together see them in an epoch."""
        if self._order is None or self._order[0] != epoch:
            count = len(self.split)
            shuffled = stream(self.seed, "order", epoch).permutation(count) if self.shuffle else np.arange(count)
            self._order = epoch, shuffled
        return self._order[1]

    def _submit(self, epoch: int, step: int) -> _Pending:
        """Hands a batch to the threads, in one part each."""
        part = self._part(epoch, step)
        shape = (len(part.index), 3, self.side, self.side)
        images = self._buffers.take(shape) if self.dtype == torch.float32 else torch.empty(shape, dtype=self.dtype)
        cuts = np.linspace(0, len(part.index), self.threads + 1).astype(int)
        work = [
            self._pool.submit(self._render, part.cut(low, high), images[low:high]) for low, high in pairwise(cuts) if high > low
        ]
        return _Pending(self, part, images, work)

    def _part(self, epoch: int, step: int) -> Part:
        """This rank's pictures of a batch. Partners in mixing are neighbours in the epoch's order: 0 and 1, 2 and 3, ..."""
        order = self.order(epoch)
        first = step * self.batch_size
        places = np.arange(first, min(first + self.batch_size, len(order)))[self.rank :: self.ranks]
        index, partners = order[places], None
        if self._drawing.plan.mixes:
            partners = order[np.where((places ^ 1) < len(order), places ^ 1, places - 1)]
        return Part(epoch, step, index, partners)

    def _render(self, part: Part, out: Tensor) -> None:
        if self.dtype == torch.float32:
            self._renderer.render(part, out.numpy())
            return
        scratch = torch.empty(out.shape)
        self._renderer.render(part, scratch.numpy())
        out.copy_(scratch)

    def finish(self, part: Part, images: Tensor) -> Batch:
        """The batch of rendered pictures, with its labels, on its device."""
        index, labels = part.index, self.split.labels
        targets = None
        if part.partners is not None:
            own = self._drawing.mixes(part)
            targets = torch.from_numpy(soft_targets(labels[index], labels[part.partners], own[:, 0], len(self.split.classes)))
        return Batch(
            images=images.to(self.device),
            labels=self._moved(labels[index]),
            index=self._moved(index),
            targets=None if targets is None else targets.to(self.device),
            columns={name: self._moved(column[index]) for name, column in self.split.columns.items()},
        )

    def _moved(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)


@dataclass(frozen=True)
class _Pending:
    """A batch that the threads are working on."""

    loader: Loader
    part: Part
    images: Tensor
    work: list[Future[None]]

    def result(self) -> Batch:
        for piece in self.work:
            piece.result()
        return self.loader.finish(self.part, self.images)

    def cancel(self) -> None:
        for piece in self.work:
            piece.cancel()


class _Buffers:
    """Memory for batches, used again once nobody holds the batch: fresh pages cost more than rendering into them.

    A tensor keeps the array alive that its memory belongs to, and so does every view of it; an array to which only this list
    refers is free.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.float32]] = []

    def take(self, shape: tuple[int, ...]) -> Tensor:
        self._arrays = [array for array in self._arrays if array.shape == shape]
        for position in range(len(self._arrays)):
            # Two references: the list's, and the one that getrefcount itself is given.
            if sys.getrefcount(self._arrays[position]) == 2:
                return torch.from_numpy(self._arrays[position])
        array = np.empty(shape, np.float32)
        self._arrays.append(array)
        return torch.from_numpy(array)


def _check(split: Split, batch_size: int, dtype: str, partial: str, rank: int, ranks: int, threads: int | None) -> None:
    if batch_size < 1:
        raise RequestError(f"batch_size = {batch_size} was asked.", "at least 1", "batch_size = 128")
    if dtype not in DTYPES:
        raise unknown_name("dtype of batches", dtype, DTYPES, "docs/augmentation.md")
    if partial not in ("keep", "drop"):
        raise RequestError(f"partial = {partial!r} was asked.", '"keep" or "drop"', 'partial = "keep"')
    if partial == "drop" and batch_size > len(split):
        raise RequestError(
            f"A batch of {batch_size} was asked of {len(split)} pictures, and the smaller rest dropped: nothing is left.",
            f"a batch_size of at most {len(split)}",
            'a smaller batch_size, or partial = "keep"',
        )
    if not 0 <= rank < ranks:
        raise RequestError(f"rank {rank} of {ranks} was asked.", f"0 to {ranks - 1}", "rank = 0, ranks = 1")
    if threads is not None and threads < 1:
        raise RequestError(f"threads = {threads} was asked.", "at least 1", "leave it out: one a core")
