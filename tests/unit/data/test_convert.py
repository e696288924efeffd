"""Conversions: what they write, what they leave out, and where they go on after a kill."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from priorscope import data
from priorscope.core.errors import RequestError, WorkError
from priorscope.data.beton import Beton
from priorscope.data.beton.fields import JPG, RAW, ImageField
from priorscope.data.decode import BrokenImageError
from priorscope.data.split import ArrayPixels, Split, carve_val

COUNT = 120
PICTURES = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
REAL = os.environ.get("PRIORSCOPE_DATA", "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """120 pictures of three classes to train on and 30 to test."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    for index, picture in enumerate(PICTURES):
        for part in ("train", "test") if index < 30 else ("train",):
            file = tmp_path / "set" / part / "abc"[index % 3] / f"{index:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture if part == "train" else 255 - picture).save(file)
    return tmp_path / "set"


def labels() -> np.ndarray:
    return np.repeat([0, 1, 2], COUNT // 3)


def test_all_splits_are_written_as_siblings(folder: Path, tmp_path: Path) -> None:
    done = data.convert(folder, tmp_path / "pets.beton")
    assert [(Path(file.path).name, file.split, file.count) for file in done.files] == [
        ("pets.beton", "train", 108),
        ("pets-val.beton", "val", 12),
        ("pets-test.beton", "test", 30),
    ]
    assert done.seconds > 0
    for name in ("pets.beton", "pets-val.beton", "pets-test.beton"):
        store = data.open(tmp_path / name)
        assert store.splits() == ("train", "val", "test")
        assert store.classes == ("a", "b", "c")
    left = {file.name for file in tmp_path.iterdir() if file.is_file()}
    assert left == {f"pets{end}.beton{more}" for end in ("", "-val", "-test") for more in ("", ".json")}


def test_val_is_what_is_carved_for_every_seed(folder: Path, tmp_path: Path) -> None:
    data.convert(folder, tmp_path / "pets.beton")
    order = [index for label in range(3) for index in range(label, COUNT, 3)]
    train, val = carve_val(labels())
    for name, chosen in (("train", train), ("val", val)):
        expected = PICTURES[np.array(order)[chosen]]
        np.testing.assert_array_equal(data.open(tmp_path / "pets.beton").split(name).pixels.array, expected)


def test_one_split_is_written_alone(folder: Path, tmp_path: Path) -> None:
    done = data.convert(folder, tmp_path / "test.beton", split="test")
    assert [file.split for file in done.files] == ["test"]
    assert data.open(tmp_path / "test.beton").splits() == ("test",)


@pytest.mark.parametrize("workers", [2, 5])
def test_bytes_do_not_depend_on_the_workers(folder: Path, tmp_path: Path, workers: int) -> None:
    data.convert(folder, tmp_path / "one.beton", workers=1, split="train")
    data.convert(folder, tmp_path / "many.beton", workers=workers, split="train")
    assert (tmp_path / "one.beton").read_bytes() == (tmp_path / "many.beton").read_bytes()


def test_subsets_are_balanced_and_nested(folder: Path, tmp_path: Path) -> None:
    kept: list[set[bytes]] = []
    for size in (9, 30, 60):
        data.convert(folder, tmp_path / f"{size}.beton", subset=size)
        store = data.open(tmp_path / f"{size}.beton")
        assert np.bincount(store.split("train").labels).tolist() == [size // 3] * 3
        assert len(store.split("test")) == 30
        kept.append({picture.tobytes() for picture in store.split("train").pixels.array})
    assert kept[0] < kept[1] < kept[2]
    with pytest.raises(RequestError, match="A subset of 109 was asked for, and there are 108 pictures"):
        data.convert(folder, tmp_path / "more.beton", subset=109)


def test_a_size_and_a_quality(folder: Path, tmp_path: Path) -> None:
    data.convert(folder, tmp_path / "small.beton", res=4, quality=95, split="test")
    stored = Beton.open(tmp_path / "small.beton")
    assert stored.size == (4, 4)
    assert stored.encoded(0)[:2] == b"\xff\xd8"
    small = data.open({"name": "folder", "path": str(folder), "res": 4}).split("test").pixels.array
    for index, picture in enumerate(small):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling="4:2:0")
        np.testing.assert_array_equal(stored.read(index), np.asarray(Image.open(buffer)))


def test_pictures_of_many_bytes_alone_become_jpeg(tmp_path: Path) -> None:
    """As FFCV's smart mode: 8 x 8 pictures take 192 bytes and stay as they are, 16 x 16 ones take 768."""
    sides = [8, 16, 8, 16]
    pictures = [np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8) for side in sides]
    asked = {"test": Pairs(pictures, [0, 1, 0, 1])}
    for above, modes in ((192, [RAW, JPG, RAW, JPG]), (191, [JPG] * 4), (768, [RAW] * 4)):
        data.convert(asked, tmp_path / "set.beton", quality=90, jpeg_above=above)
        stored = Beton.open(tmp_path / "set.beton")
        assert stored.layout.samples["f0"]["mode"].tolist() == modes
        assert all(np.array_equal(stored.read(i), pictures[i]) for i in range(4) if modes[i] == RAW)
        (caveat,) = data.open(tmp_path / "set.beton").caveats
        assert caveat.startswith(f"Pictures of more than {above} bytes were stored again as JPEG of quality 90")


