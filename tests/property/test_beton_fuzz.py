"""Damaged and hostile `.beton` files: refused in three parts, or read; never a crash, a hang, or memory beyond their size."""

from __future__ import annotations

import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from priorscope.core import rng
from priorscope.core.errors import PriorscopeError
from priorscope.data.beton import ArrayField, Beton, BytesField, Field, FloatField, ImageField, IntField, JSONField, write
from priorscope.data.beton.layout import DESCRIPTOR, HEADER, REGION, read_layout

QUICK, THOROUGH = 1_500, 12_000
EXTREMES = [0, 1, 2, 255, 4095, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 4096, 2**64 - 1]
LONGEST = 2.0
"""Seconds of the processor that one mutant may take, whatever else runs: a whole file takes a few milliseconds."""


def seeds(folder: Path) -> list[bytes]:
    """Whole files of every kind, each small: damage then meets structure more often than pixels."""
    picture = rng.stream(0, "fuzz", "pictures")

    def image(height: int, width: int) -> np.ndarray:
        return picture.integers(0, 256, (height, width, 3), dtype=np.uint8)

    kinds: dict[str, tuple[dict[str, Field], list[tuple[object, ...]]]] = {
        "raw": ({"image": ImageField(), "label": IntField()}, [(image(4, 4), i) for i in range(6)]),
        "jpg": ({"image": ImageField("jpg"), "label": IntField()}, [(image(8 + i, 9), i) for i in range(4)]),
        "smart": (
            {"image": ImageField("smart", smart_threshold=200), "w": FloatField()},
            [(image(6 + i, 9), i / 3) for i in range(5)],
        ),
        "arrays": (
            {"array": ArrayField(np.dtype("<f4"), (2, 3)), "bytes": BytesField(), "json": JSONField()},
            [(np.full((2, 3), i, np.float32), b"ab" * i, {"i": i}) for i in range(5)],
        ),
        "numbers": ({"label": IntField()}, [(i,) for i in range(7)]),
    }
    contents: list[bytes] = []
    for name, (fields, samples) in kinds.items():
        path = folder / f"{name}.beton"
        write(path, fields, samples, len(samples))
        contents.append(path.read_bytes())
    return contents


@lru_cache
def structure(content: bytes) -> np.ndarray:
    """The bytes that say where something is: all but the data and the unused parts of descriptors."""
    table = int(np.frombuffer(content, HEADER, 1)["alloc_table_ptr"][0])
    regions = np.frombuffer(content, REGION, offset=table)
    is_data = np.zeros(len(content), bool)
    for region in regions:
        is_data[int(region["ptr"]) : int(region["ptr"] + region["size"])] = True
    is_data |= (
        (np.frombuffer(content, np.uint8) == 0)
        & (np.arange(len(content)) > HEADER.itemsize)
        & (np.arange(len(content)) % 5 > 0)
    )
    return np.flatnonzero(~is_data)


def flip(content: bytes, random: np.random.Generator) -> bytes:
    """One to four bytes changed, three times of four where structure is."""
    damaged = bytearray(content)
    places = structure(content) if random.random() < 0.75 else np.arange(len(content))
    for place in random.choice(places, int(random.integers(1, 5))):
        damaged[place] = int(random.integers(256)) if random.random() < 0.5 else damaged[place] ^ (1 << int(random.integers(8)))
    return bytes(damaged)


def cut(content: bytes, random: np.random.Generator) -> bytes:
    """The file cut anywhere."""
    return content[: int(random.integers(len(content)))]


def splice(content: bytes, random: np.random.Generator) -> bytes:
    """Bytes left out, doubled or put in."""
    start, length = int(random.integers(len(content))), int(random.integers(1, 64))
    middle = [b"", content[start : start + length] * 2, random.bytes(length)][int(random.integers(3))]
    return content[:start] + middle + content[start + length :]


def edit(content: bytes, random: np.random.Generator) -> bytes:
    """A number of the header, a descriptor, the sample table or the allocation table set to an extreme or shifted value."""
    damaged = bytearray(content)
    header = np.frombuffer(content, HEADER, 1)[0]
    table = min(int(header["alloc_table_ptr"]), len(content))
    ends = HEADER.itemsize + int(header["num_fields"]) * DESCRIPTOR.itemsize
    places = [
        *((int(HEADER.fields[name][1]), HEADER.fields[name][0].itemsize) for name in HEADER.names),  # type: ignore[index]
        *((at, 8) for at in range(ends, min(ends + 400, table - 8))),
        *((at, 8) for at in range(table, len(content) - 7, 8)),
        *((at + 17 + 8 * k, 8) for at in range(HEADER.itemsize, ends, DESCRIPTOR.itemsize) for k in (0, 1, 2, 31, 32)),
        *((at, 1) for at in range(HEADER.itemsize, ends, DESCRIPTOR.itemsize)),
        *((at + 17 + 264, 4) for at in range(HEADER.itemsize, ends, DESCRIPTOR.itemsize)),
    ]
    for _ in range(int(random.integers(1, 3))):
        at, width = places[int(random.integers(len(places)))]
        value = int.from_bytes(damaged[at : at + width], "little")
        shifted = value + int(random.choice([-4096, -24, -8, -1, 1, 3, 24, 4096]))
        chosen = EXTREMES[int(random.integers(len(EXTREMES)))] if random.random() < 0.5 else shifted
        damaged[at : at + width] = (chosen % 256**width).to_bytes(width, "little")
    return bytes(damaged)


