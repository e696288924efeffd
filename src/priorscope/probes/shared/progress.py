"""What a long measurement knows so far, kept in a file, so that one that was stopped resumes there.

A measurement of many conditions on many pictures is a table that is filled piece by piece. The file is named by a hash of
everything that the table depends on, and it stays: the same measurement, asked for again, reads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.arrays import read_array, read_arrays, write_array, write_arrays
from priorscope.core.config import Plain, content_key
from priorscope.core.folder import keeping

if TYPE_CHECKING:
    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier

UNKNOWN = -2
"""Stands for what is not known yet. It is below -1, which stands for an answer of no class."""
SAVE_EVERY_SECONDS = 5.0

Shape = tuple[int, ...]


class PartialTables:
    """Tables of numbers by name, filled piece by piece (`UNKNOWN` elsewhere); read from the file if there is one."""

    def __init__(self, path: Path | None, tables: Mapping[str, tuple[Shape, type[np.generic]]]) -> None:
        self._path = path
        self._saved = time.perf_counter()
        self._tables: dict[str, NDArray[Any]] = {name: np.full(shape, UNKNOWN, kind) for name, (shape, kind) in tables.items()}
        if path is not None and path.exists():
            self._tables = read_arrays(path, self._tables)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tables[name]

    def lacks(self, name: str, place: Any = ...) -> bool:
        """Whether anything at a place in a table is still unknown."""
        return bool((self._tables[name][place] == UNKNOWN).any())

    def learn(self, name: str, place: Any, values: Any) -> None:
        """Notes values at a place in a table, and every few seconds writes all that is known to the file."""
        self._tables[name][place] = values
        if time.perf_counter() - self._saved >= SAVE_EVERY_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Writes the file, whole or not at all."""
        if self._path is not None:
            with keeping(self._path):
                write_arrays(self._path, self._tables)
        self._saved = time.perf_counter()


def kept_array(path: Path | None, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """What was computed once, from its file; the first time, and where there is no file to keep it in, it is computed."""
    if path is not None and path.exists():
        return read_array(path)
    values = compute()
    if path is not None:
        with keeping(path):
            write_array(path, values)
    return values


def state_of(folder: Path | None, probe: str, model: Classifier, chosen: Split, settings: Plain) -> Path | None:
    """The file of a measurement in a folder, named by network, pictures and settings (the probe's version is one of them)."""
    if folder is None:
        return None
    from priorscope.models.key import network_key

    key = {"network": network_key(model), "data": chosen.fingerprint, **settings}
    return folder / f"{probe}-{content_key(key)}.npz"
