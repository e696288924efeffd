"""Image folders as users keep them, and the published layouts that differ from them."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from priorscope import data
from priorscope.core.errors import RequestError, WorkError

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))


def put(file: Path, index: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PICTURES[index]).resize(size, Image.Resampling.NEAREST).save(file, "PNG")


def test_one_part_is_called_as_asked(tmp_path: Path) -> None:
    for index in range(4):
        put(tmp_path / "set" / ("cat", "dog")[index % 2] / f"{index}.png", index)
    assert data.open(tmp_path / "set").splits() == ("train", "val")
    split = data.open({"name": "folder", "path": str(tmp_path / "set"), "split": "test"}).split("test")
    assert split.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(split.pixels.array, PICTURES[[0, 2, 1, 3]])


def test_a_class_called_test_is_a_class(tmp_path: Path) -> None:
    for name in ("test", "control"):
        put(tmp_path / "set" / name / "a.png")
    source = data.open({"name": "folder", "path": str(tmp_path / "set"), "split": "all"})
    assert source.classes == ("control", "test")


def test_parts_by_a_word_of_their_names_are_not_taken_for_classes(tmp_path: Path) -> None:
    """Kaggle's layout; a class whose name has such a word holds its images itself."""
    for name in ("seg_train/sea", "seg_train/ice", "seg_test/sea"):
        put(tmp_path / "set" / name / "a.png")
    with pytest.raises(RequestError, match="holds seg_test, seg_train: parts by a word of their names") as refused:
        data.open(tmp_path / "set")
    assert refused.value.do == "rename seg_test to test"
    for name in ("steam train", "car"):
        put(tmp_path / "other" / name / "a.png")
    assert data.open(tmp_path / "other").classes == ("car", "steam train")


def test_folders_that_say_their_splits_are_given_no_other(tmp_path: Path) -> None:
    put(tmp_path / "set" / "test" / "a" / "1.png")
    with pytest.raises(RequestError, match="came with split = 'zzz', and its folders test say its splits"):
        data.open({"name": "folder", "path": str(tmp_path / "set"), "split": "zzz"})


def test_too_few_pictures_for_a_val_are_said_to_be(tmp_path: Path) -> None:
    for index in range(4):
        put(tmp_path / "set" / "a" / f"{index}.png")
    with pytest.raises(RequestError, match="set/val is a tenth of train, which has 4 pictures: too few to carve one out"):
        data.open(tmp_path / "set").split("val")


def test_validation_alone_is_the_test_split(tmp_path: Path) -> None:
    put(tmp_path / "set" / "val" / "a" / "1.png")
    assert data.open(tmp_path / "set").splits() == ("test",)


def test_endings_are_read_in_any_case_and_depth(tmp_path: Path) -> None:
    for name in ("a/1.PNG", "a/deep/er/2.Png", "a/.hidden.png", "a/3.txt", "b/4.jpeg"):
        put(tmp_path / "set" / name)
    split = data.open_published({"name": "folder", "path": str(tmp_path / "set"), "split": "all"}).split("all")
    assert split.labels.tolist() == [0, 0, 1]


def test_links_to_folders_are_followed_but_for_loops(tmp_path: Path) -> None:
    """Links back to the class, to the whole folder and to what it lies in: each would bring pictures of other classes."""
    root, elsewhere = tmp_path / "all" / "set", tmp_path / "elsewhere"
    for name in ("cats/1.png", "cats/deep/2.png", "more/3.png", "linked/sub/4.png"):
        put(elsewhere / name)
    for name in ("bee/5.png", "dog/6.png"):
        put(root / name)
    (root / "cat").symlink_to(elsewhere / "cats")
    (root / "dog" / "more").symlink_to(elsewhere / "more")
    (root / "ape").mkdir()
    (root / "ape" / "sub").symlink_to(elsewhere / "linked")
    (elsewhere / "cats" / "deep" / "again").symlink_to(elsewhere / "cats")
    (elsewhere / "cats" / "home").symlink_to(root)
    for number, target in enumerate((root, root.parent, root / "bee")):
        (root / "bee" / f"loop{number}").symlink_to(target)
    (root / "loop").symlink_to(root.parent)
    source = data.open_published({"name": "folder", "path": str(root), "split": "all"})
    assert source.classes == ("ape", "bee", "cat", "dog")
    pixels = source.split("all").pixels
    assert [pixels.where(index).removeprefix(f"{root}/") for index in range(len(pixels))] == [
        "ape/sub/sub/4.png", "bee/5.png", "cat/1.png", "cat/deep/2.png", "dog/6.png", "dog/more/3.png",
    ]  # fmt: skip


