"""Any folder of images: one folder a class, in `train`, `val` and `test` folders or directly.

    pets/train/cat/1.jpg  pets/test/dog/7.png     parts by the folders' names (training, valid, validation, ... are understood)
    pets/cat/1.jpg        pets/dog/7.png          one part, called `split` (default train)

Classes are the folders' names in sorted order; pictures are sorted by path. Files that are not images by their ending, and
hidden ones, are passed over. Links to folders are followed, but for those that lead back to where they lie.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home
from priorscope.data.encoded import FilePixels
from priorscope.data.folders import walk
from priorscope.data.parts import Part, PublishedSource, part_named, split_within, usual_order
from priorscope.data.sources import PartsConfig

VERSION = 2
"""Version of which pictures are in which split; raised when that changes."""

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class FolderConfig(PartsConfig):
    """An image folder. `split` names the part of one without parts."""

    name: str = "folder"
    path: str
    split: str = "train"


def open_source(config: FolderConfig) -> PublishedSource:
    """Opens a folder of class folders, or of train, val and test folders."""
    root = at_home(config.path)
    if not root.is_dir():
        raise RequestError(f"There is no folder {str(root)!r}.", "a folder with one folder of images a class", "check the path")
    parts = _parts(root)
    if parts and config.split != "train":
        raise RequestError(
            f"{root} came with split = {config.split!r}, and its folders {', '.join(parts.values())} say its splits.",
            "a name for the split of a folder of classes",
            "remove split",
        )
    parts = parts or {config.split: ""}
    classes = class_folders([root / folder for folder in parts.values()])
    if not classes:
        raise RequestError(
            f"{root} has no folders of images.", f"one folder a class, with {', '.join(ENDINGS)} files", "check the path"
        )
    _check_names(root, classes)
    return PublishedSource(
        root.name if root.name not in ("", "..") else root.resolve().name,
        classes,
        {part: partial(read_part, root / parts[part], classes) for part in sorted(parts, key=usual_order)},
        origin=str(root),
    )


def _check_names(root: Path, classes: Sequence[str]) -> None:
    """Refuses names that cannot be written, and those that nobody can tell from each other."""
    place = os.fsencode(root.absolute()).decode(errors="backslashreplace")
    if place != str(root.absolute()):
        raise RequestError(f"The folder '{place}' is not named in UTF-8.", "a path that a recipe can hold", "rename it")
    alike: dict[str, str] = {}
    for name in classes:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        if shown != name:
            raise RequestError(f"{root} has the class folder '{shown}', which is not UTF-8.", "a name in UTF-8", "rename it")
        other = alike.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise RequestError(
                f"{root} has two classes that look alike, {other!a} and {name!a}: one name in two forms of Unicode.",
                "one form for all folders of a class",
                f"rename them to {unicodedata.normalize('NFC', name)}",
            )


def _parts(root: Path) -> dict[str, str]:
    """The folders that are parts, by the part that their names mean; none where they are classes.

    A part holds folders of images: a class may be called "train" too.
    """
    inside = [folder for folder in folders_in(root) if holds_images(root / folder)]
    meant = [folder for folder in inside if not part_named(folder) and split_within(folder) and _holds_classes(root / folder)]
    if meant:
        raise RequestError(
            f"{root} holds {', '.join(meant)}: parts by a word of their names, and classes by their places.",
            "parts called train, val and test; or classes that hold their images themselves",
            f"rename {meant[0]} to {split_within(meant[0])}",
        )
    named = [(part, folder) for folder in inside if (part := part_named(folder)) and class_folders([root / folder])]
    parts = dict(named)
    if parts and len(parts) < len(inside):
        other = next((folder for folder in inside if folder not in parts.values()), "")
        raise RequestError(
            f"{root} has the parts {', '.join(folder for _, folder in named)}, and images in {other} beside them."
            if len(parts) == len(named)
            else f"{root} has two folders for one part: {', '.join(folder for _, folder in named)}.",
            "one folder a part, and nothing else with images; or one folder a class",
            f"move {other} elsewhere",
        )
    return parts


def _holds_classes(folder: Path) -> bool:
    """Whether a folder holds folders of images, and no image of its own."""
    with os.scandir(folder) as entries:
        own = any(entry.is_file() and is_image(entry.name) for entry in entries)
    return not own and bool(class_folders([folder]))


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, hidden ones left out."""
    _, folders, _ = next(walk(folder), ("", [], []))
    return [name for name in folders if not name.startswith(".")]


def class_folders(parts: Sequence[Path]) -> tuple[str, ...]:
    """The classes of all parts together: names of folders that hold at least one image."""
    return tuple(sorted({name for part in parts for name in folders_in(part) if holds_images(part / name)}))


def is_image(name: str) -> bool:
    """Whether a file is an image by its name's ending, and not hidden."""
    own = name.rpartition("/")[2]
    return own.lower().endswith(ENDINGS) and not own.startswith(".")


def holds_images(folder: Path) -> bool:
    """Whether there is an image anywhere below a folder."""
    return any(is_image(name) for _, files in _walk(folder) for name in files)


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folders below a folder and their files, hidden folders left out."""
    for at, folders, files in walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield at, files


def images_in(folder: Path) -> list[str]:
    """The images below a folder as paths relative to it, sorted."""
    found: list[str] = []
    for at, files in _walk(folder):
        inside = os.path.relpath(at, folder)
        names = [name for name in files if is_image(name)]
        found += names if inside == "." else [f"{inside}/{name}" for name in names]
    return sorted(found)


def read_part(folder: Path, classes: Sequence[str]) -> Part:
    """The images of class folders, in the order of the classes."""
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        own = images_in(folder / name)
        files += [f"{name}/{file}" for file in own]
        labels += [label] * len(own)
    return Part(FilePixels(folder, files), np.array(labels, np.int64))
