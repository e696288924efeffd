"""ImageNet-1k (Deng et al. 2009, Russakovsky et al. 2015): 1,281,167 training and 50,000 validation pictures of 1,000 classes.

The labels of its test pictures were never published, so its validation pictures are the test split here, and val is carved out
of train. What is found in the folder, under `train` and `val` (also below `ILSVRC/Data/CLS-LOC`):

    a folder a class, or a tar archive a class (n01440764.tar); archives of train alone also without `train`
    ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar as published, read where they lie
    validation pictures in one folder or archive; their classes are then taken from imagenet_2012_validation_synset_labels.txt,
    from LOC_val_solution.csv, or from ILSVRC2012_devkit_t12

Classes are the wnids in sorted order, which is the order of every published network, or those of a class list in its order.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import at_home
from priorscope.data.encoded import EncodedPixels, FilePixels
from priorscope.data.imagenet_layout import KAGGLE, TRAIN_TAR, VAL_TAR
from priorscope.data.locate import home, missing
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import PartsConfig, folder, parquet
from priorscope.data.tars import TarPixels, inner_archives, members

VERSION = 2
"""Version of which pictures are in which split; raised when that changes."""

SYNSETS = "imagenet_2012_validation_synset_labels.txt"
SOLUTION = "LOC_val_solution.csv"
DEVKIT = "ILSVRC2012_devkit_t12"

VAL_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")

BY_HAND = (
    f"image-net.org gives {TRAIN_TAR}, {VAL_TAR} and {DEVKIT}.tar.gz to those who accept its terms; "
    "put them into PRIORSCOPE_DATA/imagenet"
)


class ImagenetConfig(PartsConfig):
    """ImageNet from the data folder or from `path`. `classes`: a file of wnids."""

    name: str = "imagenet"
    path: str | None = None
    classes: str | None = None


def open_source(config: ImagenetConfig) -> PublishedSource:
    """Opens the published archives or folders, or tables of the hub's layout."""
    root = home(config.name, config.path)
    if parquet.holds_tables(root):
        if config.classes is not None:
            raise RequestError(
                f"{root} holds tables, and came with classes = {config.classes!r}.",
                "a class list for folders or archives: tables number their classes themselves",
                "remove classes",
            )
        return parquet.open_tables(config.name, root, citation="Russakovsky et al. 2015")
    train, val = place(root, "train", TRAIN_TAR), place(root, "val", VAL_TAR)
    if train is None and val is None and class_archives(root):
        train = root
    if train is None and val is None:
        raise missing("ImageNet", root, f"train and val folders, or {TRAIN_TAR} and {VAL_TAR}", BY_HAND)
    classes = class_list(config.classes) or classes_of(train or val or root) or tuple(sorted(set(val_classes(root).values())))
    parts = {"train": partial(read_labelled, train, classes)} if train else {}
    if val is not None:
        flat = not classes_of(val)
        parts["val"] = partial(_flat_val, root, val, classes) if flat else partial(read_labelled, val, classes)
    return PublishedSource(config.name, classes, parts, origin=f"Russakovsky et al. 2015 ({root})")


def place(root: Path, part: str, archive: str) -> Path | None:
    """The folder or the archive that holds a part."""
    candidates = [root / part, root / KAGGLE / part, root / archive]
    return next((path for path in candidates if path.exists()), None)


def class_list(file: str | None) -> tuple[str, ...]:
    """The wnids of a class list: the first word of each line, in the order of the file."""
    if file is None:
        return ()
    path = at_home(file)
    if not path.is_file():
        raise RequestError(
            f"There is no class list {str(path)!r}.", "a text file with a wnid at the start of each line", "check the path"
        )
    wnids = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    double = {wnid for wnid in wnids if wnids.count(wnid) > 1} if len(set(wnids)) < len(wnids) else set()
    if double:
        raise RequestError(f"{path} lists {sorted(double)[0]} twice.", "each class once", "remove one of the lines")
    return tuple(wnids)


def classes_of(held: Path) -> tuple[str, ...]:
    """The classes that folders or archives are named after, sorted; none where pictures lie side by side."""
    if held.is_file():
        return inner_archives(held)
    return tuple(file.stem for file in class_archives(held)) or tuple(folder.folders_in(held))


