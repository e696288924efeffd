"""Where data is: published files in the data folder, what was made of them in the cache folder; and the walk through folders.

PRIORSCOPE_DATA    published files as they were downloaded; may be read-only (default: CACHE/data)
PRIORSCOPE_CACHE   decoded copies and unpacked archives; may be deleted      (default: priorscope in XDG_CACHE_HOME or ~/.cache)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from priorscope.core.errors import WorkError
from priorscope.core.folder import at_home, cache_folder, unwritable

DATA_VARIABLE = "PRIORSCOPE_DATA"


def data_folder() -> Path:
    """The folder of published data sets: `PRIORSCOPE_DATA`, or `data` in the cache folder."""
    named = os.environ.get(DATA_VARIABLE)
    return at_home(named) if named else cache_folder() / "data"


def stand_in(name: str) -> Path | None:
    """The store of a source's own name in the data folder, which stands for the source; None where there is none."""
    store = data_folder() / f"{name}.beton"
    return store if store.is_file() else None


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` in sorted order, through links to folders too, but for those that lead back to where they lie.

    One walk for all: what is read of a folder is what its stamp is of. As with `os.walk`, names that are taken out of the
    folders are not entered.
    """
    places = [folder.resolve(), *([folder.parent.resolve()] if folder.is_symlink() else [])]
    above = {folder: {_identity(one) for place in places for one in (place, *place.parents) if one.exists()}}

    def refuse(error: OSError) -> None:
        if Path(error.filename) != folder or not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise WorkError(
                f"The folder {error.filename} cannot be listed: {error.strerror}.",
                "folders that can be read: what lies in one that cannot would be left out",
                "check its permissions and its disk, then run the same command again",
            ) from error

    for at, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        seen = above.pop(Path(at))
        inside = {name: _identity(Path(at, name)) for name in sorted(folders)}
        folders[:] = [name for name, identity in inside.items() if identity not in seen]
        above |= {Path(at, name): seen | {inside[name]} for name in folders}
        yield at, folders, sorted(files)


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


@contextmanager
def alone(target: Path) -> Generator[None]:
    """Waits until no other process makes `target`: of a study's workers, which open the same data at once, one makes it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.with_name(f"{target.name}.lock").open("a")
    except OSError as error:
        raise unwritable(target, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            raise unwritable(target, error) from error
        yield
