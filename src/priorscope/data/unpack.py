"""Archives unpacked so that nothing but plain files below one folder can come out.

Refused: paths that leave the folder, links, devices, and bombs (more files or bytes than the archive's size makes likely).
The folder appears under its name when it is complete.
"""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import TEMPORARY, cache_folder, unwritable
from priorscope.data.folders import alone

BLOCK = 1 << 20
TORN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What the standard library raises on a damaged archive, an unknown compression and an encrypted member."""


@dataclass(frozen=True)
class Limits:
    """How much may come out of an archive. Image archives hardly compress (CIFAR 1.1, STL-10 1.1, Tiny ImageNet 1.2)."""

    files: int = 2_000_000
    ratio: float = 20.0
    slack: int = 64 << 20

    def bytes_of(self, archive: Path) -> int:
        """The most bytes that an archive may unpack to."""
        return int(archive.stat().st_size * self.ratio) + self.slack


Member = tuple[PurePosixPath, IO[bytes]]


def unpack(archive: Path, folder: Path, limits: Limits = Limits()) -> Path:
    """Unpacks a zip or tar archive into a new folder, whole or not at all."""
    if not archive.is_file():
        raise RequestError(f"There is no file {str(archive)!r}.", "a zip or tar archive", "check the path")
    if folder.exists():  # asked before the lock too, which a cache that can only be read does not give
        return folder
    with alone(folder):
        if folder.exists():
            return folder
        half_done = folder.with_name(f"{TEMPORARY}{folder.name}")
        shutil.rmtree(half_done, ignore_errors=True)
        try:
            half_done.mkdir(parents=True)
            _write_all(archive, half_done, limits)
            half_done.rename(folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        finally:
            shutil.rmtree(half_done, ignore_errors=True)
    return folder


def unpacked(archive: Path) -> Path:
    """An archive's content in the cache folder, unpacked at the first call."""
    from priorscope.data.encoded import files_key

    return unpack(archive, cache_folder() / "unpacked" / f"{archive.name.partition('.')[0]}-{files_key([archive])[:12]}")


def _write_all(archive: Path, folder: Path, limits: Limits) -> None:
    room = limits.bytes_of(archive)
    for count, (name, content) in enumerate(_members(archive), start=1):
        if count > limits.files:
            raise _refused(archive, f"it holds more than {limits.files:,} files")
        with _new_file(archive, folder / name) as file:
            while block := _next_block(archive, content):
                room -= len(block)
                if room < 0:
                    raise _refused(archive, f"more than {limits.bytes_of(archive):,} bytes come out of it")
                file.write(block)


def _new_file(archive: Path, target: Path) -> IO[bytes]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _refused(archive, f"{target.name!r} occurs in it twice") from None


def _next_block(archive: Path, content: IO[bytes]) -> bytes:
    try:
        return content.read(BLOCK)
    except TORN as error:
        raise torn_archive(archive, error) from None


def _members(archive: Path) -> Iterator[Member]:
    try:
        if zipfile.is_zipfile(archive):
            yield from _zip_members(archive)
        else:
            yield from _tar_members(archive)
    except TORN as error:
        raise torn_archive(archive, error) from None


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = _safe(archive, entry.filename)
            kind = entry.external_attr >> 28  # the file type of a Unix mode; 0 where another system wrote the archive
            if entry.is_dir():
                continue
            if kind not in (0, 8):
                raise _refused(archive, f"{entry.filename!r} is a link or a device")
            with opened.open(entry) as content:
                yield name, content


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive, mode="r|*") as opened:
        for entry in opened:
            name = _safe(archive, entry.name)
            if entry.isdir():
                continue
            content = opened.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise _refused(archive, f"{entry.name!r} is a link or a device")
            with closing(content):
                yield name, content


def _safe(archive: Path, name: str) -> PurePosixPath:
    """A member's name, refused where it leads anywhere but below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or ":" in path.parts[0]:
        raise _refused(archive, f"{name!r} leads out of the folder")
    return path


def _refused(archive: Path, reason: str) -> WorkError:
    return WorkError(
        f"{archive} is not unpacked: {reason}.",
        "an archive of plain files as its authors published it",
        "check where it comes from; if you trust it, unpack it yourself and give the folder",
    )


def torn_archive(archive: Path, error: Exception) -> WorkError:
    """The error for an archive that ends early, or a file that is not one."""
    return WorkError(f"{archive} is damaged: {error or type(error).__name__}.", "a zip or tar archive", "download it again")
