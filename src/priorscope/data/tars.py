"""Pictures in tar archives, read where they lie: an archive per class, or an archive of such archives.

A tar archive is a row of files behind each other, so an index of offsets is enough to read any of them. Nothing is unpacked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath

import numpy as np

from priorscope.core.errors import RequestError
from priorscope.data.decode import BrokenImageError
from priorscope.data.encoded import EncodedPixels, files_key
from priorscope.data.split import Ints
from priorscope.data.unpack import torn_archive

ENDING = ".tar"
PADDING = 1 << 20
"""The most zeros behind the last file: writers fill up the last record, of 10 KiB by default."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in an archive: `path` is its archive's and its own name."""

    archive: Path
    path: str
    offset: int
    size: int

    @property
    def top(self) -> str:
        """The innermost archive that holds it, by name without ending: the class, where there is one archive a class."""
        return PurePosixPath(self.path).parts[0]


def members(archive: Path) -> Iterator[TarMember]:
    """The files of an archive, and of the archives in it, in the order in which they lie."""
    try:
        with tarfile.open(archive, "r:") as opened:
            yield from _members(archive, opened, PurePosixPath(archive.name.removesuffix(ENDING)), 0)
            _check_end(opened, archive.stat().st_size)
    except FileNotFoundError:
        raise RequestError(f"There is no file {str(archive)!r}.", "a tar archive", "check the path") from None
    except tarfile.TarError as error:
        raise torn_archive(archive, error) from None


def inner_archives(archive: Path) -> tuple[str, ...]:
    """The names, without endings, of the archives in an archive: only their headers are read."""
    try:
        with tarfile.open(archive, "r:") as opened:
            names = [PurePosixPath(entry.name).name for entry in opened if entry.isreg() or entry.islnk()]
            _check_end(opened, archive.stat().st_size)
    except tarfile.TarError as error:
        raise torn_archive(archive, error) from None
    return tuple(sorted(name.removesuffix(ENDING) for name in names if name.endswith(ENDING)))


def _members(archive: Path, opened: tarfile.TarFile, top: PurePosixPath, start: int) -> Iterator[TarMember]:
    files: dict[str, tarfile.TarInfo] = {}
    for entry in opened:
        # A hard link holds nothing: its content is that of a file before it, as tar packs a file of two names.
        held = files.get(normpath(entry.linkname)) if entry.islnk() else entry
        if held is None:
            raise tarfile.TarError(f"{entry.name!r} is a link to {entry.linkname!r}, which is not before it")
        content = opened.extractfile(held) if held.isreg() else None
        if content is None:
            continue
        files[normpath(entry.name)] = held
        offset = start + held.offset_data
        if entry.name.endswith(ENDING):
            with tarfile.open(fileobj=content, mode="r:") as inner:
                yield from _members(archive, inner, PurePosixPath(PurePosixPath(entry.name).name.removesuffix(ENDING)), offset)
                _check_end(inner, held.size)
        else:
            yield TarMember(archive, str(top / entry.name), offset, held.size)


def _check_end(opened: tarfile.TarFile, size: int) -> None:
    """Refuses an archive whose list of files ends before the archive does.

    At a header that makes no sense Python takes the files before it for all: one cut off, or zeros that a download left.
    """
    rest = size - opened.offset
    if not tarfile.BLOCKSIZE <= rest <= PADDING:
        raise tarfile.TarError(f"its list of files ends {rest:,} bytes before its end")
    opened.fileobj.seek(opened.offset)
    if any(opened.fileobj.read(rest)):
        raise tarfile.TarError("what stands behind its last file is no file")


@dataclass(frozen=True)
class TarPixels(EncodedPixels):
    """Pictures in archives, by offset and size."""

    archives: tuple[Path, ...]
    names: tuple[str, ...]
    archive: Ints
    offset: Ints
    bytes: Ints
    res: int | None = None

    @classmethod
    def of(cls, found: list[TarMember]) -> TarPixels:
        """The pictures that an index lists."""
        archives = tuple(dict.fromkeys(member.archive for member in found))
        number = {archive: index for index, archive in enumerate(archives)}
        return cls(
            archives,
            tuple(member.path for member in found),
            np.array([number[member.archive] for member in found], np.int64),
            np.array([member.offset for member in found], np.int64),
            np.array([member.size for member in found], np.int64),
        )

    def __len__(self) -> int:
        return len(self.names)

    def content(self, index: int) -> bytes:
        # Opened for each picture: a process may hold 1,024 files by default, and ImageNet-21k has 21,841 archives.
        try:
            with self.archives[int(self.archive[index])].open("rb") as file:
                file.seek(int(self.offset[index]))
                content = file.read(int(self.bytes[index]))
        except OSError as error:
            raise BrokenImageError(self.where(index), error.strerror or str(error)) from None
        if len(content) != self.bytes[index]:
            raise BrokenImageError(self.where(index), "its archive ends within it")
        return content

    def where(self, index: int) -> str:
        return f"{self.archives[int(self.archive[index])]}:{self.names[index]}"

    def key(self) -> str:
        return files_key(self.archives)
