"""ImageNet-21k: 14 million pictures of 21,841 classes, as a folder or a tar archive a class, or as one archive of archives.

It publishes no validation or test part. Ridnik et al. 2021 ("ImageNet-21K Pretraining for the Masses") leave out classes with
few pictures and hold 50 of each class out; so does this, with `min_per_class` and `val_per_class`. What is held out is the test
split here, chosen by the hash of the index, and val is carved out of the rest.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from priorscope.core.errors import RequestError
from priorscope.data.imagenet_layout import WHOLE
from priorscope.data.locate import home, missing
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import PartsConfig, folder, imagenet
from priorscope.data.split import Ints, balanced_order
from priorscope.data.tars import members

VERSION = 2
"""Version of which pictures are in which split; raised when that changes."""

BY_HAND = f"image-net.org gives {' or '.join(WHOLE)} to those who accept its terms; put it into PRIORSCOPE_DATA/imagenet21k"


class Imagenet21kConfig(PartsConfig):
    """ImageNet-21k from the data folder or from `path`: class folders, class archives, or the whole archive."""

    name: str = "imagenet21k"
    path: str | None = None
    classes: str | None = None
    min_per_class: Annotated[int, Field(ge=1)] = 500
    val_per_class: Annotated[int, Field(ge=1)] = 50


def open_source(config: Imagenet21kConfig) -> PublishedSource:
    """Opens the pictures and holds some of each class out."""
    root = home(config.name, config.path)
    held = next((root / name for name in (*WHOLE, "train") if (root / name).exists()), root)
    if not held.exists():
        raise missing("ImageNet-21k", root, "a folder or a tar archive a class", BY_HAND)
    if config.val_per_class >= config.min_per_class:
        raise RequestError(
            f"val_per_class = {config.val_per_class} leaves nothing of a class of {config.min_per_class}.",
            "fewer than min_per_class",
            f"val_per_class = {config.min_per_class // 10}",
        )
    counts = images_per_class(held)
    listed = imagenet.class_list(config.classes) or tuple(counts)
    classes = tuple(name for name in listed if counts.get(name, 0) >= config.min_per_class)
    if not classes:
        most = max(counts.values(), default=0)
        raise RequestError(
            f"No class of {held} has {config.min_per_class} pictures; the largest has {most}.",
            "fewer",
            f"min_per_class = {most or 1}",
        )
    halves = _Halves(held, classes, config)
    return PublishedSource(
        config.name,
        classes,
        {"train": lambda: halves.part(halves.kept), "test": lambda: halves.part(halves.held_out)},
        origin=f"ImageNet-21k ({root}), classes of at least {config.min_per_class}, {config.val_per_class} of each held out",
    )


def images_per_class(held: Path) -> dict[str, int]:
    """How many pictures there are of each class, classes sorted."""
    archives = [held] if held.is_file() else imagenet.class_archives(held)
    if not archives:
        return {name: len(folder.images_in(held / name)) for name in folder.folders_in(held)}
    counts: dict[str, int] = {}
    for archive in archives:
        for member in members(archive):
            if folder.is_image(member.path):
                counts[member.top] = counts.get(member.top, 0) + 1
    return dict(sorted(counts.items()))


class _Halves:
    """All pictures, listed once, and which of them are held out."""

    def __init__(self, held: Path, classes: tuple[str, ...], config: Imagenet21kConfig) -> None:
        self.held = held
        self.classes = classes
        self.config = config

    @cached_property
    def whole(self) -> Part:
        return imagenet.read_labelled(self.held, self.classes)

    @cached_property
    def held_out(self) -> Ints:
        """The pictures held out: each class's first ones, in an order of which every prefix is balanced."""
        return np.sort(balanced_order(self.whole.labels)[: self.config.val_per_class * len(self.classes)])

    @cached_property
    def kept(self) -> Ints:
        return np.setdiff1d(np.arange(len(self.whole.labels)), self.held_out)

    def part(self, chosen: Ints) -> Part:
        return self.whole.choose(chosen)
