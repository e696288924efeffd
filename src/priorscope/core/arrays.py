"""One array in an NPY file, or named ones in an NPZ file, written atomically; a damaged file is reported as damaged."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import WorkError
from priorscope.core.folder import replacing, unreadable, write_bytes

Arrays = Mapping[str, NDArray[Any]]


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Writes arrays atomically, in the order of their names; numpy stamps all with 1980, so equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})  # pyright: ignore[reportArgumentType]
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Reads back what `write_arrays` wrote."""
    with _naming_damage(path), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
        return {name: stored[name] for name in names}


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Writes one array atomically."""
    with replacing(path) as file:
        np.save(file, values, allow_pickle=False)


def read_array(path: Path) -> NDArray[Any]:
    """Reads back what `write_array` wrote."""
    with _naming_damage(path):
        return np.load(path, allow_pickle=False)


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unreadable(path, error, "a file of arrays") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WorkError(
            f"{path} is damaged: {error}.",
            "a file of arrays as it was written",
            f"delete {path} and run the same command again",
        ) from None
