"""ImageNet with ReaL labels (Beyer et al. 2020, "Are we done with ImageNet?"): the validation pictures, labelled again.

A picture may show several classes, or none of the 1,000. The column `real` of the test split holds a row of class numbers a
picture, filled up with -1; a row of -1 alone has no label and is left out of ReaL accuracy.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import at_home
from priorscope.data.download import Published
from priorscope.data.encoded import EncodedPixels
from priorscope.data.locate import home, missing
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import PartsConfig, imagenet
from priorscope.data.split import ChosenPixels

REAL = Published(
    "https://raw.githubusercontent.com/google-research/reassessed-imagenet/master/real.json",
    "sha256:d83e9bff374c631aae8439eb064c7019acc56e1b3bc3f56b8380c2a710b0220b",
    388_478,
)
PUBLISHED = (REAL,)


class ImagenetRealConfig(PartsConfig):
    """ImageNet (`path`, default PRIORSCOPE_DATA/imagenet) with the labels of real.json (`real`, default .../imagenet_real)."""

    name: str = "imagenet_real"
    path: str | None = None
    real: str | None = None
    classes: str | None = None


def open_source(config: ImagenetRealConfig) -> PublishedSource:
    """Opens ImageNet and adds the column `real` to its test split."""
    file = at_home(config.real) if config.real else home(config.name, None) / REAL.file
    if not file.is_file():
        raise missing("ReaL labels", file, REAL.file, f"priorscope data get {config.name}")
    if config.classes:
        raise RequestError(
            f"A class list was given with {config.name}.",
            "all 1,000 classes, by whose sorted order ReaL numbers them",
            "leave it out",
        )
    below = imagenet.open_source(imagenet.ImagenetConfig(path=config.path or str(home("imagenet", None))))
    parts = dict(below.parts)
    if "val" not in parts:
        raise missing(
            "ImageNet validation pictures",
            home("imagenet", config.path),
            "the pictures that ReaL labels are about",
            imagenet.BY_HAND,
        )
    parts["val"] = partial(_relabelled, below, file)
    return PublishedSource(config.name, below.classes, parts, origin=f"{below.origin}; labels: Beyer et al. 2020")


def _relabelled(below: PublishedSource, file: Path) -> Part:
    part = below.part("val")
    rows = real_labels(file)
    numbers = np.array([_number(part, index) for index in range(len(part.labels))], np.int64)
    outside = np.flatnonzero((numbers < 1) | (numbers > len(rows)))
    if len(outside):
        raise WorkError(
            f"Picture {outside[0]} of the validation pictures has no number from 1 to {len(rows)} in its name.",
            "ILSVRC2012_val_00000001.JPEG, ...",
            "keep the published names",
        )
    return replace(part, columns={**part.columns, "real": rows[numbers - 1]})


def _number(part: Part, index: int) -> int:
    """A validation picture's number, by which ReaL lists its labels."""
    if isinstance(part.pixels, EncodedPixels):
        return imagenet.val_number(part.pixels.where(index))
    if isinstance(part.pixels, ChosenPixels) and isinstance(part.pixels.of, EncodedPixels):
        return imagenet.val_number(part.pixels.of.where(int(part.pixels.chosen[index])))
    return 0


def real_labels(file: Path) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The lists of real.json as rows of equal length, filled up with -1."""
    try:
        lists: list[list[int]] = json.loads(file.read_text(encoding="utf-8"))
        rows = np.full((len(lists), max(1, *(len(labels) for labels in lists))), -1, np.int64)
        for row, labels in zip(rows, lists, strict=True):
            row[: len(labels)] = labels
    except (ValueError, TypeError) as error:
        raise WorkError(f"{file} is damaged: {error}.", "a list of lists of class numbers", "download it again") from None
    return rows
