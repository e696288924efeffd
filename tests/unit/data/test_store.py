"""Splits in files: what is kept, and what is read of files that others wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from priorscope import data
from priorscope.core.errors import RequestError, WorkError
from priorscope.data.beton import ArrayField, Beton, FloatField, ImageField, IntField, manifest_path, write
from priorscope.data.split import ArrayPixels, Split
from priorscope.data.store import read_split, write_split

PICTURES = np.random.default_rng(0).integers(0, 256, (9, 6, 6, 3), np.uint8)
LABELS = np.arange(9) % 3


def split(**columns: np.ndarray) -> Split:
    return Split("pets", "test", ArrayPixels(PICTURES), LABELS, ("a", "b", "c"), columns)


def foreign(path: Path, **fields: tuple[object, list[object]]) -> Path:
    """A file as FFCV would leave it: no manifest."""
    columns = {"image": (ImageField("raw"), list(PICTURES)), **fields}
    rows = list(zip(*(values for _, values in columns.values()), strict=True))
    write(path, {name: field for name, (field, _) in columns.items()}, rows, 9)  # type: ignore[misc]
    manifest_path(path).unlink()
    return path


def test_everything_of_a_split_comes_back(tmp_path: Path) -> None:
    whole = split(shape=np.arange(9), score=np.linspace(0, 1, 9), real=np.arange(18).reshape(9, 2))
    write_split(whole, tmp_path / "pets.beton", origin="drawn")
    back = data.open(tmp_path / "pets.beton").split("test")
    assert (back.source, back.name, back.classes) == ("pets", "test", ("a", "b", "c"))
    assert back.fingerprint == whole.fingerprint
    np.testing.assert_allclose(back.statistics.std, whole.statistics.std, rtol=1e-9)
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(back.columns[name], column)
    assert data.open(tmp_path / "pets.beton").origin == "drawn"


@pytest.mark.parametrize("kind", ["bool", "uint8", "int32", "float16", "float32"])
def test_a_column_of_any_type_comes_back_with_the_same_fingerprint(tmp_path: Path, kind: str) -> None:
    whole = split(real=np.arange(9).astype(kind))
    write_split(whole, tmp_path / "pets.beton")
    back = data.open(tmp_path / "pets.beton").split("test")
    assert back.columns["real"].dtype.itemsize == 8
    assert back.fingerprint == whole.fingerprint


def test_words_cannot_be_a_column(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="The column 'name' holds <U1"):
        write_split(split(name=np.array(list("abcabcabc"))), tmp_path / "pets.beton")


def test_a_file_without_manifest_is_its_own_only_split(tmp_path: Path) -> None:
    foreign(tmp_path / "pets.beton", label=(IntField(), list(LABELS)))
    source = data.open(tmp_path / "pets.beton")
    assert (source.name, source.splits(), source.classes) == ("pets", ("all",), ("0", "1", "2"))
    assert data.open({"name": "beton", "path": str(tmp_path / "pets.beton"), "split": "test"}).splits() == ("test",)
    foreign(tmp_path / "pets_test_64.beton", label=(IntField(), list(LABELS)))
    assert data.open(tmp_path / "pets_test_64.beton").splits() == ("test",)


def test_a_folder_of_files_without_manifests_is_one_source(tmp_path: Path) -> None:
    for name in ("train", "val"):
        foreign(tmp_path / "set" / f"{name}.beton", label=(IntField(), list(LABELS)))
    source = data.open(tmp_path / "set")
    assert source.splits() == ("train", "val", "test")
    assert [len(source.split(name)) for name in source.splits()] == [8, 1, 9]
    with pytest.raises(RequestError, match="came with split = 'zzz', and the names of its files say its splits"):
        data.open({"name": "beton", "path": str(tmp_path / "set"), "split": "zzz"})


@pytest.mark.parametrize("fewer", ["train", "val", "test"])
def test_files_without_manifests_have_the_classes_of_all_of_them(tmp_path: Path, fewer: str) -> None:
    """One that lacks the last class has it all the same."""
    for name in ("train", "val", "test"):
        marks = np.arange(9) % (3 if name == fewer else 4)
        foreign(tmp_path / "set" / f"{name}.beton", label=(IntField(), list(marks)))
    source = data.open(tmp_path / "set")
    assert source.classes == ("0", "1", "2", "3")
    assert {source.split(name).classes for name in source.splits()} == {source.classes}


def stored(file: Path, classes: tuple[str, ...], labels: list[int]) -> None:
    """A store of pictures each of which is as bright as the place of its class in the alphabet."""
    grey = np.array([ord(classes[label][0]) - ord("a") for label in labels], np.uint8)
    pictures = np.broadcast_to(grey[:, None, None, None], (len(labels), 6, 6, 3)).copy()
    file.parent.mkdir(exist_ok=True)
    write_split(Split("pets", file.stem, ArrayPixels(pictures), np.array(labels), classes), file)


@pytest.mark.parametrize("classes", [("ant", "cat"), ("cat", "ant"), ("cat", "bee", "ant")])
def test_stores_converted_apart_are_told_by_the_names_of_their_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    """Before: the cats of a test without bees were labelled 1, which is bee to a network that learnt from train."""
    stored(tmp_path / "set" / "train.beton", ("ant", "bee", "cat"), [0, 1, 2] * 5)
    stored(tmp_path / "set" / "test.beton", classes, [0, 1] * 3)
    source = data.open(tmp_path / "set")
    assert source.classes == ("ant", "bee", "cat")
    for name in source.splits():
        split = source.split(name)
        assert split.classes == source.classes
        assert [int(split[index][0].max()) for index in range(len(split))] == split.labels.tolist()
    assert source.split("test").known_fingerprint is None


def test_a_store_of_other_classes_is_refused_in_a_folder(tmp_path: Path) -> None:
    stored(tmp_path / "set" / "train.beton", ("ant", "bee"), [0, 1] * 5)
    stored(tmp_path / "set" / "test.beton", ("ant", "cow"), [0, 1])
    with pytest.raises(RequestError) as refused:
        data.open(tmp_path / "set")
    assert str(refused.value) == (
        f"test of {tmp_path / 'set'} lists the classes ant, cow, and 'cow' is not one of the first part's: ant, bee.\n"
        "  wanted: parts whose classes are all among those of the first, each name once\n"
        "  try:    name the classes alike in all parts, or open this one alone"
    )
    (tmp_path / "set" / "test.beton").rename(tmp_path / "set" / "unlabeled.beton")
    manifest_path(tmp_path / "set" / "test.beton").rename(manifest_path(tmp_path / "set" / "unlabeled.beton"))
    assert data.open(tmp_path / "set").split("unlabeled").classes == ("ant", "cow")


def test_other_labels_than_a_files_own_are_known_by_another_fingerprint(tmp_path: Path) -> None:
    for name, classes in (("train", ("a", "b", "c")), ("test", ("c", "b", "a"))):
        (tmp_path / "set").mkdir(exist_ok=True)
        whole = Split("pets", name, ArrayPixels(PICTURES), LABELS, classes)
        write_split(whole, tmp_path / "set" / f"{name}.beton", images=ImageField("jpg", quality=90))
    alone = data.open(tmp_path / "set" / "test.beton").split("test")
    among = data.open(tmp_path / "set").split("test")
    assert among.labels.tolist() == [2 - label for label in alone.labels]
    assert None not in (alone.known_fingerprint, among.known_fingerprint)
    assert alone.known_fingerprint != among.known_fingerprint


def test_text_is_no_column_of_a_split(tmp_path: Path) -> None:
    """FFCV's files may hold arrays of text; a batch holds numbers alone."""
    names = [np.array([name], "S4") for name in (b"one", b"two", b"tree") * 3]
    real = [np.array([index, -1], np.int16) for index in range(9)]
    arrays = {"name": (ArrayField(np.dtype("S4"), (1,)), names), "real": (ArrayField(np.dtype("<i2"), (2,)), real)}
    foreign(tmp_path / "pets.beton", label=(IntField(), list(LABELS)), **arrays)
    split = data.open(tmp_path / "pets.beton").split("all")
    assert list(split.columns) == ["real"]
    (batch,) = data.Loader(split, batch_size=9)
    assert batch.columns["real"].tolist() == np.stack(real).tolist()


