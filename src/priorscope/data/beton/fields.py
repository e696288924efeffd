"""What a sample of a `.beton` file is made of: the six kinds of field, and how each one's values become bytes.

A field's value has a fixed part, which stands in the sample table (`metadata`), and for all but numbers a region of bytes
elsewhere in the file, to which the fixed part points. The layouts are FFCV's; docs/beton.md describes them byte by byte.

The JPEG codec is Pillow's, because its wheels bring libjpeg-turbo (the codec that FFCV decodes with) to every platform and both
directions run outside the interpreter's lock, so that plain threads use every core.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import RequestError

Bytes = NDArray[np.uint8]
Buffer = bytes | memoryview
Encoded = tuple[tuple[Any, ...], Buffer | None]
"""The fixed part of a value without its pointer, and the bytes of its region (None where the kind has none)."""

ARGUMENT_BYTES = 1024
MOST_DIMENSIONS = 32
MOST_PIXELS_A_SIDE = 65_500
"""libjpeg's limit; the format's own, 16 bits, is 35 pixels above it."""

JPG, RAW = 0, 1
"""How an image's region is to be read, as FFCV numbers it."""

IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
SPAN = np.dtype([("ptr", "<u8"), ("size", "<u8")])
ARRAY_ARGUMENTS = np.dtype([("shape", "<u8", (MOST_DIMENSIONS,)), ("type_length", "<u8")])

PLAIN_TYPE = re.compile(r"[<>|=]?[biufcSU][0-9]{1,6}")
"""Types whose values are their bytes: a file that names an object type would have numpy read addresses."""


@dataclass(frozen=True)
class IntField:
    """A whole number of 64 bits: a label."""

    type_id = 1
    allocates = False
    metadata = np.dtype("<i8")

    def arguments(self) -> bytes:
        return b""

    def encode(self, value: Any) -> Encoded:
        number = int(value)
        if number != value or not -(2**63) <= number < 2**63:
            raise ValueError(f"{value!r} is no whole number of 64 bits")
        return (number,), None


@dataclass(frozen=True)
class FloatField:
    """A floating-point number of 64 bits."""

    type_id = 0
    allocates = False
    metadata = np.dtype("<f8")

    def arguments(self) -> bytes:
        return b""

    def encode(self, value: Any) -> Encoded:
        return (float(value),), None


@dataclass(frozen=True)
class ImageField:
    """An RGB image, as its pixels or as JPEG.

    `smart` stores an image as JPEG where its pixels take more than `smart_threshold` bytes. FFCV accepts `smart` without a
    threshold, encodes every image and then stores all of them raw; that request is refused here. `mixed` is what a file is
    called that holds both: it is read, and cannot be asked for.
    """

    mode: Literal["raw", "jpg", "smart", "mixed"] = "raw"
    quality: int = 90
    smart_threshold: int | None = None

    type_id = 2
    allocates = True
    metadata = IMAGE

    def __post_init__(self) -> None:
        if self.mode == "smart" and self.smart_threshold is None:
            raise RequestError(
                "An image field in smart mode came without a threshold.",
                "the number of bytes above which an image becomes a JPEG (without one FFCV stores every image raw)",
                "ImageField('smart', smart_threshold=100_000), or ImageField('raw')",
            )
        if self.mode != "smart" and self.smart_threshold is not None:
            raise RequestError(
                f"An image field in {self.mode} mode came with a threshold of {self.smart_threshold}.",
                "a threshold in smart mode only",
                f"ImageField('smart', smart_threshold={self.smart_threshold})",
            )
        if not 1 <= self.quality <= 100:
            raise RequestError(f"A JPEG quality of {self.quality} was asked for.", "1 to 100", "ImageField('jpg', quality=90)")

    def arguments(self) -> bytes:
        return b""

    def encode(self, value: Any) -> Encoded:
        image = checked_image(value)
        height, width = image.shape[:2]
        as_jpeg = self.mode == "jpg" or (self.smart_threshold is not None and image.nbytes > self.smart_threshold)
        if as_jpeg:
            return (JPG, width, height), encode_jpeg(image, self.quality)
        return (RAW, width, height), np.ascontiguousarray(image).reshape(-1).data


@dataclass(frozen=True)
class BytesField:
    """Any number of bytes."""

    type_id = 3
    allocates = True
    metadata = SPAN

    def arguments(self) -> bytes:
        return b""

    def encode(self, value: Any) -> Encoded:
        content = value.tobytes() if isinstance(value, np.ndarray) and value.dtype == np.uint8 else value
        if not isinstance(content, bytes | bytearray | memoryview):
            raise ValueError(f"bytes are wanted, {type(value).__name__} came")
        return (len(content),), bytes(content)


