"""Folders of results as files: everything appears under its final name complete, or not at all.

A file is written under a temporary name in the same folder, flushed to the disk and renamed; a reader, or a process killed at
any moment, never meets half a file. A folder in use is locked, so that two processes never write into one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from priorscope.core.config import Plain, is_table
from priorscope.core.errors import PriorscopeError, RequestError, WorkError

LOCK = ".lock"
"""The file in a folder that is locked by whoever writes there."""
TEMPORARY = ".tmp-"
"""What names of unfinished files begin with."""
LEFTOVERS = TEMPORARY + "[0-9a-f]" * 8 + "-*"
"""The pattern of the names that `replacing` gives: such files are leftovers of a killed process and may be deleted."""


def at_home(path: os.PathLike[str] | str) -> Path:
    """A path with its `~` as the user's home; one below a user that is not known stays as written, and leads to nothing."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path.expanduser raises RuntimeError there


def cache_folder() -> Path:
    """The folder for what can be made again: `PRIORSCOPE_CACHE`, or the user's cache folder."""
    named = os.environ.get("PRIORSCOPE_CACHE")
    if named:
        return at_home(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "priorscope"


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the name `path` only when the block ends well."""
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}"  # of `.`, which has no name, too
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        _remove_leftover(temporary)


@contextmanager
def keeping(path: Path) -> Iterator[None]:
    """A block that keeps in a file what is known already: that it cannot be written is said, once a folder, and no error."""
    try:
        yield
    except PriorscopeError as error:
        if path.parent not in _UNKEPT:
            print(f"not kept: {error.came}", file=sys.stderr)
        _UNKEPT.add(path.parent)


_UNKEPT: set[Path] = set()


def _remove_leftover(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # a read-only folder: nothing was written there


def _sync_folder(folder: Path) -> None:
    """Makes a rename in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unreadable(path: Path, error: OSError, kind: str) -> WorkError:
    """The error for a file that is there and could not be read."""
    do = f"check {path} and its permissions"
    return WorkError(f"{path} cannot be read: {error.strerror or error}.", f"{kind} that may be read", do)


def unwritable(path: Path, error: OSError) -> PriorscopeError:
    """The error for a file that could not be written: a full disk, a read-only folder, or a path that was given wrongly."""
    wrong = {
        errno.ENOTDIR: "a part of the path is a file",
        errno.EEXIST: "a file stands where a folder is wanted",
        errno.EISDIR: "a folder stands where a file is wanted",
        errno.EBUSY: "a folder stands where a file is wanted",
        errno.ENAMETOOLONG: "a name in it is too long",
    }
    if error.errno in wrong:
        return RequestError(
            f"Cannot write {path}: {wrong[error.errno]}.", "a path at which it can stand", "choose another path"
        )
    again = "free some space, then run the same command again: it goes on where it stopped"
    reasons = {
        errno.ENOSPC: ("the disk is full", again),
        errno.EDQUOT: ("the disk quota is used up", again),
        errno.EROFS: ("the disk is read-only", "choose a folder on another disk"),
        errno.EACCES: ("the folder may not be written", "choose another folder, or change its permissions"),
        errno.EPERM: ("the folder may not be written", "choose another folder, or change its permissions"),
    }
    reason, do = reasons.get(error.errno or 0, (str(error), "check the path and the disk"))
    return WorkError(f"Cannot write {path}: {reason}.", "a folder with room that may be written", do)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file atomically."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Writes a whole text file atomically, in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically: sorted keys, two spaces, so that equal content gives equal bytes."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, mend: str = "put a whole copy of it back") -> Plain:
    """The table that a JSON file holds, or an error that says what is torn, and what mends such a file."""
    content = _read(path, "a JSON file", json.loads, mend)
    if not is_table(content):
        raise WorkError(f"{path} is damaged: it holds no table.", "a JSON file as it was written", mend)
    return content


def _read(path: Path, kind: str, parse: Callable[[str], Any], mend: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"There is no file {str(path)!r}.", kind, "check the path") from None
    except OSError as error:
        raise unreadable(path, error, kind) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WorkError(f"{path} is damaged: {error}.", f"{kind} as it was written", mend) from None


def write_rows(path: Path, rows: Sequence[Plain]) -> None:
    """Writes a table as JSON lines, the whole file atomically: it never ends in half a line."""
    write_text(path, "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[Plain]:
    """The rows of a file of JSON lines."""
    mend = "put a whole copy of it back, or train in another folder"
    rows = _read(path, "a file of JSON lines", lambda text: [json.loads(line) for line in text.splitlines()], mend)
    if not all(is_table(row) for row in rows):
        raise WorkError(f"{path} is damaged: it holds a row that is no table.", "a file of JSON lines as it was written", mend)
    return rows


def remove_leftovers(folder: Path, own: Sequence[str]) -> None:
    """Deletes unfinished files of killed processes in a folder that is locked by us, and below the folders of `own` in it."""
    below = (leftover for name in own for leftover in (folder / name).rglob(LEFTOVERS))
    for leftover in [*folder.glob(LEFTOVERS), *below]:
        _remove_leftover(leftover)


def check_free(folder: Path) -> None:
    """Refuses a folder that another process holds, and changes nothing; many may ask at once."""
    try:
        file = (folder / LOCK).open(encoding="utf-8")
    except OSError:
        return  # nobody ever wrote into it, or nobody may: whoever wants to hold it is told
    with file:
        _flock(folder, file, fcntl.LOCK_SH)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; refuses where another process holds it. A killed process frees it."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise unwritable(folder, error) from error
    with file:
        _flock(folder, file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"pid {os.getpid()}")
        file.flush()
        yield


def _flock(folder: Path, file: IO[str], kind: int) -> None:
    """Takes a lock on a folder's file at once, or says who has it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise RequestError(
            f"The folder {folder} is in use by another process ({holder}).",
            "a folder that nobody else writes to",
            "wait until that process has ended, or choose another folder",
        ) from None
    except OSError as error:
        raise WorkError(
            f"The folder {folder} cannot be locked: {error.strerror}.",
            "a file system with locks (flock), so that no two processes write to one folder",
            "mount it with locks, or choose a folder on another disk",
        ) from error


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """Names of paths: the fewest last parts that tell different ones from each other."""
    most = max(len(path.parts) for path in paths)
    named = (["/".join(path.parts[-count:]) for path in paths] for count in range(1, most + 1))
    return next(names for names in named if len(set(names)) == len(set(paths)))
