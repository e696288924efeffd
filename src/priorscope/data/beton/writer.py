"""Writes `.beton` files: the same bytes for any number of workers, in bounded memory, complete or not at all.

FFCV starts the data at a page of its own, pads every page to its end, and lets each worker fill pages for itself. A file
written here holds its samples in order, and nothing between them but what the format demands:

    - the data begin at the first multiple of 4,096 bytes after the sample table
    - a sample's regions lie one behind the other, in the order of the fields, and no sample lies across a page boundary: FFCV's
      reader without the system's cache reads page by page
    - where the first image is raw, the pages are as large as the file (up to 2 GiB), so that images of one size stand at equal
      distances and are one array; otherwise, or beyond 2 GiB, they are 8 MiB

A killed process leaves `NAME.part`, never half a file under its final name. With `resume`, a text that names what is being
written, it also leaves notes, and the next call resumes after the last sample that they say is on the disk.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from priorscope.core.config import content_key
from priorscope.core.contracts import Statistics
from priorscope.core.errors import PriorscopeError, RequestError, WorkError
from priorscope.core.folder import at_home, unwritable
from priorscope.data.beton.fields import JPG, RAW, Buffer, Bytes, Encoded, Field, ImageField, codec, row, sample_type
from priorscope.data.beton.layout import DESCRIPTOR, HEADER, NAME_BYTES, REGION, VERSION, Ints, descriptors, is_field_name
from priorscope.data.beton.manifest import About, Manifest, digests, manifest_path, page_bytes, write_manifest
from priorscope.data.beton.part import Notes, StoredPart
from priorscope.data.beton.reader import Beton

Sample = Sequence[Any]
"""One value for each field, in their order."""

LEAST_PAGE = 1 << 21
"""The smallest page that FFCV's writer makes."""
PAGE = 1 << 23
"""FFCV's own default."""
DENSE_PAGE = 1 << 31
"""The largest power of two that the header's 32 bits hold."""
MOST_READ = 0x7FFFF000
"""Linux reads at most this much at once, and FFCV a page: the last 4,096 bytes of a 2 GiB page would never arrive."""
DATA_ALIGNMENT = 4096
CHUNK = 32
"""Samples that a worker encodes before it takes new work."""


def write(
    path: str | Path,
    fields: Mapping[str, Field],
    samples: Iterable[Sample | Callable[[], Sample]],
    n: int,
    *,
    workers: int = 1,
    manifest: About | None = None,
    resume: str | None = None,
) -> Manifest:
    """Writes `n` samples and the manifest beside them, and returns the manifest.

    A sample is one value for each field, or a function that makes it. Functions are called by the workers, so that decoding
    runs on all of them, and are not called for samples that an interrupted run has already written. A few chunks of samples for
    each worker are in memory at once, never all.
    """
    target = at_home(path)
    _check_request(target, fields, n, workers)
    try:
        with StoredPart(target, None if resume is None else _key(fields, n, resume)) as part:
            found = _Writer(part, dict(fields), n).write(samples, workers, manifest or About())
            part.publish(before=lambda: manifest_path(target).unlink(missing_ok=True))
    except OSError as error:
        raise unwritable(target, error) from error
    write_manifest(target, found)
    return found


def _check_request(target: Path, fields: Mapping[str, Field], n: int, workers: int) -> None:
    if target.suffix != ".beton":
        raise RequestError(f"{target} does not end in .beton.", "a file name that says its format", str(target) + ".beton")
    if n < 1 or workers < 1:
        raise RequestError(
            f"{n} samples were to be written by {workers} workers.", "at least one of each", "pass what there is"
        )
    if not fields:
        raise RequestError(f"{target} was to be written without fields.", "at least one field", "{'image': ImageField(), ...}")
    for name, field in fields.items():
        if not is_field_name(name):
            raise RequestError(
                f"A field was called {name!r}.",
                f"1 to {NAME_BYTES} printable ASCII characters",
                "shorten the name: FFCV would cut it",
            )
        if isinstance(field, ImageField) and field.mode == "mixed":
            raise RequestError(
                f"Field {name!r} was to be written in mode 'mixed'.",
                "raw, jpg or smart: mixed is only what a file that holds both is called",
                "ImageField('smart', smart_threshold=100_000)",
            )


