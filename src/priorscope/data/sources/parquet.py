"""Tables of images in parquet files, in any layout of Hugging Face's hub.

A file, a folder of files, or `hf://owner/name`. The split is read from the names of files and folders: `train.parquet`,
`data/train-00000-of-00005.parquet`, `plain_text/train/0000.parquet`. Where exact names and longer ones occur for one split
(`test.parquet` beside `test_first_1000.parquet`), the exact ones are taken. A numbered part of another name
(`extra-00000-of-00002.parquet`) keeps it; tables none of whose names say a split are train.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import at_home
from priorscope.data.beton.layout import is_field_name
from priorscope.data.hub import PREFIX, fetch_tables
from priorscope.data.locate import kind_of
from priorscope.data.parts import Part, PublishedSource, by_name, part_named, split_within, usual_order
from priorscope.data.sources import PartsConfig
from priorscope.data.store import further_columns, numbers_as_names
from priorscope.data.table import Table, TablePixels

VERSION = 3
"""Version of which pictures are in which split, and of their labels; raised when either changes."""

JPEG_MAGIC = b"\xff\xd8"
RAW = ("cifar10", "cifar100", "stl10")
"""Data sets whose authors published pixels: a JPEG of them is a copy with loss."""
JPEG_COPIES = (
    "The pictures are JPEG copies, not the published pixels; accuracies on them are not comparable with published ones. "
    "(CIFAR-10 at quality 75, 4:2:0: a mean error of 5.8 grey levels; networks trained on the original pixels lose ten points.)"
)

PARTIAL = "The hub's own copy of these pictures ends after their first 5 GB ({folders}): not all, and not drawn at random."

SHARD = re.compile(r"-\d+-of-\d+(?:-[0-9a-f]{16})?$|-\d+$")
NUMBERED = re.compile(r"(.+)-\d+-of-\d+(?:-[0-9a-f]{16})?|\d+")


class ParquetConfig(PartsConfig):
    """Where the tables are, and which columns matter where that is not plain."""

    name: str = "parquet"
    path: str
    image: str | None = None
    label: str | None = None
    split: str | None = None


def open_source(config: ParquetConfig) -> PublishedSource:
    """Opens a file, a folder or a repository of the hub."""
    path = fetch_tables(config.path) if config.path.startswith(PREFIX) else at_home(config.path)
    if config.split is not None and not path.is_file():
        raise RequestError(
            f"{config.path} came with split = {config.split!r}, and the names of its files say its splits.",
            "a name for the split of one file",
            "remove split",
        )
    tables = {config.split or _lone(path): (path,)} if path.is_file() else tables_in(path)
    return published(str(config.path), {name: Table(files) for name, files in tables.items()}, config.image, config.label)


def holds_tables(root: Path) -> bool:
    """Whether a place is a parquet file, or a folder with one."""
    return (root.is_file() and root.suffix == ".parquet") or (root.is_dir() and kind_of(root) == "parquet")


def open_tables(name: str, root: Path, *, citation: str, classes: Sequence[str] | None = None) -> PublishedSource:
    """A named data set from tables. JPEG copies of a data set whose authors published pixels are marked as such."""
    tables = {part: Table(files) for part, files in tables_in(root).items()}
    first = next(iter(tables.values()))
    pixels = TablePixels(first, first.image_column())
    caveats = (JPEG_COPIES,) if name in RAW and pixels.content(0)[:2] == JPEG_MAGIC else ()
    return published(name, tables, classes=classes, origin=f"{citation}, tables in {root}", caveats=caveats)


def published(
    name: str,
    tables: Mapping[str, Table],
    image: str | None = None,
    label: str | None = None,
    classes: Sequence[str] | None = None,
    origin: str = "",
    caveats: tuple[str, ...] = (),
) -> PublishedSource:
    """A source of tables: one part each. A part without labels (all -1, as in unlabelled test parts of the hub) is left out.

    Where several parts name their classes, the first one's names are the source's, and the others' labels are told by name.
    """
    labels = {part: table.values(table.label_column(label)) for part, table in tables.items()}
    labels = {part: values for part, values in labels.items() if not _unlabelled(values)}
    if not labels:
        raise RequestError(f"{name} is unlabelled: every label is -1.", "pictures with labels", "check the path")
    caveats += _partial([file for part in labels for file in tables[part].files])
    own = {part: tables[part].class_names(tables[part].label_column(label)) or () for part in labels}
    listed = next(iter(own.values()))
    names = classes or listed or _names(labels, name)
    numbered = {
        part: _numbered(values, names, tables[part].where)
        if values.dtype.kind not in "iu"
        else by_name(values.astype(np.int64), own[part], listed, f"{part} of {name}")
        for part, values in labels.items()
    }
    parts = {part: partial(_part, tables[part], image, label, values) for part, values in numbered.items()}
    return PublishedSource(name, tuple(names), parts, origin or ", ".join(table.where for table in tables.values()), caveats)


def _partial(files: Sequence[Path]) -> tuple[str, ...]:
    """What must be said of tables in folders like `partial-train`."""
    folders = {file.parent.name for file in files}
    cut = sorted(name for name in folders if name.startswith("partial-") and part_named(name.removeprefix("partial-")))
    return (PARTIAL.format(folders=", ".join(cut)),) if cut else ()


def _part(table: Table, image: str | None, label: str | None, labels: NDArray[np.int64]) -> Part:
    """Pictures, labels, and the further columns of numbers that are whole and that a decoded copy can hold."""
    image_column, label_column = table.image_column(image), table.label_column(label)
    numbers = [name for name in table.schema.names if _is_number(table.kind(name)) and is_field_name(name)]
    others = [name for name in numbers if name not in (image_column, label_column) and not table.has_gaps(name)]
    return Part(TablePixels(table, image_column), labels, further_columns({name: table.values(name) for name in others}))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return kind is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _unlabelled(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iu" and len(values) > 0 and bool((values == -1).all())


def _names(labels: Mapping[str, NDArray[Any]], where: str) -> tuple[str, ...]:
    """Class names where the metadata has none: the labels' own values where they are words, else their numbers."""
    values = np.concatenate(list(labels.values()))
    if values.dtype.kind in "iu":
        return numbers_as_names(values, where, "ClassLabel", "choose a column of class numbers or words: label = ...")
    return tuple(sorted({str(value) for value in values}))