def exchange(content: bytes, random: np.random.Generator) -> bytes:
    """Rows of the allocation table or of the sample table put in each other's place, or one over another."""
    damaged = bytearray(content)
    table = int(np.frombuffer(content, HEADER, 1)["alloc_table_ptr"][0])
    start, stop = (table, len(content)) if random.random() < 0.5 else (HEADER.itemsize, table)
    width = int(random.choice([8, 24]))
    if stop - start < 2 * width:
        return cut(content, random)
    a, b = (start + int(random.integers((stop - start) // width)) * width for _ in range(2))
    damaged[a : a + width], other = damaged[b : b + width], damaged[a : a + width]
    if random.random() < 0.5:
        damaged[b : b + width] = other
    return bytes(damaged)


MUTATIONS: list[Callable[[bytes, np.random.Generator], bytes]] = [flip, cut, splice, edit, exchange]


def in_memory(content: bytes) -> Beton:
    """A file opened without a disk, which costs more than all else that a mutant takes."""
    path, flat = Path("mutant.beton"), np.frombuffer(content, np.uint8)
    return Beton(path, flat, read_layout(path, flat), None)


def on_disk(path: Path) -> Callable[[bytes], Beton]:
    def opened(content: bytes) -> Beton:
        path.write_bytes(content)
        return Beton.open(path)

    return opened


def read_everything(beton: Beton) -> None:
    assert len(beton) > 0
    for name in beton.fields:
        for index in range(len(beton)):
            beton.value(name, index)
    images = beton.images
    if images is not None:
        images.tobytes()
    if beton.rows is not None:
        beton.gather(range(len(beton)))


OBJECTS = 1 << 14
"""What Python's own objects take beside a file's bytes: opening may not hold more than that and the file's size."""


def fuzz(whole: list[bytes], opened: Callable[[bytes], Beton], count: int) -> dict[str, int]:
    """Opens and reads `count` mutants; returns how many were refused at opening or reading, and how many were read."""
    outcomes = {"refused": 0, "read": 0, "unexplained": 0}
    for number in range(count):
        random = rng.stream(0, "fuzz", number)
        content = MUTATIONS[number % len(MUTATIONS)](whole[int(random.integers(len(whole)))], random)
        tracemalloc.reset_peak()
        before, started = tracemalloc.get_traced_memory()[0], time.process_time()
        try:
            beton = opened(content)
            taken = tracemalloc.get_traced_memory()[1] - before
            assert taken < len(content) + OBJECTS, (number, taken, len(content))
            read_everything(beton)
            outcomes["read"] += 1
        except PriorscopeError as error:
            outcomes["refused" if all((error.came, error.wanted, error.do)) else "unexplained"] += 1
        assert time.process_time() - started < LONGEST, number
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak < 16 * len(content) + (1 << 18), (number, peak, len(content))  # decoded pictures are larger than a JPEG
    return outcomes


@pytest.fixture
def traced() -> object:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_the_undamaged_files_are_read(tmp_path: Path) -> None:
    for content in seeds(tmp_path):
        read_everything(in_memory(content))
        read_everything(on_disk(tmp_path / "whole.beton")(content))


@pytest.mark.usefixtures("traced")
def test_a_damaged_file_is_refused_or_read(tmp_path: Path) -> None:
    outcomes = fuzz(seeds(tmp_path), in_memory, QUICK)
    assert outcomes["refused"] > QUICK / 2
    assert outcomes["unexplained"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_twelve_thousand_damaged_files(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = fuzz(seeds(tmp_path), on_disk(tmp_path / "mutant.beton"), THOROUGH)
    assert outcomes["refused"] > THOROUGH / 2
    assert outcomes["unexplained"] == 0
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 200 << 20
    print(outcomes, f"resident memory grew by {grown >> 20} MiB")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.beton"
    for content in seeds(tmp_path):
        for end in range(0, len(content), 97):
            path.write_bytes(content[:end])
            with pytest.raises(PriorscopeError):
                Beton.open(path)
