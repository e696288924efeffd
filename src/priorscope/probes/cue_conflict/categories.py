"""How the classes of a network become the 16 categories of the cue-conflict stimuli, and what people answered.

The authors' rule (Geirhos et al. 2019): a category's score is the mean probability of the ImageNet classes that they list for
it, and the decision is the category with the highest. ImageNet's other classes count for nothing. A network with classes of
another data set is judged by the same rule on the categories that it knows; that is not the published protocol.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from priorscope.core.config import Config
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import read_json
from priorscope.core.metrics import softmax
from priorscope.data.sources.cue_conflict import CLASSES as CATEGORIES
from priorscope.data.sources.cue_conflict import STIMULUS

IMAGENET: Mapping[str, str] = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898 899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}
"""The authors' list: of the 1,000 ImageNet classes, in the order of their wnids, those of each category (213 in all)."""

SYNONYMS: Mapping[str, str] = {"automobile": "car", "ship": "boat"}
"""Classes of CIFAR-10 and STL-10 that are a category under another name; ours, not the authors'."""


def imagenet_members(category: str) -> list[int]:
    """The ImageNet classes of a category."""
    members: list[int] = []
    for part in IMAGENET[category].split():
        first, _, last = part.partition("-")
        members += range(int(first), int(last or first) + 1)
    return members


ANCHORS: Mapping[int, str] = {0: "tench", 404: "airliner", 499: "cleaver", 766: "rotisserie", 999: "toilet"}
"""Some of ImageNet's 1,000 classes by name, which tell whether named classes are these, in the order of their wnids."""

WNID = re.compile(r"n\d{8}")


def imagenet_order(classes: Sequence[str]) -> tuple[Sequence[int], str | None] | None:
    """The place of each ImageNet class, in the order of wnids, among 1,000 classes, and what had to be assumed for that.

    wnids say it themselves, in whatever order; names are held against some that are known. Bare numbers leave it open: the
    usual order is assumed, and the assumption is returned in words. None if the classes are not ImageNet's.
    """
    if len(classes) != 1000:
        return None
    if all(WNID.fullmatch(name) for name in classes):
        return sorted(range(1000), key=lambda at: classes[at]), None
    if list(classes) == [str(at) for at in range(1000)]:
        assumed = (
            "1,000 classes without names are taken for ImageNet's in the order of their wnids: nothing says that they are."
        )
        return range(1000), assumed
    words = {at: classes[at].casefold().replace("_", " ") for at in ANCHORS}
    return (range(1000), None) if all(name in words[at] for at, name in ANCHORS.items()) else None


def members_of(classes: Sequence[str], listed: Path | None) -> dict[str, list[int]]:
    """For each category that a network knows, which of its classes are of it.

    ImageNet's 1,000 classes are the authors'. Others are found in the file of categories (wnids or names under each category,
    in as many tables as there are data sets), by the category's own name, or by a synonym.
    """
    order = imagenet_order(classes)
    if order is not None:
        return {category: [order[0][at] for at in imagenet_members(category)] for category in CATEGORIES}
    category_of = {**{name: name for name in CATEGORIES}, **SYNONYMS, **(_listed(listed) if listed else {})}
    found: dict[str, list[int]] = {}
    for at, name in enumerate(classes):
        if name in category_of:
            found.setdefault(category_of[name], []).append(at)
    if len(found) < 2:
        raise RequestError(
            f"Of the classes {', '.join(classes[:5])}, ... {len(found)} categories of the stimuli are known.",
            "a network that knows two of the 16 or more",
            "--set categories=categories.json, with its classes under each category",
        )
    return {category: found[category] for category in CATEGORIES if category in found}


def _listed(path: Path) -> dict[str, str]:
    """Class -> category from every table of the file."""
    category_of: dict[str, str] = {}
    for table in read_json(path).values():
        for category, names in table.items() if isinstance(table, dict) else ():
            if category not in CATEGORIES:
                raise WorkError(f"{path} has the category {category!r}.", f"one of: {', '.join(CATEGORIES)}", "mend the file")
            for name in [names] if isinstance(names, str) else names or ():
                category_of[str(name)] = category
    return category_of


