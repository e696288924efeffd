"""numba's `njit` and `cfunc`, whose code is kept on the disk for as long as nothing has changed of what it was made from.

numba itself asks whether the function's own file has changed, and keeps old code after a change of what the function calls or
reads in another. Here the whole folder is asked: compiled code and the numbers that it takes as constants stand
together in one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, cast

import numba

from priorscope.core.folder import cache_folder
from priorscope.core.machine import processor

Code = TypeVar("Code", bound=Callable[..., Any])

_NUMBA: Any = numba.config  # pyright: ignore[reportPrivateImportUsage]

_DECORATING = RLock()
"""Held while numba's setting is ours: modules may be imported by several threads."""


def njit(*signature: Any, **options: Any) -> Callable[[Code], Code]:
    """`numba.njit(*signature, **options)`, kept on the disk."""

    def compiled(code: Code) -> Code:
        with _kept(code) as kept:
            return cast("Code", numba.njit(*signature, cache=kept, **options)(code))

    return compiled


def cfunc(signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.cfunc(signature, **options)`, kept on the disk: a function of C, whose `address` it has."""

    def compiled(code: Callable[..., Any]) -> Any:
        with _kept(code) as kept:
            return numba.cfunc(signature, cache=kept, **options)(code)

    return compiled


@contextmanager
def _kept(code: Callable[..., Any]) -> Generator[bool]:
    """Has numba keep what is decorated meanwhile in its folder's place; false where nothing can be kept."""
    folder = Path(code.__code__.co_filename).parent
    with _DECORATING:
        before = _NUMBA.CACHE_DIR
        place = _place(before, _stamp(folder))
        if place is None:
            yield False
            return
        _NUMBA.CACHE_DIR = str(place)
        try:
            yield True
        finally:
            _NUMBA.CACHE_DIR = before


def _place(named: str, stamp: str) -> Path | None:
    """The folder for code of a stamp, in the one that numba was told or in the cache folder; None where none can be written."""
    try:
        place = Path(named or cache_folder() / "compiled") / stamp
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a user without a home has no cache folder
        return None
    return place if os.access(place, os.W_OK) else None


@cache
def _stamp(folder: Path) -> str:
    """A hash of the modules that lie in a folder, and of the processor: several may share a home."""
    told = hashlib.sha256(processor().encode())
    for file in sorted(folder.glob("*.py")):
        told.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return told.hexdigest()[:16]
