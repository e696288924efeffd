"""How fast batches come: ours, FFCV and torchvision's DataLoader side by side, in one run, on one file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np
from numpy.typing import NDArray

from priorscope.bench import loader_peers as peers
from priorscope.core.config import Config
from priorscope.core.errors import WorkError
from priorscope.core.rng import stream

COUNTS = {32: 20_000, 64: 8_000}
JPEG_SIDE, JPEG_STORED, JPEG_COUNT = 224, 256, 512
ROUNDS = 5


class Spread(Config):
    """The median of the rounds, and their extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Self:
        """The spread of a measurement, from its number in each round."""
        return cls(median=median(rounds), low=min(rounds), high=max(rounds))


class LoaderCase(Config):
    """One size and one number of threads. Rates are pictures a second; a ratio is taken round by round, and is their median."""

    size: int
    threads: int
    jpeg: bool = False
    ours: float
    ffcv: float | None = None
    torchvision: float
    ratio_ffcv: float | None = None
    ratio_torchvision: float
    memcpy_bound: float
    """Pictures a second of copying one float32 output batch with as many threads."""
    ratio_memcpy: float
    decoding: float | None = None
    """JPEG: pictures a second of decoding alone, as many threads."""
    spread: dict[str, Spread]
    """Low, median and high of each ratio over the rounds."""


class LoaderBench(Config):
    """All cases, and how long the first batch takes to come."""

    cases: tuple[LoaderCase, ...]
    cold_start_s: float
    """Seconds from the end of `import torch` to the first batch, in a fresh process with compiled kernels in numba's cache."""
    cold_total_s: float
    """Seconds from the start of that process to the first batch."""

    def table(self) -> str:
        """The cases as text."""
        lines = [
            f"{'case':>12} {'thr':>3} {'ours':>10} {'FFCV':>10} {'torchvision':>11} {'/FFCV':>7} {'/tv':>7} {'/memcpy':>7}"
        ]
        for case in self.cases:
            name = f"{case.size}x{case.size}" + (" JPEG" if case.jpeg else "")
            ffcv = "-" if case.ffcv is None else f"{case.ffcv:,.0f}"
            ratio = "-" if case.ratio_ffcv is None else f"{case.ratio_ffcv:.1f}"
            lines.append(
                f"{name:>12} {case.threads:>3} {case.ours:>10,.0f} {ffcv:>10} {case.torchvision:>11,.0f} "
                f"{ratio:>7} {case.ratio_torchvision:>7.1f} {case.ratio_memcpy:>7.2f}"
            )
            if case.decoding is not None:
                lines.append(f"{'':>12}     decoding alone: {case.decoding:,.0f} pictures a second")
        lines.append(f"first batch {self.cold_start_s:.2f} s after import torch, {self.cold_total_s:.2f} s after the start")
        return "\n".join(lines)


def run(
    sizes: Sequence[int] = (32, 64),
    threads: Sequence[int] = (1, 2),
    *,
    jpeg: bool = True,
    rounds: int = ROUNDS,
    share: float = 1.0,
    say: Callable[[str], None] = lambda _: None,
) -> LoaderBench:
    """Measures every size with every number of threads. `share` takes fewer pictures; `say` is told what is being done."""
    cases: list[LoaderCase] = []
    with tempfile.TemporaryDirectory() as folder:
        files = [_file(Path(folder), size, size, max(1, round(COUNTS.get(size, 4_000) * share)), False) for size in sizes]
        if jpeg:
            files.append(_file(Path(folder), JPEG_SIDE, JPEG_STORED, max(1, round(JPEG_COUNT * share)), True))
        for case in files:
            for count in threads:
                say(f"{case.side}x{case.side}{' JPEG' if case.jpeg else ''}, {count} threads")
                cases.append(_measured(case, count, rounds))
        say("cold start")
        start, total = _cold_start(files[0].path)
    return LoaderBench(cases=tuple(cases), cold_start_s=start, cold_total_s=total)


