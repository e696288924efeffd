"""Published files, fetched from their authors' addresses and checked against their hashes.

A download that was cut resumes where it stopped, also after the process was killed: the bytes so far wait in `<file>.part`.
Pooch, the usual part for this job, checks hashes but begins again at byte 0 after every cut, which for STL-10 (2.6 GB) from its
one slow server is the difference between getting it and not; hence the small loop below, on the standard library.
"""

from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import locked, unwritable
from priorscope.data.progress import Watch, bar

BLOCK = 1 << 20
TIMEOUT_S = 60
WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Pauses before an attempt that follows one without any progress; then the download is given up."""


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it. `digest` is `md5:...` or `sha256:...`, `folder` what an archive unpacks to."""

    url: str
    digest: str
    size: int
    folder: str | None = None

    @property
    def file(self) -> str:
        return Path(urlsplit(self.url).path).name


def get(name: str, *, watch: Watch | None = None) -> tuple[Path, ...]:
    """Downloads a source's published files into the data folder and unpacks its archives, unless that is done already."""
    from priorscope.data import SOURCES
    from priorscope.data.locate import home
    from priorscope.data.unpack import unpacked

    module = SOURCES.load(name)
    published: tuple[Published, ...] = getattr(module, "PUBLISHED", ())
    if not published:
        do = getattr(module, "BY_HAND", "give its place with path = ..., or as the name itself")
        raise RequestError(f"{name} has no files that anybody may download.", "a source with public files", do)
    files = tuple(fetch(one, home(name, None), watch=watch) for one in published)
    return tuple(unpacked(file) / one.folder if one.folder else file for one, file in zip(published, files, strict=True))


def fetch(published: Published, folder: Path, *, watch: Watch | None = None, waits: Sequence[float] = WAITS_S) -> Path:
    """Downloads a file into a folder, unless it is there, and returns its path. It is checked before it gets its name."""
    if urlsplit(published.url).scheme not in ("http", "https"):
        raise RequestError(f"{published.url!r} is no web address.", "an http or https address", "check the address")
    target = folder / published.file
    if target.is_file() and digest_of(target, published.digest) == published.digest:
        return target
    with locked(folder):
        part = folder / f"{published.file}.part"
        if watch is not None:
            _fill(part, published, watch, waits)
        else:
            with bar(f"downloading {published.file}", of_bytes=True) as shown:
                _fill(part, published, shown, waits)
        _check(part, published)
        part.replace(target)
    return target


class _NetworkError(Exception):
    """The network, or the server, ended an attempt; `status` is what the server answered."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


def _fill(part: Path, published: Published, watch: Watch, waits: Sequence[float]) -> None:
    """Lengthens the partial file until it has its size; gives up when attempt after attempt makes it no longer than it was."""
    idle, longest = 0, _size(part)
    while _size(part) < published.size:
        try:
            _append(part, published, watch)
            reason = "the connection was cut"
        except _NetworkError as lost:
            reason = str(lost)
            if lost.status in (400, 401, 403, 404, 410):
                raise _failed(published, reason) from None
            if lost.status == 416:  # the server does not know the range: what we have cannot be the beginning of its file
                part.unlink(missing_ok=True)
        idle = 0 if _size(part) > longest else idle + 1
        longest = max(longest, _size(part))
        if idle > len(waits):
            raise _failed(published, reason)
        if idle:
            time.sleep(waits[idle - 1])


def _append(part: Path, published: Published, watch: Watch) -> None:
    """One attempt: asks for what is missing and appends it; begins again where the server cannot continue."""
    for at, block in _arriving(published, _size(part)):
        done = at + len(block)
        if done > published.size:
            raise _failed(published, f"more than the published {published.size:,} bytes arrive")
        try:
            with part.open("ab" if at else "wb") as file:
                file.write(block)
        except OSError as error:
            raise unwritable(part, error) from error
        watch(done, published.size)


def _arriving(published: Published, have: int) -> Iterator[tuple[int, bytes]]:
    """What a server sends, in blocks, each with its place in the file: from `have` on, or from 0 where it cannot continue."""
    request = urllib.request.Request(published.url, headers={"User-Agent": "priorscope", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            continues = reply.status == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            at = have if continues else 0
            while block := reply.read(BLOCK):
                yield at, block
                at += len(block)
    except urllib.error.HTTPError as error:
        error.close()
        raise _NetworkError(f"the server answers {error.code} {error.reason}".rstrip(), error.code) from None
    except (OSError, HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _NetworkError(str(cause).rstrip(".") or type(cause).__name__) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check(part: Path, published: Published) -> None:
    found = digest_of(part, published.digest)
    if found != published.digest:
        part.unlink()
        raise WorkError(
            f"{published.url} was downloaded, and is not the file that was published: its hash is {found}.",
            published.digest,
            "try again later; if it happens again, the file has changed or is changed on its way",
        )


def digest_of(path: Path, like: str) -> str:
    """The hash of a file in the manner of a given one: `md5:...` or `sha256:...`."""
    kind = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _failed(published: Published, reason: str) -> WorkError:
    return WorkError(
        f"{published.url} cannot be downloaded: {reason}.",
        f"{published.size:,} bytes",
        f"run the same command again (it goes on where it stopped), or put {published.file} into the data folder by hand",
    )
