"""A `.beton` file opened: checked once, then read through a memory map.

Raw images of one size, which is what training sets for small networks are, need no reading at all. Where they stand at equal
distances (as in every file that we write, up to 2 GiB) they are one numpy array over the map. Where they do not (FFCV's pages
leave gaps and come in the order in which its workers finished), `windows` and `rows` say the same without copying:
`windows[rows[i]]` is image i.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError, WorkError, unknown_name
from priorscope.core.folder import at_home
from priorscope.data.beton.fields import JPG, ArrayField, Bytes, Field, FloatField, ImageField, IntField, decode_jpeg
from priorscope.data.beton.layout import Ints, Layout, read_layout
from priorscope.data.beton.manifest import Manifest, manifest_path, read_manifest
from priorscope.data.decode import BrokenImageError


@dataclass(frozen=True, eq=False)
class Beton:
    """One file: as many samples as `len` says, each with the same fields."""

    path: Path
    flat: Bytes
    layout: Layout
    manifest: Manifest | None

    @classmethod
    def open(cls, path: str | Path) -> Beton:
        """Opens a file and checks its structure and its manifest, or refuses with what is wrong and where."""
        place = at_home(path)
        flat = mapped(place)
        beton = cls(place, flat, read_layout(place, flat), read_manifest(place))
        beton._compare_with_manifest()
        return beton

    def _compare_with_manifest(self) -> None:
        manifest = self.manifest
        if manifest is not None and (manifest.count, manifest.bytes) != (len(self), len(self.flat)):
            raise WorkError(
                f"{manifest_path(self.path)} is about {manifest.count} samples in {manifest.bytes} bytes; "
                f"{self.path.name} has {len(self)} in {len(self.flat)}.",
                "the manifest that was written with this file",
                f"fetch both again, or delete {manifest_path(self.path).name} to open the file without class names",
            )

    @property
    def fields(self) -> Mapping[str, Field]:
        return self.layout.fields

    def __len__(self) -> int:
        return len(self.layout.samples)

    @cached_property
    def image_field(self) -> str | None:
        """The first field that holds images, or None."""
        return next((name for name, field in self.fields.items() if isinstance(field, ImageField)), None)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every image, or None where they differ or there are none."""
        if self.image_field is None:
            return None
        column = self._fixed(self.image_field)
        height, width = int(column["height"][0]), int(column["width"][0])
        same = bool((column["height"] == height).all() and (column["width"] == width).all())
        return (height, width) if same else None

    @cached_property
    def starts(self) -> Ints | None:
        """The byte of `flat` at which each image begins; None where the images are encoded or differ in size."""
        if self.image_field is None or self.size is None or cast("ImageField", self.fields[self.image_field]).mode != "raw":
            return None
        return self.layout.regions[self.image_field].start

    @cached_property
    def rows(self) -> Ints | None:
        """Which window holds each image; None where the images are encoded or differ in size."""
        return None if self.starts is None else (self.starts - self.starts.min()) // _step(self.starts)

    @cached_property
    def windows(self) -> Bytes | None:
        """Every place where an image may begin: one read-only array (places, H, W, 3) over the map. Only `rows` are images."""
        if self.starts is None or self.size is None:
            return None
        height, width = self.size
        return _windows(self.flat, self.starts, height * width * 3).reshape(-1, height, width, 3)

    @cached_property
    def images(self) -> Bytes | None:
        """All images as one read-only array (N, H, W, 3) over the map, where they are raw, of one size and equally spaced."""
        rows = self.rows
        if rows is None or not np.array_equal(rows, np.arange(len(rows))):
            return None
        return self.windows

    def gather(self, indices: ArrayLike) -> Bytes:
        """Some images of a file whose images have one size, as a new array: a copy at memory speed where they are raw."""
        chosen = np.asarray(indices, np.int64)
        if self.windows is not None and self.rows is not None:
            return self.windows[self.rows[chosen]]
        if self.size is None:
            raise RequestError(
                f"The images of {self.path.name} were asked for as one array.",
                "images of one size",
                "read(index) gives them one by one; priorscope data convert SRC DST.beton --res 64 makes them equal",
            )
        return np.stack([self.read(int(index)) for index in chosen]) if len(chosen) else np.empty((0, *self.size, 3), np.uint8)

    def read(self, index: int, field: str | None = None) -> Bytes:
        """One image, decoded if it must be: uint8 (H, W, 3)."""
        name = self._image_name(field)
        entry = self._fixed(name)[self._checked(index)]
        size = int(entry["height"]), int(entry["width"])
        if entry["mode"] != JPG:
            return self._region(name, index).reshape(*size, 3)
        try:
            return decode_jpeg(self._region(name, index).tobytes(), size)
        except ValueError as error:
            do = f"priorscope data verify {shlex.quote(str(self.path))}"
            raise BrokenImageError(self._where(name, index), str(error).rstrip("."), do) from None

    def encoded(self, index: int, field: str | None = None) -> bytes:
        """One image as it is stored: a JPEG file, or its pixels row by row."""
        return self._region(self._image_name(field), index).tobytes()

    def value(self, name: str, index: int) -> Any:
        """One sample's value of one field."""
        field = self._field(name)
        if isinstance(field, ImageField):
            return self.read(index, name)
        if isinstance(field, IntField | FloatField):
            return self._fixed(name)[self._checked(index)].item()
        region = self._region(name, index)
        if isinstance(field, ArrayField):
            return np.frombuffer(region.tobytes(), field.dtype).reshape(field.shape)
        content = region.tobytes()
        return content if field.type_id == 3 else self._json(name, index, content)

    def column(self, name: str) -> Any:
        """One field of all samples: an array of numbers or of arrays, a list of bytes or of what JSON said."""
        field = self._field(name)
        if isinstance(field, IntField | FloatField):
            return np.ascontiguousarray(self._fixed(name))
        if isinstance(field, ImageField):
            return self.gather(np.arange(len(self)))
        if isinstance(field, ArrayField):
            start = self.layout.regions[name].start
            content = _windows(self.flat, start, field.nbytes)[(start - start.min()) // _step(start)]
            return content.view(field.dtype).reshape(len(self), *field.shape)
        return [self.value(name, index) for index in range(len(self))]

    def _field(self, name: str) -> Field:
        if name not in self.fields:
            listing = f"priorscope data info {shlex.quote(str(self.path))}"
            raise unknown_name(f"field of {self.path.name}", name, self.fields, listing)
        return self.fields[name]

    def _image_name(self, name: str | None) -> str:
        chosen = self.image_field if name is None else name
        if chosen is None or not isinstance(self._field(chosen), ImageField):
            raise RequestError(
                f"An image of {self.path.name} was asked for{'' if name is None else f' from field {name!r}'}.",
                f"a field of images; it has {', '.join(self.fields)}",
                f"value(name, index), or column({next(iter(self.fields))!r})",
            )
        return chosen

    def _fixed(self, name: str) -> NDArray[Any]:
        return self.layout.samples[f"f{list(self.fields).index(name)}"]

    def _region(self, name: str, index: int) -> Bytes:
        regions = self.layout.regions[name]
        start = int(regions.start[self._checked(index)])
        return self.flat[start : start + int(regions.size[index])]

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.path.name}, which has {len(self)}")
        return index

    def _json(self, name: str, index: int, content: bytes) -> Any:
        try:
            return json.loads(content.split(b"\0")[0])
        except (ValueError, RecursionError) as error:
            raise WorkError(
                f"{self._where(name, index)} cannot be decoded: {str(error).rstrip('.')}.",
                "bytes as they were written",
                f"priorscope data verify {shlex.quote(str(self.path))}",
            ) from None

    def _where(self, name: str, index: int) -> str:
        return f"{name!r} of sample {index} of {self.path} (byte {int(self.layout.regions[name].start[index])})"


