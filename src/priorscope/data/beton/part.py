"""The unfinished file: `NAME.part`, what stands beside it until it is finished, and how it gets its name.

NAME.part            the file as it will be, its header still empty
NAME.part.regions    the allocation table, whose place is known only at the end
NAME.part.notes      notes of how far it has come, where it may be resumed
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

from priorscope.core.config import Config
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.folder import read_json, unwritable, write_json
from priorscope.data.beton.layout import REGION

NOTE_EVERY = 64 << 20
"""Bytes between two notes: a kill costs at most the work of these, and each note waits for the disk."""


class Notes(Config):
    """How far a file has come. The sums are whole numbers, so that they do not depend on where a run was cut."""

    writes: str = ""
    done: int = 0
    end: int
    page: int = 0
    regions: int = 0
    pixels: int = 0
    sums: tuple[int, ...] = (0, 0, 0)
    squares: tuple[int, ...] = (0, 0, 0)


class StoredPart:
    """The unfinished file of `target`, held by one process at a time. It may be resumed where a `key` names what is written."""

    def __init__(self, target: Path, key: str | None) -> None:
        self.target = target
        self.key = key
        self.path = part_path(target)
        self.regions_path = _beside(target, ".part.regions")
        self.notes_path = _beside(target, ".part.notes")
        self.notes: Notes | None = None
        self.noted = 0

    def __enter__(self) -> Self:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.file = self._held()
            self.regions = self.regions_path.open("a+b")
        except OSError as error:
            raise unwritable(self.target, error) from error
        self.notes = self._readable_notes()
        try:
            self._cut_back()
        except OSError as error:
            raise unwritable(self.target, error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.key is None:
            self._remove(self.path)
        if kind is None or self.key is None:
            self._remove(self.regions_path)
            self._remove(self.notes_path)
        self.regions.close()
        self.file.close()

    def put(self, content: bytes, at: int) -> None:
        self.file.seek(at)
        self.file.write(content)

    def put_regions(self, content: bytes) -> None:
        self.regions.write(content)

    def note(self, notes: Notes) -> None:
        """Writes down how far the file has come, now and then, after what it says has reached the disk."""
        if self.key is None or notes.end - self.noted < NOTE_EVERY:
            return
        for file in (self.file, self.regions):
            file.flush()
            os.fsync(file.fileno())
        write_json(self.notes_path, notes.replace(writes=self.key).plain())
        self.noted = notes.end

    def append_regions(self, at: int) -> None:
        """Puts the allocation table to its place, which is the end of the file."""
        self.regions.flush()
        self.regions.seek(0)
        self.file.seek(at)
        shutil.copyfileobj(self.regions, self.file, 1 << 20)

    def flush(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def publish(self, before: Callable[[], Any]) -> None:
        """Gives the file its name. `before` removes what belongs to a file that bore the name until now."""
        before()
        self.path.replace(self.target)

    def _held(self) -> IO[bytes]:
        """The part, opened and locked: the file that bears the name now, not one that another process has just renamed."""
        while True:
            file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise RequestError(
                    f"{self.target} is being written by another process.",
                    "one writer of a file",
                    "wait until it has ended, or write to another name",
                ) from None
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                return file
            file.close()

    def _readable_notes(self) -> Notes | None:
        """The notes of a killed run that wrote the same, or None: then it begins again."""
        if self.key is None or not self.notes_path.exists():
            return None
        try:
            notes = Notes.parse(read_json(self.notes_path))
        except PriorscopeError:
            return None
        return notes if notes.writes == self.key and self.path.stat().st_size >= notes.end else None

    def _cut_back(self) -> None:
        """Drops what was written after the last note, and everything where there is none, another writer's notes too."""
        if self.notes is None:
            self.notes_path.unlink(missing_ok=True)
        self.noted = self.notes.end if self.notes else 0
        self.file.truncate(self.noted)
        self.regions.truncate(self.notes.regions * REGION.itemsize if self.notes else 0)
        self.regions.seek(0, os.SEEK_END)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return  # a folder that lost its permission meanwhile: the error that led here says more


def part_path(target: Path) -> Path:
    """The path at which a file lies until it is whole."""
    return _beside(target, ".part")


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)
