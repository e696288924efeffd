"""Pictures that are still encoded: files in a folder, rows of a table, members of an archive.

They are decoded when they are read. `decoded` makes one array of them where they are all of one size.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from priorscope.core.machine import cores
from priorscope.data.decode import BrokenImageError, decode
from priorscope.data.split import Bytes, Pixels

CHUNK = 256
"""Pictures that a thread decodes before it takes new work: long enough that handing out work costs nothing."""


class EncodedPixels(ABC):
    """Encoded pictures. With `res` every one is read as its central square of that size."""

    res: int | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), known only where `res` was asked for: to find out, every picture would have to be read."""
        return None if self.res is None else (self.res, self.res)

    @property
    def array(self) -> Bytes | None:
        return None

    def at_size(self, res: int) -> Self:
        """The same pictures, read as central squares of a size."""
        return cast("Self", replace(cast("Any", self), res=res))

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The encoded picture as published."""

    @abstractmethod
    def where(self, index: int) -> str:
        """What to call the picture in an error: its path, or its place in its table or archive."""

    @abstractmethod
    def key(self) -> str:
        """A hash of what the pictures depend on: the files' paths, sizes and times of change."""

    def read(self, index: int) -> Bytes:
        return decode(self.content(index), self.where(index), self.res)


@dataclass(frozen=True)
class FilePixels(EncodedPixels):
    """Pictures in files of their own, named relative to a folder."""

    root: Path
    files: Sequence[str]
    res: int | None = None

    def __len__(self) -> int:
        return len(self.files)

    def content(self, index: int) -> bytes:
        try:
            return (self.root / self.files[index]).read_bytes()
        except OSError as error:
            raise BrokenImageError(self.where(index), error.strerror or str(error)) from None

    def where(self, index: int) -> str:
        return os.fsencode(self.root / self.files[index]).decode(errors="backslashreplace")

    def key(self) -> str:
        return files_key([self.root / file for file in self.files])


def files_key(paths: Sequence[Path]) -> str:
    """A hash of files' paths, sizes and times of change: content is not read, a touched file counts as changed.

    A file that is gone, a link to nowhere say, is no reason to fail here: whoever reads it names it, or leaves it out.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            state = path.stat()
            about = f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\n"
        except OSError:
            about = f"{path.absolute()}\0gone\n"
        digest.update(about.encode(errors="surrogateescape"))
    return digest.hexdigest()


def decoded(pixels: Pixels, workers: int | None = None) -> Bytes | None:
    """All pictures as one array, or None where they differ in size."""
    height, width = pixels.size or pixels.read(0).shape[:2]
    array = np.empty((len(pixels), height, width, 3), np.uint8)

    def fill(start: int) -> bool:
        for index in range(start, min(start + CHUNK, len(pixels))):
            picture = pixels.read(index)
            if picture.shape != array.shape[1:]:
                return False
            array[index] = picture
        return True

    with ThreadPoolExecutor(workers or cores()) as pool:
        for fits in pool.map(fill, range(0, len(pixels), CHUNK)):
            if not fits:
                pool.shutdown(cancel_futures=True)
                return None
    return array
