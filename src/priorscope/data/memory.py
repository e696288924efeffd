"""Where the bytes of a split's pictures lie, so that kernels read them in place: in memory or in a mapped file."""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from priorscope.core.errors import WorkError
from priorscope.data.split import Bytes, ChosenPixels, Ints, Pixels


@runtime_checkable
class RawPixels(Protocol):
    """Pictures of a file some of which may be raw: `starts` says where each begins in `flat`, or is None."""

    @property
    def flat(self) -> Bytes: ...

    @property
    def starts(self) -> Ints | None: ...


@dataclass(frozen=True, eq=False)
class InPlace:
    """Raw pictures of one size: the i-th is `size` bytes of `flat` from `starts[i]` on."""

    flat: Bytes
    starts: Ints
    height: int
    width: int

    @property
    def size(self) -> int:
        """Bytes of a picture."""
        return self.height * self.width * 3

    def gather(self, index: Ints, out: Bytes) -> None:
        """Copies pictures into `out` (n, height, width, 3)."""
        from priorscope.data.kernels.gather import gather

        gather(self.flat, self.starts[index], out.reshape(len(index), -1))


def in_place(pixels: Pixels) -> InPlace | None:
    """The bytes of pictures and where each begins, if they are raw, of one size and each in one piece; else None."""
    if isinstance(pixels, ChosenPixels):
        whole = in_place(pixels.of)
        return None if whole is None else replace(whole, starts=whole.starts[pixels.chosen])
    if isinstance(pixels, RawPixels) and pixels.starts is not None and pixels.size is not None:
        return InPlace(pixels.flat, pixels.starts, *pixels.size)
    array = pixels.array
    return None if array is None else _of_array(np.asarray(array))


def _of_array(array: Bytes) -> InPlace | None:
    count, height, width = array.shape[:3]
    size, step = height * width * 3, array.strides[0]
    if array.strides[1:] != (width * 3, 3, 1) or (count > 1 and step < size):
        array = np.ascontiguousarray(array)
        step = size
    flat = np.lib.stride_tricks.as_strided(array, ((count - 1) * step + size,), (1,), writeable=False)
    return InPlace(flat, np.arange(count) * step, height, width)


CHUNK_BYTES: Final = 1 << 19
"""Bytes of pictures that are read in one piece in chunked order: large enough for a disk to read at its full rate."""

CHUNKS: Final = 64
"""Chunks that are shuffled together: a window of about 32 MiB. Windows of 64 MiB went at 167 pictures a second, not 33,000,
where a process with torch in it may hold 640 MiB: what was read ahead was thrown out again before it was looked at."""

_COLD: Final = 20
"""Linux's MADV_COLD (5.4 and later; Python does not name it): these pages go first when memory is short, and not before."""


def chunk_of(picture_bytes: int) -> int:
    """Pictures in a chunk."""
    return max(1, CHUNK_BYTES // max(picture_bytes, 1))


class ReadAhead:
    """Keeps that part of a mapped store in memory that an epoch is at: asks for the next window, lets go of the one behind.

    An order that jumps from place to place has no such part (`advises` is false), and where encoded pictures lie is not known:
    then only the file's length is looked after.
    """

    def __init__(self, pixels: Pixels, store: InPlace | None, *, advises: bool = True) -> None:
        flat = _file_behind(pixels) if store is None else store.flat
        self._store = store
        self._advises = advises and store is not None
        self._map = None if flat is None else _map_under(flat)

    def enter(self, order: Ints, place: int, count: int) -> None:
        """Tells that `count` places of an order, from `place` on, are about to be read."""
        if self._map is not None:
            _check_whole(self._map)
        if self._store is None or self._map is None or not self._advises:
            return
        window = chunk_of(self._store.size) * CHUNKS
        first, last = -(-place // window), (place + count - 1) // window
        if first <= last:
            self._advise(order[first * window : (last + 2) * window], mmap.MADV_WILLNEED)
            behind = order[max(first - 2, 0) * window : max(last - 1, 0) * window]
            self._advise(behind, _COLD)
            self._advise(behind, mmap.MADV_DONTNEED)

    def leave(self) -> None:
        """Tells that an epoch is over."""
        if self._map is not None and self._advises:
            self._map.madvise(mmap.MADV_DONTNEED)

    def _advise(self, index: Ints, advice: int) -> None:
        if self._store is None or self._map is None or not len(index):
            return
        chunk = chunk_of(self._store.size)
        begin_of_map = np.frombuffer(self._map, np.uint8).__array_interface__["data"][0]
        offset = self._store.flat.__array_interface__["data"][0] - begin_of_map
        for number in np.unique(index // chunk):
            starts = self._store.starts[number * chunk : (number + 1) * chunk]
            begin, end = offset + int(starts.min()), offset + int(starts.max()) + self._store.size
            begin -= begin % mmap.PAGESIZE
            with suppress(OSError):  # advice that this system does not know: it is only advice
                self._map.madvise(advice, begin, end - begin)


def _check_whole(mapped: mmap.mmap) -> None:
    """Refuses to read on in a file that somebody has cut short: the system ends a process that touches what is gone."""
    if mapped.size() < len(mapped):
        raise WorkError(
            f"The file of the pictures was cut short while it was read: {mapped.size():,} of {len(mapped):,} bytes are left.",
            "the file that was opened",
            "put it back (priorscope data verify FILE), then the same command with --resume",
        )


def _file_behind(pixels: Pixels) -> Bytes | None:
    """The whole file that pictures are read from, encoded or not, chosen from it or not; None where it is not mapped."""
    below: object = pixels
    while below is not None and not isinstance(below, RawPixels):
        below = getattr(below, "of", None)
    return None if below is None else below.flat


def _map_under(array: Bytes) -> mmap.mmap | None:
    """The memory map whose bytes an array shows, if it does."""
    base: Any = array
    while not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
        if base is None:
            return None
    return base
