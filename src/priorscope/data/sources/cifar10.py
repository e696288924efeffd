"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test pictures of 32x32 in ten classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from priorscope.data.download import Published
from priorscope.data.locate import home, missing, official, required
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import PartsConfig, cifar_files, parquet
from priorscope.data.split import ArrayPixels

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

BINARY = Published(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9dddda3db29a59bca1dd",
    170_052_171,
    "cifar-10-batches-bin",
)
PYTHON = Published(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "md5:c58f30108f718f92721af3b95e74349a",
    170_498_071,
    "cifar-10-batches-py",
)
PUBLISHED = (BINARY,)
"""What `data get` downloads: the binary files hold the same pixels as the pickles, and nothing to distrust."""
LAYOUTS = (*PUBLISHED, PYTHON)
"""The published archives that are read if they, or what they unpack to, are in the data folder."""

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)


class Cifar10Config(PartsConfig):
    """CIFAR-10 from the data folder, or from `path`: official archive or folder, or the hub's tables."""

    name: str = "cifar10"
    path: str | None = None

    SIDE: ClassVar[int | None] = 32


def open_source(config: Cifar10Config) -> PublishedSource:
    """Opens the official files, or else tables of the hub's layout."""
    root = home(config.name, config.path)
    found = official(root, LAYOUTS)
    if found is not None:
        layout, folder = found
        read = _binary if layout is BINARY else _python
        return PublishedSource(
            config.name,
            CLASSES,
            {"train": partial(read, folder, TRAIN), "test": partial(read, folder, TEST)},
            origin=f"Krizhevsky 2009, official files ({folder})",
        )
    if parquet.holds_tables(root):
        return parquet.open_tables(config.name, root, classes=CLASSES, citation="Krizhevsky 2009")
    raise missing(
        "CIFAR-10",
        root,
        f"{BINARY.file}, {PYTHON.file} or train.parquet and test.parquet",
        f"priorscope data get {config.name}",
    )


def _binary(folder: Path, batches: tuple[str, ...]) -> Part:
    pictures, labels = cifar_files.read_records(required(folder, [f"{name}.bin" for name in batches]), labels=1)
    return Part(ArrayPixels(pictures), labels[:, 0].astype("int64"))


def _python(folder: Path, batches: tuple[str, ...]) -> Part:
    pictures, labels = cifar_files.read_pickles(required(folder, batches), "labels")
    return Part(ArrayPixels(pictures), labels)
