"""This machine: what it has, how fast it multiplies, and what of that will disturb a run or a measurement."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.config import Plain
from priorscope.core.folder import cache_folder
from priorscope.core.machine import cores, hardware, versions
from priorscope.data.folders import DATA_VARIABLE, data_folder
from priorscope.doctor import Finding

if TYPE_CHECKING:
    import torch

SIDE, LEAST, SECONDS, MOST_SECONDS = 1024, 12, 0.3, 3.0
GIB = 1 << 30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, 5 * GIB


def facts() -> Plain:
    """What this machine is and has left, and how many multiply-adds a second (times two) it reaches on square matrices."""
    import psutil
    import torch

    from priorscope.train.precision import has_fast_bf16

    cpu = torch.device("cpu")
    return {
        **hardware(),
        **versions(),
        "timm": version("timm"),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "memory_free": int(psutil.virtual_memory().available),
        "bf16_in_hardware": has_fast_bf16(cpu),
        "fp32_gflops": giga(matrix_rate(torch.float32)),
        "bf16_gflops": giga(matrix_rate(torch.bfloat16)),
        "data_folder": str(data_folder()),
        "data_folder_there": data_folder().is_dir(),
        "cache_folder": str(cache_folder()),
        "cache_disk_free": shutil.disk_usage(_existing(cache_folder())).free,
    }


def matrix_rate(dtype: torch.dtype) -> float:
    """FLOP a second of a matrix product of 1024 x 1024, at the best of several moments: a busy moment is not the machine's.

    Where a processor emulates the type, a product may take seconds: then fewer count.
    """
    import torch

    left, right = torch.ones(SIDE, SIDE, dtype=dtype), torch.ones(SIDE, SIDE, dtype=dtype)
    torch.mm(left, right)
    began, times = time.perf_counter(), list[float]()
    while (taken := time.perf_counter() - began) < SECONDS or (len(times) < LEAST and taken < MOST_SECONDS):
        at = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - at)
    return 2 * SIDE**3 / min(times)


def giga(rate: float) -> float:
    """In 10^9 a second; below 10 with one decimal, for 0 would say that there is none."""
    return round(rate / 1e9, 1 if rate < 1e10 else None)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.resolve().parents) if path.exists())


def look_at_machine(known: Plain) -> Iterator[Finding]:
    """Which of these facts will disturb a run."""
    yield from _room(known)
    if known["load"] is not None and known["load"] > cores():
        yield Finding(
            check="machine",
            severity="note",
            saw=f"{known['load']:.1f} processes want {known['cores']} cores.",
            means="times that are measured now are those of a busy machine",
            do="measure again when it is quiet",
        )
    everywhere = os.cpu_count() or 1
    if known["cores"] < everywhere:
        yield Finding(
            check="machine",
            severity="note",
            saw=f"This process may use {known['cores']} of {everywhere} cores.",
            means="a container or a batch system has set them apart; times hold for these cores alone",
            do="ask for more of them, if they are meant to be used",
        )
    if known["bf16_in_hardware"] and known["bf16_gflops"] < 1.2 * known["fp32_gflops"]:
        yield Finding(
            check="machine",
            severity="warning",
            saw=f"bfloat16 products run at {known['bf16_gflops']:,} GFLOP/s, float32 ones at {known['fp32_gflops']:,}.",
            means="this processor has bfloat16 instructions and gains nothing by them, and train.precision = 'auto' takes them",
            do="--set train.precision=fp32",
        )
    if not known["data_folder_there"]:
        yield Finding(
            check="machine",
            severity="note",
            saw=f"There is no data folder at {known['data_folder']}.",
            means="only the built-in world is at hand",
            do=f"set {DATA_VARIABLE} to where published data sets are, or: priorscope data get cifar10",
        )


def _room(known: Plain) -> Iterator[Finding]:
    if known["memory_free"] < LEAST_MEMORY:
        yield Finding(
            check="machine",
            severity="warning",
            saw=f"{known['memory_free'] / GIB:.1f} GiB of memory are free of {known['memory'] / GIB:.1f}.",
            means="loading torch and a data set of 60,000 small pictures takes about 2 GiB",
            do="end what else is running, or fewer workers: --workers 1",
        )
    if known["cache_disk_free"] < LEAST_DISK:
        yield Finding(
            check="machine",
            severity="warning",
            saw=f"{known['cache_disk_free'] / GIB:.1f} GiB are free on the disk of {known['cache_folder']}.",
            means="decoded copies of data sets go there; Tiny ImageNet takes 1.3 GiB, and twice that is wanted free",
            do="free some space, or set PRIORSCOPE_CACHE to another disk",
        )
