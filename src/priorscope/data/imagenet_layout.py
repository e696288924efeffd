"""What ImageNet's archives, folders and pictures are called, and which folders are known by that to hold it."""

from __future__ import annotations

import re
from pathlib import Path

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
KAGGLE = "ILSVRC/Data/CLS-LOC"
WHOLE = ("fall11_whole.tar", "winter21_whole.tar")
"""All of ImageNet-21k, an archive a class inside."""

FLAT = re.compile(r"ILSVRC2012_(val|test)_\d{8}")
"""Pictures that lie side by side, without folders of classes."""
CLASS = re.compile(r"(n\d{8})(?:\.tar)?")
"""A class's folder or archive: its wnid."""

CLASSES = 1000
"""Those of ImageNet-1k: of more, a folder holds ImageNet-21k."""


def imagenet_in(root: Path) -> str | None:
    """The source that reads a folder because of its names, where a plain folder of images would be misread or refused.

    A folder a class in train, and in val, is read alike as a plain one: that stays one.
    """
    names = _names(root)
    if names & {*WHOLE}:
        return "imagenet21k"
    if names & {TRAIN_TAR, VAL_TAR} or (root / KAGGLE).is_dir():
        return "imagenet"
    learnt = _names(root / "train") if "train" in names else names
    others = [_names(root / part) for part in ("val", "test") if part in names]
    if not others and len({wnid[1] for name in learnt if (wnid := CLASS.fullmatch(name))}) > CLASSES:
        return "imagenet21k"
    flat = any(FLAT.match(name) for inside in others for name in inside)
    packed = any(name.endswith(".tar") and CLASS.fullmatch(name) for inside in (learnt, *others) for name in inside)
    return "imagenet" if flat or packed else None


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