def test_what_must_be_known_of_the_pictures_goes_with_them(folder: Path, tmp_path: Path) -> None:
    told = replace(data.open_published(str(folder)), caveats=("Drawn by hand.",))
    data.convert(told, tmp_path / "plain.beton")
    assert data.open(tmp_path / "plain.beton").caveats == ("Drawn by hand.",)
    data.convert(told, tmp_path / "jpeg.beton", quality=80)
    first, second = data.open(tmp_path / "jpeg.beton").caveats
    assert first == "Drawn by hand."
    assert "JPEG of quality 80" in second


def test_decoded_pictures_are_scaled_too(folder: Path, tmp_path: Path) -> None:
    data.convert(folder, tmp_path / "eight.beton", split="test")
    data.convert(tmp_path / "eight.beton", tmp_path / "four.beton", res=4)
    direct = data.open({"name": "folder", "path": str(folder), "res": 4}).split("test")
    np.testing.assert_array_equal(data.open(tmp_path / "four.beton").split("test").pixels.array, direct.pixels.array)


def break_two(folder: Path) -> None:
    (folder / "train" / "b" / "004.png").write_bytes(b"<html>")
    cut = folder / "train" / "c" / "008.png"
    cut.write_bytes(cut.read_bytes()[:70])


def test_a_broken_image_ends_it_with_its_path(folder: Path, tmp_path: Path) -> None:
    break_two(folder)
    with pytest.raises(BrokenImageError, match=r"train/[bc]/00[48]\.png is broken") as refused:
        data.convert(folder, tmp_path / "pets.beton")
    assert "--on-broken skip" in refused.value.do
    assert not (tmp_path / "pets.beton").exists()


def test_broken_images_are_left_out_and_listed(folder: Path, tmp_path: Path) -> None:
    break_two(folder)
    done = data.convert(folder, tmp_path / "pets.beton", on_broken="skip")
    listed = {(Path(one.where).name, one.reason) for one in done.skipped}
    assert {name for name, _ in listed} == {"004.png", "008.png"}
    assert ("004.png", "it is no image in a known format") in listed
    assert sum(file.count for file in done.files) == COUNT + 30 - 2
    assert data.verify(tmp_path / "pets.beton").samples == done.files[0].count