@dataclass(frozen=True)
class ArrayField:
    """A numpy array of one type and shape for all samples."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    type_id = 4
    allocates = True
    metadata = np.dtype("<u8")

    def __post_init__(self) -> None:
        fault = array_fault(self.dtype.str, self.shape)
        if fault is not None:
            raise RequestError(f"An array field of {self.dtype} with shape {self.shape} was asked for.", *fault)

    @property
    def nbytes(self) -> int:
        return array_bytes(self.dtype, self.shape)

    def arguments(self) -> bytes:
        described = json.dumps([["", self.dtype.str]]).encode("ascii")
        head = np.zeros(1, ARRAY_ARGUMENTS)
        head["shape"][0, : len(self.shape)] = self.shape
        head["type_length"] = len(described)
        return head.tobytes() + described

    def encode(self, value: Any) -> Encoded:
        array = np.asarray(value)
        if array.dtype != self.dtype or array.shape != self.shape:
            raise ValueError(f"{self.dtype} of shape {self.shape} is wanted, {array.dtype} of shape {array.shape} came")
        return (), np.ascontiguousarray(array).tobytes()


@dataclass(frozen=True)
class JSONField:
    """Anything that JSON can say. FFCV ends the text with a zero byte, and so does this."""

    type_id = 5
    allocates = True
    metadata = SPAN

    def arguments(self) -> bytes:
        return b""

    def encode(self, value: Any) -> Encoded:
        content = json.dumps(value, allow_nan=False).encode("ascii") + b"\0"
        return (len(content),), content


Field = IntField | FloatField | ImageField | BytesField | ArrayField | JSONField


def row(field: Field, fixed: tuple[Any, ...], pointer: int) -> Any:
    """A value's entry in the sample table, its region being at `pointer`."""
    if isinstance(field, ImageField):
        return (*fixed, pointer)
    if isinstance(field, BytesField | JSONField):
        return (pointer, *fixed)
    return pointer if isinstance(field, ArrayField) else fixed[0]


def sample_type(fields: Mapping[str, Field]) -> np.dtype[Any]:
    """One row of the sample table: every field's fixed part at its C alignment, under the names f0, f1, ... that FFCV uses."""
    return np.dtype([("", field.metadata) for field in fields.values()], align=True)


def array_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """The bytes of an array, in whole numbers of any size: a hostile shape must not wrap around."""
    count = dtype.itemsize
    for extent in shape:
        count *= int(extent)
    return count


def array_fault(described: str, shape: tuple[int, ...]) -> tuple[str, str] | None:
    """Why the format cannot hold arrays of this type and shape (what is wanted, what to do), or None where it can."""
    if not PLAIN_TYPE.fullmatch(described):
        return "numbers, booleans or fixed strings", "store anything else in a JSONField or BytesField"
    if not 1 <= len(shape) <= MOST_DIMENSIONS:
        return f"1 to {MOST_DIMENSIONS} dimensions", "shape (1,) for a single number"
    if min(shape) < 1:  # the file marks the end of a shape with a zero
        return "every dimension at least 1", "leave the field out, or store a BytesField"
    return None


def checked_image(value: Any) -> Bytes:
    """An image that the format can hold, or a ValueError that says what came."""
    if not isinstance(value, np.ndarray):
        raise ValueError(f"an image is a numpy array, {type(value).__name__} came")
    image = cast("NDArray[Any]", value)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3), {image.dtype} of shape {image.shape} came")
    if not (1 <= image.shape[0] <= MOST_PIXELS_A_SIDE and 1 <= image.shape[1] <= MOST_PIXELS_A_SIDE):
        raise ValueError(f"an image has 1 to {MOST_PIXELS_A_SIDE} pixels a side, {image.shape[:2]} came")
    return image


def codec() -> str:
    """The JPEG codec by name and version: it decides the bytes of an encoded image."""
    import PIL
    from PIL import features

    turbo = features.version("libjpeg_turbo")
    return f"Pillow {PIL.__version__}, " + (f"libjpeg-turbo {turbo}" if turbo else "libjpeg")


def encode_jpeg(image: Bytes, quality: int) -> bytes:
    """An image as baseline JPEG with half-resolution colour, as FFCV's own writer (OpenCV) makes it."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(image).save(target, "JPEG", quality=quality, subsampling="4:2:0", progressive=False, optimize=False)
    return target.getvalue()


def decode_jpeg(content: bytes, size: tuple[int, int]) -> Bytes:
    """The pixels of a JPEG of known size, or a ValueError. Its own size is compared before anything is allocated."""
    from PIL import Image

    found = jpeg_size(content)
    if found != size:
        raise ValueError(f"the sample table says {size[0]} x {size[1]} pixels, the JPEG {found[0]} x {found[1]}")
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # a decoder fed with damaged bytes raises nearly anything, and all of it means the same
        raise ValueError(str(error) or type(error).__name__) from None
    if pixels.shape != (*size, 3):
        raise ValueError(f"it decodes to shape {pixels.shape}")
    return pixels


def jpeg_size(content: bytes) -> tuple[int, int]:
    """(height, width) from a JPEG's frame header, read without a decoder; a ValueError where there is none."""
    if content[:2] != b"\xff\xd8":
        raise ValueError("the region does not begin like a JPEG")
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            raise ValueError(f"its byte {at} should begin a marker")
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if at + 10 > len(content):
                break
            if content[at + 9] not in (1, 3):
                raise ValueError(f"it has {content[at + 9]} colour channels")
            return int.from_bytes(content[at + 5 : at + 7], "big"), int.from_bytes(content[at + 7 : at + 9], "big")
        if marker == 0xDA:
            break
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    raise ValueError("it has no frame header")
