"""Tiny ImageNet (Stanford CS231N): 64x64, 200 classes, 500 training and 50 validation pictures of each.

The labels of its test pictures were never published, so its validation pictures are the test split here, and val is carved out
of train. Classes are the wnids in their sorted order (`wnids.txt` has another, which no published network uses).
In the official files validation pictures lie in one folder and their classes in `val_annotations.txt`.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from priorscope.core.errors import WorkError
from priorscope.data.download import Published
from priorscope.data.encoded import FilePixels
from priorscope.data.locate import home, missing, official, required
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import PartsConfig, parquet

ZIP = Published(
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "md5:90528d7ca1a48142e341f4ef8d21d0de",
    248_100_043,
    "tiny-imagenet-200",
)
PUBLISHED = (ZIP,)


class TinyImagenetConfig(PartsConfig):
    """Tiny ImageNet from the data folder, or from `path`: official zip or folder, or the hub's tables."""

    name: str = "tiny_imagenet"
    path: str | None = None

    SIDE: ClassVar[int | None] = 64


def open_source(config: TinyImagenetConfig) -> PublishedSource:
    """Opens the official files, or else tables of the hub's layout."""
    root = home(config.name, config.path)
    found = official(root, (ZIP,))
    if found is not None:
        _, folder = found
        (listed,) = required(folder, ["wnids.txt"])
        classes = tuple(sorted(listed.read_text(encoding="ascii").split()))
        return PublishedSource(
            config.name,
            classes,
            {"train": partial(_train, folder, classes), "val": partial(_val, folder, classes)},
            origin=f"Stanford CS231N, official files ({folder})",
        )
    if parquet.holds_tables(root):
        return parquet.open_tables(config.name, root, citation="Stanford CS231N")
    raise missing("Tiny ImageNet", root, f"{ZIP.file} or train.parquet and valid.parquet", f"priorscope data get {config.name}")


def _train(folder: Path, classes: tuple[str, ...]) -> Part:
    files: list[str] = []
    labels: list[int] = []
    for label, wnid in enumerate(classes):
        names = sorted((file.name for file in (folder / "train" / wnid / "images").glob("*.JPEG")), key=_number)
        if not names:
            raise WorkError(f"{folder}/train has no picture of the class {wnid}.", "all 200 classes", "unpack it again")
        files += [f"train/{wnid}/images/{name}" for name in names]
        labels += [label] * len(names)
    return Part(FilePixels(folder, files), np.array(labels, np.int64))


def _number(name: str) -> tuple[int, str]:
    """What picture files are sorted by: the number in the name (12 in `n01443537_12.JPEG`), then the name."""
    digits = re.search(r"_(\d+)\.", name)
    return (int(digits[1]) if digits else -1, name)


def _val(folder: Path, classes: tuple[str, ...]) -> Part:
    (annotations,) = required(folder / "val", ["val_annotations.txt"])
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    rows = [line.split("\t") for line in annotations.read_text(encoding="ascii").splitlines() if line.strip()]
    for row in rows:
        if len(row) < 2 or row[1] not in label_of:
            raise WorkError(f"{annotations} has the line {row}.", "a file name, a tab, a wnid of wnids.txt", "unpack it again")
    return Part(
        FilePixels(folder, [f"val/images/{row[0]}" for row in rows]), np.array([label_of[row[1]] for row in rows], np.int64)
    )
