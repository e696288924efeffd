"""Any source written to `.beton` files: one a split, its siblings named in the manifest.

Reading and decoding run in the writer's threads. The files get their names when all of them are finished: a conversion that
fails leaves a store of the same name as it was, and never new splits beside old ones. A killed conversion resumes where it
stopped when it is asked for again; one of a user's own objects begins again, since nothing says whether their pictures are the
same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from priorscope.core.config import Config, content_key
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import at_home, read_json, unwritable, write_json
from priorscope.core.machine import cores
from priorscope.data import open_config, source_config
from priorscope.data.beton.fields import ImageField
from priorscope.data.beton.manifest import is_finished, manifest_path
from priorscope.data.beton.part import part_path
from priorscope.data.cache import ReadySource, behind, data_key
from priorscope.data.decode import BrokenImageError
from priorscope.data.encoded import CHUNK
from priorscope.data.progress import Watch, bar
from priorscope.data.sources import SourceConfig
from priorscope.data.sources.dataset import Dataset, DatasetPixels, of_datasets
from priorscope.data.split import ChosenPixels, Pixels, Source, Split, no_such_split
from priorscope.data.squares import SquarePixels, at_size
from priorscope.data.store import write_split

ENDING = ".beton"
MOST_RES = 65_500
"""What libjpeg and the format allow."""


class Converted(Config):
    """One file of a conversion."""

    split: str
    path: str
    count: int
    bytes: int


class Skipped(Config):
    """A broken image that was left out."""

    where: str
    reason: str


class Conversion(Config):
    """What a conversion wrote, what it left out and how long it took."""

    files: tuple[Converted, ...]
    skipped: tuple[Skipped, ...] = ()
    seconds: float


def convert(
    source: str | Path | Mapping[str, Any] | SourceConfig | Source | Dataset,
    dst: str | Path,
    *,
    split: str = "all",
    res: int | None = None,
    quality: int | None = None,
    jpeg_above: int | None = None,
    subset: int | None = None,
    workers: int | None = None,
    on_broken: Literal["refuse", "skip"] = "refuse",
    watch: Watch | None = None,
) -> Conversion:
    """Writes a source's first split to `dst` and further ones beside it (`cifar10.beton`, `cifar10-val.beton`, ...).

    `source` is whatever `open` takes, an open source, or any torch-style dataset. `res` makes every picture its central square
    of that size, `quality` stores JPEG, with `jpeg_above` of pictures alone whose pixels take more bytes. `subset` takes a
    class-balanced subset of the first split, train (a smaller one lies in every larger one). A broken image ends the conversion
    with its path, or is left out and listed.
    """
    began = time.monotonic()
    target = _target(dst)
    _check(res, on_broken)
    images = _stored_as(quality, jpeg_above)
    opened = _opened(source)
    names = _chosen(opened, split)
    files = {name: target if name == names[0] else target.with_name(f"{target.stem}-{name}{ENDING}") for name in names}
    unfinished = _Unfinished(target)
    skipped: list[Skipped] = []
    written: dict[str, Converted] = {}
    for name in reversed(names):
        whole = opened.split(name)
        if res is not None:
            whole = replace(whole, pixels=at_size(whole.pixels, res), known_statistics=None, known_fingerprint=None)
        if on_broken == "skip":
            whole, left_out = without_broken(whole, workers)
            skipped += left_out
        if subset is not None and name == names[0]:
            whole = whole.subset(subset)
        siblings = {other: files[other].name for other in names if other != name}
        about: dict[str, Any] = {"origin": str(getattr(opened, "origin", "")), "caveats": _caveats(opened, images)}
        written[name] = _write(whole, files[name], siblings, images, workers, about, watch, unfinished)
    unfinished.publish([files[name] for name in names])
    ordered = tuple(written[name] for name in names)
    return Conversion(files=ordered, skipped=tuple(skipped), seconds=round(time.monotonic() - began, 3))


def _caveats(source: Source, images: ImageField) -> tuple[str, ...]:
    """What the source said of its pictures, and what storing them as JPEG adds to it."""
    told = tuple(getattr(source, "caveats", ()))
    if images.mode == "raw":
        return told
    which = "The pictures" if images.smart_threshold is None else f"Pictures of more than {images.smart_threshold:,} bytes"
    return (*told, f"{which} were stored again as JPEG of quality {images.quality}: they are not the pixels of their source.")


def _target(dst: str | Path) -> Path:
    target = at_home(dst)
    if target.suffix != ENDING:
        raise RequestError(f"The file to write is {target.name!r}.", f"a name ending in {ENDING}", f"{target.stem}{ENDING}")
    return target


def _check(res: int | None, on_broken: str) -> None:
    if res is not None and not 1 <= res <= MOST_RES:
        raise RequestError(f"Pictures of {res} x {res} were asked for.", f"1 to {MOST_RES}", "--res 64")
    if on_broken not in ("refuse", "skip"):
        raise RequestError(f"on_broken = {on_broken!r} is not known.", "refuse or skip", "on_broken = 'skip'")


def _stored_as(quality: int | None, jpeg_above: int | None) -> ImageField:
    """The field of a store's pictures: pixels, JPEG, or by their size the one or the other."""
    if quality is None and jpeg_above is not None:
        raise RequestError(
            f"jpeg_above = {jpeg_above} came without a quality.",
            "the quality of those JPEGs",
            f"--quality 90 --jpeg-above {jpeg_above}",
        )
    if jpeg_above is not None and jpeg_above < 1:
        raise RequestError(f"JPEG above {jpeg_above} bytes was asked for.", "1 or more", "leave it out, and all are JPEG")
    if quality is None:
        return ImageField()
    if not 1 <= quality <= 100:
        raise RequestError(f"A JPEG quality of {quality} was asked for.", "1 to 100, or none for plain pixels", "--quality 90")
    return ImageField("jpg" if jpeg_above is None else "smart", quality, jpeg_above)


