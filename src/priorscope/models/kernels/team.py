"""How a loop is run: by the threads that torch computes with, each of which claims rows until none is left."""

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
"""Indices into a job's integers: rows claimed so far, rows, their length, rows claimed at a time, and the first address."""

ELEMENTS = 1 << 14
"""Elements that a thread claims at a time."""

ROW = 1 << 10
"""Elements in a row of a tensor that is read as one flat array; the last row may end earlier."""


@lane
def claim(_typing: Any, _job: Any, _rows: Any) -> Any:
    """Claims the next so many rows of a job for the calling thread, and returns the first of them."""

    def code(_context: Any, write: Any, _signature: Any, args: Any) -> Any:
        return write.atomic_rmw("add", args[0], args[1], "monotonic")

    return types.int64(types.CPointer(types.int64), types.int64), code


@lane
def _pointer(_typing: Any, _address: Any, like: Any) -> Any:
    """Turns an address into a pointer to elements of the type of `like`."""

    def code(context: Any, write: Any, signature: Any, args: Any) -> Any:
        return write.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.int64, like), code


@njit(inline="always")
def array_at(address: int, element: Any, shape: Any) -> Any:
    """The array of a shape that begins at an address, with elements of the type of `element`."""
    return carray(_pointer(address, element), shape)


def has_team() -> bool:
    """Whether torch computes with an OpenMP that takes our loops: GNU's, as in its Linux builds."""
    return _parallel() is not None


def rows_of(values: Tensor) -> tuple[int, int]:
    """How many rows a tensor has, all its axes but the last counted together, and how long they are."""
    return values.numel() // max(values.shape[-1], 1), values.shape[-1]


def run(loop: Any, shape: tuple[int, int], arrays: Sequence[Tensor], *numbers: int) -> None:
    """Runs a loop over `shape` (rows, their length); its job ends with the addresses of contiguous arrays, then `numbers`.

    Work that one claim covers is done by the calling thread alone, as torch does with so little.
    """
    rows, columns = shape
    if not rows * columns:
        return
    addresses = (array.data_ptr() for array in arrays)
    job = np.array([0, rows, columns, max(1, ELEMENTS // columns), *addresses, *numbers], np.int64)
    parallel = _parallel()
    if parallel is None or rows <= job[AT_ONCE]:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(loop.address)(job.ctypes.data)
    else:
        parallel(loop.address, job.ctypes.data, torch.get_num_threads(), 0)


@cache
def _parallel() -> Callable[[int, int, int, int], None] | None:
    """OpenMP's own entry to a parallel section, of the library that torch computes with, if that is GNU's."""
    for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        entry = ctypes.CDLL(str(path)).GOMP_parallel
        entry.argtypes, entry.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
        return entry
    return None
