"""What a source or a store holds: counts, sizes, classes, statistics, origin. What `priorscope data info` and `list` print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from priorscope.core.config import Config
from priorscope.core.contracts import Statistics
from priorscope.data import SOURCES, open_published
from priorscope.data.cache import common_shape
from priorscope.data.folders import stand_in
from priorscope.data.locate import home
from priorscope.data.sources import SourceConfig
from priorscope.data.split import Split


class SplitInfo(Config):
    """What a split holds. `image_size` (height, width) is absent where pictures differ in size."""

    name: str
    count: int
    image_size: tuple[int, int] | None = None
    classes: int
    fewest: int
    """Pictures of the rarest class."""
    most: int
    """Pictures of the most frequent class."""
    columns: tuple[str, ...] = ()
    statistics: Statistics | None = None
    """Per channel, of pixels in [0, 1]; absent where they were not known and not asked for."""


class SourceInfo(Config):
    """What a source holds."""

    name: str
    classes: tuple[str, ...]
    splits: tuple[SplitInfo, ...]
    origin: str = ""
    caveats: tuple[str, ...] = ()


class Listed(Config):
    """A source in the list: what it is, and whether it can be opened here without anything else."""

    name: str
    about: str
    here: bool


def info(source: str | Path | Mapping[str, Any] | SourceConfig, *, measure: bool = False) -> SourceInfo:
    """Describes a source, or what is at a path. With `measure`, statistics are made where no manifest holds them."""
    opened = open_published(source)
    return SourceInfo(
        name=opened.name,
        classes=opened.classes,
        splits=tuple(_described(opened.split(name), measure) for name in opened.splits()),
        origin=str(getattr(opened, "origin", "")),
        caveats=tuple(getattr(opened, "caveats", ())),
    )


def _described(split: Split, measure: bool) -> SplitInfo:
    counts = np.bincount(split.labels, minlength=len(split.classes))
    shape = common_shape(split)
    return SplitInfo(
        name=split.name,
        count=len(split),
        image_size=None if shape is None else (int(shape[0]), int(shape[1])),
        classes=len(split.classes),
        fewest=int(counts.min()),
        most=int(counts.max()),
        columns=tuple(split.columns),
        statistics=split.statistics if measure else split.known_statistics,
    )


def all_sources() -> tuple[Listed, ...]:
    """Every source, with the first sentence of its own description."""
    return tuple(Listed(name=name, about=_about(name), here=is_here(name)) for name in SOURCES)


def _about(name: str) -> str:
    text = " ".join((SOURCES.load(name).__doc__ or "").split("\n\n")[0].split())
    return text.removesuffix(":").removesuffix(".")


def is_here(name: str) -> bool:
    """Whether files are where a name alone would look for them. They are not opened: ImageNet-21k takes minutes."""
    fields = SOURCES.config(name).model_fields
    if any(field.is_required() for field in fields.values()):
        return False
    return "path" not in fields or home(name, None).exists() or stand_in(name) is not None
