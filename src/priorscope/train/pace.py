"""How fast a run goes: images a second, the share of the time that it waits for data, and of the rate of bare products."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from priorscope.core.epoch import Speed
from priorscope.core.machine import on_threads, settle

if TYPE_CHECKING:
    import torch

    from priorscope.train.watched import WatchedLoader

SHORTEST, FEWEST = 0.02, 5
"""Bare products are repeated for so many seconds, and so many times at the least: the first ones are ten times as slow."""


@dataclass(frozen=True)
class Pace:
    """The speed of a run over its last second or so, and how far it is: what a display shows."""

    epoch: float
    epochs: float
    loss: float
    speed: Speed
    seconds_left: float


@dataclass
class _Mark:
    at: float
    waited: float = 0.0
    images: int = 0


class Stopwatch:
    """Speeds over laps, each from where the last one ended."""

    def __init__(self, loader: WatchedLoader, image_flops: int, gemm_rate: float) -> None:
        self._loader, self._image_flops, self._gemm_rate = loader, image_flops, gemm_rate
        self._images = 0
        self._mark = _Mark(time.perf_counter())

    def count(self, images: int) -> None:
        """Counts a step's images."""
        self._images += images

    @property
    def seconds(self) -> float:
        """How long the lap is already."""
        return time.perf_counter() - self._mark.at

    def lap(self) -> Speed:
        """The speed over a lap, which ends here."""
        before, now = self._mark, _Mark(time.perf_counter(), self._loader.waited, self._images)
        self._mark = now
        seconds = max(now.at - before.at, 1e-9)
        per_second = (now.images - before.images) / seconds
        return Speed(
            img_per_s=round(per_second, 3),
            data_wait_share=round(min((now.waited - before.waited) / seconds, 1.0), 4),
            gemm_share=round(per_second * self._image_flops / self._gemm_rate, 4),
        )


@cache
def gemm_rate(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Floating-point operations per second of one large product on `threads` threads, the best of some; measured only once.

    It is a yardstick, not a bound: on the shapes of a step the rate differs (`priorscope bench train` takes those).
    """
    import torch

    with on_threads(threads):
        side = 8192 if device.type == "cuda" else 1024
        left = torch.ones((side, side), device=device, dtype=dtype)
        out = torch.empty_like(left)
        times, until = list[float](), time.perf_counter() + SHORTEST
        while time.perf_counter() < until or len(times) < FEWEST:
            begun = time.perf_counter()
            torch.mm(left, left, out=out)
            settle(device)
            times.append(time.perf_counter() - begun)
        return 2 * side**3 / min(times)
