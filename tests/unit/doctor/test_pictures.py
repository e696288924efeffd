"""Faults of pictures: in train and test, in val and test, other ones each time, and too slow in coming."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from priorscope.data import open as open_source
from priorscope.data.split import ArrayPixels, Bytes, Pixels, Split
from priorscope.doctor import duplicates, evaluation_noise, loader_bound, selection
from priorscope.recipe import Recipe

from .conftest import WELL

CLASSES = ("a", "b")


def pictures(n: int, seed: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


@dataclass
class Made:
    """A source made of arrays."""

    parts: dict[str, Pixels]
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    name: str = "made"
    classes: tuple[str, ...] = CLASSES
    origin: str = ""
    caveats: tuple[str, ...] = ()

    def splits(self):
        return tuple(self.parts)

    def split(self, name: str) -> Split:
        pixels = self.parts[name]
        labels = self.labels.get(name, np.arange(len(pixels)) % 2)
        return Split("made", name, pixels, labels.astype(np.int64), CLASSES)


def test_a_test_picture_that_is_in_train_under_another_label():
    train, test = pictures(100, 0), pictures(40, 1)
    test[7] = train[32]
    (finding,) = duplicates.look_at_source(Made({"train": ArrayPixels(train), "test": ArrayPixels(test)}))
    assert finding.severity == "fault"
    assert finding.saw == (
        "1 of the 40 test pictures of made are in train too, pixel for pixel (train 32 = test 7); 1 of them with another label."
    )


def test_different_pictures_are_no_duplicates():
    source = Made(
        {"train": ArrayPixels(pictures(100, 0)), "val": ArrayPixels(pictures(40, 2)), "test": ArrayPixels(pictures(40, 1))}
    )
    assert not [*duplicates.look_at_source(source), *selection.look_at_source(source), *evaluation_noise.look_at_source(source)]


def test_a_validation_split_made_of_test():
    test = pictures(40, 1)
    source = Made({"train": ArrayPixels(pictures(100, 0)), "val": ArrayPixels(test[:20]), "test": ArrayPixels(test)})
    (finding,) = selection.look_at_source(source)
    assert finding.severity == "fault"
    assert finding.saw == "20 of the 40 test pictures of made are in val as well, pixel for pixel."


@dataclass(frozen=True)
class Flipped:
    """Pictures that are mirrored by chance as they are read, as a test transform did."""

    array: Bytes | None
    of: Bytes
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def size(self):
        return self.of.shape[1:3]

    def __len__(self) -> int:
        return len(self.of)

    def read(self, index: int) -> Bytes:
        return self.of[index, :, ::-1] if self.draw.random() < 0.5 else self.of[index]


def test_pictures_that_are_augmented_as_they_are_read():
    source = Made({"train": ArrayPixels(pictures(100, 0)), "test": Flipped(None, pictures(40, 1))})
    (finding,) = evaluation_noise.look_at_source(source)
    assert "pictures of made/test were different pictures when read again" in finding.saw


@dataclass(frozen=True)
class Slow:
    """Pictures that take twenty milliseconds each, as from a far disk."""

    of: Bytes
    array: Bytes | None = None

    @property
    def size(self):
        return self.of.shape[1:3]

    def __len__(self) -> int:
        return len(self.of)

    def read(self, index: int) -> Bytes:
        time.sleep(0.02)
        return self.of[index]


def test_a_run_that_would_wait_for_its_pictures(monkeypatch):
    from priorscope import models

    monkeypatch.setattr(loader_bound, "SECONDS", 0.1)
    recipe = Recipe.of({**WELL, "train": {"batch_size": 10}, "model": "mlp/tiny"})
    network = models.create("mlp/tiny", image_size=8, num_classes=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    slow = Split("made", "train", Slow(pictures(80, 0)), np.arange(80) % 2, CLASSES)
    (finding,) = loader_bound.look_at_training(recipe, slow, network)
    loads = re.match(r"The loader makes (\d+) images a second here, and mlp/tiny learns from [\d,]+\.", finding.saw)
    assert loads is not None
    assert 1 <= int(loads[1]) <= 75  # 50 at most, and some of the first were made before the clock
    assert all((value == before[key]).all() for key, value in network.state_dict().items())
    fast = Split("made", "train", ArrayPixels(pictures(80, 0)), np.arange(80) % 2, CLASSES)
    large = models.create("mlp/b6-w256", image_size=8, num_classes=2)
    assert not [*loader_bound.look_at_training(recipe, fast, large)]
    monkeypatch.setattr(loader_bound, "pick_device", lambda _: "cuda")  # nothing is timed here that will happen there
    assert not [*loader_bound.look_at_training(recipe, slow, network)]


def test_a_training_picture_under_two_labels():
    train = pictures(100, 0)
    train[31] = train[4]
    train[30] = train[6]  # under the same label: no harm
    (finding,) = duplicates.look_at_source(Made({"train": ArrayPixels(train), "test": ArrayPixels(pictures(40, 1))}))
    assert finding.saw == "1 of the 100 training pictures of made are there again under another label (train 4 = train 31)."


def test_without_a_test_split_train_is_still_held_against_val_and_itself():
    """1 of 40 is 2.5 %, which is too much of what chooses the epoch."""
    train, val = pictures(100, 0), pictures(40, 1)
    train[31] = train[4]
    val[7] = train[32]
    across, within = duplicates.look_at_source(Made({"train": ArrayPixels(train), "val": ArrayPixels(val)}))
    assert across.severity == "fault"
    assert across.saw == (
        "1 of the 40 val pictures of made are in train too, pixel for pixel (train 32 = val 7); 1 of them with another label."
    )
    assert within.saw.startswith("1 of the 100 training pictures of made are there again under another label")
    (alone,) = duplicates.look_at_source(Made({"train": ArrayPixels(train)}))
    assert alone == within


@pytest.mark.real_data
def test_tiny_imagenet_has_two(real_data):
    source = open_source({"name": "tiny_imagenet", "path": str(real_data / "tiny-imagenet")})
    across, within = duplicates.look_at_source(source)
    assert (across.severity, within.severity) == ("note", "note")
    assert across.saw.startswith("1 of the 10,000 test pictures of tiny_imagenet are in train too, pixel for pixel (train ")
    assert across.saw.endswith("; 1 of them with another label.")
    assert within.saw.startswith("1 of the 18,000 training pictures of tiny_imagenet are there again under another label")
