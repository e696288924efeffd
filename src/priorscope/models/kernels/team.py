"""A loop over rows, shared by the threads that torch computes with.

torch's own threads wait for work by spinning. Threads of another pool (numba's, Python's) would share the cores with them and
take twice as long, so a loop is handed to OpenMP as torch itself hands it a loop.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import carray, njit, types  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor

from priorscope.models.kernels.lanes import lane

JOB = types.void(types.CPointer(types.int64))
"""The signature of a loop: it finds everything in one list of integers, addresses among them."""

CLAIMED, ROWS, COLUMNS, AT_ONCE, FIRST = range(5)
"""Places of a job: rows claimed so far, rows, their length, rows claimed at a time, and the first address."""

ELEMENTS = 1 << 14
"""Elements that a thread claims at a time."""


@lane
def claim(_typing: Any, _job: Any, _rows: Any) -> Any:
    """The first of so many rows that no other thread has."""

    def code(_context: Any, write: Any, _signature: Any, args: Any) -> Any:
        return write.atomic_rmw("add", args[0], args[1], "monotonic")

    return types.int64(types.CPointer(types.int64), types.int64), code


@lane
def _pointer(_typing: Any, _address: Any, like: Any) -> Any:
    """The address as that of elements like this one."""

    def code(context: Any, write: Any, signature: Any, args: Any) -> Any:
        return write.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.int64, like), code


@njit(inline="always")
def array_at(address: int, element: Any, shape: Any) -> Any:
    """The array of elements like this one that begins at an address."""
    return carray(_pointer(address, element), shape)


def has_team() -> bool:
    """Whether torch computes with an OpenMP that takes our loops: GNU's, as in its Linux builds."""
    return _parallel() is not None


def rows_of(values: Tensor) -> tuple[int, int]:
    """All axes but the last as rows, and their length."""
    return values.numel() // max(values.shape[-1], 1), values.shape[-1]


def run(loop: Any, shape: tuple[int, int], arrays: Sequence[Tensor], *numbers: int) -> None:
    """Runs a loop over the rows of some arrays of that shape, each contiguous; their addresses and numbers end its job."""
    rows, columns = shape
    if not rows * columns:
        return
    addresses = (array.data_ptr() for array in arrays)
    job = np.array([0, rows, columns, max(1, ELEMENTS // columns), *addresses, *numbers], np.int64)
    parallel = _parallel()
    assert parallel is not None, "a loop was run without a team"
    parallel(loop.address, job.ctypes.data, torch.get_num_threads(), 0)


@cache
def _parallel() -> Callable[[int, int, int, int], None] | None:
    """OpenMP's own entry to a parallel section, of the library that torch computes with, if that is GNU's."""
    for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        entry = ctypes.CDLL(str(path)).GOMP_parallel
        entry.argtypes, entry.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
        return entry
    return None
