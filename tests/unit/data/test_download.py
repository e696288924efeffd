"""Downloads from a loopback server that cuts, lies and forgets."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from priorscope.core.errors import RequestError, WorkError
from priorscope.data.download import Published, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server:
    """A server whose answers a test chooses. `asked` collects the byte at which each request wanted to begin."""

    def __init__(self, loopback: Callable[..., str]) -> None:
        self.content = CONTENT
        self.cut_after: list[int] = []
        self.status = 0
        self.ranges = True
        self.asked: list[int] = []
        self.address = loopback(lambda path, headers: self.answer(path, headers))

    def answer(self, _: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        found = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        self.asked.append(int(found[1]) if found else 0)
        if self.status:
            return self.status, {}, b""
        start = int(found[1]) if found and self.ranges else 0
        size = len(self.content)
        if start >= size:
            return 416, {}, b""
        stop = start + self.cut_after.pop(0) if self.cut_after else size
        partial = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        return 206 if start else 200, {**partial, "Content-Length": str(size - start)}, self.content[start:stop]

    def file(self, content: bytes = CONTENT, digest: str | None = None, size: int | None = None) -> Published:
        digest = digest or f"sha256:{hashlib.sha256(content).hexdigest()}"
        return Published(f"{self.address}/set.tar.gz", digest, size or len(content))


@pytest.fixture
def server(loopback: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return Server(loopback)


Fetch = Callable[[Published], Path]


@pytest.fixture
def get(tmp_path: Path) -> Fetch:
    return lambda published: fetch(published, tmp_path, waits=(0.0, 0.0))


def test_a_file_arrives_whole(server: Server, get: Fetch, tmp_path: Path) -> None:
    assert get(server.file()) == tmp_path / "set.tar.gz"
    assert (tmp_path / "set.tar.gz").read_bytes() == CONTENT
    assert not (tmp_path / "set.tar.gz.part").exists()


def test_md5_is_understood(server: Server, get: Fetch) -> None:
    assert get(server.file(digest=f"md5:{hashlib.md5(CONTENT).hexdigest()}")).read_bytes() == CONTENT


def test_what_is_there_is_not_fetched_again(server: Server, get: Fetch) -> None:
    get(server.file())
    get(server.file())
    assert server.asked == [0]


def test_a_damaged_copy_is_fetched_again(server: Server, get: Fetch, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz").write_bytes(b"damaged")
    assert get(server.file()).read_bytes() == CONTENT


def test_a_cut_connection_goes_on_where_it_stopped(server: Server, get: Fetch) -> None:
    server.cut_after = [100_000, 50_000]
    assert get(server.file()).read_bytes() == CONTENT
    assert server.asked == [0, 100_000, 150_000]


def test_a_killed_download_goes_on_where_it_stopped(server: Server, get: Fetch, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT[:123_456])
    assert get(server.file()).read_bytes() == CONTENT
    assert server.asked == [123_456]


def test_a_server_without_ranges_begins_again(server: Server, get: Fetch, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "set.tar.gz.part").write_bytes(b"x" * 1000)
    assert get(server.file()).read_bytes() == CONTENT


def test_another_file_than_published_is_refused_and_removed(server: Server, get: Fetch, tmp_path: Path) -> None:
    wanted = server.file()
    server.content = bytes(len(CONTENT))
    with pytest.raises(WorkError, match="is not the file that was published") as refused:
        get(wanted)
    assert refused.value.wanted == wanted.digest
    assert {file.name for file in tmp_path.iterdir()} == {".lock"}


def test_a_wrong_beginning_is_found_by_the_hash(server: Server, get: Fetch, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(b"x" * 1000)
    with pytest.raises(WorkError, match="is not the file that was published"):
        get(server.file())
    assert get(server.file()).read_bytes() == CONTENT


def test_a_file_without_end_is_stopped(server: Server, get: Fetch) -> None:
    with pytest.raises(WorkError, match="more than the published 1,000 bytes arrive"):
        get(server.file(size=1000))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server: Server, get: Fetch, status: int) -> None:
    server.status = status
    with pytest.raises(WorkError, match=f"the server answers {status}") as refused:
        get(server.file())
    assert len(server.asked) == 1
    assert "set.tar.gz" in refused.value.do


def test_a_busy_server_is_asked_again_and_then_given_up(server: Server, get: Fetch) -> None:
    server.status = 503
    with pytest.raises(WorkError, match="the server answers 503"):
        get(server.file())
    assert len(server.asked) == 3


def test_no_server_is_a_failure_that_says_so(server: Server, get: Fetch) -> None:
    with socket.socket() as deaf:  # a port of ours on which nobody listens
        deaf.bind(("127.0.0.1", 0))
        server.address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        wanted = server.file()
        with pytest.raises(WorkError, match=r"cannot be downloaded: .*refused"):
            get(wanted)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), r"EOF occurred in violation of protocol.*"),
        (OSError(113, "No route to host"), r"\[Errno 113\] No route to host"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_whatever_the_network_says_while_it_reads_is_a_cut(
    server: Server, get: Fetch, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    """Twice 1,000 bytes and the error, then the rest; another time nothing but the error."""
    real, sent = urllib.request.urlopen, [1000, 1000]

    def opened(*asked: Any, **how: Any) -> Any:
        reply = real(*asked, **how)
        if not sent:
            return reply
        blocks = iter([reply.read(sent.pop())])
        monkeypatch.setattr(reply, "read", lambda _: next(blocks, None) or fail())
        return reply

    def fail() -> bytes:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    assert get(server.file()).read_bytes() == CONTENT
    assert server.asked == [0, 1000, 2000]
    server.content = b"another"
    sent[:] = [0] * 9
    with pytest.raises(WorkError, match=rf"cannot be downloaded: {said}\.\n"):
        get(server.file(b"another"))
    assert len(server.asked) == 6


def test_an_unreachable_server_without_words_is_named_by_its_error(
    server: Server, get: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise urllib.error.URLError(TimeoutError())

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(WorkError) as refused:
        get(server.file())
    assert refused.value.came.endswith("cannot be downloaded: TimeoutError.")


def test_a_page_that_changes_its_length_is_given_up(server: Server, get: Fetch) -> None:
    """A page instead of the file, one byte longer every other time: no attempt comes further than the longest."""
    real = server.answer
    server.ranges = False

    def alternating(path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        assert len(server.asked) < 20
        server.content = CONTENT[: 300 + len(server.asked) % 2]
        return real(path, headers)

    server.answer = alternating
    wanted = server.file()
    with pytest.raises(WorkError, match="cannot be downloaded: the connection was cut"):
        get(wanted)
    assert len(server.asked) == 5, "300, 301, and three attempts that bring no more"


def test_a_full_disk_is_no_fault_of_the_network(server: Server, get: Fetch, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(WorkError, match="the disk is full"):
        get(server.file())
    assert server.asked == [0]


def test_only_web_addresses_are_fetched(get: Fetch) -> None:
    with pytest.raises(RequestError, match="is no web address"):
        get(Published("file:///etc/passwd", "md5:0", 1))


def test_progress_counts_what_was_there_before(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT[:200_000])
    seen: list[tuple[int, int]] = []
    fetch(server.file(), tmp_path, watch=lambda done, total: seen.append((done, total)))
    assert seen[0][0] > 200_000
    assert seen[-1] == (300_000, 300_000)
