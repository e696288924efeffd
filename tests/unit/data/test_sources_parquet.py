"""Layouts of tables on the hub: columns, classes and splits found without being told, and refused where they are not plain."""

from __future__ import annotations

import io
import json
import os
import re
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from priorscope import data
from priorscope.core.errors import PriorscopeError, RequestError, WorkError
from priorscope.data.sources.parquet import tables_in

PICTURES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def cells(count: int = 12) -> list[dict[str, Any]]:
    return [{"bytes": png(PICTURES[k]), "path": None} for k in range(count)]


def table(file: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: pa.array(values, STRUCT) if _images(values) else pa.array(values) for name, values in columns.items()}
    made = pa.table(arrays)
    if features is not None:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, file, **options)
    return file


def _images(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and isinstance(values[0], dict)


def labelled(file: Path, labels: list[int] | None = None, names: list[str] | None = None) -> Path:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names or ["a", "b", "c"]}}
    return table(file, {"image": cells(), "label": labels or [k % 3 for k in range(12)]}, features)


def test_metadata_names_columns_and_classes(tmp_path: Path) -> None:
    features = {"scan": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["x", "y"]}, "site": {"_type": "Value"}}
    labels = [k % 2 for k in range(12)]
    source = data.open(table(tmp_path / "test.parquet", {"scan": cells(), "kind": labels, "site": list(range(12))}, features))
    split = source.split("test")
    assert source.classes == ("x", "y")
    assert split.labels.tolist() == labels
    np.testing.assert_array_equal(split.pixels.array, PICTURES)
    assert split.columns["site"].tolist() == list(range(12))


