"""STL-10 (Coates et al. 2011): 5,000 training and 8,000 test pictures of 96x96 in ten classes, and 100,000 without labels.

Its class order is its own (airplane, bird, car, ...), not CIFAR-10's, and its files count from 1. Pictures are stored column by
column. The split `unlabeled` has the one class of that name.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from priorscope.core.errors import WorkError
from priorscope.data.download import Published
from priorscope.data.locate import home, missing, official, required
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import PartsConfig, parquet
from priorscope.data.split import ArrayPixels, Bytes

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SIDE = 96
PIXELS = 3 * SIDE * SIDE

BINARY = Published(
    "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    "md5:91f7769df0f17e558f3565bffb0c7dfb",
    2_640_397_119,
    "stl10_binary",
)
PUBLISHED = (BINARY,)


class Stl10Config(PartsConfig):
    """STL-10 from the data folder, or from `path`: official archive or folder, or the hub's tables."""

    name: str = "stl10"
    path: str | None = None

    SIDE: ClassVar[int | None] = SIDE


def open_source(config: Stl10Config) -> PublishedSource:
    """Opens the official files, or else tables of the hub's layout."""
    root = home(config.name, config.path)
    found = official(root, (BINARY,))
    if found is not None:
        _, folder = found
        return PublishedSource(
            config.name,
            CLASSES,
            {"train": partial(_labelled, folder, "train"), "test": partial(_labelled, folder, "test")}
            | ({"unlabeled": partial(_unlabelled, folder)} if (folder / "unlabeled_X.bin").is_file() else {}),
            origin=f"Coates et al. 2011, official files ({folder})",
        )
    if parquet.holds_tables(root):
        return parquet.open_tables(config.name, root, citation="Coates et al. 2011")
    raise missing("STL-10", root, f"{BINARY.file} or the hub's tables", f"priorscope data get {config.name}")


def _labelled(folder: Path, part: str) -> Part:
    images, labels = required(folder, [f"{part}_X.bin", f"{part}_y.bin"])
    return Part(ArrayPixels(np.ascontiguousarray(_pictures(images))), np.fromfile(labels, np.uint8).astype(np.int64) - 1)


def _unlabelled(folder: Path) -> Part:
    """The pictures without labels, left on the disk: 2.8 GB, which are turned into rows as they are read."""
    pictures = _pictures(folder / "unlabeled_X.bin")
    return Part(ArrayPixels(pictures), np.zeros(len(pictures), np.int64), classes=("unlabeled",))


def _pictures(file: Path) -> Bytes:
    """A view of a file of pictures (channel, column, row) as (row, column, channel)."""
    size = file.stat().st_size
    if size == 0 or size % PIXELS:
        raise WorkError(f"{file} is damaged: it has {size:,} bytes.", f"whole pictures of {PIXELS:,} bytes", "unpack it again")
    return np.memmap(file, np.uint8, mode="r").reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)
