"""Archives that are as they should be, and those that are not."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from priorscope.core.errors import RequestError, WorkError
from priorscope.data.folders import alone
from priorscope.data.unpack import Limits, unpack, unpacked


def tar(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def plain(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def of_type(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = target
    return entry


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_tar_archive_is_unpacked_whole(tmp_path: Path, mode: str) -> None:
    archive = tar(tmp_path / "a.tar", [(plain("a/b.txt"), b"one"), (plain("./c.txt"), b"two")], mode)
    folder = unpack(archive, tmp_path / "out")
    assert {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()} == {
        "a/b.txt": b"one",
        "c.txt": b"two",
    }


def test_a_zip_archive_is_unpacked_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/", "")
        archive.writestr("a/b.txt", "one")
    assert (unpack(tmp_path / "a.zip", tmp_path / "out") / "a" / "b.txt").read_text() == "one"


HOSTILE = {
    "above": ([(plain("../evil"), b"x")], "'../evil' leads out of the folder"),
    "absolute": ([(plain("/tmp/evil"), b"x")], "'/tmp/evil' leads out of the folder"),
    "within": ([(plain("a/../../evil"), b"x")], "leads out of the folder"),
    "backslashes": ([(plain("..\\evil"), b"x")], "leads out of the folder"),
    "drive": ([(plain("C:/evil"), b"x")], "leads out of the folder"),
    "symbolic link": ([(of_type("link", tarfile.SYMTYPE, "/etc"), b"")], "'link' is a link or a device"),
    "hard link": ([(plain("a"), b"x"), (of_type("link", tarfile.LNKTYPE, "a"), b"")], "'link' is a link or a device"),
    "device": ([(of_type("null", tarfile.CHRTYPE), b"")], "'null' is a link or a device"),
    "fifo": ([(of_type("pipe", tarfile.FIFOTYPE), b"")], "'pipe' is a link or a device"),
    "twice": ([(plain("a"), b"x"), (plain("a"), b"y")], "'a' occurs in it twice"),
    "file as folder": ([(plain("a"), b"x"), (plain("a/b"), b"y")], "'b' occurs in it twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tar_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    entries, reason = HOSTILE[name]
    archive = tar(tmp_path / "a.tar", entries)
    with pytest.raises(WorkError) as refused:
        unpack(archive, tmp_path / "deep" / "out")
    assert reason in refused.value.came
    left = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {"a.tar", "out.lock"}


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(WorkError, match="'link' is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_zip_that_leads_out_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../evil", "x")
    with pytest.raises(WorkError, match="leads out of the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_a_bomb_is_stopped_at_its_limit_and_not_at_its_end(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(30 << 20))
    with pytest.raises(WorkError, match=r"more than [\d,]+ bytes come out of it"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out", Limits(ratio=20, slack=1 << 20))
    assert not (tmp_path / "out").exists()


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", [(plain(f"{k}"), b"") for k in range(11)])
    with pytest.raises(WorkError, match="it holds more than 10 files"):
        unpack(archive, tmp_path / "out", Limits(files=10))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_cut_archive_is_named_as_damaged(tmp_path: Path, mode: str) -> None:
    archive = tar(tmp_path / "a.tar", [(plain("a"), os.urandom(100_000))], mode)
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(WorkError, match="is damaged"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_is_named_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(WorkError, match="is damaged"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_missing_archive_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="There is no file"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_cache_that_can_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was unpacked before is there without a lock, which such a cache does not give."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as opened:
        opened.addfile(tarfile.TarInfo("file"))
    unpack(archive, tmp_path / "cache" / "a")

    def refused(_: object) -> Any:
        raise AssertionError("nothing is to be locked")

    monkeypatch.setattr("priorscope.data.unpack.alone", refused)
    assert unpack(archive, tmp_path / "cache" / "a").is_dir()


def test_a_file_system_without_locks_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("priorscope.data.folders.fcntl.flock", refused)
    with pytest.raises(WorkError, match="Function not implemented"), alone(tmp_path / "copy"):
        pass


def test_an_archive_is_unpacked_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    archive = tar(tmp_path / "a.tar", [(plain("a"), b"one")])
    first = unpacked(archive)
    (first / "a").write_bytes(b"kept")
    assert (unpacked(archive) / "a").read_bytes() == b"kept"
    tar(archive, [(plain("a"), b"three")])
    os.utime(archive, ns=(1, 1))
    assert (unpacked(archive) / "a").read_bytes() == b"three"
