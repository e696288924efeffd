"""The loaders that are measured side by side: ours, FFCV's where it is installed, torchvision's. Each gives pictures an epoch.

All read one `.beton` file and do the same work: random resized crop (bilinear), horizontal flip, float32 in [0, 1], NCHW.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Epoch = Callable[[], int]
"""Runs through one epoch and returns how many pictures came."""


@dataclass(frozen=True)
class Case:
    """One file to load: pictures of `size`, raw or JPEG, to be cropped to `side`."""

    path: Path
    side: int
    batch_size: int
    jpeg: bool


def ours(case: Case, threads: int) -> Epoch:
    """This package's loader."""
    from priorscope.data import open as open_source
    from priorscope.data.augment import PRESETS
    from priorscope.data.loader import Loader

    augment = PRESETS["rrc"].replace(size=case.side)
    split = open_source({"name": "beton", "path": str(case.path)}).split("train")
    batches = Loader(split, batch_size=case.batch_size, augment=augment, shuffle=True, threads=threads)

    def epoch() -> int:
        return sum(len(batch.labels) for batch in batches)

    return epoch


def ffcv(case: Case, threads: int) -> Epoch | None:
    """FFCV's loader with its own decoders and transforms; None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader: Any = import_module("ffcv.loader")
            decoders: Any = import_module("ffcv.fields.decoders")
            transforms: Any = import_module("ffcv.transforms")
    except ImportError:
        return None
    image = [
        decoders.RandomResizedCropRGBImageDecoder((case.side, case.side)),
        transforms.RandomHorizontalFlip(),
        transforms.NormalizeImage(np.zeros(3), np.full(3, 255.0), np.dtype(np.float32)),
        transforms.ToTensor(),
        transforms.ToTorchImage(channels_last=False, convert_back_int16=False),
    ]
    batches = loader.Loader(
        str(case.path),
        batch_size=case.batch_size,
        num_workers=threads,
        order=loader.OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines={"image": image, "label": [decoders.IntDecoder(), transforms.ToTensor()]},
    )

    def epoch() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sum(len(labels) for _, labels in batches)

    return epoch


class _Pictures:
    """A map-style data set as torchvision's users write it: a PIL image from the file, transformed, and its label."""

    def __init__(self, case: Case) -> None:
        from torchvision.transforms import v2

        self._case = case
        self._opened: Any = None
        self._transform = v2.Compose(
            [v2.PILToTensor(), v2.RandomResizedCrop(case.side, antialias=False), v2.RandomHorizontalFlip(), _unit()]
        )
        self._count = len(self._file())

    def _file(self) -> Any:
        """The file, opened again in each worker."""
        from priorscope.data.beton import Beton

        if self._opened is None:
            self._opened = Beton.open(self._case.path)
        return self._opened

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self._transform(Image.fromarray(self._file().read(index))), index


def _unit() -> Any:
    import torch
    from torchvision.transforms import v2

    return v2.ToDtype(torch.float32, scale=True)


def torchvision(case: Case, workers: int) -> Epoch:
    """torch's DataLoader with torchvision's transforms and as many worker processes; 0 is the process itself."""
    from torch.utils.data import DataLoader

    pictures: Any = _Pictures(case)
    batches: Any = DataLoader(
        pictures,
        batch_size=min(case.batch_size, 256),
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def epoch() -> int:
        return sum(len(labels) for _, labels in batches)

    return epoch


def copies(case: Case, threads: int) -> Epoch:
    """Copying float32 batches from memory to memory, as many threads: what no loader that writes such batches can beat.

    Buffers together are four times the last cache, 256 MiB at least and 1 GiB at most.
    """
    from concurrent.futures import ThreadPoolExecutor

    picture = 3 * case.side**2
    values = min(max(2 * last_cache_bytes(), 1 << 27), 1 << 29) // 4
    count = values // picture
    source: NDArray[np.float32] = np.ones((count, picture), np.float32)
    target: NDArray[np.float32] = np.ones((count, picture), np.float32)
    pool = ThreadPoolExecutor(threads)

    def copy(low: int, high: int) -> None:
        np.copyto(target[low:high], source[low:high])

    def epoch() -> int:
        for start in range(0, count, case.batch_size):
            end = min(start + case.batch_size, count)
            cuts = [start + (end - start) * part // threads for part in range(threads + 1)]
            list(pool.map(copy, cuts[:-1], cuts[1:]))
        return count

    return epoch


def decoding(case: Case, threads: int) -> Epoch:
    """Only decoding the file's pictures, as many threads."""
    from concurrent.futures import ThreadPoolExecutor

    from priorscope.data.beton import Beton

    opened = Beton.open(case.path)
    pool = ThreadPoolExecutor(threads)

    def epoch() -> int:
        return sum(1 for _ in pool.map(opened.read, range(len(opened))))

    return epoch


def last_cache_bytes() -> int:
    """Size of the largest processor cache, or 32 MiB where the system does not tell."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    unit = {"K": 1 << 10, "M": 1 << 20}
    return max((int(size[:-1]) * unit.get(size[-1], 1) for size in sizes), default=32 << 20)


def timed(epoch: Epoch) -> float:
    """Pictures a second of one epoch."""
    start = time.perf_counter()
    count = epoch()
    return count / (time.perf_counter() - start)