def _opened(source: Any) -> Source:
    """A source whose pictures are as published: nothing is decoded before it is written, nor read from a store of its name."""
    if isinstance(source, ReadySource):
        return source.of
    if isinstance(source, str | Path | SourceConfig) or (isinstance(source, Mapping) and "name" in source):
        return open_config(source_config(source))
    if hasattr(source, "splits") and hasattr(source, "split"):
        return cast("Source", source)
    return of_datasets(source)


def _chosen(source: Source, split: str) -> tuple[str, ...]:
    """The splits to write: the one asked for, or all that are labelled like the first."""
    known = source.splits()
    if split == "all" and "all" not in known:
        return tuple(name for name in known if name != "unlabeled")
    if split not in known:
        raise no_such_split(source.name, split, known)
    return (split,)


def without_broken(split: Split, workers: int | None = None) -> tuple[Split, list[Skipped]]:
    """The split without the pictures that cannot be decoded, and a list of these.

    They must be known before the first one is written: the number of samples stands in front of them in the file.
    """
    if not _decoded_one_by_one(split.pixels):
        return split, []

    def check(start: int) -> list[tuple[int, BrokenImageError]]:
        found: list[tuple[int, BrokenImageError]] = []
        for index in range(start, min(start + CHUNK, len(split))):
            try:
                split.pixels.read(index)
            except BrokenImageError as error:
                found.append((index, error))
        return found

    with ThreadPoolExecutor(_workers(split, workers) or cores()) as pool:
        found = [pair for chunk in pool.map(check, range(0, len(split), CHUNK)) for pair in chunk]
    whole = np.setdiff1d(np.arange(len(split)), [index for index, _ in found])
    if not len(whole):
        first = found[0][1]
        raise WorkError(f"Every picture is broken; the first is {first.where}: {first.reason}.", "images", "check the source")
    skipped = [Skipped(where=error.where, reason=error.reason) for _, error in found]
    return (split.choose(whole) if found else split), skipped


