"""Where things stand in a `.beton` file, and every check that a file must pass before one of its offsets is used.

    header            24 bytes
    field descriptors 1,041 bytes each
    sample table      one row a sample: numbers, and pointers into the data
    data              regions of bytes, none across a page boundary
    allocation table  24 bytes a region, to the file's end

Sizes and offsets come from a file that may be torn or hostile. They are compared with the file's size, in whole numbers that
cannot wrap around, before anything is read or allocated by them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import WorkError
from priorscope.data.beton.fields import (
    ARGUMENT_BYTES,
    ARRAY_ARGUMENTS,
    JPG,
    RAW,
    ArrayField,
    Bytes,
    BytesField,
    Field,
    FloatField,
    ImageField,
    IntField,
    JSONField,
    array_fault,
    sample_type,
)

Ints = NDArray[np.int64]

VERSION = 2
HEADER = np.dtype(
    [("version", "<u2"), ("num_fields", "<u2"), ("page_size", "<u4"), ("num_samples", "<u8"), ("alloc_table_ptr", "<u8")]
)
NAME_BYTES = 16


def is_field_name(name: str) -> bool:
    """Whether a field can be called so: FFCV would cut a longer name."""
    return 1 <= len(name) <= NAME_BYTES and all(32 <= ord(letter) < 127 for letter in name)


DESCRIPTOR = np.dtype([("type_id", "u1"), ("name", "u1", (NAME_BYTES,)), ("arguments", "u1", (ARGUMENT_BYTES,))])
REGION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])

MOST_JPEG_GAIN = 1024
"""Most pixel bytes that one byte of JPEG stands for: a block of 64 takes at least 2 bits, so that grey reaches 768."""

AGAIN = "write or fetch the file again"


@dataclass(frozen=True)
class Regions:
    """The byte offsets and sizes of one field's values, in sample order."""

    start: Ints
    size: Ints


@dataclass(frozen=True)
class Layout:
    """A file whose every offset has been checked."""

    fields: Mapping[str, Field]
    page_size: int
    samples: NDArray[Any]
    regions: Mapping[str, Regions]
    data_start: int
    table_start: int


def descriptors(fields: Mapping[str, Field]) -> bytes:
    """The field descriptors of a file that is written."""
    table = np.zeros(len(fields), DESCRIPTOR)
    for entry, (name, field) in zip(table, fields.items(), strict=True):
        entry["type_id"] = field.type_id
        for part, content in (("name", name.encode("ascii")), ("arguments", field.arguments())):
            entry[part][: len(content)] = np.frombuffer(content, np.uint8)
    return table.tobytes()


def read_layout(path: Path, flat: Bytes) -> Layout:
    """The layout of a whole file as bytes, or a WorkError that says what is wrong and where."""
    return _Checks(path, flat).layout()