def test_a_folder_named_by_dots_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / "set" / name / "1.png")
    for here, path in (("set", "."), ("set/cat", "..")):
        monkeypatch.chdir(tmp_path / here)
        assert data.open_published({"name": "folder", "path": path, "split": "all"}).classes == ("cat", "dog")


def test_a_class_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    for name in (b"cat", b"caf\xe9"):
        put(tmp_path / "set" / os.fsdecode(name) / "1.png")
    with pytest.raises(RequestError) as refused:
        data.open(tmp_path / "set")
    assert str(refused.value) == (
        f"{tmp_path}/set has the class folder 'caf\\xe9', which is not UTF-8.\n  wanted: a name in UTF-8\n  try:    rename it"
    )


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_whose_path_is_not_utf_8_is_refused(inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / os.fsdecode(b"caf\xe9") / "cat" / "1.png")
    if inside:
        monkeypatch.chdir(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(RequestError) as refused:
        data.open("." if inside else tmp_path / os.fsdecode(b"caf\xe9"))
    assert str(refused.value) == (
        f"The folder '{tmp_path}/caf\\xe9' is not named in UTF-8.\n  wanted: a path that a recipe can hold\n  try:    rename it"
    )


def test_one_class_in_two_forms_of_unicode_is_refused(tmp_path: Path) -> None:
    for part, form in (("train", "NFC"), ("test", "NFD")):
        for name in ("b\u00e4r", "dog"):
            put(tmp_path / "set" / part / unicodedata.normalize(form, name) / "1.png")
    with pytest.raises(RequestError, match=r"two classes that look alike, 'ba\\u0308r' and 'b\\xe4r'") as refused:
        data.open(tmp_path / "set")
    assert refused.value.do == "rename them to b\u00e4r"
    (tmp_path / "set" / "test" / "ba\u0308r").rename(tmp_path / "set" / "test" / "b\u00e4r")
    assert data.open(tmp_path / "set").classes == ("b\u00e4r", "dog")


def test_pictures_of_many_sizes_stay_as_they_are_until_a_size_is_asked(tmp_path: Path) -> None:
    for index, size in enumerate([(8, 8), (16, 8), (8, 24)]):
        put(tmp_path / "set" / "a" / f"{index}.png", index, size)
    table = {"name": "folder", "path": str(tmp_path / "set"), "split": "all"}
    split = data.open(table).split("all")
    assert [split[index][0].shape for index in range(3)] == [(8, 8, 3), (8, 16, 3), (24, 8, 3)]
    with pytest.raises(RequestError, match="holds pictures of different sizes") as refused:
        _ = split.image_size
    assert "res = 64" in refused.value.do
    assert data.open({**table, "res": 4}).split("all").image_size == 4


def test_a_class_of_one_part_only_is_a_class_of_all(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "test/b/1.png"):
        put(tmp_path / "set" / name)
    assert data.open(tmp_path / "set").split("test").labels.tolist() == [1]


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    with pytest.raises(RequestError, match="has no folders of images"):
        data.open(tmp_path / "set")
    with pytest.raises(RequestError, match="There is no folder"):
        data.open({"name": "folder", "path": str(tmp_path / "nothing")})


def test_tiny_imagenet_is_known_by_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "tiny-imagenet-200"
    for wnid in ("n01", "n02"):
        put(root / "train" / wnid / "images" / f"{wnid}_0.JPEG")
    put(root / "val" / "images" / "val_0.JPEG", 5)
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t1\t1\n")
    source = data.open(root)
    assert source.name == "tiny_imagenet"
    assert source.split("test").labels.tolist() == [1]
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn99\t0\t0\t1\t1\n")
    with pytest.raises(WorkError, match="has the line"):
        data.open(root).split("test")
    (root / "train" / "n01" / "images" / "n01_0.JPEG").unlink()
    with pytest.raises(WorkError, match="train has no picture of the class n01"):
        data.open(root).split("train")


def test_a_stimulus_of_an_unknown_category_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "cue" / "cat" / "cat1-cat2.png")
    put(tmp_path / "cue" / "cat" / "cat1-plane2.png")
    with pytest.raises(WorkError, match="has the category 'plane'"):
        data.open({"name": "cue_conflict", "path": str(tmp_path / "cue")}).split("test")
    put(tmp_path / "cue" / "cat" / "cat.png")
    with pytest.raises(WorkError, match="is not named like a stimulus"):
        data.open({"name": "cue_conflict", "path": str(tmp_path / "cue")}).split("test")


