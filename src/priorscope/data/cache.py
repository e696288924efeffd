"""Sources whose pictures are ready to train on: decoded and scaled once, kept in the cache folder, memory-mapped from then on.

A copy's name holds a hash of everything that its content depends on: the published files (paths, sizes, times of change), the
labels, and the version of the decoder. Copies may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np

from priorscope.core.config import content_key
from priorscope.core.errors import PriorscopeError, WorkError
from priorscope.core.folder import cache_folder
from priorscope.data import decode
from priorscope.data.beton.manifest import is_finished
from priorscope.data.beton.reader import Beton, BetonPixels
from priorscope.data.decode import BrokenImageError
from priorscope.data.encoded import CHUNK, EncodedPixels, decoded
from priorscope.data.folders import alone
from priorscope.data.progress import bar
from priorscope.data.sources.dataset import DatasetPixels
from priorscope.data.split import ArrayPixels, ChosenPixels, Ints, Pixels, Source, Split
from priorscope.data.squares import SquarePixels
from priorscope.data.store import read_split, write_split

LOOKED_AT = 64
"""Pictures that are read to see whether all are of one size."""
MOST_BYTES = 8 << 30
"""Decoded pictures that are kept without being asked for; all of Tiny ImageNet is 1.4 GB. Beyond, the user converts."""


@dataclass(frozen=True, eq=False)
class ReadySource:
    """Another source, whose pictures are decoded and scaled when a split is first asked for, and only then."""

    of: Source
    _ready: dict[str, Split] = field(default_factory=dict[str, Split])

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.of.classes

    @property
    def origin(self) -> str:
        """Where the data comes from."""
        return getattr(self.of, "origin", "")

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader of numbers must know about the data."""
        return getattr(self.of, "caveats", ())

    def splits(self) -> tuple[str, ...]:
        """The names of the splits there are."""
        return self.of.splits()

    def split(self, name: str) -> Split:
        """One split, its pictures as one array where they are all of one size."""
        if name not in self._ready:
            self._ready[name] = ready(self.of.split(name))
        return self._ready[name]


def ready(split: Split) -> Split:
    """The split with its pictures as one array where they are encoded or to be scaled, of one size, and few enough to keep."""
    made_anew = encoded_in(split.pixels) is not None or behind(split.pixels, SquarePixels | DatasetPixels)
    if not made_anew or not _keepable(split):
        return split
    key = data_key(split)
    if key is None:  # objects of a user's own: nothing says whether a copy of them is still true
        return _in_memory(split, workers=1)
    copy = cache_folder() / "decoded" / f"{_plain(split.source)}-{split.name}-{key}.beton"
    if not is_finished(copy):
        try:
            _make(copy, split)
        except BrokenImageError:
            raise
        except PriorscopeError:  # the cache folder cannot be written, or is full: the pictures stay in memory
            return _in_memory(split)
    kept = read_split(Beton.open(copy), source=split.source, name=split.name)
    return replace(split, pixels=kept.pixels, known_statistics=kept.known_statistics, known_fingerprint=kept.known_fingerprint)


def _keepable(split: Split) -> bool:
    """Whether a split's pictures are of one size and few enough to decode without being asked."""
    shape = common_shape(split)
    return shape is not None and len(split) * int(np.prod(shape)) <= MOST_BYTES


def _make(copy: Path, split: Split) -> None:
    _check_room(copy, len(split) * int(np.prod(common_shape(split) or ())))
    with alone(copy), bar(f"decoding {split.source}/{split.name}") as watch:
        if not is_finished(copy):
            write_split(split, copy, watch=watch)


def _in_memory(split: Split, workers: int | None = None) -> Split:
    array = decoded(split.pixels, workers)
    return split if array is None else replace(split, pixels=ArrayPixels(array))


def behind(pixels: object, kind: type[object] | UnionType) -> bool:
    """Whether pictures come from a kind of place, chosen from it, cut to squares, or as they are."""
    below = getattr(pixels, "of", None)
    return isinstance(pixels, kind) or (below is not None and behind(below, kind))


def encoded_in(pixels: Pixels) -> tuple[EncodedPixels, Ints | None] | None:
    """The encoded pictures behind a split's, and which of them it chose; None where its pictures are not encoded."""
    if isinstance(pixels, EncodedPixels):
        return pixels, None
    found = encoded_in(pixels.of) if isinstance(pixels, ChosenPixels) else None
    if found is None or not isinstance(pixels, ChosenPixels):
        return None
    encoded, chosen = found
    return encoded, pixels.chosen if chosen is None else chosen[pixels.chosen]


def common_shape(split: Split) -> tuple[int, ...] | None:
    """The shape of a split's pictures, judged by the size asked for or by a few of them."""
    if split.pixels.size is not None:
        return (*split.pixels.size, 3)
    looked_at = np.unique(np.linspace(0, len(split) - 1, LOOKED_AT).astype(np.int64))
    shapes = {split.pixels.read(int(index)).shape for index in looked_at}
    return shapes.pop() if len(shapes) == 1 else None


def copy_key(split: Split, pixels: EncodedPixels, chosen: Ints | None) -> str:
    """A hash of everything that a decoded copy depends on."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(
        repr((decode.VERSION, type(pixels).__name__, pixels.key(), pixels.res, split.classes, sorted(split.columns))).encode()
    )
    for array in (chosen, split.labels, *(split.columns[name] for name in sorted(split.columns))):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def data_key(split: Split) -> str | None:
    """A hash of what a split's pictures and labels are made from, without decoding them; None where nothing says it."""
    found = encoded_in(split.pixels)
    if found is not None:
        return copy_key(split, *found)
    if split.known_fingerprint is not None or _have_array(split.pixels):
        return split.fingerprint
    pixels = _pixels_key(split.pixels)
    return None if pixels is None else content_key([decode.VERSION, split.source, split.name, split.labels.tolist(), pixels])


def _have_array(pixels: Pixels) -> bool:
    """Whether pictures lie in one array or are chosen from one. The chosen are not copied: they may be larger than memory."""
    return _have_array(pixels.of) if isinstance(pixels, ChosenPixels) else pixels.array is not None


def _pixels_key(pixels: Pixels) -> Any:
    """What pictures are made from: those that they are taken from, and how; None where these are a user's own objects."""
    if isinstance(pixels, SquarePixels):
        below = _pixels_key(pixels.of)
        return below and [below, pixels.res]
    if isinstance(pixels, ChosenPixels):
        below = _pixels_key(pixels.of)
        return below and [below, pixels.chosen.tolist()]
    if isinstance(pixels, BetonPixels):
        about = pixels.of.path.stat()
        return [str(pixels.of.path), about.st_size, about.st_mtime_ns]
    if pixels.array is None:
        return None
    digest = hashlib.blake2b(digest_size=8)
    for start in range(0, len(pixels), CHUNK):
        digest.update(np.ascontiguousarray(pixels.array[start : start + CHUNK]).tobytes())
    return digest.hexdigest()


def _check_room(copy: Path, wanted: int) -> None:
    """Refuses to fill a disk with copies that nobody asked for."""
    existing = next(folder for folder in copy.parents if folder.exists())
    if shutil.disk_usage(existing).free < 2 * wanted:
        raise WorkError(f"{existing} has too little room for {wanted:,} bytes.", "twice as much", "free some space")


def _plain(name: str) -> str:
    """A source's name as a part of a file's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)[-40:]