@pytest.mark.parametrize("options", [{}, {"res": 4}, {"quality": 90}], ids=["as they are", "smaller", "JPEG"])
def test_broken_images_of_a_store_are_left_out(folder: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    data.convert(folder, tmp_path / "pets.beton", split="test", quality=90)
    stored, whole = Beton.open(tmp_path / "pets.beton"), data.open(tmp_path / "pets.beton").split("test").labels
    jpeg, content = stored.encoded(5), (tmp_path / "pets.beton").read_bytes()
    (tmp_path / "pets.beton").write_bytes(content.replace(jpeg, jpeg[:20] + bytes(len(jpeg) - 20)))
    with pytest.raises(BrokenImageError, match="'image' of sample 5 of"):
        data.convert(tmp_path / "pets.beton", tmp_path / "less.beton", **options)
    done = data.convert(tmp_path / "pets.beton", tmp_path / "less.beton", on_broken="skip", **options)
    (skipped,) = done.skipped
    assert skipped.where.startswith(f"'image' of sample 5 of {tmp_path / 'pets.beton'} (byte ")
    assert data.open(tmp_path / "less.beton").split("test").labels.tolist() == np.delete(whole, 5).tolist()


def test_broken_images_of_a_dataset_are_left_out(tmp_path: Path) -> None:
    """It is read by one thread, and its pictures are decoded when they are read."""
    buffer = io.BytesIO()
    Image.fromarray(PICTURES[:64].reshape(64, 64, 3)).save(buffer, "PNG")
    threads: set[int] = set()

    class Files(Pairs):
        def __getitem__(self, index: int) -> tuple[Any, int]:
            threads.add(threading.get_ident())
            return Image.open(io.BytesIO(self.images[index])), self.labels[index]

    files = Files([buffer.getvalue()[: -500 if index == 2 else None] for index in range(600)], [0] * 600)
    files.targets = files.labels
    done = data.convert({"test": files}, tmp_path / "set.beton", on_broken="skip")
    assert [(one.where, "truncated" in one.reason) for one in done.skipped] == [("item 2 of the Files", True)]
    assert done.files[0].count == 599
    assert len(threads - {threading.get_ident()}) <= 2, "one thread that looks, one that writes"


def test_a_part_of_a_dataset_has_the_labels_of_the_whole(tmp_path: Path) -> None:
    """No picture is decoded for them, so that a broken one can be left out."""
    from torch.utils.data import Subset

    class Files(Pairs):
        def __getitem__(self, index: int) -> tuple[Any, int]:
            if index == 2:
                raise OSError("torn")
            return self.images[index], self.labels[index]

    files = Files([PICTURES[0]] * 8, [0, 1, 0, 1, 1, 1, 0, 0])
    files.targets = files.labels
    part = Subset(files, [1, 2, 4, 7])
    done = data.convert({"test": part}, tmp_path / "set.beton", on_broken="skip")
    assert [one.where for one in done.skipped] == ["item 1 of the Subset"]
    assert data.open(tmp_path / "set.beton").split("test").labels.tolist() == [1, 1, 0]
    del files.targets
    with pytest.raises(BrokenImageError, match="item 1 of the Subset is broken: torn"):
        data.convert({"test": part}, tmp_path / "other.beton", on_broken="skip")


def test_leaving_out_moves_no_picture_between_splits(folder: Path, tmp_path: Path) -> None:
    data.convert(folder, tmp_path / "whole.beton")
    break_two(folder)
    data.convert(folder, tmp_path / "less.beton", on_broken="skip")
    for name in ("train", "val"):
        before = {picture.tobytes() for picture in data.open(tmp_path / "whole.beton").split(name).pixels.array}
        after = {picture.tobytes() for picture in data.open(tmp_path / "less.beton").split(name).pixels.array}
        assert after <= before


def test_all_broken_is_a_failure(folder: Path, tmp_path: Path) -> None:
    for file in (folder / "test").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(WorkError, match="Every picture is broken; the first is"):
        data.convert(folder, tmp_path / "pets.beton", split="test", on_broken="skip")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "split": ({"split": "tset"}, "'tset' is not a split of set"),
    "res": ({"res": 0}, "Pictures of 0 x 0 were asked for"),
    "quality": ({"quality": 101}, "A JPEG quality of 101 was asked for"),
    "a size without a quality": ({"jpeg_above": 500}, "jpeg_above = 500 came without a quality"),
    "no size": ({"quality": 90, "jpeg_above": 0}, "JPEG above 0 bytes was asked for"),
    "on_broken": ({"on_broken": "ignore"}, "on_broken = 'ignore' is not known"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_requests_are_refused_before_anything_is_written(folder: Path, tmp_path: Path, name: str) -> None:
    options, said = REFUSED[name]
    with pytest.raises(RequestError, match=said):
        data.convert(folder, tmp_path / "out" / "pets.beton", **options)
    assert not (tmp_path / "out").exists()


def test_another_ending_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"The file to write is 'pets\.zip'") as refused:
        data.convert(folder, tmp_path / "pets.zip")
    assert refused.value.do == "pets.beton"


def test_a_disk_too_small_is_refused_before_the_work(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(RequestError, match="would take about") as refused:
        data.convert(folder, tmp_path / "pets.beton")
    assert "--res 64" in refused.value.do


def test_room_that_the_part_holds_already_counts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from priorscope.data.conversion import _check_room

    split = data.open(folder).split("train")
    wanted = len(split) * split.image_size**2 * 3
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": wanted - 100})())
    with pytest.raises(RequestError, match="would take about"):
        _check_room(split, tmp_path / "pets.beton", ImageField())
    (tmp_path / "pets.beton.part").write_bytes(bytes(100))
    _check_room(split, tmp_path / "pets.beton", ImageField())


@pytest.mark.parametrize("chosen", [False, True], ids=["whole", "chosen"])
def test_another_size_of_decoded_pictures_is_another_conversion(chosen: bool) -> None:
    from priorscope.data.cache import data_key
    from priorscope.data.squares import SquarePixels

    pictures = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)

    def key(of: np.ndarray, res: int) -> str:
        split = Split("made", "train", SquarePixels(ArrayPixels(of), res), np.arange(12) % 2, ("a", "b"))
        return data_key(split.choose(np.arange(6)) if chosen else split)

    assert len({key(pictures, 4), key(pictures, 6), key(255 - pictures, 4)}) == 3
    assert key(pictures, 4) == key(pictures.copy(), 4)


def test_a_part_of_a_store_is_not_copied_into_memory_to_be_named() -> None:
    from priorscope.data.cache import data_key

    pictures = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    split = Split("made", "train", ArrayPixels(pictures), np.arange(12) % 2, ("a", "b")).choose(np.arange(6))
    assert data_key(split) == split.fingerprint
    assert "array" not in vars(split.pixels)


def test_progress_counts_every_picture(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    data.convert(folder, tmp_path / "pets.beton", split="train", watch=lambda done, total: seen.append((done, total)))
    assert seen == [(index + 1, 108) for index in range(108)]


def test_converting_again_replaces(folder: Path, tmp_path: Path) -> None:
    data.convert(folder, tmp_path / "pets.beton", split="train")
    data.convert(folder, tmp_path / "pets.beton", split="test")
    assert data.open(tmp_path / "pets.beton").splits() == ("test",)


def grow(folder: Path) -> None:
    """Further pictures before the others: others are carved out for val."""
    for index in range(60):
        Image.fromarray(PICTURES[index] // 2).save(folder / "train" / "abc"[index % 3] / f"+{index}.png")


def leaks(store: Path) -> int:
    """The pictures of val that are in train too."""
    train, val = (data.open(store).split(name).pixels.array for name in ("train", "val"))
    return len({picture.tobytes() for picture in train} & {picture.tobytes() for picture in val})


def test_a_conversion_that_fails_leaves_the_store_before_it_as_it_was(folder: Path, tmp_path: Path) -> None:
    data.convert(folder, tmp_path / "pets.beton")
    before = {file.name: file.read_bytes() for file in tmp_path.glob("pets*.beton*")}
    grow(folder)
    (folder / "train" / "a" / "zz.png").write_bytes(b"broken")
    with pytest.raises(BrokenImageError, match=r"zz\.png"):
        data.convert(folder, tmp_path / "pets.beton")
    assert (tmp_path / "pets.beton.converting" / "pets-val.beton").is_file(), "val was written before train failed"
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert leaks(tmp_path / "pets.beton") == 0
    (folder / "train" / "a" / "zz.png").unlink()
    data.convert(folder, tmp_path / "pets.beton")
    assert len(data.open(tmp_path / "pets.beton").split("train")) == (COUNT + 60) * 9 // 10
    assert leaks(tmp_path / "pets.beton") == 0
    assert {file.name for file in tmp_path.glob("pets*.beton*")} == set(before)


def test_one_stopped_while_its_files_get_their_names_leaves_no_old_one_beside_new(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.convert(folder, tmp_path / "pets.beton")
    grow(folder)
    replace_file = Path.replace

    def stopped(file: Path, target: Path) -> Path:
        if target == tmp_path / "pets-val.beton.json":
            raise KeyboardInterrupt
        return replace_file(file, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        data.convert(folder, tmp_path / "pets.beton")
    assert not (tmp_path / "pets.beton").exists()
    monkeypatch.undo()
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    data.convert(folder, tmp_path / "pets.beton")
    assert leaks(tmp_path / "pets.beton") == 0


def test_a_store_is_converted_onto_itself(folder: Path, tmp_path: Path) -> None:
    """What is read stays there until everything is written."""
    data.convert(folder, tmp_path / "pets.beton")
    data.convert(tmp_path / "pets.beton", tmp_path / "pets.beton", res=4)
    direct = data.open({"name": "folder", "path": str(folder), "res": 4})
    for name in ("train", "val", "test"):
        stored = data.open(tmp_path / "pets.beton").split(name).pixels.array
        np.testing.assert_array_equal(stored, direct.split(name).pixels.array)


def test_a_link_to_nowhere_is_a_broken_image(folder: Path, tmp_path: Path) -> None:
    """Also where its name is not UTF-8, which no record could hold."""
    link = os.fsdecode(b"caf\xe9.png")
    (folder / "train" / "a" / link).symlink_to("/nowhere/1.png")
    with pytest.raises(BrokenImageError, match=r"train/a/caf\\xe9\.png is broken: No such file"):
        data.open(folder).split("train").pixels.read(COUNT // 3)
    with pytest.raises(BrokenImageError, match=r"train/a/caf\\xe9\.png is broken: No such file"):
        data.convert(folder, tmp_path / "pets.beton")
    done = data.convert(folder, tmp_path / "pets.beton", on_broken="skip")
    assert [(one.where, one.reason) for one in done.skipped] == [
        (f"{folder}/train/a/caf\\xe9.png", "No such file or directory")
    ]
    assert sum(file.count for file in done.files) == COUNT + 30


def test_finished_siblings_are_not_written_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from priorscope.data import conversion

    real, written = conversion.write_split, []

    def fails_at_train(split: Any, file: Path, **options: Any) -> Any:
        written.append(split.name)
        if split.name == "train" and len(written) == 3:
            raise KeyboardInterrupt
        return real(split, file, **options)

    monkeypatch.setattr(conversion, "write_split", fails_at_train)
    with pytest.raises(KeyboardInterrupt):
        data.convert(folder, tmp_path / "pets.beton")
    assert not (tmp_path / "pets.beton").exists()
    data.convert(folder, tmp_path / "pets.beton")
    assert written == ["test", "val", "train", "train"]
    assert {file.name for file in tmp_path.glob("*converting*")} == set()


class Pairs:
    """What torch calls a map-style dataset, without torch."""

    def __init__(self, images: list[Any], labels: list[int]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], self.labels[index]


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("bytes", lambda p: p),
        ("PIL", Image.fromarray),
        ("floats", lambda p: p.astype(np.float32) / 255),
        ("channels first", lambda p: p.transpose(2, 0, 1)),
        ("float channels first", lambda p: p.transpose(2, 0, 1).astype(np.float64) / 255),
    ],
)
def test_datasets_of_any_usual_kind_of_picture(tmp_path: Path, kind: str, made: Any) -> None:
    dataset = Pairs([made(picture) for picture in PICTURES], [index % 5 for index in range(COUNT)])
    data.convert({"test": dataset}, tmp_path / "set.beton")
    split = data.open(tmp_path / "set.beton").split("test")
    np.testing.assert_array_equal(split.pixels.array, PICTURES, err_msg=kind)
    assert split.labels.tolist() == dataset.labels
    assert split.classes == ("0", "1", "2", "3", "4")


class Cut(Pairs):
    """A dataset whose reading is interrupted after some pictures. It lists its labels, as torchvision's do."""

    def __init__(self, images: list[Any], labels: list[int], left: int) -> None:
        super().__init__(images, labels)
        self.targets, self.left = labels, left

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize("options", [{}, {"res": 4}, {"subset": 1000}], ids=["whole", "smaller", "subset"])
def test_a_killed_conversion_of_a_dataset_goes_on_with_none_of_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """The labels are the same, and nothing says of a user's own objects whether the pictures are."""
    monkeypatch.setattr("priorscope.data.beton.part.NOTE_EVERY", 0)
    old, new = (np.full((1200, 8, 8, 3), value, np.uint8) for value in (10, 200))
    marks = [index % 2 for index in range(1200)]
    labelled = Pairs(list(old[:30]), marks[:30])
    with pytest.raises(KeyboardInterrupt):
        data.convert({"train": Cut(list(old), marks, 1050), "test": labelled}, tmp_path / "d.beton", **options)
    assert (tmp_path / "d.beton.converting" / "d-test.beton").is_file()
    data.convert({"train": Pairs(list(new), marks), "test": Pairs(list(new[:30]), marks[:30])}, tmp_path / "d.beton", **options)
    for name in ("train", "val", "test"):
        assert (data.open(tmp_path / "d.beton").split(name).pixels.array == 200).all(), name


def test_a_named_source_is_converted_from_its_published_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that stands for the source is what was made of it, and not the source."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    rows = []
    for index, picture in enumerate(PICTURES[:20]):
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        rows.append({"image": {"bytes": content.getvalue(), "path": None}, "label": index % 10})
    tables = tmp_path / "data" / "stl10"
    tables.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tables / "test.parquet")
    data.convert("stl10", tmp_path / "data" / "stl10.beton", res=2)
    assert data.open("stl10").split("test").image_size == 2
    data.convert("stl10", tmp_path / "large.beton", res=8)
    data.convert({"name": "stl10", "path": str(tables)}, tmp_path / "same.beton", res=8)
    large, same = (data.open(tmp_path / f"{name}.beton").split("test").pixels.array for name in ("large", "same"))
    np.testing.assert_array_equal(large, same)
    np.testing.assert_array_equal(large, PICTURES[:20])


def test_a_dataset_of_grey_pictures_gets_three_channels(tmp_path: Path) -> None:
    data.convert({"test": Pairs([picture[:, :, 0] for picture in PICTURES], [0] * COUNT)}, tmp_path / "set.beton")
    array = data.open(tmp_path / "set.beton").split("test").pixels.array
    np.testing.assert_array_equal(array, np.repeat(PICTURES[:, :, :, :1], 3, axis=3))


def test_a_dataset_alone_is_train_and_a_part_is_carved(tmp_path: Path) -> None:
    done = data.convert(Pairs(list(PICTURES), [index % 2 for index in range(COUNT)]), tmp_path / "set.beton")
    assert [(file.split, file.count) for file in done.files] == [("train", 108), ("val", 12)]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8, 3)) - 1, "its values run from -1 to -1"),
        (np.full((8, 8, 3), np.nan), "its values run from nan to nan"),
        (np.zeros((8, 8, 5), np.uint8), "its shape is"),
        (np.zeros((8, 8, 3), np.int32), "its type is int32"),
        ("a.png", "its shape is"),
    ],
)
def test_a_picture_that_is_not_understood_is_named(tmp_path: Path, image: Any, said: str) -> None:
    with pytest.raises(WorkError, match=f"Item 0 of the Pairs has no picture that is understood: {said}"):
        data.convert({"test": Pairs([image], [0])}, tmp_path / "set.beton")