def _measured(case: peers.Case, threads: int, rounds: int) -> LoaderCase:
    """One case: an epoch of each to warm up, then rounds in which each has its turn, so that all meet the same load."""
    made = {
        # First, because its workers are forked, and a process that already has threads is forked less safely.
        "torchvision": peers.torchvision(case, threads),
        "ours": peers.ours(case, threads),
        "ffcv": peers.ffcv(case, threads),
        "memcpy": peers.copies(case, threads),
        "decoding": peers.decoding(case, threads) if case.jpeg else None,
    }
    epochs = {name: epoch for name, epoch in made.items() if epoch is not None}
    for epoch in epochs.values():
        epoch()
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            rates[name].append(peers.timed(epoch))
    middle = {name: median(values) for name, values in rates.items()}
    ratios = {name: _ratio(rates["ours"], values) for name, values in rates.items() if name != "ours"}
    return LoaderCase(
        size=case.side,
        threads=threads,
        jpeg=case.jpeg,
        ours=middle["ours"],
        ffcv=middle.get("ffcv"),
        torchvision=middle["torchvision"],
        ratio_ffcv=ratios["ffcv"].median if "ffcv" in ratios else None,
        ratio_torchvision=ratios["torchvision"].median,
        memcpy_bound=middle["memcpy"],
        ratio_memcpy=ratios["memcpy"].median,
        decoding=middle.get("decoding"),
        spread=ratios,
    )


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Spread.of(each)


def _file(folder: Path, side: int, stored: int, count: int, jpeg: bool) -> peers.Case:
    """A file of smooth pictures with a little noise, which JPEG stores in about as many bytes as photographs."""
    from priorscope.data import beton

    random = stream(0, "bench", "loader", stored)
    y, x = np.mgrid[:stored, :stored] / stored

    def picture(index: int) -> NDArray[np.uint8]:
        phase = random.uniform(0, 6, 3)
        waves = 127 + 90 * np.sin(9 * x + phase[0])[..., None] * np.cos(7 * y + phase[1])[..., None]
        noise = random.integers(0, 24, (stored, stored, 1), dtype=np.uint8)
        return (waves + noise + 10 * np.arange(3) * ((index % 3) - 1)).clip(0, 255).astype(np.uint8)

    path = folder / f"{stored}{'-jpeg' if jpeg else ''}.beton"
    fields = {"image": beton.ImageField("jpg" if jpeg else "raw"), "label": beton.IntField()}
    about = beton.About(split="train", classes=tuple(str(i) for i in range(10)))
    beton.write(path, fields, ((picture(i), i % 10) for i in range(count)), count, manifest=about)
    return peers.Case(path, side, 1024 if side <= 64 else 64, jpeg)


_COLD = """
import time
begun = time.perf_counter()
import torch
imported = time.perf_counter()
import sys
from priorscope.data import open as open_source
from priorscope.data.loader import Loader
split = open_source({"name": "beton", "path": sys.argv[1]}).split("train")
batch = Loader(split, batch_size=1024, augment="rrc", shuffle=True).batch(0, 0)
done = time.perf_counter()
print(done - imported, done - begun)
"""


def _cold_start(path: Path) -> tuple[float, float]:
    """(seconds after `import torch`, seconds in all) to the first batch in a fresh process: the best of four.

    The first of them fills the caches: compiled kernels, and byte code, which is kept in a folder of its own where the
    environment forbids to write it (reading 850 modules from source takes longer than all the rest).
    """
    measured: list[tuple[float, float]] = []
    around = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if "PYTHONDONTWRITEBYTECODE" in os.environ:
        around["PYTHONPYCACHEPREFIX"] = str(path.parent / "bytecode")
    for _ in range(4):
        command = [sys.executable, "-c", _COLD, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=around)
        if done.returncode:
            raise WorkError(
                f"A fresh process did not load a batch: {done.stderr.strip().splitlines()[-1]}",
                "a first batch",
                "run it again, or report what it says",
            )
        after, total = done.stdout.split()
        measured.append((float(after), float(total)))
    return min(measured)