def _numbered(values: NDArray[Any], names: Sequence[str], where: str) -> NDArray[np.int64]:
    """Labels that are words as class numbers."""
    number = {name: index for index, name in enumerate(names)}
    try:
        return np.array([number[str(value)] for value in values], np.int64)
    except KeyError as error:
        raise WorkError(
            f"{where} has the label {error}, which is no class.", f"one of: {', '.join(names[:12])}", "mend the table"
        ) from None


def tables_in(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The parquet files of a folder by the part that their names mean."""
    if not folder.is_dir():
        raise RequestError(f"There is no file or folder {str(folder)!r}.", "parquet files", "check the path")
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise RequestError(f"{folder} holds no parquet file.", "*.parquet, named after their splits", "check the path")
    exact: defaultdict[str, list[Path]] = defaultdict(list)
    loose: defaultdict[str, list[Path]] = defaultdict(list)
    others: list[Path] = []
    for file in files:
        if part := split_of(file, folder):
            exact[part].append(file)
        elif part := _meant(file, folder):
            loose[part].append(file)
        else:
            others.append(file)
    found = {**loose, **exact, **_own_names(folder, others)} if exact or loose else {"train": others}
    _check_one_set(folder, found)
    return {name: tuple(found[name]) for name in sorted(found, key=usual_order)}


def _own_names(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Numbered tables of other names by these names; others are refused beside tables whose names say a split."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        numbered, inside = NUMBERED.fullmatch(file.stem), file.parent != folder
        if numbered is None or not (numbered[1] or inside):
            raise RequestError(
                f"{folder} holds {file.relative_to(folder)} beside tables whose names say a split.",
                "a name with train, val or test in it for every file",
                "rename it, move it elsewhere, or open one of the others alone",
            )
        found[numbered[1] or file.parent.name].append(file)
    return found


def _check_one_set(folder: Path, found: Mapping[str, Sequence[Path]]) -> None:
    """Refuses a folder of several data sets: subfolders that each hold a train, or the like."""
    for part, files in found.items():
        tops = {
            top
            for file in files
            if (top := file.relative_to(folder).parts[0]) != file.name
            and part_named(top) is None
            and (split_of(file, folder / top) or _meant(file, folder / top))
        }
        if len(tops) > 1:
            raise RequestError(
                f"{folder} holds {len(tops)} data sets: {', '.join(sorted(tops)[:12])} each have a {part}.",
                "one of them",
                f"open {folder / min(tops)}",
            )


def _lone(file: Path) -> str:
    """The part that a file opened alone is taken for."""
    return split_of(file, file.parent) or _meant(file, file.parent) or "train"


def split_of(file: Path, root: Path) -> str | None:
    """The part that a file's whole name, or the name of a folder that it is in, means."""
    own = part_named(SHARD.sub("", file.stem))
    if own:
        return own
    inside = reversed(file.relative_to(root).parts[:-1])
    return next((part for folder in inside if (part := part_named(folder))), None)


def _meant(file: Path, root: Path) -> str | None:
    """The part that a word of a file's name means, or of the name of a folder that it is in: `partial-train/0000.parquet`."""
    names = (file.stem, *reversed(file.relative_to(root).parts[:-1]))
    return next((part for name in names if (part := split_within(name))), None)