# ---- ImageNet ----


def imagenet(root: Path) -> Path:
    for index in range(4):
        wnid = ("n01", "n02")[index % 2]
        put(root / "ILSVRC/Data/CLS-LOC/train" / wnid / f"{wnid}_{index}.JPEG", index)
        put(root / "ILSVRC/Data/CLS-LOC/val" / f"ILSVRC2012_val_{index + 1:08d}.JPEG", 10 + index)
    return root


VAL = ["n02", "n01", "n01", "n02"]


def test_kaggle_layout(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "imagenet")
    rows = [f"ILSVRC2012_val_{k + 1:08d},{wnid} 1 2 3 4 {wnid} 5 6 7 8" for k, wnid in enumerate(VAL)]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(reversed(rows)) + "\n")
    split = data.open({"name": "imagenet", "path": str(root)}).split("test")
    assert split.labels.tolist() == [1, 0, 0, 1]
    np.testing.assert_array_equal(split.pixels.array, PICTURES[10:14])


def test_a_list_of_synsets_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "imagenet")
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(VAL))
    assert data.open({"name": "imagenet", "path": str(root)}).split("test").labels.tolist() == [1, 0, 0, 1]


def test_tables_take_no_class_list(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(RequestError, match="holds tables, and came with classes = '/nonexistent'"):
        data.open({"name": "imagenet", "path": str(tmp_path), "classes": "/nonexistent"})


def test_validation_pictures_of_unknown_class_are_refused(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "imagenet")
    with pytest.raises(RequestError, match="are not known: they lie side by side"):
        data.open({"name": "imagenet", "path": str(root)}).split("test")


def test_a_class_list_chooses_and_orders(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "imagenet")
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(VAL))
    (tmp_path / "two.txt").write_text("n02 dog\nn01 cat\n")
    source = data.open({"name": "imagenet", "path": str(root), "classes": str(tmp_path / "two.txt")})
    assert source.classes == ("n02", "n01")
    assert source.split("test").labels.tolist() == [0, 1, 1, 0]
    (tmp_path / "one.txt").write_text("n01\n")
    assert len(data.open({"name": "imagenet", "path": str(root), "classes": str(tmp_path / "one.txt")}).split("test")) == 2
    (tmp_path / "three.txt").write_text("n01\nn09\n")
    with pytest.raises(RequestError, match="has no pictures of 1 of 2 classes, such as n09"):
        data.open({"name": "imagenet", "path": str(root), "classes": str(tmp_path / "three.txt")}).split("train")
    (tmp_path / "twice.txt").write_text("n01\nn01\n")
    with pytest.raises(RequestError, match="lists n01 twice"):
        data.open({"name": "imagenet", "path": str(root), "classes": str(tmp_path / "twice.txt")})


WNIDS = ("n01440764", "n01443537")


def _train_folders(root: Path) -> None:
    for index in range(24):
        put(root / "train" / WNIDS[index % 2] / f"{WNIDS[index % 2]}_{index}.JPEG", index)


