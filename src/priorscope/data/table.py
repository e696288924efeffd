"""Tables of images in parquet files, in the layouts that Hugging Face's hub uses.

The image column is a struct of bytes and path, or plain bytes. Names of classes stand in the schema's metadata under
`huggingface`. Pictures are read one row group at a time, and as many groups as fit a budget are kept.
"""

from __future__ import annotations

import errno
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import RequestError, WorkError, first_line
from priorscope.data.encoded import EncodedPixels, files_key
from priorscope.data.parts import listing

if TYPE_CHECKING:
    import pyarrow.parquet as pq

KEPT_BYTES = 1 << 30
"""Encoded pictures kept in memory: CIFAR-10 is 0.05 GB, all of Tiny ImageNet 0.2 GB."""


@dataclass(frozen=True)
class Table:
    """Parquet files with the same columns, one after another."""

    files: tuple[Path, ...]

    def __post_init__(self) -> None:
        names = self.schema.names
        for file, schema in zip(self.files, self._schemas, strict=True):
            if schema.names != names:
                raise RequestError(
                    f"{file} has columns {schema.names}, {self.files[0].name} has {names}.",
                    "files with the same columns in one split",
                    "open one of them alone",
                )

    @cached_property
    def _schemas(self) -> list[Any]:
        return [_open(file).schema_arrow for file in self.files]

    @property
    def schema(self) -> Any:
        return self._schemas[0]

    @cached_property
    def features(self) -> dict[str, Any]:
        """What the `huggingface` metadata says about the columns; empty where there is none."""
        return _features(self.schema)

    @cached_property
    def rows(self) -> int:
        return sum(_open(file).metadata.num_rows for file in self.files)

    @property
    def bytes(self) -> int:
        """The size of all files: about that of their encoded pictures."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def where(self) -> str:
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)

    def image_column(self, asked: str | None = None) -> str:
        """The column of images: the one asked for, else the one that metadata or types show."""
        import pyarrow as pa

        if asked is not None:
            return self.known(asked)
        declared = [name for name, feature in self.features.items() if _is(feature, "Image") and name in self.schema.names]
        structs = [
            entry.name for entry in self.schema if pa.types.is_struct(entry.type) and entry.type.get_field_index("bytes") >= 0
        ]
        binaries = [
            entry.name for entry in self.schema if pa.types.is_binary(entry.type) or pa.types.is_large_binary(entry.type)
        ]
        found = declared or structs or binaries
        if len(found) == 1:
            return found[0]
        raise RequestError(
            f"{self.where} has {'no column' if not found else 'several columns'} of images. Its columns: {self._columns()}.",
            "one column of encoded images (struct of bytes and path, or bytes)",
            f"image = {found[0]!r}" if found else "check the path",
        )

    def label_column(self, asked: str | None = None) -> str:
        """The column of labels: the one asked for, else the one that metadata or names show."""
        if asked is not None:
            return self.known(asked)
        declared = [name for name, feature in self.features.items() if _is(feature, "ClassLabel") and name in self.schema.names]
        named = [name for name in ("label", "labels", "fine_label", "class", "cls", "target", "y") if name in self.schema.names]
        usual = [name for name in named if not declared or name in declared]
        if usual:
            return usual[0]
        if len(declared) == 1:
            return declared[0]
        raise RequestError(
            f"It is not clear which column of {self.where} is the label. Its columns: {self._columns()}.",
            "one column of labels",
            f"label = {(declared or [self.schema.names[-1]])[0]!r}",
        )

    def known(self, column: str) -> str:
        """The column's name, refused where there is no such column."""
        if column not in self.schema.names:
            raise RequestError(f"{self.where} has no column {column!r}.", f"one of: {self._columns()}", "check the name")
        return column

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """The class names of a label column from the metadata, or None; refused where files of one split list others."""
        named = [(file, _named(schema, column)) for file, schema in zip(self.files, self._schemas, strict=True)]
        first, names = next(((file, names) for file, names in named if names), (self.files[0], ()))
        for file, others in named:
            if others and others != names:
                raise RequestError(
                    f"{file} lists the classes {listing(others)}; {first.name} lists {listing(names)}.",
                    "files with the same classes in one split",
                    "write them again with one list of classes, or open one of them alone",
                )
        return names or None

    def values(self, column: str) -> NDArray[Any]:
        """A whole column, which is not the images."""
        import pyarrow as pa

        kind = self.kind(column)
        if kind is None or pa.types.is_nested(kind):
            raise RequestError(
                f"Column {column!r} of {self.where} holds {' and '.join(map(str, self._kinds(column)))}.",
                "one number or word a row, and numbers or words in all files",
                "choose another column: label = ...",
            )
        values = self._read(column)
        gaps = _gaps(values)
        if gaps:
            raise WorkError(
                f"Column {column!r} of {self.where} has {gaps} empty cells.",
                "a value in every row",
                "mend the table",
            )
        return np.asarray(values.to_numpy())

    def has_gaps(self, column: str) -> bool:
        """Whether some rows of a column are empty."""
        return _gaps(self._read(column)) > 0

    def kind(self, column: str) -> Any:
        """The type of a column; where files differ one that holds the values of all, or None where there is none."""
        import pyarrow as pa

        kinds = self._kinds(column)
        if len(kinds) == 1:
            return kinds[0]
        plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
        try:
            return pa.unify_schemas([pa.schema([(column, kind)]) for kind in plain], promote_options="permissive").types[0]
        except pa.ArrowException:
            return None

    def _kinds(self, column: str) -> list[Any]:
        """The types that a column has, each once."""
        return list(dict.fromkeys(schema.field(column).type for schema in self._schemas))

    def _read(self, column: str) -> Any:
        import pyarrow as pa

        kind = self.kind(column)
        try:
            parts = [_of_kind(_read(file, column), kind) for file in self.files]
        except pa.ArrowException as error:
            raise WorkError(
                f"Column {column!r} of {self.where} holds {' and '.join(map(str, self._kinds(column)))}: {first_line(error)}.",
                f"values that are {kind} in all files",
                "mend the table",
            ) from None
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], type=kind)

    def _columns(self) -> str:
        return ", ".join(f"{entry.name} ({entry.type})" for entry in self.schema)