def class_archives(held: Path) -> list[Path]:
    """The archives in a folder, one a class, sorted by name; refused beside class folders, which nobody would read then."""
    archives = sorted(held.glob("*.tar"))
    beside = next((name for name in folder.folders_in(held) if folder.holds_images(held / name)), None) if archives else None
    if beside:
        raise RequestError(
            f"{held} holds folders of images, such as {beside}, and archives, such as {archives[0].name}.",
            "a folder for every class, or an archive for every class",
            f"move {archives[0].name} elsewhere, or the folders",
        )
    return archives


def read_labelled(held: Path, classes: Sequence[str]) -> Part:
    """A part whose classes are the names of folders or archives, in the order of the classes."""
    if held.is_dir() and not class_archives(held):
        part = folder.read_part(held, classes)
        pictures = np.bincount(part.labels, minlength=len(classes))
        _check_classes(held, classes, {name for name, count in zip(classes, pictures, strict=True) if count})
        return part
    archives = [held] if held.is_file() else [file for name in classes if (file := held / f"{name}.tar").is_file()]
    number = {name: index for index, name in enumerate(classes)}
    found = [
        member for archive in archives for member in members(archive) if member.top in number and folder.is_image(member.path)
    ]
    _check_classes(held, classes, {member.top for member in found})
    found.sort(key=lambda member: (number[member.top], member.path))
    return Part(TarPixels.of(found), np.array([number[member.top] for member in found], np.int64))


def _check_classes(held: Path, classes: Sequence[str], there: set[str]) -> None:
    absent = [name for name in classes if name not in there]
    if absent:
        raise RequestError(
            f"{held} has no pictures of {len(absent)} of {len(classes)} classes, such as {absent[0]}.",
            "a folder or an archive for every class",
            "complete it, or give a class list with classes = ...",
        )


def _flat_val(root: Path, held: Path, classes: Sequence[str]) -> Part:
    """Validation pictures that lie side by side, in the order of their numbers."""
    wnid_of = val_classes(root)
    number = {name: index for index, name in enumerate(classes)}
    pixels = _flat_pixels(held)
    wnids = [wnid_of.get(val_number(pixels.where(index))) for index in range(len(pixels))]
    chosen = [index for index, wnid in enumerate(wnids) if wnid in number]
    if not chosen:
        raise WorkError(
            f"No picture of {held} is in the classes of {root}.", "ILSVRC2012_val_00000001.JPEG, ...", "check the path"
        )
    part = Part(pixels, np.array([number.get(wnid or "", 0) for wnid in wnids], np.int64))
    return part if len(chosen) == len(pixels) else part.choose(np.array(chosen, np.int64))


def _flat_pixels(held: Path) -> EncodedPixels:
    if held.is_dir():
        return FilePixels(held, folder.images_in(held))
    return TarPixels.of(sorted((member for member in members(held) if folder.is_image(member.path)), key=lambda m: m.path))


def val_number(where: str) -> int:
    """The number of a validation picture from its name; 0 where it has none."""
    found = VAL_NUMBER.search(PurePosixPath(where).name)
    return int(found[1]) if found else 0


def val_classes(root: Path) -> Mapping[int, str]:
    """The wnid of every validation picture, by its number, from whichever list of them is there."""
    if (root / SYNSETS).is_file():
        return dict(enumerate((root / SYNSETS).read_text(encoding="ascii").split(), start=1))
    if (root / SOLUTION).is_file():
        with (root / SOLUTION).open(newline="", encoding="utf-8") as file:
            return {val_number(row["ImageId"]): row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    devkit = next((path for path in (root / DEVKIT, root / f"{DEVKIT}.tar.gz") if path.exists()), None)
    if devkit is not None:
        return _devkit_classes(devkit)
    raise RequestError(
        f"The classes of the validation pictures in {root} are not known: they lie side by side.",
        f"a folder a class, or one of {SYNSETS}, {SOLUTION}, {DEVKIT}",
        f"put {DEVKIT}.tar.gz beside them",
    )


def _devkit_classes(devkit: Path) -> Mapping[int, str]:
    """From the development kit: line n of the ground truth is an ILSVRC2012_ID, whose wnid stands in meta.mat."""
    from scipy.io import loadmat

    from priorscope.data.unpack import unpacked

    kit = devkit if devkit.is_dir() else unpacked(devkit) / DEVKIT
    synsets = loadmat(kit / "data" / "meta.mat", squeeze_me=True)["synsets"]
    wnid_of = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    truth = (kit / "data" / "ILSVRC2012_validation_ground_truth.txt").read_text(encoding="ascii").split()
    return {number: wnid_of[int(identity)] for number, identity in enumerate(truth, start=1)}