def test_items_of_tables_are_understood_and_others_refused(tmp_path: Path) -> None:
    class Tables(Pairs):
        def __getitem__(self, index: int) -> Any:
            return {"img": self.images[index], "label": self.labels[index]}

    class Alone(Pairs):
        def __getitem__(self, index: int) -> Any:
            return self.images[index]

    data.convert({"test": Tables(list(PICTURES), [0] * COUNT)}, tmp_path / "set.beton")
    with pytest.raises(WorkError, match="Item 0 of the Alone is ndarray and not understood"):
        data.convert({"test": Alone(list(PICTURES), [0] * COUNT)}, tmp_path / "set.beton")
    with pytest.raises(RequestError, match="'test' is a int"):
        data.convert({"test": 3}, tmp_path / "set.beton")


def test_info_describes_a_store_and_a_folder(folder: Path, tmp_path: Path) -> None:
    data.convert(folder, tmp_path / "pets.beton")
    stored, read = data.info(tmp_path / "pets.beton"), data.info(folder)
    assert stored.classes == read.classes == ("a", "b", "c")
    assert [(one.name, one.count, one.image_size) for one in stored.splits] == [
        ("train", 108, (8, 8)),
        ("val", 12, (8, 8)),
        ("test", 30, (8, 8)),
    ]
    assert [(one.fewest, one.most) for one in read.splits] == [(36, 36), (4, 4), (10, 10)]
    assert read.splits[0].statistics is None
    measured = data.info(folder, measure=True).splits[0].statistics
    assert measured is not None
    np.testing.assert_allclose(stored.splits[0].statistics.mean, measured.mean, rtol=1e-12)  # type: ignore[union-attr]
    assert type(stored).parse(stored.plain()) == stored