def _train_archives(root: Path) -> None:
    for wnid in WNIDS:
        class_archive(root / f"{wnid}.tar")


def _flat_val(root: Path) -> None:
    for number in range(1, 5):
        put(root / f"ILSVRC2012_val_{number:08d}.JPEG", 10 + number)


def _one_tar(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w") as opened:
        for file in sorted(folder.iterdir()):
            opened.add(file, file.name)
    shutil.rmtree(folder)


def _as_published(root: Path) -> None:
    _train_archives(root / "inside")
    _one_tar(root / "inside", root / "ILSVRC2012_img_train.tar")
    _flat_val(root / "inside")
    _one_tar(root / "inside", root / "ILSVRC2012_img_val.tar")


def _unpacked(root: Path) -> None:
    _train_folders(root)
    _flat_val(root / "val")


def _kaggle(root: Path) -> None:
    _unpacked(root / "ILSVRC/Data/CLS-LOC")


def _archives_and_pictures(root: Path) -> None:
    _train_archives(root / "train")
    _flat_val(root / "val")


LAYOUTS = {"as published": (_as_published, 4), "unpacked": (_unpacked, 24), "Kaggle's": (_kaggle, 24),
           "an archive a class": (_archives_and_pictures, 4)}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_imagenet_is_known_by_its_path(tmp_path: Path, layout: str) -> None:
    make, learnt = LAYOUTS[layout]
    root = tmp_path / "set"
    make(root)
    wnids = [WNIDS[0] if wnid == "n01" else WNIDS[1] for wnid in VAL]
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(wnids))
    source = data.open(root)
    assert (source.name, source.classes) == ("imagenet", WNIDS)
    assert len(data.open_published(root).part("train").labels) == learnt
    test = source.split("test")
    assert test.labels.tolist() == [1, 0, 0, 1]
    np.testing.assert_array_equal(test.pixels.array, PICTURES[11:15])
    done = data.convert(root, tmp_path / "small.beton", res=4, split="test")
    assert [(file.split, file.count) for file in done.files] == [("test", 4)]


@pytest.mark.parametrize("below", ["", "train"])
def test_archives_of_train_alone_are_known_by_their_path(tmp_path: Path, below: str) -> None:
    _train_archives(tmp_path / "set" / below)
    source = data.open(tmp_path / "set")
    assert (source.name, source.classes, source.splits()) == ("imagenet", WNIDS, ("train", "val"))
    assert data.open_published(tmp_path / "set").part("train").labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("ending", ["", ".tar"])
@pytest.mark.parametrize("below", ["", "train"])
def test_more_classes_than_imagenet_has_are_imagenet21k(tmp_path: Path, below: str, ending: str) -> None:
    """Judged by names alone, so that empty files will do. As many as ImageNet has are not."""
    for number in range(1001):
        place = tmp_path / "set" / below / f"n{number:08d}{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch() if ending else place.mkdir()
    assert data.source_config(tmp_path / "set").name == "imagenet21k"
    place.unlink() if ending else place.rmdir()
    assert data.source_config(tmp_path / "set").name == ("imagenet" if ending else "folder")


def test_the_whole_archive_of_imagenet21k_is_known_by_its_path(tmp_path: Path) -> None:
    _train_archives(tmp_path / "inside")
    (tmp_path / "set").mkdir()
    whole = tmp_path / "set" / "winter21_whole.tar"
    _one_tar(tmp_path / "inside", whole)
    for path in (whole, whole.parent):
        assert data.source_config(path).plain()["name"] == "imagenet21k"
        table = {"name": str(path), "min_per_class": 2, "val_per_class": 1}
        assert data.open(table).split("test").labels.tolist() == [0, 1]


def test_class_folders_in_train_and_val_are_a_plain_folder(tmp_path: Path) -> None:
    _train_folders(tmp_path / "set")
    for index, wnid in enumerate(WNIDS):
        put(tmp_path / "set" / "val" / wnid / "ILSVRC2012_val_00000001.JPEG", index)
    assert data.source_config(tmp_path / "set").name == "folder"
    assert data.open(tmp_path / "set").splits() == ("train", "val", "test")


