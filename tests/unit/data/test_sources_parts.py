"""Which split each published part becomes: one rule for every source."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.core.errors import RequestError
from priorscope.data import SOURCES, source_config
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


@pytest.mark.parametrize("name", [name for name in SOURCES if "res" in SOURCES.config(name).model_fields])
@pytest.mark.parametrize("res", [0, -4])
def test_a_size_that_is_none_is_refused(name: str, res: int) -> None:
    with pytest.raises(RequestError, match="res"):
        source_config({"name": name, "path": "anywhere", "res": res})


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