def test_the_only_whole_number_is_the_label(tmp_path: Path) -> None:
    foreign(tmp_path / "a.beton", covariate=(FloatField(), [0.5] * 9), kind=(IntField(), list(LABELS)))
    split = data.open(tmp_path / "a.beton").split("all")
    assert split.labels.tolist() == LABELS.tolist()
    assert list(split.columns) == ["covariate"]


def test_an_unclear_label_is_refused_until_it_is_named(tmp_path: Path) -> None:
    foreign(tmp_path / "a.beton", x=(IntField(), [0] * 9), y=(IntField(), list(LABELS)))
    with pytest.raises(RequestError, match="It is not clear which field"):
        data.open(tmp_path / "a.beton")
    table = {"name": "beton", "path": str(tmp_path / "a.beton")}
    assert data.open({**table, "label": "y"}).split("all").labels.tolist() == LABELS.tolist()
    with pytest.raises(RequestError, match="has no field 'z' of whole numbers"):
        data.open({**table, "label": "z"})


def test_lists_of_labels_alone_are_no_label(tmp_path: Path) -> None:
    real = ArrayField(np.dtype("<i8"), (2,))
    foreign(tmp_path / "a.beton", real=(real, [np.array([1, -1])] * 9))
    with pytest.raises(RequestError, match="It is not clear which field") as refused:
        data.open(tmp_path / "a.beton")
    assert "label for every picture" in refused.value.do


def test_a_missing_sibling_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    write_split(split(), tmp_path / "pets.beton", siblings={"train": "pets-train.beton"})
    source = data.open(tmp_path / "pets.beton")
    assert len(source.split("test")) == 9
    with pytest.raises(WorkError, match=r"pets-train\.beton is missing"):
        source.split("train")


def test_stored_jpegs_are_known_by_their_files_checksum(tmp_path: Path) -> None:
    manifest = write_split(split(), tmp_path / "pets.beton", images=ImageField("jpg", quality=90))
    back = read_split(Beton.open(tmp_path / "pets.beton"), source="pets", name="test")
    assert back.known_fingerprint == manifest.sha256[:16]


def test_one_hostile_label_does_not_fill_the_memory_with_class_names(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.beton", label=(IntField(), [0] * 8 + [10**15]))
    with pytest.raises(WorkError, match=r"a\.beton has a label of 1,000,000,000,000,000 and no manifest") as caught:
        data.open(path).split("a").classes  # noqa: B018
    assert caught.value.do == "check that the label field holds class numbers"