def _decoded_one_by_one(pixels: Pixels) -> bool:
    """Whether pictures are neither an array nor made from one: then some may turn out broken."""
    if isinstance(pixels, ChosenPixels | SquarePixels):
        return _decoded_one_by_one(pixels.of)
    return pixels.array is None


def _workers(split: Split, asked: int | None) -> int | None:
    """The number of threads: as asked; if none is asked, one for a user's own dataset, whose code may not stand several."""
    return 1 if asked is None and behind(split.pixels, DatasetPixels) else asked


class _Unfinished:
    """The files of a conversion in a folder of their own, `NAME.converting`, until all are finished.

    Which files are finished is written down, so that a killed conversion resumes with the next one.
    """

    def __init__(self, target: Path) -> None:
        self.folder = target.with_name(f"{target.name}.converting")
        self.path = self.folder / "finished.json"
        again = f"delete {self.path} and run the same command again"
        self.finished: dict[str, str] = read_json(self.path, again) if self.path.is_file() else {}

    def place(self, file: Path) -> Path:
        """The path at which a file lies until all files are finished."""
        return self.folder / file.name

    def has(self, file: Path, key: str) -> bool:
        return self.finished.get(file.name) == key and is_finished(self.place(file))

    def add(self, file: Path, key: str) -> None:
        self.finished[file.name] = key
        write_json(self.path, self.finished)

    def publish(self, files: Sequence[Path]) -> None:
        """Gives the files their names, the first last: when it is there, so are the siblings that its manifest names.

        An older first file goes before all that, so that a kill in between leaves no old split beside new ones.
        """
        first = files[0]
        try:
            manifest_path(first).unlink(missing_ok=True)
            first.unlink(missing_ok=True)
            for file in reversed(files):
                manifest_path(file).unlink(missing_ok=True)
                self.place(file).replace(file)
                manifest_path(self.place(file)).replace(manifest_path(file))
            shutil.rmtree(self.folder)
        except OSError as error:
            raise unwritable(first, error) from error


def _write(
    split: Split,
    file: Path,
    siblings: Mapping[str, str],
    images: ImageField,
    workers: int | None,
    about: Mapping[str, Any],
    watch: Watch | None,
    unfinished: _Unfinished,
) -> Converted:
    """Writes one split to where it lies unfinished, or resumes writing it, or finds it written."""
    place = unfinished.place(file)
    data = data_key(split)
    key = None if data is None else content_key([data, repr(images), dict(siblings), split.name])
    if key is None or not unfinished.has(file, key):
        _check_room(split, place, images)
        options: dict[str, Any] = {"images": images, "siblings": siblings, "resume": key, **about}
        options["workers"] = _workers(split, workers)
        if watch is not None:
            write_split(split, place, watch=watch, **options)
        else:
            with bar(f"{split.source}/{split.name} -> {file.name}") as shown:
                write_split(split, place, watch=shown, **options)
        if key is not None:
            unfinished.add(file, key)
    return Converted(split=split.name, path=str(file), count=len(split), bytes=place.stat().st_size)


def _check_room(split: Split, file: Path, images: ImageField) -> None:
    """Refuses early where the file cannot fit: pictures stored as pixels take what a first one takes, times their number."""
    if images.mode != "raw":
        return
    folder = next(folder for folder in file.absolute().parents if folder.exists())
    height, width = split.pixels.size or split.pixels.read(0).shape[:2]
    begun = part_path(file)
    free = shutil.disk_usage(folder).free + (begun.stat().st_size if begun.is_file() else 0)
    wanted = len(split) * height * width * 3
    if wanted > free:
        raise RequestError(
            f"{file} would take about {wanted / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free.",
            "room for the pixels of every picture",
            "--res 64 for smaller pictures, --quality 90 for JPEG, or another disk",
        )
