"""Which split each published part becomes: one rule for every source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from priorscope.core.errors import RequestError, WorkError
from priorscope.data import SOURCES, source_config
from priorscope.data import open as open_source
from priorscope.data.parts import Part, PublishedSource, part_named, split_within
from priorscope.data.sources.dataset import of_datasets
from priorscope.data.split import ArrayPixels

SIZES = {"train": 100, "val": 21, "test": 32, "extra": 5}


def part(name: str) -> Part:
    size = SIZES[name]
    pictures = np.full((size, 2, 2, 3), sorted(SIZES).index(name), np.uint8)
    return Part(ArrayPixels(pictures), np.arange(size, dtype=np.int64) % 2, {"row": np.arange(size)})


def source(*names: str, carve: bool = True) -> PublishedSource:
    return PublishedSource("made", ("a", "b"), {name: lambda name=name: part(name) for name in names}, carve=carve)


RULES = {
    ("train", "val", "test"): {"train": 100, "val": 21, "test": 32},
    ("train", "test"): {"train": 90, "val": 10, "test": 32},
    ("train", "val"): {"train": 90, "val": 10, "test": 21},
    ("train",): {"train": 90, "val": 10},
    ("val",): {"test": 21},
    ("val", "test"): {"val": 21, "test": 32},
    ("test",): {"test": 32},
    ("train", "test", "extra"): {"train": 90, "val": 10, "test": 32, "extra": 5},
    ("extra",): {"extra": 5},
}


@pytest.mark.parametrize("published", RULES, ids=" ".join)
def test_the_rule(published: tuple[str, ...]) -> None:
    made = source(*published)
    assert {name: len(made.split(name)) for name in made.splits()} == RULES[published]


def test_splits_that_are_splits_already_are_left_alone() -> None:
    assert {name: len(source("train", "test", carve=False).split(name)) for name in ("train", "test")} == {
        "train": 100,
        "test": 32,
    }


def test_train_and_val_share_no_picture_and_lose_none() -> None:
    made = source("train", "test")
    rows = [made.split(name).columns["row"].tolist() for name in ("train", "val")]
    assert sorted(rows[0] + rows[1]) == list(range(100))
    assert np.bincount(made.split("val").labels).tolist() == [5, 5]


@pytest.mark.parametrize("pictures", [1, 7, 40, 98])
def test_as_many_pictures_become_val_as_are_asked_for(pictures: int) -> None:
    made = source("train", "test").holding_back(pictures)
    train, val = (made.split(name) for name in ("train", "val"))
    assert (len(train), len(val), len(made.split("test"))) == (100 - pictures, pictures, 32)
    assert sorted([*train.columns["row"], *val.columns["row"]]) == list(range(100))
    assert abs(np.diff(np.bincount(val.labels, minlength=2)).item()) <= 1


@pytest.mark.parametrize("pictures", [99, 100, 101, 500])
def test_each_class_keeps_a_picture(pictures: int) -> None:
    came = rf"val = {pictures} came with made, of whose 100 training pictures 98 can be held back: each class keeps one\."
    for name in ("train", "val"):
        with pytest.raises(RequestError, match=came) as refused:
            source("train", "test").holding_back(pictures).split(name)
        assert refused.value.wanted == "at most 98"


def test_a_val_that_is_published_is_not_held_back() -> None:
    for whole in (source("train", "val", "test"), source("test"), source("train", "test", carve=False)):
        with pytest.raises(RequestError, match="val = 5 came with made, whose splits are as they were published"):
            whole.holding_back(5)


def test_a_source_s_setting_says_how_many(tmp_path: Path) -> None:
    """Classes of 20 pictures: a tenth of them by default, one picture if asked for."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    of = {"name": "folder", "path": str(tmp_path)}
    assert [len(open_source(of).split(name)) for name in ("train", "val")] == [36, 4]
    assert [len(open_source({**of, "val": 1}).split(name)) for name in ("train", "val")] == [39, 1]
    assert "val" not in source_config(of).plain()
    with pytest.raises(RequestError, match="val"):
        source_config({**of, "val": 0})


def test_a_part_is_read_once_and_only_when_it_is_asked_for() -> None:
    read: list[str] = []

    def reader(name: str) -> Part:
        read.append(name)
        return part(name)

    made = PublishedSource("made", ("a", "b"), {name: lambda name=name: reader(name) for name in ("train", "test")})
    assert made.splits() == ("train", "val", "test")
    assert read == []
    for name in ("val", "train", "val"):
        made.split(name)
    assert read == ["train"]