def test_names_of_classes_by_number_are_understood(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": {"1": "b", "0": "a"}}}
    source = data.open(table(tmp_path / "test.parquet", {"img": cells(), "label": [0, 1] * 6}, features))
    assert source.classes == ("a", "b")


def test_plain_bytes_and_words_as_labels_do_without_metadata(tmp_path: Path) -> None:
    words = ["dog", "cat", "emu"] * 4
    source = data.open(table(tmp_path / "test.parquet", {"content": [png(p) for p in PICTURES], "label": words}))
    split = source.split("test")
    assert source.classes == ("cat", "dog", "emu")
    assert [source.classes[label] for label in split.labels] == words
    np.testing.assert_array_equal(split.pixels.array, PICTURES)


def test_numbers_without_names_are_their_own_names(tmp_path: Path) -> None:
    source = data.open(table(tmp_path / "test.parquet", {"image": cells(), "label": [0, 4] * 6}))
    assert source.classes == ("0", "1", "2", "3", "4")


def test_fine_labels_come_before_coarse_ones(tmp_path: Path) -> None:
    features = {
        "coarse_label": {"_type": "ClassLabel", "names": ["p"]},
        "fine_label": {"_type": "ClassLabel", "names": ["a", "b"]},
    }
    file = table(tmp_path / "test.parquet", {"img": cells(), "coarse_label": [0] * 12, "fine_label": [0, 1] * 6}, features)
    assert data.open(file).classes == ("a", "b")


def test_an_unclear_label_is_refused_with_the_columns(tmp_path: Path) -> None:
    file = table(tmp_path / "test.parquet", {"image": cells(), "shape": ["a"] * 12, "texture": ["b"] * 12})
    with pytest.raises(RequestError, match="It is not clear which column") as refused:
        data.open(file)
    assert "shape (string), texture (string)" in refused.value.came
    assert data.open({"name": "parquet", "path": str(file), "label": "shape"}).classes == ("a",)
    with pytest.raises(RequestError, match="has no column 'shapes'"):
        data.open({"name": "parquet", "path": str(file), "label": "shapes"})


def test_a_table_without_images_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path / "test.parquet", {"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(RequestError, match="has no column of images"):
        data.open(file).split("test")


def test_two_columns_of_images_are_refused_until_one_is_named(tmp_path: Path) -> None:
    file = table(tmp_path / "test.parquet", {"left": cells(), "right": cells(), "label": [0] * 12})
    with pytest.raises(RequestError, match="has several columns of images"):
        data.open(file).split("test")
    assert len(data.open({"name": "parquet", "path": str(file), "image": "right"}).split("test")) == 12


LAYOUTS = {
    "plain": (["train.parquet", "test.parquet"], {"train": 1, "test": 1}),
    "hub": (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/validation-00000.parquet"],
            {"train": 2, "val": 1}),
    "converted": (["plain_text/train/0000.parquet", "plain_text/train/0001.parquet", "plain_text/test/0000.parquet"],
                  {"train": 2, "test": 1}),
    "exact before loose": (["train.parquet", "train_small_400.parquet", "test.parquet"], {"train": 1, "test": 1}),
    "loose": (["pets_train_64.parquet", "pets_test_64.parquet"], {"train": 1, "test": 1}),
    "no split named": (["part-0.parquet", "part-1.parquet"], {"train": 2}),
    "valid": (["train.parquet", "valid.parquet"], {"train": 1, "val": 1}),
    "hashed": (["data/train-00000-of-00001-0123456789abcdef.parquet", "data/test-00000-of-00001-fedcba9876543210.parquet"],
               {"train": 1, "test": 1}),
    "partial": (["default/partial-train/0000.parquet", "default/partial-test/0000.parquet"], {"train": 1, "test": 1}),
    "partial beside whole": (["default/train/0000.parquet", "default/partial-test/0000.parquet"], {"train": 1, "test": 1}),
    "loose folders": (["my_train/0.parquet", "my_train/1.parquet", "my_test/0.parquet"], {"train": 2, "test": 1}),
    "another name": (["train-00000-of-00001.parquet", "extra-00000-of-00002.parquet", "extra-00001-of-00002.parquet"],
                     {"train": 1, "extra": 2}),
    "another name, converted": (["digits/test/0000.parquet", "digits/extra/0000.parquet"], {"test": 1, "extra": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_splits_are_read_from_names(tmp_path: Path, name: str) -> None:
    files, parts = LAYOUTS[name]
    for file in files:
        (tmp_path / "set" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / file).write_bytes(b"")
    assert {part: len(found) for part, found in tables_in(tmp_path / "set").items()} == parts


def test_a_name_that_says_no_split_is_refused_beside_those_that_do(tmp_path: Path) -> None:
    for name in ("pets_test", "pets_rest"):
        labelled(tmp_path / f"{name}.parquet")
    with pytest.raises(RequestError, match=r"holds pets_rest\.parquet beside tables whose names say a split"):
        data.open(tmp_path)


def test_the_hubs_first_gigabytes_are_marked(tmp_path: Path) -> None:
    for name in ("partial-train", "test"):
        labelled(tmp_path / "default" / name / "0000.parquet")
    (caveat,) = data.open(tmp_path).caveats
    assert caveat.startswith("The hub's own copy of these pictures ends after their first 5 GB (partial-train)")


def test_files_that_say_their_splits_are_given_no_other(tmp_path: Path) -> None:
    labelled(tmp_path / "train.parquet")
    with pytest.raises(RequestError, match="came with split = 'zzz', and the names of its files say its splits"):
        data.open({"name": "parquet", "path": str(tmp_path), "split": "zzz"})


def test_a_table_without_any_label_says_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is unlabelled: every label is -1"):
        data.open(table(tmp_path / "test.parquet", {"image": cells(), "label": [-1] * 12}))


@pytest.mark.parametrize("file", ["train.parquet", "train-00000-of-00001-0123456789abcdef.parquet", "my_train.parquet"])
def test_a_folder_of_several_data_sets_is_refused_with_their_names(tmp_path: Path, file: str) -> None:
    for kind in ("en", "fr"):
        labelled(tmp_path / kind / file)
    with pytest.raises(RequestError, match="holds 2 data sets: en, fr each have a train"):
        data.open(tmp_path)


def test_an_unlabelled_test_part_leaves_validation_as_test(tmp_path: Path) -> None:
    labelled(tmp_path / "train.parquet")
    labelled(tmp_path / "validation.parquet", [2] * 12)
    labelled(tmp_path / "test.parquet", [-1] * 12)
    source = data.open(tmp_path)
    assert source.splits() == ("train", "val", "test")
    assert source.split("test").labels.tolist() == [2] * 12
    assert len(source.split("train")) + len(source.split("val")) == 12


@pytest.mark.parametrize(
    ("names", "labels", "wanted"),
    [(["b", "a", "c"], [0, 1, 2] * 4, [1, 0, 2] * 4), (["a", "c"], [0, 1] * 6, [0, 2] * 6), (["c"], [0] * 12, [2] * 12)],
)
def test_labels_of_a_part_are_told_by_the_names_of_its_classes(
    tmp_path: Path, names: list[str], labels: list[int], wanted: list[int]
) -> None:
    """Before: the cats of a test whose metadata lists dog first were dogs, without a word."""
    labelled(tmp_path / "train.parquet")
    labelled(tmp_path / "test.parquet", labels, names)
    source = data.open(tmp_path)
    assert source.classes == ("a", "b", "c")
    assert source.split("test").labels.tolist() == wanted
    assert sorted(source.split("train").labels.tolist() + source.split("val").labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4


def test_words_are_told_by_themselves(tmp_path: Path) -> None:
    for part, names in (("train", ["a", "b"]), ("test", ["b", "a"])):
        features = {"label": {"_type": "ClassLabel", "names": names}}
        table(tmp_path / f"{part}.parquet", {"image": cells(), "label": ["a", "b"] * 6}, features)
    assert data.open(tmp_path).split("test").labels.tolist() == [0, 1] * 6


@pytest.mark.parametrize("names", [["a", "d"], ["a", "a"], ["a", "b", "c", "d"]])
def test_a_part_of_other_classes_is_refused_with_both_lists(tmp_path: Path, names: list[str]) -> None:
    labelled(tmp_path / "train.parquet")
    labelled(tmp_path / "test.parquet", [0] * 12, names)
    with pytest.raises(RequestError, match=rf"test of .* lists the classes {', '.join(names)}, and '.' is not .*: a, b, c\."):
        data.open(tmp_path)


def test_shards_of_other_classes_are_refused_with_both_lists(tmp_path: Path) -> None:
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        labelled(tmp_path / f"test-{number:05}-of-00002.parquet", [0, 1] * 6, names)
    with pytest.raises(RequestError, match=r"00001-of-00002\.parquet lists the classes b, a; test-.*\.parquet lists a, b\."):
        data.open(tmp_path)


def test_a_label_beyond_a_parts_own_classes_is_refused(tmp_path: Path) -> None:
    labelled(tmp_path / "train.parquet")
    labelled(tmp_path / "test.parquet", [2] * 12, ["b", "a"])
    with pytest.raises(RequestError, match=r"test of .* has the label 2, and lists 2 classes: b, a\."):
        data.open(tmp_path)


def test_a_large_number_in_a_column_of_labels_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = table(tmp_path / "test.parquet", {"image": cells(), "label": [*[0] * 11, 20_000_000]})
    with pytest.raises(WorkError) as caught:
        data.open(file)
    assert str(caught.value) == (
        f"{file} has a label of 20,000,000 and no ClassLabel.\n"
        "  wanted: labels below 100,000, or a ClassLabel that names the classes\n"
        "  try:    choose a column of class numbers or words: label = ..."
    )


@pytest.fixture
def few_files() -> Iterator[int]:
    """No more than ten further files may be open at once."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 10, limits[1]))
    yield 10
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_more_tables_than_may_be_open_are_read(tmp_path: Path, few_files: int) -> None:
    shards = 3 * few_files
    for number in range(shards):
        picture = [{"bytes": png(PICTURES[number % 12]), "path": None}]
        table(tmp_path / f"test-{number:05}-of-{shards:05}.parquet", {"image": picture, "label": [0]})
    split = data.open_published(tmp_path).split("test")
    for index in range(shards):
        np.testing.assert_array_equal(split[index][0], PICTURES[index % 12])


def test_too_many_open_files_are_nothing_against_the_table(tmp_path: Path, few_files: int) -> None:
    file = labelled(tmp_path / "test.parquet")
    data.open_published(file).split("test")  # what is loaded on the way is loaded
    with ExitStack() as others:
        with suppress(OSError):
            for _ in range(few_files + 10):
                others.enter_context(file.open("rb"))
        with pytest.raises(WorkError) as caught:
            data.open_published({"name": "parquet", "path": str(file)})
    assert str(caught.value) == (
        f"{file} cannot be opened: too many files are open.\n"
        "  wanted: fewer open files, or a higher limit on them\n  try:    ulimit -n 4096, then run the same command again"
    )


def test_row_groups_are_read_as_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = table(tmp_path / "test.parquet", {"image": cells(), "label": [0] * 12}, row_group_size=5)
    monkeypatch.setattr("priorscope.data.table.KEPT_BYTES", 1)
    split = data.open_published(file).split("test")
    for index in (11, 0, 4, 5, 9, 10):
        np.testing.assert_array_equal(split[index][0], PICTURES[index])


def test_a_word_that_is_no_class_is_refused(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    with pytest.raises(WorkError, match="has the label 'c', which is no class"):
        data.open(table(tmp_path / "test.parquet", {"image": cells(), "label": ["a", "c"] * 6}, features))


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="picture 0 has label 7"):
        data.open(labelled(tmp_path / "test.parquet", [7] * 12)).split("test")


def test_an_empty_cell_is_named(tmp_path: Path) -> None:
    file = table(tmp_path / "test.parquet", {"image": [*cells(11), {"bytes": None, "path": "x"}], "label": [0] * 12})
    with pytest.raises(WorkError, match=r"test\.parquet row 11 is broken: its cell is empty"):
        data.open(file).split("test")


def test_lists_of_labels_are_refused(tmp_path: Path) -> None:
    file = table(tmp_path / "test.parquet", {"image": cells(), "label": [[0, 1]] * 12})
    with pytest.raises(RequestError, match=r"Column 'label' of .* holds list"):
        data.open(file)


def test_truth_values_are_two_classes(tmp_path: Path) -> None:
    source = data.open(table(tmp_path / "test.parquet", {"image": cells(), "label": [True, False, True] * 4}))
    assert source.classes == ("False", "True")
    assert source.split("test").labels.tolist() == [1, 0, 1] * 4


def test_a_missing_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"Column 'label' of .* has 1 empty cells"):
        data.open(table(tmp_path / "test.parquet", {"image": cells(), "label": [*[0] * 11, None]}))


def test_shards_of_different_columns_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "train-00000-of-00002.parquet", {"image": cells(), "label": [0] * 12})
    table(tmp_path / "train-00001-of-00002.parquet", {"picture": cells(), "label": [0] * 12})
    with pytest.raises(RequestError, match=r"train-00001-of-00002\.parquet has columns \['picture', 'label'\]"):
        data.open(tmp_path)


WORDS = ["cat", "dog"] * 6
NUMBERS = [0, 1] * 6
KINDS = {
    "numbers": (pa.array(NUMBERS, pa.int64()), pa.array(NUMBERS, pa.int32()), ("0", "1")),
    "words": (pa.array(WORDS), pa.array(WORDS, pa.large_string()), ("cat", "dog")),
    "words once": (pa.array(WORDS).dictionary_encode(), pa.array(WORDS), ("cat", "dog")),
    "words once, large": (pa.array(WORDS).dictionary_encode(), pa.array(WORDS, pa.large_string()), ("cat", "dog")),
}


@pytest.mark.parametrize("name", KINDS)
def test_shards_of_different_types_are_read_in_a_common_one(tmp_path: Path, name: str) -> None:
    first, second, classes = KINDS[name]
    for number, label in enumerate((first, second)):
        site = pa.array([7] * 12, pa.int64() if number else pa.int8())
        table(tmp_path / f"test-{number:05}-of-00002.parquet", {"image": cells(), "label": label, "site": site})
    source = data.open(tmp_path)
    assert source.classes == classes
    assert source.split("test").labels.tolist() == NUMBERS * 2
    assert source.split("test").columns["site"].tolist() == [7] * 24


def test_shards_of_types_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    """Unless they are of a column that nobody asked for."""
    for number, label in enumerate((WORDS, NUMBERS)):
        columns = {"image": cells(), "label": label, "kind": NUMBERS}
        table(tmp_path / f"test-{number:05}-of-00002.parquet", columns)
    with pytest.raises(RequestError) as refused:
        data.open(tmp_path)
    assert str(refused.value) == (
        f"Column 'label' of {tmp_path} holds string and int64.\n"
        "  wanted: one number or word a row, and numbers or words in all files\n  try:    choose another column: label = ..."
    )
    split = data.open({"name": "parquet", "path": str(tmp_path), "label": "kind"}).split("test")
    assert (split.labels.tolist(), dict(split.columns)) == (NUMBERS * 2, {})


def test_a_number_too_large_for_the_common_type_is_refused(tmp_path: Path) -> None:
    for number, kind in enumerate((pa.int64(), pa.uint64())):
        label = pa.array([0] * 11 + [2**63 if number else 0], kind)
        table(tmp_path / f"test-{number:05}-of-00002.parquet", {"image": cells(), "label": label})
    with pytest.raises(WorkError, match=r"Column 'label' of .* holds int64 and uint64: .*9223372036854775808"):
        data.open(tmp_path)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_nan_is_an_empty_cell(tmp_path: Path, kind: pa.DataType) -> None:
    gap = pa.array(np.array([0, np.nan, 1] * 4).astype(kind.to_pandas_dtype()), kind)
    file = table(tmp_path / "test.parquet", {"image": cells(), "label": gap, "kind": NUMBERS})
    with pytest.raises(WorkError, match=r"Column 'label' of .* has 4 empty cells"):
        data.open(file)
    assert dict(data.open({"name": "parquet", "path": str(file), "label": "kind"}).split("test").columns) == {}


@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_a_torn_table_is_named(tmp_path: Path, keep: int) -> None:
    file = labelled(tmp_path / "test.parquet")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(PriorscopeError, match=r"test\.parquet is damaged"):
        data.open(file)


def test_jpeg_copies_of_raw_data_sets_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path))
    buffer = io.BytesIO()
    Image.fromarray(PICTURES[0]).save(buffer, "JPEG")
    for part in ("train", "test"):
        table(
            tmp_path / "cifar10" / f"{part}.parquet",
            {"img": [{"bytes": buffer.getvalue(), "path": None}] * 10, "label": list(range(10))},
        )
    assert "not comparable with published ones" in data.open("cifar10").caveats[0]
    for part in ("train", "test"):
        table(tmp_path / "cifar10" / f"{part}.parquet", {"img": cells(10), "label": list(range(10))})
    assert data.open("cifar10").caveats == ()


# ---- hf:// ----


def hub_of(files: dict[str, bytes]) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """As much of the hub's interface, for one repository, as its client asks for when it takes a snapshot."""

    def answer(address: str, _: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        path = address.partition("?")[0].replace("%2F", "/")
        info = re.fullmatch(r"/api/datasets/owner/name(?:/revision/(.+))?", path)
        tree = re.fullmatch(r"/api/datasets/owner/name/tree/(.+)", path)
        file = re.fullmatch(r"/datasets/owner/name/resolve/[^/]+/(.+)", path)
        if info and (info[1] or "main") in ("main", "a" * 40):
            about = {"id": "owner/name", "sha": "a" * 40, "siblings": [{"rfilename": name} for name in files]}
            return 200, {}, json.dumps(about).encode()
        if tree:
            sizes = {name: len(content) for name, content in files.items()}
            entries = [{"type": "file", "path": name, "size": size, "oid": "b" * 40} for name, size in sizes.items()]
            return 200, {}, json.dumps(entries).encode()
        if file and (content := files.get(file[1])) is not None:
            return 200, {"ETag": f'"{len(content)}-{file[1].replace("/", "-")}"', "X-Repo-Commit": "a" * 40}, content
        return 404, {"X-Error-Code": "RevisionNotFound" if info and info[1] else "RepoNotFound"}, b"{}"

    return answer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: Callable[..., str]) -> dict[str, bytes]:
    """The files of owner/name, on a hub on this machine."""
    import huggingface_hub.constants

    content = {part: labelled(tmp_path / "made" / f"{part}.parquet").read_bytes() for part in ("train", "test")}
    files = {f"data/{part}-00000-of-00001.parquet": content[part] for part in content} | {"README.md": b"hello"}
    monkeypatch.setenv("HF_ENDPOINT", loopback(hub_of(files)))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return files


def test_a_repository_of_the_hub_opens(hub: dict[str, bytes]) -> None:
    source = data.open("hf://owner/name")
    assert source.splits() == ("train", "val", "test")
    np.testing.assert_array_equal(source.split("test").pixels.array, PICTURES)
    again = data.open("hf://owner/name@main/data")
    assert again.split("test").fingerprint == source.split("test").fingerprint
    assert len(hub) == 3


@pytest.mark.usefixtures("hub")
def test_an_earlier_download_opens_without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    first = data.open("hf://owner/name").split("test").fingerprint
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert data.open("hf://owner/name").split("test").fingerprint == first


@pytest.mark.usefixtures("hub")
def test_an_unknown_repository_is_refused() -> None:
    with pytest.raises(RequestError, match="There is no data set hf://owner/nothing"):
        data.open("hf://owner/nothing")


def test_a_repository_without_tables_is_refused(hub: dict[str, bytes]) -> None:
    hub.clear()
    hub["README.md"] = b"hello"
    with pytest.raises(RequestError, match="hf://owner/name holds no parquet file"):
        data.open("hf://owner/name")
    with pytest.raises(RequestError, match="owner/name has no revision 'other'"):
        data.open("hf://owner/name@other")


@pytest.mark.parametrize("address", ["hf://name", "hf://", "hf://a/b/../c", "hf://a/b@"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="is no address of a data set on the hub"):
        data.open(address)


def test_columns_that_nobody_asked_for_stop_nothing(tmp_path: Path) -> None:
    columns = {
        "image": cells(),
        "label": [k % 2 for k in range(12)],
        "original_image_id": list(range(12)),
        "width": [None, *range(11)],
        "texture": list(range(12)),
    }
    split = data.open(table(tmp_path / "set" / "train.parquet", columns)).split("train")
    assert list(split.columns) == ["texture"]
    np.testing.assert_array_equal(split.pixels.read(0), PICTURES[0])


def test_a_further_column_called_label_is_kept_beside_the_labels(tmp_path: Path) -> None:
    columns = {"image": cells(), "kind": [k % 2 for k in range(12)], "label": list(range(12))}
    source = {"name": "parquet", "path": str(table(tmp_path / "test.parquet", columns)), "label": "kind"}
    data.convert(source, tmp_path / "made.beton")
    for split in (data.open(source).split("test"), data.open(tmp_path / "made.beton").split("test")):
        assert split.labels.tolist() == [k % 2 for k in range(12)]
        assert split.columns["label_2"].tolist() == list(range(12))
    assert list((tmp_path / "cache" / "decoded").glob("*.beton")), "decoded once and kept"
