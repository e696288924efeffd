"""The two official file layouts of CIFAR: binary records, and Python pickles of numpy arrays.

Unpickling runs whatever a file asks for, so the pickles are read by an unpickler to which numpy's names mean plain holders of a
shape, a type and bytes; every other name is refused.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import WorkError
from priorscope.data.split import Bytes, Ints

SIDE = 32
PIXELS = 3 * SIDE * SIDE
AGAIN = "download the archive again"


def pictures_of(planes: NDArray[np.uint8]) -> Bytes:
    """Rows of 3,072 bytes (red plane, green plane, blue plane) as pictures."""
    return np.ascontiguousarray(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def read_records(files: Sequence[Path], labels: int) -> tuple[Bytes, NDArray[np.uint8]]:
    """(pictures, labels) of binary files, each record of which is `labels` bytes of labels and the planes of a picture."""
    records: list[NDArray[np.uint8]] = []
    for file in files:
        content = np.fromfile(file, np.uint8)
        if len(content) == 0 or len(content) % (labels + PIXELS):
            raise WorkError(
                f"{file} is damaged: it has {len(content):,} bytes.",
                f"whole records of {labels + PIXELS:,} bytes",
                AGAIN,
            )
        records.append(content.reshape(-1, labels + PIXELS))
    together = np.concatenate(records)
    return pictures_of(together[:, labels:]), together[:, :labels]


def read_pickles(files: Sequence[Path], labels: str) -> tuple[Bytes, Ints]:
    """(pictures, labels) of Python batch files; `labels` is the name under which the labels stand."""
    batches = [read_pickle(file) for file in files]
    for file, batch in zip(files, batches, strict=True):
        data: Any = batch.get("data")
        numbers: Any = batch.get(labels)
        whole = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == PIXELS
        if not whole or not isinstance(numbers, list) or len(numbers) != len(data):
            raise WorkError(f"{file} holds no CIFAR batch.", f"'data' (N x 3072 bytes) and {labels!r}", AGAIN)
    pictures = pictures_of(np.concatenate([batch["data"] for batch in batches]))
    return pictures, np.concatenate([np.asarray(batch[labels], np.int64) for batch in batches])


def read_pickle(file: Path) -> Mapping[str, Any]:
    """The table that a Python batch file holds: numbers, strings, lists and arrays, nothing else."""
    try:
        with file.open("rb") as opened:
            content = _ArraysOnly(opened, encoding="bytes").load()
        plain = _plain(content)
    except FileNotFoundError:
        raise
    except Exception as error:  # a hostile or torn pickle makes the unpickler raise nearly anything
        raise WorkError(f"{file} is not read: {error}.", "a pickle of arrays, numbers and strings", AGAIN) from None
    if not isinstance(plain, dict):
        raise WorkError(f"{file} holds no table.", "a pickled table", AGAIN)
    return plain


class _Type:
    """Stands for `numpy.dtype`: bytes, or 64-bit integers."""

    def __init__(self, code: str | bytes, *_flags: object) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stands for `numpy.ndarray` while its state is read."""

    array: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Type) or kind.code not in ("u1", "i8") or not isinstance(content, bytes):
            raise pickle.UnpicklingError("it holds an array that is neither bytes nor 64-bit integers")
        dtype = np.dtype(kind.code).newbyteorder("<")
        if math.prod(shape) * dtype.itemsize != len(content):
            raise pickle.UnpicklingError("an array's shape and length disagree")
        self.array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _new_array(*_arguments: object) -> _Array:
    return _Array()


def _encoded(text: str, encoding: str | bytes) -> bytes:
    """Bytes as Python 3 pickles them in old protocols: as latin-1 text."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows four names, each as something harmless."""

    allowed = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _new_array,
        ("numpy._core.multiarray", "_reconstruct"): _new_array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encoded,
    }

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which may run code")
        return self.allowed[module, name]


def _plain(value: Any) -> Any:
    """Unpickled content with arrays as arrays and Python 2's strings as text."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value