class _Checks:
    """The checks in the order of the file, each standing on those before it."""

    def __init__(self, path: Path, flat: Bytes) -> None:
        self.path = path
        self.flat = flat
        self.size = len(flat)

    def refuse(self, what: str, wanted: str, do: str = AGAIN) -> WorkError:
        return WorkError(f"{self.path} is damaged: {what}.", wanted, do)

    def layout(self) -> Layout:
        field_count, page_size, count, table_start = self.header()
        fields = self.fields(field_count)
        data_start = HEADER.itemsize + field_count * DESCRIPTOR.itemsize
        samples, data_start = self.samples(fields, count, data_start, table_start)
        table = self.table(fields, count, page_size, data_start, table_start)
        regions = self.regions(fields, samples, table)
        fields = {name: _with_mode(field, samples[f"f{i}"]) for i, (name, field) in enumerate(fields.items())}
        return Layout(fields, page_size, samples, regions, data_start, table_start)

    def header(self) -> tuple[int, int, int, int]:
        if self.size < HEADER.itemsize:
            raise self.refuse(f"it has {self.size} bytes", f"a .beton file, whose header alone takes {HEADER.itemsize}")
        header = self.flat[: HEADER.itemsize].view(HEADER)[0]
        version, field_count, page_size, count, table_start = (int(header[name]) for name in HEADER.names or ())
        if version != VERSION:
            raise self.refuse(
                f"bytes 0-1 say format version {version}",
                f"a .beton file of version {VERSION}",
                "convert the images again: priorscope data convert SRC DST.beton",
            )
        if table_start == 0:
            raise self.refuse(
                "its header says that writing never finished (no allocation table)",
                "a file whose writer ran to its end",
                "write it again",
            )
        if page_size == 0 or page_size & (page_size - 1):
            raise self.refuse(f"bytes 4-7 say a page size of {page_size}", "a power of two")
        if count == 0:
            raise self.refuse("bytes 8-15 say that it holds no samples", "at least one sample")
        if field_count == 0:
            raise self.refuse("bytes 2-3 say that it has no fields", "at least one field")
        if table_start > self.size:
            raise self.refuse(
                f"the allocation table should begin at byte {table_start}, and the file ends at {self.size}", "a whole file"
            )
        return field_count, page_size, count, table_start

    def fields(self, count: int) -> dict[str, Field]:
        end = HEADER.itemsize + count * DESCRIPTOR.itemsize
        if end > self.size:
            raise self.refuse(
                f"{count} field descriptors should end at byte {end}, and the file ends at {self.size}", "a whole file"
            )
        fields: dict[str, Field] = {}
        for position, entry in enumerate(self.flat[HEADER.itemsize : end].view(DESCRIPTOR)):
            name = self.name(position, entry["name"].tobytes())
            if name in fields:
                raise self.refuse(f"two fields are called {name!r}", "a name for every field")
            fields[name] = self.field(name, int(entry["type_id"]), entry["arguments"].tobytes())
        return fields

    def name(self, position: int, raw: bytes) -> str:
        name = raw.split(b"\0")[0]
        if not name or not all(32 <= byte < 127 for byte in name):
            raise self.refuse(f"field {position} is called {name!r}", f"1 to {NAME_BYTES} printable ASCII characters")
        return name.decode("ascii")

    def field(self, name: str, type_id: int, arguments: bytes) -> Field:
        simple = {0: FloatField, 1: IntField, 2: ImageField, 3: BytesField, 5: JSONField}
        if type_id in simple:
            return simple[type_id]()
        if type_id in (4, 6):  # numpy arrays and torch tensors: the same bytes
            return self.array_field(name, arguments)
        if type_id == 255:
            raise self.refuse(
                f"field {name!r} has a type of its author's own, whose layout stands in no file",
                "fields of FFCV's own types",
                "write the file again with the field as a BytesField, JSONField or NDArrayField",
            )
        raise self.refuse(f"field {name!r} has the unknown type {type_id}", "a type from 0 to 6")

    def array_field(self, name: str, arguments: bytes) -> ArrayField:
        head = np.frombuffer(arguments, ARRAY_ARGUMENTS, count=1)[0]
        length, room = int(head["type_length"]), ARGUMENT_BYTES - ARRAY_ARGUMENTS.itemsize
        extents = [int(extent) for extent in head["shape"]]
        while extents and extents[-1] == 0:
            extents.pop()
        try:
            described = json.loads(arguments[ARRAY_ARGUMENTS.itemsize :][: min(length, room)])
            code = described[0][1] if len(described) == 1 and len(described[0]) == 2 else None
            fault = array_fault(code, tuple(extents)) if isinstance(code, str) else ("one numpy type", "")
            dtype = np.dtype(code if fault is None else "u1")
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            fault, dtype = ("a numpy type as JSON", ""), np.dtype("u1")
        if fault is not None:
            raise self.refuse(f"the descriptor of array field {name!r} makes no sense", fault[0])
        nbytes = dtype.itemsize
        for extent in extents:
            nbytes *= extent
        if not 0 < nbytes <= self.size:
            raise self.refuse(f"array field {name!r} says {nbytes} bytes a sample", f"at most the file's {self.size} bytes")
        return ArrayField(dtype, tuple(extents))

    def samples(self, fields: Mapping[str, Field], count: int, start: int, table_start: int) -> tuple[NDArray[Any], int]:
        kind = sample_type(fields)
        end = start + count * kind.itemsize
        if end > table_start:
            raise self.refuse(
                f"the table of {count} samples should end at byte {end}, and the allocation table begins at {table_start}",
                "a sample table that ends before the data",
            )
        return self.flat[start:end].view(kind), end

    def table(self, fields: Mapping[str, Field], count: int, page_size: int, data_start: int, table_start: int) -> NDArray[Any]:
        """The allocation table in the order of the file, every region inside the data and none over another."""
        wanted = count * sum(field.allocates for field in fields.values())
        found = self.size - table_start
        if found != wanted * REGION.itemsize:
            raise self.refuse(
                f"the allocation table has {found} bytes",
                f"{wanted * REGION.itemsize}, {REGION.itemsize} for each of {wanted} regions",
            )
        table = self.flat[table_start:].view(REGION)
        sample, ptr, size = (table[name] for name in ("sample_id", "ptr", "size"))
        self.none(sample >= count, lambda i: f"region {i} belongs to sample {sample[i]}, and there are {count}")
        self.none(
            (ptr < data_start) | (ptr > table_start),
            lambda i: f"region {i} begins at byte {ptr[i]}, and the data are bytes {data_start} to {table_start}",
        )
        self.none(
            size > np.uint64(table_start) - ptr,
            lambda i: f"region {i} has {size[i]} bytes from byte {ptr[i]}, and the data end at {table_start}",
        )
        shift = np.uint64(page_size.bit_length() - 1)
        self.none(
            (size > 0) & ((ptr >> shift) != ((ptr + np.maximum(size, 1) - np.uint64(1)) >> shift)),
            lambda i: (
                f"region {i} (bytes {ptr[i]} to {ptr[i] + size[i]}) lies across a boundary of its pages of {page_size} bytes"
            ),
        )
        ordered = table[np.lexsort((size, ptr))]
        self.none(
            ordered["ptr"][1:] < ordered["ptr"][:-1] + ordered["size"][:-1],
            lambda i: f"the regions at bytes {ordered['ptr'][i]} and {ordered['ptr'][i + 1]} overlap",
        )
        return ordered

    def none(self, bad: NDArray[np.bool_], say: Callable[[int], str]) -> None:
        """Refuses the file if any entry is `bad`; `say` describes the first one, by its number."""
        if bad.any():
            raise self.refuse(say(int(np.argmax(bad))), "offsets and sizes within the file, as its writer left them")

    def regions(self, fields: Mapping[str, Field], samples: NDArray[Any], table: NDArray[Any]) -> dict[str, Regions]:
        """The region of every value, found in the allocation table and of the size that its field asks for."""
        claimed = np.zeros(len(table), np.bool_)
        found: dict[str, Regions] = {}
        for position, (name, field) in enumerate(fields.items()):
            if field.allocates:
                found[name] = self.claim(name, field, samples[f"f{position}"], table, claimed)
        self.none(~claimed & (table["size"] > 0), lambda i: f"no sample points to the region at byte {table['ptr'][i]}")
        return found

    def claim(self, name: str, field: Field, column: NDArray[Any], table: NDArray[Any], claimed: NDArray[np.bool_]) -> Regions:
        ptr = column["data_ptr" if isinstance(field, ImageField) else "ptr"] if column.dtype.names else column
        wanted = self.wanted_sizes(name, field, column)
        # Empty regions share their place with what follows; of several at one place, the last is the longest.
        at = np.searchsorted(table["ptr"], ptr, side="right") - 1
        hit = np.maximum(at, 0)
        there = (at >= 0) & (table["ptr"][hit] == ptr) & (table["sample_id"][hit] == np.arange(len(column), dtype=np.uint64))
        empty = wanted == 0
        self.none(
            ~there & ~empty, lambda i: f"{name!r} of sample {i} points to byte {ptr[i]}, where no region of that sample begins"
        )
        size = np.where(empty, 0, table["size"][hit]).astype(np.int64)
        self.none(
            (wanted >= 0) & (size != wanted),
            lambda i: f"{name!r} of sample {i} should take {wanted[i]} bytes, its region at byte {ptr[i]} has {size[i]}",
        )
        self.none(
            (wanted < 0) & (size * MOST_JPEG_GAIN < _pixel_bytes(column)) if isinstance(field, ImageField) else wanted < 0,
            lambda i: f"{name!r} of sample {i} is a JPEG of {size[i]} bytes, which cannot hold {_shape(column, i)} pixels",
        )
        taken = hit[~empty]
        self.none(
            np.bincount(taken, minlength=len(table)) + claimed > 1,
            lambda i: f"two values share the region at byte {table['ptr'][i]}",
        )
        claimed[taken] = True
        return Regions(np.where(empty, 0, table["ptr"][hit]).astype(np.int64), size)

    def wanted_sizes(self, name: str, field: Field, column: NDArray[Any]) -> Ints:
        """The bytes that every value's region must have; -1 where only the region itself knows (JPEG)."""
        if isinstance(field, ArrayField):
            return np.full(len(column), field.nbytes, np.int64)
        if not isinstance(field, ImageField):
            size = column["size"]
            self.none(size > self.size, lambda i: f"{name!r} of sample {i} says {size[i]} bytes, and the file has {self.size}")
            return size.astype(np.int64)
        mode = column["mode"]
        self.none(
            mode > RAW, lambda i: f"{name!r} of sample {i} is stored in mode {mode[i]}, which is neither 0 (JPEG) nor 1 (raw)"
        )
        pixels = _pixel_bytes(column)
        self.none(pixels == 0, lambda i: f"{name!r} of sample {i} has {_shape(column, i)} pixels")
        return np.where(mode == RAW, pixels, -1)


def _pixel_bytes(column: NDArray[Any]) -> Ints:
    return column["height"].astype(np.int64) * column["width"].astype(np.int64) * 3


def _shape(column: NDArray[Any], index: int) -> str:
    return f"{column['height'][index]} x {column['width'][index]}"


def _with_mode(field: Field, column: NDArray[Any]) -> Field:
    """An image field with the mode that its images are stored in: the file says it image by image."""
    if not isinstance(field, ImageField):
        return field
    jpg = column["mode"] == JPG
    return ImageField("jpg" if jpg.all() else "mixed" if jpg.any() else "raw")