def test_two_spellings_of_one_part_are_refused() -> None:
    flowers = [(np.zeros((2, 2, 3), np.uint8), 0)]
    with pytest.raises(RequestError, match="gives train, validation, dev: two of them mean one split"):
        of_datasets({"train": flowers, "validation": flowers, "dev": flowers})


class Greys:
    """Pictures of one grey each, whose names of classes are their greys."""

    def __init__(self, classes: list[str] | None, labels: list[int]) -> None:
        if classes is not None:
            self.classes = classes
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        grey = int(self.classes[self.labels[index]]) if hasattr(self, "classes") else 0
        return np.full((2, 2, 3), grey, np.uint8), self.labels[index]


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
@pytest.mark.parametrize("classes", [["10", "30"], ["30", "10"], ["20", "30", "10"]])
def test_labels_of_datasets_are_told_by_the_names_of_their_classes(order: tuple[str, str], classes: list[str]) -> None:
    """Before: class 1 of a test of [10, 30] was 20, the class 1 of train."""
    made = {"train": Greys(["10", "20", "30"], [0, 1, 2] * 5), "test": Greys(classes, [0, 1] * 3)}
    source = of_datasets({name: made[name] for name in order})
    assert source.classes == ("10", "20", "30")
    for name in source.splits():
        split = source.split(name)
        for index in range(len(split)):
            picture, label = split[index]
            assert source.classes[label] == str(picture.max())


def test_datasets_of_other_classes_are_refused_with_both_lists() -> None:
    match = "test of greys lists the classes 10, 40, and '40' is not one of the first part's: 10, 20"
    with pytest.raises(RequestError, match=match):
        of_datasets({"train": Greys(["10", "20"], [0, 1]), "test": Greys(["10", "40"], [0, 1])}, "greys")


def test_a_dataset_without_names_keeps_its_numbers() -> None:
    named = Greys(["10", "20"], [0, 1] * 5)
    assert of_datasets({"train": named, "test": Greys(None, [1, 0])}).split("test").labels.tolist() == [1, 0]
    assert of_datasets({"train": Greys(None, [1, 0] * 5), "test": named}).classes == ("0", "1")


def test_a_large_label_of_a_dataset_does_not_fill_the_memory() -> None:
    with pytest.raises(WorkError) as caught:
        of_datasets(Greys(None, [0, 20_000_000]))
    assert str(caught.value) == (
        "The Greys has a label of 20,000,000 and no list called classes.\n"
        "  wanted: labels below 100,000, or a list called classes that names the classes\n"
        "  try:    return the numbers of classes as labels, and name the classes in its `classes`"
    )


@pytest.mark.parametrize("name", [name for name in SOURCES if "res" in SOURCES.config(name).model_fields])
@pytest.mark.parametrize("res", [0, -4])
def test_a_size_that_is_none_is_refused(name: str, res: int) -> None:
    needed = {"factory": "a.b:c"} if name == "dataset" else {"path": "anywhere"}
    with pytest.raises(RequestError, match="res"):
        source_config({"name": name, **needed, "res": res})


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10", "tiny_imagenet", "imagenet"])
def test_a_size_that_is_not_asked_for_is_in_no_key(name: str) -> None:
    assert source_config(name).plain() == {"name": name}
    assert source_config({"name": name, "res": 48}).plain() == {"name": name, "res": 48}


def test_a_source_without_parts_is_refused() -> None:
    with pytest.raises(RequestError, match="made holds no pictures"):
        source()


@pytest.mark.parametrize(
    ("name", "part"),
    [("train", "train"), ("Training", "train"), ("valid", "val"), ("validation", "val"), ("dev", "val"), ("testing", "test"),
     ("eval", "test"), ("trains", None), ("contest", None)],
)  # fmt: skip
def test_names_of_parts(name: str, part: str | None) -> None:
    assert part_named(name) == part


@pytest.mark.parametrize(
    ("name", "part"), [("cifar_test_64", "test"), ("train-small", "train"), ("contest_1", None), ("a", None)]
)
def test_parts_within_names(name: str, part: str | None) -> None:
    assert split_within(name) == part