def test_imagenet21k_refuses_what_leaves_nothing(tmp_path: Path) -> None:
    put(tmp_path / "all" / "n01" / "1.png")
    table = {"name": "imagenet21k", "path": str(tmp_path / "all")}
    with pytest.raises(RequestError, match=r"No class of .* has 500 pictures; the largest has 1"):
        data.open(table)
    with pytest.raises(RequestError, match="val_per_class = 9 leaves nothing of a class of 9"):
        data.open({**table, "min_per_class": 9, "val_per_class": 9})


def class_archive(path: Path, links: dict[str, str] | None = None) -> Path:
    """Two pictures in an archive, and further names for them as hard links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as opened:
        for index in range(2):
            buffer = io.BytesIO()
            Image.fromarray(PICTURES[index]).save(buffer, "PNG")
            entry = tarfile.TarInfo(f"./{path.stem}_{index}.JPEG")
            entry.size = len(buffer.getvalue())
            opened.addfile(entry, io.BytesIO(buffer.getvalue()))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.LNKTYPE, target
            opened.addfile(entry)
    return path


def test_a_picture_of_two_names_in_an_archive_is_two_pictures(tmp_path: Path) -> None:
    """tar packs the second name of a file as a hard link without content."""
    links = {"n01_2.JPEG": "n01_1.JPEG", "n01_3.JPEG": "./n01_2.JPEG"}
    archive = class_archive(tmp_path / "imagenet" / "train" / "n01.tar", links)
    part = data.open_published({"name": "imagenet", "path": str(archive.parents[1])}).part("train")
    assert [part.pixels.where(index).rpartition("/")[2] for index in range(4)] == [f"n01_{k}.JPEG" for k in range(4)]
    np.testing.assert_array_equal([part.pixels.read(index) for index in range(4)], PICTURES[[0, 1, 1, 1]])
    class_archive(archive, {"n01_2.JPEG": "n01_9.JPEG"})
    with pytest.raises(WorkError, match=r"n01\.tar is damaged: 'n01_2\.JPEG' is a link to 'n01_9\.JPEG', which is not before"):
        data.open_published({"name": "imagenet", "path": str(archive.parents[1])}).part("train")


@pytest.mark.parametrize(
    "source", [{"name": "imagenet"}, {"name": "imagenet", "classes": "list"}, {"name": "imagenet21k", "min_per_class": 2,
                                                                                     "val_per_class": 1}]
)  # fmt: skip
def test_archives_beside_class_folders_are_refused(tmp_path: Path, source: dict[str, Any]) -> None:
    """One left-over archive would hide every folder."""
    for wnid in ("n01", "n02", "n03"):
        for index in range(2):
            put(tmp_path / "set" / "train" / wnid / f"{wnid}_{index}.JPEG", index)
    (tmp_path / "list").write_text("n02\n")
    left_over = class_archive(tmp_path / "set" / "train" / "n02.tar")
    named = {"classes": str(tmp_path / "list")} if "classes" in source else {}
    with pytest.raises(RequestError) as refused:
        data.open({**source, **named, "path": str(tmp_path / "set")}).split("train")
    assert str(refused.value) == (
        f"{left_over.parent} holds folders of images, such as n01, and archives, such as n02.tar.\n"
        "  wanted: a folder for every class, or an archive for every class\n"
        "  try:    move n02.tar elsewhere, or the folders"
    )


def test_a_cut_archive_of_a_class_names_the_picture(tmp_path: Path) -> None:
    archive = class_archive(tmp_path / "imagenet" / "train" / "n01.tar")
    split = data.open_published({"name": "imagenet", "path": str(archive.parents[1])}).split("train")
    archive.write_bytes(archive.read_bytes()[:1200])
    with pytest.raises(WorkError, match=r"n01\.tar:n01/n01_1\.JPEG is broken: its archive ends within it"):
        [split[index] for index in range(len(split))]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("damage", ["a header", "zeros", "no end"])
def test_an_archive_that_is_damaged_between_its_files_is_refused(tmp_path: Path, damage: str, nested: bool) -> None:
    """Python takes the files before a header that makes no sense for all there are."""
    archive = class_archive(tmp_path / "imagenet" / "train" / "n01.tar")
    content = bytearray(archive.read_bytes())
    second = content.index(b"n01_1.JPEG") - len("./")
    if damage == "a header":
        content[second : second + 512] = b"\xff" * 512
    elif damage == "zeros":
        content[second:] = bytes(2 << 20)
    else:
        content = content[:second]
    archive.write_bytes(content)
    if nested:
        whole = archive.parents[1] / "ILSVRC2012_img_train.tar"
        with tarfile.open(whole, "w") as opened:
            opened.add(archive, "n01.tar")
        archive.unlink()
        archive.parent.rmdir()
    with pytest.raises(WorkError, match="is damaged: "):
        data.open_published({"name": "imagenet", "path": str(tmp_path / "imagenet")}).part("train")


def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its class would be missing, and the network would learn one less."""
    for name in ("cat", "dog"):
        put(tmp_path / "pets" / name / "0.png")
    listed = os.scandir

    def refused(path: str) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(WorkError, match="dog cannot be listed: Permission denied"):
        data.open(tmp_path / "pets")


