"""The verbs about data, as a user types them: a folder of pictures becomes a store that is whole, and damage is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

SIDES = {"cat": 24, "dog": 30}


@pytest.fixture
def pictures(shell):
    """Two classes in the usual layout: six pictures each to learn from, two each to be tested on, sizes that differ."""
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for name, side in SIDES.items():
            folder = shell.folder / "pets" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (side, side + 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return shell


def test_a_folder_becomes_a_store_that_info_and_verify_describe(pictures):
    told = json.loads(pictures("data", "convert", "pets", "pets.beton", "--res", "16", "--json"))
    assert {each["split"]: each["count"] for each in told["files"]} == {"train": 11, "val": 1, "test": 4}
    told = json.loads(pictures("data", "info", "pets.beton", "--measure", "--sheet", "sheet.png", "--json"))
    assert told["classes"] == ["cat", "dog"]
    assert {each["name"]: (each["count"], each["image_size"]) for each in told["splits"]}["test"] == (4, [16, 16])
    with Image.open(pictures.folder / "sheet.png") as sheet:
        assert sheet.size[0] > 16
    assert "is whole: 11 samples" in pictures("data", "verify", "pets.beton")


def test_settings_of_the_source_are_typed_with_set(pictures):
    """Laid over the table that a path stands for: with name=imagenet21k those of another source."""
    told = json.loads(pictures("data", "info", "pets", "--set", "val=4", "--set", "res=8", "--json"))
    assert {each["name"]: (each["count"], each["image_size"]) for each in told["splits"]} == {
        "train": (8, [8, 8]),
        "val": (4, [8, 8]),
        "test": (4, [8, 8]),
    }
    (pictures.folder / "list.txt").write_text("dog\ncat\n")
    own = ["name=imagenet21k", "min_per_class=6", "val_per_class=2", "classes=list.txt"]
    words = [word for one in own for word in ("--set", one)]
    told = json.loads(pictures("data", "convert", "pets", "pets.beton", "--res", "16", *words, "--json"))
    assert {each["split"]: each["count"] for each in told["files"]} == {"train": 7, "val": 1, "test": 4}
    assert json.loads(pictures("data", "info", "pets.beton", "--json"))["classes"] == ["dog", "cat"]
    said = pictures("data", "convert", "pets", "pets.beton", "--set", "min_per_clas=6", status=2)
    assert "'min_per_clas' is not a setting in data source folder" in said


def test_a_subset_is_balanced_and_the_same_in_a_smaller_one(pictures):
    for count in (4, 8):
        pictures("data", "convert", "pets", f"{count}.beton", "--split", "train", "--res", "16", "--subset", str(count))
        told = json.loads(pictures("data", "info", f"{count}.beton", "--json"))
        assert [(each["fewest"], each["most"]) for each in told["splits"]] == [(count // 2, count // 2)]


def test_a_broken_picture_is_refused_by_its_path_or_left_out_as_asked(pictures):
    broken = pictures.folder / "pets" / "train" / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    said = pictures("data", "convert", "pets", "pets.beton", "--res", "16", status=1)
    assert "dog/3.png" in said
    assert not (pictures.folder / "pets.beton").exists()
    said = pictures("data", "convert", "pets", "pets.beton", "--res", "16", "--on-broken", "skip")
    assert "left out" in said
    assert "dog/3.png" in said


def test_one_flipped_byte_of_a_store_is_found(pictures):
    pictures("data", "convert", "pets", "pets.beton", "--res", "16")
    store = pictures.folder / "pets.beton"
    content = bytearray(store.read_bytes())
    content[-5] ^= 1
    store.write_bytes(content)
    assert "page" in pictures("data", "verify", "pets.beton", status=1)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("data get folder", "no files that anybody may download"),
        ("data get cifar11", "'cifar10' (did you mean that?)"),
        ("data info nowhere.beton", "nowhere.beton"),
        ("data convert nowhere out.beton", "nowhere"),
        ("data convert out.beton", "no source or no target"),
        ("data convert pets out.beton --jpeg-above 500", "--quality 90 --jpeg-above 500"),
        ("data verify nowhere.beton", "nowhere.beton"),
    ],
)
def test_a_wrong_request_ends_with_2(shell, command, said):
    assert said in shell(*command.split(), status=2)