@dataclass(frozen=True, eq=False)
class BetonPixels:
    """The pictures of a file, as a split holds them."""

    of: Beton

    @property
    def size(self) -> tuple[int, int] | None:
        return self.of.size

    @property
    def array(self) -> Bytes | None:
        return self.of.images

    def __len__(self) -> int:
        return len(self.of)

    def read(self, index: int) -> Bytes:
        return self.of.read(index)

    @property
    def flat(self) -> Bytes:
        """The whole file; with `starts`, raw pictures of one size can be read in place even if they are not one array."""
        return self.of.flat

    @property
    def starts(self) -> Ints | None:
        return self.of.starts

    def gather(self, indices: ArrayLike) -> Bytes:
        return self.of.gather(indices)


def _step(start: Ints) -> int:
    """The greatest distance of which all distances between regions are multiples."""
    return int(np.gcd.reduce(start - start.min())) or 1


def _windows(flat: Bytes, start: Ints, size: int) -> Bytes:
    """Every place from the first region to the last at which one of them may begin: rows of `size` bytes, nothing copied."""
    first, step = int(start.min()), _step(start)
    return as_strided(flat[first:], ((int(start.max()) - first) // step + 1, size), (step, 1), writeable=False)


def known_statistics(beton: Beton) -> Statistics | None:
    """The channel statistics that the manifest holds."""
    return None if beton.manifest is None else beton.manifest.statistics


def mapped(path: Path) -> Bytes:
    """A whole file as bytes over a memory map."""
    try:
        if path.stat().st_size == 0:
            raise WorkError(f"{path} is empty.", "a .beton file", "write or fetch the file again")
        return np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    except FileNotFoundError:
        raise RequestError(f"There is no file {str(path)!r}.", "a .beton file", "check the path") from None
    except OSError as error:
        raise RequestError(
            f"{path} cannot be opened: {error.strerror}.", "a .beton file that may be read", "check the path"
        ) from None
