"""What a long measurement knows so far, kept in a file, so that one that was stopped resumes there.

A measurement of many conditions on many pictures is a table that is filled piece by piece. The file is named by a hash of
everything that the table depends on, and it stays: the same measurement, asked for again, reads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.arrays import Arrays, read_array, read_arrays, write_array, write_arrays
from priorscope.core.folder import keeping

UNKNOWN = -2
"""Stands for what is not known yet. It is below -1, which stands for an answer of no class."""
SAVE_EVERY_SECONDS = 5.0
CHEAP_SECONDS = 0.1
"""Files that take longer to write are written less often: writing takes 2 % of the time at most."""

Shape = tuple[int, ...]


class Rhythm:
    """When to save: every so many seconds, and rarer in proportion where a save takes longer than a cheap one."""

    def __init__(self, every: float, cheap: float) -> None:
        self._every, self._cheap = every, cheap
        self._saved, self._pause = time.perf_counter(), every

    @property
    def due(self) -> bool:
        """Whether the last save was long enough ago."""
        return time.perf_counter() - self._saved > self._pause

    @contextmanager
    def save(self) -> Iterator[None]:
        """Times a save."""
        began = time.perf_counter()
        yield
        self._saved = time.perf_counter()
        self._pause = self._every * max(1.0, (self._saved - began) / self._cheap)


class Keeper:
    """Writes what is known to a file now and then; without a file, never."""

    def __init__(self, path: Path | None, known: Callable[[], Arrays]) -> None:
        self._path, self._known = path, known
        self._rhythm = Rhythm(SAVE_EVERY_SECONDS, CHEAP_SECONDS)

    def now_and_then(self) -> None:
        """Writes the file if the last time was long enough ago."""
        if self._rhythm.due:
            self.now()

    def now(self) -> None:
        """Writes the file, whole or not at all."""
        if self._path is None:
            return
        with self._rhythm.save(), keeping(self._path):
            write_arrays(self._path, self._known())


class PartialTables:
    """Tables of numbers by name, filled piece by piece (`UNKNOWN` elsewhere); read from the file if there is one."""

    def __init__(self, path: Path | None, tables: Mapping[str, tuple[Shape, type[np.generic]]]) -> None:
        self._tables: dict[str, NDArray[Any]] = {name: np.full(shape, UNKNOWN, kind) for name, (shape, kind) in tables.items()}
        if path is not None and path.exists():
            self._tables = read_arrays(path, self._tables)
        self._keeper = Keeper(path, lambda: self._tables)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tables[name]

    def lacks(self, name: str, place: Any = ...) -> bool:
        """Whether anything at a place in a table is still unknown."""
        return bool((self._tables[name][place] == UNKNOWN).any())

    def learn(self, name: str, place: Any, values: Any) -> None:
        """Notes values at a place in a table, and every few seconds writes all that is known to the file."""
        self._tables[name][place] = values
        self._keeper.now_and_then()

    def keep(self) -> None:
        """Writes the file, whole or not at all."""
        self._keeper.now()


def kept_array(path: Path | None, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """What was computed once, from its file; the first time, and where there is no file to keep it in, it is computed."""
    if path is not None and path.exists():
        return read_array(path)
    values = compute()
    if path is not None:
        with keeping(path):
            write_array(path, values)
    return values