def _key(fields: Mapping[str, Field], n: int, resume: str) -> str:
    return content_key([[name, repr(field)] for name, field in fields.items()] + [n, resume, codec(), DATA_ALIGNMENT, PAGE])


@dataclass(frozen=True)
class Chunk:
    """Some samples encoded, and the sums of their pixels."""

    samples: list[list[Encoded]]
    pixels: int
    sums: Ints
    squares: Ints


class _Writer:
    """Puts encoded samples one behind the other."""

    def __init__(self, part: StoredPart, fields: dict[str, Field], n: int) -> None:
        self.part = part
        self.fields = fields
        self.n = n
        self.kind = sample_type(fields)
        self.image = next((k for k, field in enumerate(fields.values()) if isinstance(field, ImageField)), None)
        self.table_at = HEADER.itemsize + len(fields) * DESCRIPTOR.itemsize
        start = self.table_at + n * self.kind.itemsize
        self.notes = part.notes or Notes(end=_up(start, DATA_ALIGNMENT))

    def write(self, samples: Iterable[Sample | Callable[[], Sample]], workers: int, about: About) -> Manifest:
        rest = itertools.islice(iter(samples), self.notes.done, None)
        with ThreadPoolExecutor(workers, "beton") as pool:
            try:
                for chunk in self._encoded(pool, rest, 2 * workers):
                    self._append(chunk)
                    self.part.note(self.notes)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if self.notes.done < self.n or next(rest, None) is not None:
            raise WorkError(
                f"{'Only' if self.notes.done < self.n else 'More than'} {self.notes.done} samples came.",
                f"{self.n}, as was said",
                "pass the number that there are",
            )
        return self._finish(about)

    def _encoded(self, pool: ThreadPoolExecutor, rest: Iterator[Any], ahead: int) -> Iterator[Chunk]:
        """The chunks in order, `ahead` of them in work at once."""
        waiting: deque[Future[Chunk]] = deque()
        at = self.notes.done
        while at < self.n:
            some = list(itertools.islice(rest, min(CHUNK, self.n - at)))
            if not some:
                break
            waiting.append(pool.submit(self._encode, at, some))
            at += len(some)
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _encode(self, first: int, some: list[Sample | Callable[[], Sample]]) -> Chunk:
        values = [self._made(first + k, sample) for k, sample in enumerate(some)]
        samples = [self._encode_sample(first + k, sample) for k, sample in enumerate(values)]
        return Chunk(samples, *level_sums([] if self.image is None else [sample[self.image] for sample in values]))

    def _made(self, index: int, sample: Sample | Callable[[], Sample]) -> Sample:
        try:
            made = sample() if callable(sample) else sample
        except PriorscopeError:
            raise
        except Exception as error:  # whatever goes wrong in the caller's function, the sample must be named
            raise WorkError(
                f"Sample {index} could not be made: {type(error).__name__}: {error}.",
                "a value for each field",
                "mend or leave it out",
            ) from error
        if len(made) != len(self.fields):
            raise WorkError(
                f"Sample {index} has {len(made)} values.",
                f"{len(self.fields)}: {', '.join(self.fields)}",
                "one value for each field",
            )
        return made

    def _encode_sample(self, index: int, sample: Sample) -> list[Encoded]:
        encoded: list[Encoded] = []
        for (name, field), value in zip(self.fields.items(), sample, strict=True):
            try:
                encoded.append(field.encode(value))
            except (ValueError, TypeError, OverflowError) as error:
                raise WorkError(
                    f"Sample {index} cannot be written: {name!r}: {error}.",
                    f"what a {type(field).__name__} holds",
                    "mend or leave it out",
                ) from None
        return encoded

    def _append(self, chunk: Chunk) -> None:
        """Gives the samples of a chunk their places and writes them there."""
        end, page, first = self.notes.end, self.notes.page, self.notes.done
        table = np.zeros(len(chunk.samples), self.kind)
        regions: list[tuple[int, int, int]] = []
        run: list[Buffer] = []
        run_start = end
        rows: list[list[Any]] = []
        for index, sample in enumerate(chunk.samples, first):
            takes = sum(max(len(blob), 1) for _, blob in sample if blob is not None)
            page = page or self._page_for(sample, takes)
            begin = self._place(index, end, takes, page)
            if begin != end:
                self.part.put(b"".join(run), run_start)
                run, run_start, end = [], begin, begin
            entries: list[Any] = []
            for field, (fixed, blob) in zip(self.fields.values(), sample, strict=True):
                entries.append(row(field, fixed, end))
                if blob is not None:
                    regions.append((index, end, len(blob)))
                    # FFCV finds a region by its place alone: an empty one gets a byte, so that no other begins where it does.
                    run.append(blob if len(blob) else b"\0")
                    end += max(len(blob), 1)
            rows.append(entries)
        self.part.put(b"".join(run), run_start)
        for name, column in zip(self.kind.names or (), zip(*rows, strict=True), strict=True):
            table[name] = list(column)  # a field at a time: a whole row would bring the unset bytes between its fields with it
        self.part.put(table.tobytes(), self.table_at + first * self.kind.itemsize)
        self.part.put_regions(np.array(regions, REGION).tobytes())
        self.notes = Notes(
            done=first + len(rows),
            end=end,
            page=page,
            regions=self.notes.regions + len(regions),
            pixels=self.notes.pixels + chunk.pixels,
            sums=tuple(int(a + b) for a, b in zip(self.notes.sums, chunk.sums, strict=True)),
            squares=tuple(int(a + b) for a, b in zip(self.notes.squares, chunk.squares, strict=True)),
        )

    def _page_for(self, sample: list[Encoded], takes: int) -> int:
        """The distance of the boundaries that no sample may cross: chosen by the first sample, never by workers."""
        if self.image is not None and sample[self.image][0][0] == RAW and self.notes.end + self.n * takes <= MOST_READ:
            return DENSE_PAGE
        return min(max(PAGE, _power(4 * takes)), DENSE_PAGE)

    def _place(self, index: int, end: int, takes: int, page: int) -> int:
        """The byte at which a sample begins: behind the one before it, or on the next page if it would cross a boundary."""
        room = min(page, MOST_READ)
        if takes > room:
            raise WorkError(
                f"Sample {index} takes {takes} bytes.",
                f"at most {room}, a page of this file",
                "store a smaller image, or split the file",
            )
        return end if end % page + takes <= room else _up(end, page)

    def _finish(self, about: About) -> Manifest:
        """Writes what could not be known before, reads the file as a user would, and describes it."""
        notes = self.notes
        dense = notes.page == DENSE_PAGE and notes.end <= MOST_READ
        header = np.zeros(1, HEADER)
        header["version"], header["num_fields"], header["num_samples"] = VERSION, len(self.fields), self.n
        header["page_size"] = max(LEAST_PAGE, _power(notes.end)) if dense else notes.page
        header["alloc_table_ptr"] = table_start = _up(notes.end, 8)
        self.part.put(header.tobytes() + descriptors(self.fields), 0)
        self.part.file.truncate(table_start)
        self.part.append_regions(table_start)
        self.part.flush()
        written = Beton.open(self.part.path)
        encoded = any(
            bool((written.layout.samples[f"f{k}"]["mode"] == JPG).any())
            for k, field in enumerate(self.fields.values())
            if isinstance(field, ImageField)
        )
        page = page_bytes(len(written.flat))
        pages, whole = digests(self.part.path, page)
        return Manifest(
            **about.model_dump(),
            count=self.n,
            image_size=written.size,
            statistics=_statistics(notes),
            codec=codec() if encoded else None,
            bytes=len(written.flat),
            page_bytes=page,
            pages=pages,
            sha256=whole,
        )


def level_sums(images: list[Bytes]) -> tuple[int, Ints, Ints]:
    """Pixels, and the sums of levels and of their squares for each channel: exact, so that any order gives the same."""
    if not images:
        return 0, np.zeros(3, np.int64), np.zeros(3, np.int64)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)]).astype(np.int64)
    level = np.arange(256, dtype=np.int64)
    return len(pixels), counts @ level, counts @ level**2


def _statistics(notes: Notes) -> Statistics | None:
    if notes.pixels == 0:
        return None
    # Whole numbers up to the last division: the difference of two nearly equal floats would lose digits.
    spread = [notes.pixels * square - total * total for total, square in zip(notes.sums, notes.squares, strict=True)]
    return Statistics(
        mean=tuple(total / (255 * notes.pixels) for total in notes.sums),
        std=tuple((part / notes.pixels**2) ** 0.5 / 255 for part in spread),
    )


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _power(value: int) -> int:
    """The smallest power of two that is not below."""
    return 1 << (value - 1).bit_length()
