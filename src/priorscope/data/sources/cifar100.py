"""CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test pictures of 32x32 in 100 classes, which form 20 coarse ones.

The label is the fine class; the further column `coarse` holds the coarse one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from priorscope.data.download import Published
from priorscope.data.locate import home, missing, official, required
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import PartsConfig, cifar_files, parquet
from priorscope.data.split import ArrayPixels

BINARY = Published(
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    "md5:03b5dce01913d631647c71ecec9e9cb8",
    168_513_733,
    "cifar-100-binary",
)
PYTHON = Published(
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    "md5:eb9058c3a382ffc7106e4002c42a8d85",
    169_001_437,
    "cifar-100-python",
)
PUBLISHED = (BINARY,)
LAYOUTS = (*PUBLISHED, PYTHON)
"""The published archives that are read if they, or what they unpack to, are in the data folder."""


class Cifar100Config(PartsConfig):
    """CIFAR-100 from the data folder, or from `path`: official archive or folder, or the hub's tables."""

    name: str = "cifar100"
    path: str | None = None

    SIDE: ClassVar[int | None] = 32


def open_source(config: Cifar100Config) -> PublishedSource:
    """Opens the official files, or else tables of the hub's layout."""
    root = home(config.name, config.path)
    found = official(root, LAYOUTS)
    if found is not None:
        layout, folder = found
        read = _binary if layout is BINARY else _python
        return PublishedSource(
            config.name,
            _binary_classes(folder) if layout is BINARY else _python_classes(folder),
            {name: partial(read, folder, name) for name in ("train", "test")},
            origin=f"Krizhevsky 2009, official files ({folder})",
        )
    if parquet.holds_tables(root):
        return parquet.open_tables(config.name, root, citation="Krizhevsky 2009")
    raise missing(
        "CIFAR-100",
        root,
        f"{BINARY.file}, {PYTHON.file} or train.parquet and test.parquet",
        f"priorscope data get {config.name}",
    )


def _binary_classes(folder: Path) -> tuple[str, ...]:
    (names,) = required(folder, ["fine_label_names.txt"])
    return tuple(names.read_text(encoding="ascii").split())


def _python_classes(folder: Path) -> tuple[str, ...]:
    (meta,) = required(folder, ["meta"])
    return tuple(str(name) for name in cifar_files.read_pickle(meta)["fine_label_names"])


def _binary(folder: Path, part: str) -> Part:
    pictures, labels = cifar_files.read_records(required(folder, [f"{part}.bin"]), labels=2)
    numbers = labels.astype("int64")
    return Part(ArrayPixels(pictures), numbers[:, 1], {"coarse": numbers[:, 0]})


def _python(folder: Path, part: str) -> Part:
    files = required(folder, [part])
    pictures, labels = cifar_files.read_pickles(files, "fine_labels")
    _, coarse = cifar_files.read_pickles(files, "coarse_labels")
    return Part(ArrayPixels(pictures), labels, {"coarse": coarse})