KILLED = """
import sys, time
from pathlib import Path
from priorscope import data
from priorscope.data import decode, encoded

real = encoded.decode
def slow(content, where, res=None):
    time.sleep(0.002)
    return real(content, where, res)
encoded.decode = slow
data.convert(sys.argv[1], sys.argv[2], workers=2, split="train")
"""


@pytest.mark.slow
def test_a_killed_conversion_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("priorscope.data.beton.part.NOTE_EVERY", 1)
    random = np.random.default_rng(0)
    for index in range(1500):
        file = tmp_path / "set" / "train" / "ab"[index % 2] / f"{index:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(file, compress_level=0)
    code = KILLED.replace(
        "import sys, time", "import sys, time\nimport priorscope.data.beton.part as part\npart.NOTE_EVERY = 1"
    )
    target = tmp_path / "pets.beton"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "set"), str(target)])
    notes = tmp_path / "pets.beton.converting" / "pets.beton.part.notes"
    for _ in range(6000):
        if notes.is_file() or process.poll() is not None:
            break
        time.sleep(0.01)
    time.sleep(0.3)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    read: list[str] = []
    from priorscope.data import encoded

    real = encoded.decode
    monkeypatch.setattr(encoded, "decode", lambda content, where, res=None: read.append(where) or real(content, where, res))
    data.convert(tmp_path / "set", target, workers=2, split="train")
    assert 0 < len(read) < 1350
    data.convert(tmp_path / "set", tmp_path / "whole.beton", workers=2, split="train")
    assert target.read_bytes() == (tmp_path / "whole.beton").read_bytes()


