"""Decoded copies: made once, used while they are true, done without where they cannot be kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from priorscope import data
from priorscope.data import cache
from priorscope.data.beton import manifest_path
from priorscope.data.decode import BrokenImageError

PICTURES = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    for index, picture in enumerate(PICTURES):
        file = tmp_path / "set" / "test" / "abc"[index % 3] / f"{index:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    return tmp_path / "set"


def copies(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "decoded").glob("*.beton"))


def test_a_second_opening_decodes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data.open(folder).split("test")
    assert len(copies(tmp_path)) == 1
    seen: list[int] = []
    real = cache.write_split
    monkeypatch.setattr(cache, "write_split", lambda *a, **k: seen.append(1) or real(*a, **k))
    again = data.open(folder).split("test")
    assert seen == []
    assert not again.pixels.array.flags.writeable
    assert again.fingerprint == first.fingerprint
    by_class = np.argsort(np.arange(len(PICTURES)) % 3, kind="stable")
    np.testing.assert_array_equal(again.pixels.array, PICTURES[by_class])


def test_a_copy_without_its_manifest_is_of_a_killed_process_and_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fingerprint, where it is too large to hash its pixels, stands in the manifest, which is written last."""
    monkeypatch.setattr("priorscope.data.store.FINGERPRINT_MOST", 0)
    whole = data.open(folder).split("test").fingerprint
    manifest_path(copies(tmp_path)[0]).unlink()
    assert data.open(folder).split("test").fingerprint == whole
    assert manifest_path(copies(tmp_path)[0]).is_file()


def test_a_changed_file_makes_a_new_copy(folder: Path, tmp_path: Path) -> None:
    before = data.open(folder).split("test")
    Image.fromarray(PICTURES[0] // 2).save(folder / "test" / "a" / "00.png")
    os.utime(folder / "test" / "a" / "00.png", ns=(1, 1))
    after = data.open(folder).split("test")
    assert len(copies(tmp_path)) == 2
    assert after.fingerprint != before.fingerprint


def test_another_size_is_another_copy(folder: Path, tmp_path: Path) -> None:
    data.open(folder).split("test")
    assert data.open({"name": "folder", "path": str(folder), "res": 4}).split("test").image_size == 4
    assert len(copies(tmp_path)) == 2


def test_plain_pixels_at_another_size_are_scaled_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of equal pixels halve to those pixels, and the store that they come from is not copied at its own size."""
    for index, picture in enumerate(PICTURES):
        Image.fromarray(picture.repeat(2, 0).repeat(2, 1)).save(folder / "test" / "abc"[index % 3] / f"{index:02}.png")
    data.convert(folder, tmp_path / "pets.beton")
    of = {"name": "beton", "path": str(tmp_path / "pets.beton")}
    by_class = PICTURES[np.argsort(np.arange(len(PICTURES)) % 3, kind="stable")]
    for _ in range(2):
        split = data.open({**of, "res": 8}).split("test")
        np.testing.assert_array_equal(split.pixels.array, by_class)
        assert not split.pixels.array.flags.writeable
        assert split.statistics.mean == pytest.approx(tuple(by_class.mean((0, 1, 2)) / 255))
        monkeypatch.setattr(cache, "write_split", None)
    assert data.open({**of, "res": 16}).split("test").fingerprint == data.open(of).split("test").fingerprint
    assert len(copies(tmp_path)) == 1


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "file" / "cache"))
    assert data.open(folder).split("test").pixels.array.shape == (30, 8, 8, 3)


def test_a_full_disk_is_done_without(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10_000})())
    assert data.open(folder).split("test").pixels.array.shape == (30, 8, 8, 3)
    assert copies(tmp_path) == []


def test_what_is_too_much_to_keep_unasked_stays_encoded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 1000)
    split = data.open(folder).split("test")
    assert split.pixels.array is None
    assert split[29][0].shape == (8, 8, 3)
    assert not (tmp_path / "cache").exists()


def test_a_broken_image_is_named(folder: Path) -> None:
    broken = folder / "test" / "b" / "04.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(BrokenImageError, match=r"b/04\.png is broken"):
        data.open(folder).split("test")


def test_a_store_in_the_data_folder_stands_for_its_source(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    data.convert(folder, tmp_path / "data" / "cifar10.beton", workers=1)
    assert data.open("cifar10").split("test").fingerprint == data.open(folder).split("test").fingerprint


OPENS = "import sys; from priorscope import data; print(data.open(sys.argv[1]).split('test').fingerprint)"


@pytest.mark.slow
def test_processes_that_open_at_once_make_one_copy(folder: Path, tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", OPENS, str(folder)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert said == {data.open(folder).split("test").fingerprint}
    assert len(copies(tmp_path)) == 1