def _features(schema: Any) -> dict[str, Any]:
    """What the `huggingface` metadata says about a file's columns; empty where there is none."""
    content = (schema.metadata or {}).get(b"huggingface")
    try:
        return json.loads(content)["info"]["features"] if content else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _named(schema: Any, column: str) -> tuple[str, ...]:
    """The class names that a file lists for a column of labels."""
    feature = _features(schema).get(column)
    names: Any = feature["names"] if feature is not None and _is(feature, "ClassLabel") else ()
    if isinstance(names, dict):  # an older way of writing them: {"0": "cat", "1": "dog"}
        names = [names[str(index)] for index in range(len(names))]
    return tuple(str(name) for name in names or ())


def _is(feature: Any, kind: str) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == kind


def _open(file: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except FileNotFoundError:
        raise RequestError(f"There is no file {str(file)!r}.", "a parquet file", "check the path") from None
    except (pa.ArrowException, OSError) as error:
        raise torn_table(file, error) from None


def torn_table(file: Path, error: Exception) -> WorkError:
    """The error for a parquet file that cannot be read, which is nothing against the file where too many others are open."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return WorkError(
            f"{file} cannot be opened: too many files are open.",
            "fewer open files, or a higher limit on them",
            "ulimit -n 4096, then run the same command again",
        )
    return WorkError(f"{file} is damaged: {first_line(error)}.", "a parquet file", "download it again")


def _read(file: Path, column: str) -> Any:
    import pyarrow as pa

    try:
        return _open(file).read(columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise torn_table(file, error) from None


def _of_kind(values: Any, kind: Any) -> Any:
    """A column in another type. A dictionary's words are written out first: not every cast knows dictionaries."""
    import pyarrow as pa

    if values.type == kind:
        return values
    return (values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values).cast(kind)


def _gaps(values: Any) -> int:
    """How many cells of a column are empty. NaN is one: so tables of floating-point numbers say that there is nothing."""
    import pyarrow as pa

    return int(np.isnan(values.to_numpy()).sum()) if pa.types.is_floating(values.type) else values.null_count


@dataclass(frozen=True)
class TablePixels(EncodedPixels):
    """The images of a table's column."""

    table: Table
    column: str
    res: int | None = None
    _kept: OrderedDict[int, list[bytes | None]] = field(
        default_factory=OrderedDict[int, "list[bytes | None]"], repr=False, compare=False
    )
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __len__(self) -> int:
        return self.table.rows

    @cached_property
    def _groups(self) -> tuple[list[tuple[Path, int]], NDArray[np.int64]]:
        """Each row group's file and number in it, and the row at which each begins."""
        places: list[tuple[Path, int]] = []
        counts: list[int] = []
        for file in self.table.files:
            about = _open(file).metadata
            places += [(file, group) for group in range(about.num_row_groups)]
            counts += [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        return places, np.cumsum([0, *counts])

    @property
    def outgrows_memory(self) -> bool:
        """Whether more is encoded than is kept, so that a random order reads a row group for nearly every picture."""
        return self.table.bytes > KEPT_BYTES

    def content(self, index: int) -> bytes:
        _, starts = self._groups
        group = int(np.searchsorted(starts, index, side="right")) - 1
        content = self._images(group)[index - int(starts[group])]
        if content is None:
            raise _no_image(self.where(index))
        return content

    def _images(self, group: int) -> list[bytes | None]:
        """The images of one row group; the groups used longest ago make room."""
        with self._lock:
            if group in self._kept:
                self._kept.move_to_end(group)
                return self._kept[group]
            images = self._kept[group] = self._read_group(group)
            while len(self._kept) > 1 and sum(sum(len(i or b"") for i in kept) for kept in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            return images

    def _read_group(self, group: int) -> list[bytes | None]:
        """One row group's images. Its file is open while they are read: a table of 1,000 files is beyond what may be open."""
        import pyarrow as pa

        places, _ = self._groups
        file, number = places[group]
        try:
            with _open(file) as opened:
                column = opened.read_row_group(number, columns=[self.column]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise torn_table(file, error) from None
        if pa.types.is_struct(column.type):
            return [image for chunk in column.chunks for image in chunk.field("bytes").to_pylist()]
        return column.to_pylist()

    def where(self, index: int) -> str:
        return f"{self.table.where} row {index}"

    def key(self) -> str:
        return f"{files_key(self.table.files)}/{self.column}"


def _no_image(where: str) -> WorkError:
    from priorscope.data.decode import BrokenImageError

    return BrokenImageError(where, "its cell is empty")
