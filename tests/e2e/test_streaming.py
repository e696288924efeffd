"""A store larger than the memory that a process is allowed: it must stream, with the limit enforced by the system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from priorscope.data.split import ArrayPixels, Split
from priorscope.data.store import write_split

LIMIT = 640 << 20
STORE = 1 << 30
SIDE = 64
COUNT = STORE // (SIDE * SIDE * 3)

STREAM = """
import json, os, sys, time
group, path, shuffle = sys.argv[1:]
with open(f"{group}/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
import priorscope as ps
split = ps.data.open(path).split("train")
loader = ps.data.Loader(split, batch_size=512, augment="flip", shuffle=json.loads(shuffle), threads=1)
seen, sums, took = 0, 0.0, []
for batch in loader:
    before = time.perf_counter()
    seen += len(batch.labels)
    sums += float(batch.images.sum())
    took.append(before)
with open(f"{group}/memory.max_usage_in_bytes") as file:
    times = [took[i * len(took) // 10] for i in range(10)]
    print(json.dumps({"seen": seen, "sum": sums, "most": int(file.read()), "times": times}))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of the system's whose processes may not hold more than the limit, page cache included."""
    memory = Path("/sys/fs/cgroup/memory")
    path = memory / f"priorscope-{uuid.uuid4().hex[:8]}"
    try:
        path.mkdir()
        (path / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no control group of memory (version 1) can be made here: {error}")
    yield path
    path.rmdir()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gigabyte of pictures whose every pixel is the picture's number modulo 251."""
    path = tmp_path_factory.mktemp("stream") / "large.beton"
    pixels = np.memmap(path.with_suffix(".raw"), np.uint8, "w+", shape=(COUNT, SIDE, SIDE, 3))
    for first in range(0, COUNT, 4096):
        numbers = np.arange(first, min(first + 4096, COUNT)) % 251
        pixels[first : first + 4096] = numbers.astype(np.uint8)[:, None, None, None]
    write_split(Split("made", "train", ArrayPixels(pixels), np.zeros(COUNT, np.int64), ("one",)), path)
    path.with_suffix(".raw").unlink()
    return path


def forget(path: Path) -> None:
    """Writes a file's pages to disk and takes them out of memory, so that whoever reads them next is charged for them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", ["chunks", False])
def test_a_store_larger_than_the_memory_allowed_streams_whole(group: Path, store: Path, shuffle: str | bool) -> None:
    """Every picture arrives once, as it was written, in a process that the system would end at 640 MiB, torch included."""
    assert store.stat().st_size > 1.5 * LIMIT
    forget(store)
    command = [sys.executable, "-c", STREAM, str(group), str(store), json.dumps(shuffle)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["seen"] == COUNT
    expected = (np.arange(COUNT) % 251).sum() / 255 * 3 * SIDE * SIDE
    assert told["sum"] == pytest.approx(expected, rel=1e-5)
    assert told["most"] <= LIMIT
    print("pictures a second in each tenth:", [round(COUNT / 10 / seconds) for seconds in np.diff(told["times"])])
