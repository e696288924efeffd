"""Files appear whole or not at all, and a folder belongs to one process at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from priorscope.core import folder
from priorscope.core.contracts import About
from priorscope.core.environment import read_environment
from priorscope.core.errors import RequestError, WorkError


def test_a_file_appears_under_its_name_only_when_complete(tmp_path):
    path = tmp_path / "deep" / "a.txt"

    def write_half() -> None:
        with folder.replacing(path) as file:
            file.write(b"half")
            assert not path.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert list(path.parent.iterdir()) == []
    folder.write_text(path, "whole")
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    folder.write_text(path, "old")

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError) as caught:
        folder.write_text(path, "new")
    assert str(caught.value) == (
        f"Cannot write {path}: the disk is full.\n"
        "  wanted: a folder with room that may be written\n"
        "  try:    free some space, then run the same command again: it goes on where it stopped"
    )
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_every_reason_says_what_to_do(tmp_path, number):
    error = folder.unwritable(tmp_path / "x", OSError(number, os.strerror(number)))
    assert "Cannot write" in error.came
    assert error.do
    assert "--out" not in error.do, "not every verb has it"
    assert error.exit_status == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("file/a.txt", "a file stands where a folder is wanted"),
        ("file/deep/a.txt", "a part of the path is a file"),
        ("folder", "a folder stands where a file is wanted"),
        (f"{'a' * 300}/b", "a name in it is too long"),
    ],
)
def test_a_wrong_path_is_a_wrong_request(tmp_path, path, said):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RequestError) as refused:
        folder.write_text(tmp_path / path, "x")
    assert refused.value.came == f"Cannot write {tmp_path / path}: {said}."
    assert {one.name for one in tmp_path.iterdir()} == {"file", "folder"}


def test_the_folder_one_stands_in_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"Cannot write \.: a folder stands where a file is wanted"):
        folder.write_text(Path(), "x")


def test_a_file_cannot_be_locked_as_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="a file stands where a folder is wanted"), folder.locked(tmp_path / "file"):
        pass


def test_json_has_one_form(tmp_path):
    folder.write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, "ü"]})
    folder.write_json(tmp_path / "b.json", {"a": [1.5, "ü"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert folder.read_json(tmp_path / "a.json") == {"a": [1.5, "ü"], "b": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_torn_json_file_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(WorkError, match=r"a\.json is damaged"):
        folder.read_json(tmp_path / "a.json")


def test_what_helps_a_torn_file_is_for_its_owner_to_say(tmp_path):
    """To delete the record of a run would lose the run."""
    (tmp_path / "environment.json").write_bytes(b"{")
    with pytest.raises(WorkError) as caught:
        read_environment(tmp_path)
    assert caught.value.do == "put a whole copy of it back, or train its recipe in another folder"
    (tmp_path / "a.json").write_bytes(b"{")
    with pytest.raises(WorkError) as caught:
        About.read(tmp_path / "a.json")
    assert caught.value.do == f"delete {tmp_path / 'a.json'} and ask the probe, or run the study, again"


@pytest.mark.parametrize("read", [folder.read_json, folder.read_rows])
def test_what_cannot_be_read_is_no_traceback(tmp_path, read):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(WorkError) as caught:
        read(tmp_path / "a.json")
    assert caught.value.came == f"{tmp_path / 'a.json'} cannot be read: Is a directory."
    assert caught.value.do == f"check {tmp_path / 'a.json'} and its permissions"


@pytest.mark.parametrize("row", ["3", "[1]", "null"])
def test_a_row_that_is_no_table_is_damage(tmp_path, row):
    (tmp_path / "steps.jsonl").write_text(f'{{"epoch": 1}}\n{row}\n')
    with pytest.raises(WorkError, match=r"steps\.jsonl is damaged: it holds a row that is no table"):
        folder.read_rows(tmp_path / "steps.jsonl")


def test_rows_come_back(tmp_path):
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    folder.write_rows(tmp_path / "steps.jsonl", rows)
    assert folder.read_rows(tmp_path / "steps.jsonl") == rows
    (tmp_path / "steps.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(WorkError, match="is damaged"):
        folder.read_rows(tmp_path / "steps.jsonl")


def test_a_folder_in_use_is_refused_and_a_killed_holder_frees_it(tmp_path):
    code = f"""
        import time
        from pathlib import Path
        from priorscope.core.folder import locked
        with locked(Path({str(tmp_path)!r})):
            print("held", flush=True)
            time.sleep(60)
    """
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RequestError) as caught, folder.locked(tmp_path):
        pass
    assert str(caught.value) == (
        f"The folder {tmp_path} is in use by another process (pid {holder.pid}).\n"
        "  wanted: a folder that nobody else writes to\n"
        "  try:    wait until that process has ended, or choose another folder"
    )
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with folder.locked(tmp_path):
        pass


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    """What `replacing` was writing, there and in the folder's own parts; nothing else that is called nearly so."""
    with folder.replacing(tmp_path / "weights") as file:
        left = file.name.rpartition("/")[2]
    others = (tmp_path / "own" / ".tmp-weights", tmp_path / "own" / "weights", tmp_path / "mine" / left)
    for path in (tmp_path / left, tmp_path / "own" / "deep" / left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    folder.remove_leftovers(tmp_path, ["own", "absent"])
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "weights", *others}


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder.fcntl, "flock", none)
    with (
        pytest.raises(WorkError, match=r"cannot be locked: No locks available.\n  wanted: a file system with locks"),
        folder.locked(tmp_path),
    ):
        pass


def test_home_is_where_the_user_s_is_and_of_nobody_as_it_is_written(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert [str(folder.at_home(path)) for path in ("~", Path("~/a"), "a/~", "~no-such-user/a")] == [
        "/home/me",
        "/home/me/a",
        "a/~",
        "~no-such-user/a",
    ]


def test_whether_a_folder_is_free_is_asked_by_many_at_once_and_changes_nothing(tmp_path):
    folder.check_free(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with folder.locked(tmp_path), pytest.raises(RequestError, match=rf"in use by another process \(pid {os.getpid()}\)"):
        folder.check_free(tmp_path)
    with (tmp_path / ".lock").open() as other:
        folder.fcntl.flock(other, folder.fcntl.LOCK_SH)
        folder.check_free(tmp_path)
    folder.check_free(tmp_path)
    assert (tmp_path / ".lock").read_text() == f"pid {os.getpid()}"