# ---- The real tables ----


def real(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that needs the real tables and takes seconds."""
    there = pytest.mark.skipif(not Path(REAL, "cifar10").is_dir(), reason="no tables under PRIORSCOPE_DATA")
    return pytest.mark.real_data(pytest.mark.slow(there(test)))


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@real
def test_cifar10_converts_verifies_and_loads(fresh: Path) -> None:
    done = data.convert("cifar10", fresh / "cifar10.beton", workers=2)
    assert [(file.split, file.count) for file in done.files] == [("train", 45_000), ("val", 5_000), ("test", 10_000)]
    assert sum(data.verify(file.path).samples for file in done.files) == 60_000
    store = data.open(fresh / "cifar10.beton")
    assert store.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    for name, each in (("train", 4500), ("val", 500), ("test", 1000)):
        assert np.bincount(store.split(name).labels).tolist() == [each] * 10
        assert store.split(name).pixels.array.shape[1:] == (32, 32, 3)
    # The published statistics of the original training pixels; JPEG at quality 75 moves them by less than this.
    np.testing.assert_allclose(store.split("train").statistics.mean, (0.4914, 0.4822, 0.4465), atol=0.002)
    assert "JPEG copies" in data.open("cifar10").caveats[0]


@real
@pytest.mark.usefixtures("fresh")
def test_labels_of_the_tables_are_their_folders() -> None:
    """`path` holds the class's name, which no reader uses: an independent witness of the label order."""
    import pyarrow.parquet as pq

    source = data.open_published("cifar10")
    table = pq.read_table(Path(REAL) / "cifar10" / "test.parquet")
    folders = [cell["path"].split("/")[1] for cell in table["img"].to_pylist()]
    assert [source.classes[label] for label in source.split("test").labels] == folders


@real
@pytest.mark.usefixtures("fresh")
def test_lossless_pictures_are_the_jpeg_ones_but_for_the_codec() -> None:
    """The tables' own description states a mean error of 5.8 grey levels over the 4,000 pictures that exist both ways."""
    import pyarrow.parquet as pq

    exact = data.open_published(Path(REAL) / "cifar10" / "train_lossless_4000.parquet")
    table = data.open_published("cifar10").part("train")
    paths = pq.read_table(Path(REAL) / "cifar10" / "train.parquet")["img"].combine_chunks().field("path").to_pylist()
    row = {path.removesuffix(".jpg"): index for index, path in enumerate(paths)}
    own = (
        pq.read_table(Path(REAL) / "cifar10" / "train_lossless_4000.parquet")["img"].combine_chunks().field("path").to_pylist()
    )
    part = exact.part("train")
    errors = []
    for index, path in enumerate(own):
        twin = row[path.removesuffix(".png")]
        assert part.labels[index] == table.labels[twin]
        errors.append(np.abs(part.pixels.read(index).astype(int) - table.pixels.read(twin)).mean())
    assert np.mean(errors) == pytest.approx(5.8, abs=0.05)


@real
def test_tiny_imagenet_converts_verifies_and_loads(fresh: Path) -> None:
    done = data.convert("tiny_imagenet", fresh / "tiny.beton", workers=2)
    assert [(file.split, file.count) for file in done.files] == [("train", 18_000), ("val", 2_000), ("test", 10_000)]
    assert sum(data.verify(file.path).samples for file in done.files) == 30_000
    store = data.open(fresh / "tiny.beton")
    assert store.classes == tuple(sorted(store.classes))
    assert store.classes[11] == "n01855672"
    assert [np.bincount(store.split(name).labels).tolist() for name in store.splits()] == [[90] * 200, [10] * 200, [50] * 200]
    array = store.split("test").pixels.array
    assert array.shape == (10_000, 64, 64, 3)
    grey = ((array[..., 0] == array[..., 1]) & (array[..., 1] == array[..., 2])).all((1, 2))
    assert grey.sum() >= 168


@real
def test_cue_conflict_converts_verifies_and_loads(fresh: Path) -> None:
    done = data.convert("cue_conflict", fresh / "cue.beton")
    assert data.verify(done.files[0].path).samples == 1280
    split = data.open(fresh / "cue.beton").split("test")
    shape, texture = split.columns["shape"], split.columns["texture"]
    pairs = np.zeros((16, 16), int)
    np.add.at(pairs, (shape, texture), 1)
    assert (pairs == 5).all()
    assert int((shape != texture).sum()) == 1200
    np.testing.assert_array_equal(split.labels, shape)
