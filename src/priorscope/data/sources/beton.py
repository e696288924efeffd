"""`.beton` files: ours, whose manifests name the split and its siblings, and FFCV's, which hold nothing but samples.

A file with a manifest offers its split and its siblings; one without is its own only split. A folder of files without manifests
(`train.beton`, `val.beton`) is read like any published data set: their names say the parts, and val is carved where it is
missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from priorscope.core.config import content_key
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import at_home
from priorscope.data.parts import Part, PublishedSource, by_name, numbers_of, part_named, split_within, usual_order
from priorscope.data.sources import PartsConfig
from priorscope.data.split import Split

if TYPE_CHECKING:
    from priorscope.data.beton.reader import Beton

VERSION = 2
"""Version of which pictures are in which split, and of their labels; raised when either changes."""

WITHOUT_LABELS = "unlabeled"
"""The part whose pictures have no labels (STL-10's): its one class is none of the others'."""


class BetonConfig(PartsConfig):
    """A file or a folder. `split` names the split of a file without a manifest, `label` its field of labels."""

    name: str = "beton"
    path: str
    split: str | None = None
    label: str | None = None


def open_source(config: BetonConfig) -> PublishedSource:
    """Opens a file with its siblings, or a folder of files."""
    from priorscope.data.beton.reader import Beton

    path = at_home(config.path)
    if path.is_dir():
        return _folder(path, config)
    opened = Beton.open(path)
    if opened.manifest is not None and config.split is not None:
        raise RequestError(
            f"{path.name} came with split = {config.split!r}, and its manifest calls it {opened.manifest.split!r}.",
            "a name for the split of a file without a manifest",
            "remove split",
        )
    if opened.manifest is None:
        name = config.split or part_named(path.stem) or split_within(path.stem) or "all"
        return _source({name: path}, config, opened, carve=False)
    files = {opened.manifest.split: path} | {name: path.parent / file for name, file in opened.manifest.siblings.items()}
    return _source({name: files[name] for name in sorted(files, key=usual_order)}, config, opened, carve=False)


def _folder(folder: Path, config: BetonConfig) -> PublishedSource:
    from priorscope.data.beton.reader import Beton

    files = sorted(folder.glob("*.beton"))
    if not files:
        raise RequestError(f"{folder} holds no .beton file.", "*.beton", "check the path")
    if config.split is not None:
        raise RequestError(
            f"{folder} came with split = {config.split!r}, and the names of its files say its splits.",
            "a name for the split of one file",
            "remove split",
        )
    opened = Beton.open(files[0])
    if opened.manifest is not None and opened.manifest.siblings:
        beside = [file.name for file in files[1:] if file.name not in opened.manifest.siblings.values()]
        if beside:
            raise RequestError(
                f"{folder} holds {files[0].name} with its splits, and {beside[0]} beside them.",
                "the files of one data set",
                f"name one of those you mean: {files[0]}",
            )
        return open_source(config.replace(path=str(files[0])))
    named: dict[str, Path] = {}
    for file in files:
        part = part_named(file.stem) or split_within(file.stem) or file.stem
        if part in named:
            raise RequestError(
                f"{folder} holds two files for {part}: {named[part].name} and {file.name}.",
                "one file a part",
                f"name the one you mean: {file}",
            )
        named[part] = file
    first = Beton.open(named[min(named, key=usual_order)])
    return _source(named, config, first, carve=True, classes=_classes(named, first, config))


def _classes(named: Mapping[str, Path], first: Beton, config: BetonConfig) -> tuple[str, ...]:
    """The classes of a folder: those that the first part's manifest names, refused where they are not all that others name.

    Where it names none they are numbers, as many as the largest label of all wants.
    """
    from priorscope.data.beton.reader import Beton

    listed = _names(first)
    others = {name: Beton.open(file) for name, file in named.items() if name != WITHOUT_LABELS}
    for name, other in others.items() if listed else ():
        numbers_of(_names(other), listed, f"{name} of {first.path.parent}")
    return listed or max((_read(file, config).classes for file in named.values()), key=len)


def _names(beton: Beton) -> tuple[str, ...]:
    """The classes that a file's manifest names."""
    return beton.manifest.classes if beton.manifest else ()


def _source(
    files: dict[str, Path], config: BetonConfig, first: Beton, *, carve: bool, classes: tuple[str, ...] | None = None
) -> PublishedSource:
    """The splits of several files, each opened when it is asked for; `classes` are those of all, else the first one's."""
    manifest = first.manifest
    classes = classes or _read(first.path, config).classes
    return PublishedSource(
        (manifest.source if manifest else "") or first.path.stem,
        classes,
        {name: partial(_part, name, file, config, classes, _names(first)) for name, file in files.items()},
        origin=(manifest.origin if manifest else "") or str(first.path),
        caveats=manifest.caveats if manifest else (),
        carve=carve,
    )


def _part(name: str, file: Path, config: BetonConfig, classes: tuple[str, ...], listed: tuple[str, ...]) -> Part:
    """A file's pictures; labels are told by name where it and the first file list their classes otherwise."""
    from priorscope.data.beton.reader import Beton

    split = _read(file, config)
    labels, key = split.labels, split.known_fingerprint
    if name == WITHOUT_LABELS:
        classes = split.classes
    else:
        labels = by_name(labels, _names(Beton.open(file)), listed, f"{name} of {file.parent}")
    if key is not None and not np.array_equal(labels, split.labels):
        key = content_key([key, labels.tolist()])  # the file's own is of other labels
    return Part(split.pixels, labels, split.columns, classes, split.known_statistics, key)


def _read(file: Path, config: BetonConfig) -> Split:
    from priorscope.data.beton.reader import Beton
    from priorscope.data.store import read_split

    if not file.is_file():
        raise WorkError(
            f"{file} is missing, which a manifest names as a sibling.",
            "all files of a conversion in one folder",
            "convert again",
        )
    return read_split(Beton.open(file), source=config.name, name="all", label=config.label)
