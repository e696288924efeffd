"""Texture-shape cue-conflict stimuli (Geirhos et al. 2019): 1,280 pictures with one class's shape and another's texture.

16 shapes x 16 textures, 5 pictures of each pair; 80 have both of one class, without a conflict. `labels` is the shape; the
columns `shape` and `texture` are numbers of classes. There is nothing to train on: the one split is `test`.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from priorscope.core.errors import WorkError
from priorscope.data.encoded import EncodedPixels, FilePixels
from priorscope.data.locate import home, missing
from priorscope.data.parts import Part, PublishedSource
from priorscope.data.sources import SizedConfig, folder, parquet
from priorscope.data.table import Table, TablePixels

CLASSES = (
    "airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat",
    "chair", "clock", "dog", "elephant", "keyboard", "knife", "oven", "truck",
)  # fmt: skip

STIMULUS = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")
"""`cat7-truck3.png` has the shape of a cat and the texture of a truck."""

BY_HAND = (
    "the authors publish no hashes, so fetch `stimuli/style-transfer-preprocessed-512` of github.com/rgeirhos/texture-vs-shape "
    "by hand and put it into PRIORSCOPE_DATA/cue-conflict"
)


class CueConflictConfig(SizedConfig):
    """Cue-conflict stimuli from the data folder or from `path`: a table, or the authors' folder."""

    name: str = "cue_conflict"
    path: str | None = None


def open_source(config: CueConflictConfig) -> PublishedSource:
    """Opens a table with the columns image, shape and texture, or folders of `<shape><i>-<texture><j>.png`."""
    root = home(config.name, config.path)
    if parquet.holds_tables(root):
        tables = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
        read = partial(_table, Table(tuple(tables)))
    elif root.is_dir() and any(name in CLASSES for name in folder.folders_in(root)):
        read = partial(_folder, root)
    else:
        raise missing("cue-conflict stimuli", root, "cue_conflict_64.parquet, or a folder a shape", BY_HAND)
    return PublishedSource(config.name, CLASSES, {"test": read}, origin=f"Geirhos et al. 2019, CC BY 4.0 ({root})")


def _table(table: Table) -> Part:
    shape, texture = ([str(name) for name in table.values(table.known(column))] for column in ("shape", "texture"))
    return _part(TablePixels(table, table.image_column()), shape, texture, table.where)


def _folder(root: Path) -> Part:
    files = [f"{name}/{file}" for name in CLASSES for file in folder.images_in(root / name)]
    found = [STIMULUS.fullmatch(Path(file).stem) for file in files]
    for file, match in zip(files, found, strict=True):
        if match is None:
            raise WorkError(f"{root / file} is not named like a stimulus.", "<shape><i>-<texture><j>.png", "remove it")
    cues = [match.groups() for match in found if match is not None]
    return _part(FilePixels(root, files), [shape for shape, _ in cues], [texture for _, texture in cues], str(root))


def _part(pixels: EncodedPixels, shape: list[str], texture: list[str], where: str) -> Part:
    number = {name: index for index, name in enumerate(CLASSES)}
    unknown = sorted({*shape, *texture} - set(number))
    if unknown:
        raise WorkError(
            f"{where} has the category {unknown[0]!r}.", f"one of: {', '.join(CLASSES)}", "check where it comes from"
        )
    shapes = np.array([number[name] for name in shape], np.int64)
    return Part(pixels, shapes, {"shape": shapes, "texture": np.array([number[name] for name in texture], np.int64)})