def test_the_folder_in_which_one_stands_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "pets" / "cat" / "0.png")
    monkeypatch.chdir(tmp_path / "pets")
    assert data.open_published({"name": "folder", "path": "."}).name == "pets"
    monkeypatch.chdir(tmp_path / "pets" / "cat")
    assert data.open_published({"name": "folder", "path": ".."}).name == "pets"


def test_folders_without_images_beside_the_parts_are_passed_over(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            put(tmp_path / "set" / part / name / "1.png")
            put(tmp_path / "set" / part / name / "2.png", 1)
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "annotations" / "boxes.txt").write_text("nothing to see")
    source = data.open(tmp_path / "set")
    assert source.classes == ("cat", "dog")
    assert len(source.split("test")) == 4


@pytest.mark.parametrize(
    ("folders", "said"),
    [(("train", "test", "extra"), "images in extra beside"), (("val", "valid"), "two folders for one part")],
)
def test_parts_beside_something_else_are_refused(folders: tuple[str, ...], said: str, tmp_path: Path) -> None:
    for folder in folders:
        put(tmp_path / "set" / folder / "cat" / "1.png")
    with pytest.raises(RequestError, match=said):
        data.open(tmp_path / "set")


def test_a_class_called_train_stands_beside_others(tmp_path: Path) -> None:
    for name in ("train", "bus", "car"):
        put(tmp_path / "set" / name / "a.png")
    assert data.open(tmp_path / "set").classes == ("bus", "car", "train")


def test_a_path_may_be_named_as_a_source_is(tmp_path: Path) -> None:
    """A study spells `source = "pets"` out as a table with that name."""
    for index in range(4):
        put(tmp_path / "set" / "train" / ("cat", "dog")[index % 2] / f"{index}.png", index, (12, 8))
    config = data.source_config({"name": str(tmp_path / "set"), "res": 6})
    assert config.plain() == {"name": "folder", "path": str(tmp_path / "set"), "split": "train", "res": 6}
    with pytest.raises(RequestError, match=r"'cifra10' is not a data source"):
        data.source_config({"name": "cifra10"})


def test_a_folder_without_a_test_says_what_to_ask_instead(tmp_path: Path) -> None:
    for index in range(12):
        put(tmp_path / "pics" / "ab"[index % 2] / f"{index}.png", index)
    source = data.open(tmp_path / "pics")
    with pytest.raises(RequestError) as refused:
        source.split("test")
    assert str(refused.value) == (
        "pics has no test: nobody published one, and none is carved.\n"
        "  wanted: one of: train, val\n"
        '  try:    split = "val" (in [[probes]], or --set split=val); or put a test part beside its train'
    )