def decided(logits: NDArray[np.floating], members: Mapping[str, Sequence[int]]) -> tuple[NDArray[np.int64], float]:
    """For each image the category (its number among the 16) with the highest mean probability, and the mean mass outside them.

    A tie and logits that are not finite decide for none (-1).
    """
    probability = softmax(logits)
    numbers = np.array([CATEGORIES.index(name) for name in members], np.int64)
    scores = np.stack([probability[:, list(rows)].mean(1) for rows in members.values()], axis=1)
    known = np.atleast_1d(np.isfinite(scores).all(axis=1))
    alone = np.count_nonzero(scores >= scores.max(axis=1, keepdims=True) * (1 - 1e-12), axis=1) == 1  # means are rounded
    choice = np.where(alone, numbers[np.where(known[:, None], scores, 0).argmax(1)], -1)
    inside = probability[:, sorted({row for rows in members.values() for row in rows})].sum(1)
    return choice, float(1 - inside[known].mean()) if known.any() else float("nan")


class Humans(Config):
    """What people decided on the same stimuli, choosing among all 16 categories."""

    subjects: int
    trials: int
    shape: int
    texture: int
    shares: tuple[float, ...]
    """Each person's share of shape decisions."""

    def mean(self) -> float:
        """The mean of people's shares, each person counted once: what the interval over people is about; nan of nobody."""
        return float(np.mean(self.shares)) if self.shares else float("nan")


def stems_of(pixels: object) -> frozenset[str] | None:
    """The names of stimuli without their endings (`cat7-truck3`), from files or a table's column; None if they have none."""
    from priorscope.data.encoded import FilePixels
    from priorscope.data.table import TablePixels

    if isinstance(pixels, FilePixels):
        return frozenset(Path(file).stem for file in pixels.files)
    if not isinstance(pixels, TablePixels):
        return None
    import pyarrow.parquet as pq

    found: list[str | None] = []
    for file in pixels.table.files:
        named = pq.read_table(file, columns=[f"{pixels.column}.path"])  # no such column if it holds plain bytes
        found += named.column(0).to_pylist() if named.num_columns else [None]
    return frozenset(Path(name).stem for name in found if name) if all(found) else None


def read_humans(path: Path, categories: Sequence[str], shown: Collection[str] | None = None) -> Humans:
    """Decisions from the authors' CSV files (columns subj, object_response, imagename), on conflicts among these categories.

    `shown` are the stimuli's names; not known, decisions on all pictures of these categories count.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    counts: dict[str, list[int]] = {}
    for file in files:
        with file.open(newline="", encoding="utf-8") as text:
            for row in csv.DictReader(text):
                if not {"subj", "object_response", "imagename"} <= row.keys():
                    raise WorkError(f"{file} lacks a column.", "subj, object_response, imagename", "give the authors' raw data")
                found = STIMULUS.search(row["imagename"])
                if found is None:
                    raise WorkError(f"{file} names the picture {row['imagename']!r}.", "cat7-truck3.png", "check the file")
                shape, texture = found.groups()
                known = shown is None or found.group() in shown
                if shape != texture and shape in categories and texture in categories and known:
                    said = counts.setdefault(row["subj"], [0, 0, 0])
                    said[0] += row["object_response"] == shape
                    said[1] += row["object_response"] == texture
                    said[2] += 1
    if not counts:
        raise RequestError(f"{path} holds no decision on these stimuli.", "the authors' raw data", "check the path")
    shape, texture, trials = (sum(said[at] for said in counts.values()) for at in range(3))
    shares = tuple(said[0] / (said[0] + said[1]) for said in counts.values() if said[0] + said[1])
    return Humans(subjects=len(counts), trials=trials, shape=shape, texture=texture, shares=shares)
