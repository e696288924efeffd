"""Who renders a batch: the loader's threads on the CPU, or a device on bytes that live there or are sent to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.data.augment.cpu import CpuRenderer, with_partners
from priorscope.data.augment.device import carried_out, mixed
from priorscope.data.augment.program import BatchPart, Drawing, Program
from priorscope.data.memory import InPlace

Ints = NDArray[np.int64]

RESIDENT_SHARE = 0.5
"""Share of a device's free memory that pictures may take to live there."""


class Pending(Protocol):
    """Pictures that are being rendered."""

    def result(self) -> Tensor:
        """Waits for them."""
        ...

    def cancel(self) -> None:
        """Spares the work that has not begun."""
        ...


class Rendering(Protocol):
    """Starts to render parts of batches, in the background."""

    def start(self, part: BatchPart) -> Pending: ...


class OnThreads:
    """Renders on the CPU, an equal piece of the batch on each thread, and moves the batch where it is wanted."""

    def __init__(
        self, renderer: CpuRenderer, pool: ThreadPoolExecutor, threads: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._renderer = renderer
        self._pool = pool
        self._threads = threads
        self._dtype = dtype
        self._device = device
        self._buffers = Buffers()

    def start(self, part: BatchPart) -> Pending:
        side = self._renderer.drawing.side
        shape = (len(part.index), 3, side, side)
        images = self._buffers.take(shape) if self._dtype == torch.float32 else torch.empty(shape, dtype=self._dtype)
        # Even cuts keep pairs that are mixed with each other on one thread, which then renders each once.
        cuts = np.linspace(0, len(part.index) / 2, self._threads + 1).astype(int) * 2
        cuts[-1] = len(part.index)
        work = [
            self._pool.submit(self._render, part.cut(low, high), images[low:high]) for low, high in pairwise(cuts) if high > low
        ]
        return _Threads(images, work, self._device)

    def _render(self, part: BatchPart, out: Tensor) -> None:
        if self._dtype == torch.float32:
            self._renderer.render(part, out.numpy())
            return
        scratch = torch.empty(out.shape)
        self._renderer.render(part, scratch.numpy())
        out.copy_(scratch)


@dataclass(frozen=True)
class _Threads:
    images: Tensor
    work: Sequence[Future[None]]
    device: torch.device

    def result(self) -> Tensor:
        for piece in self.work:
            piece.result()
        return self.images.to(self.device)

    def cancel(self) -> None:
        for piece in self.work:
            piece.cancel()


class Buffers:
    """Memory for batches, used again once nobody holds the batch.

    Fresh pages cost about as much as rendering into them. A tensor keeps the array alive that its memory belongs to, and so
    does every view of it: an array to which only this list refers is free.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.float32]] = []

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor of that shape, of whatever content."""
        size = int(np.prod(shape))
        for place in range(len(self._arrays)):
            # Two references: the list's, and the one that getrefcount itself is given.
            if self._arrays[place].size >= size and sys.getrefcount(self._arrays[place]) == 2:
                return torch.from_numpy(self._arrays[place])[:size].view(shape)
        self._arrays = [array for array in self._arrays if array.size >= size]
        self._arrays.append(np.empty(size, np.float32))
        return torch.from_numpy(self._arrays[-1])[:size].view(shape)


class OnDevice:
    """Renders on a device. Numbers are drawn (and bytes gathered, where they do not live there) by a thread ahead of time."""

    def __init__(
        self,
        store: InPlace,
        drawing: Drawing,
        pool: ThreadPoolExecutor,
        dtype: torch.dtype,
        device: torch.device,
        resident: bool,
    ) -> None:
        self._store = store
        self._drawing = drawing
        self._pool = pool
        self._dtype = dtype
        self._device = device
        self._bytes: Tensor | None = None
        if resident:
            self._bytes = self._gathered(np.arange(len(store.starts))).to(device)

    def _gathered(self, index: Ints) -> Tensor:
        """Pictures in memory from which a device is filled while others are gathered."""
        shape = (len(index), self._store.height, self._store.width, 3)
        pictures = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        self._store.gather(index, pictures.numpy())
        return pictures

    def start(self, part: BatchPart) -> Pending:
        return _Device(self, part, self._pool.submit(self._prepare, part))

    def _prepare(self, part: BatchPart) -> _Prepared:
        drawing = self._drawing
        permuted = len(drawing.order) > 0
        mixes = drawing.mixes(part) if part.partners is not None or permuted else None
        needed, at = (part.index, np.arange(len(part.index))) if mixes is None else with_partners(part, mixes)
        sizes = np.empty((len(needed), 2), np.int64)
        sizes[:] = self._store.height, self._store.width
        sent = None if self._bytes is not None else self._gathered(needed)
        return _Prepared(needed, at, drawing.program(part.epoch, needed, sizes), mixes, sent)

    def finish(self, prepared: _Prepared) -> Tensor:
        """The device's share of the work, on the consumer's own stream."""
        if self._bytes is not None:
            pictures = self._bytes[torch.from_numpy(prepared.needed).to(self._device)]
        else:
            pictures = cast("Tensor", prepared.sent).to(self._device, non_blocking=True)
        images = carried_out(pictures, prepared.program, self._drawing, prepared.needed)
        return mixed(images, prepared.at, prepared.mixes, self._drawing.order).to(self._dtype)


@dataclass(frozen=True)
class _Prepared:
    needed: Ints
    at: Ints
    program: Program
    mixes: NDArray[np.float64] | None
    sent: Tensor | None


@dataclass(frozen=True)
class _Device:
    rendering: OnDevice
    part: BatchPart
    prepared: Future[_Prepared]

    def result(self) -> Tensor:
        return self.rendering.finish(self.prepared.result())

    def cancel(self) -> None:
        self.prepared.cancel()


def fits(store: InPlace, device: torch.device) -> bool:
    """Whether the pictures may live on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return len(store.starts) * store.size <= RESIDENT_SHARE * free
    return True
