"""What a run has taken so far: pictures, operations, time, energy; and how fast it goes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from priorscope.core.epoch import Speed
from priorscope.train.energy import Meter
from priorscope.train.pace import Pace, Stopwatch, gemm_rate
from priorscope.train.precision import compute_dtype

if TYPE_CHECKING:
    from priorscope.train.checkpoint import RunState
    from priorscope.train.config import TrainConfig
    from priorscope.train.loop import Step
    from priorscope.train.watched import WatchedLoader


class Seen(NamedTuple):
    """Pictures that were learnt from, and the operations that this took."""

    images: int
    flops: int
    macs: int


class Counters:
    """Counts from where a resumed run stopped. Operations are those of training alone, over all ranks."""

    def __init__(self, loader: WatchedLoader, config: TrainConfig, image_flops: int, state: RunState, total: int) -> None:
        rate = gemm_rate(loader.device, compute_dtype(config.precision, torch.device(loader.device)), config.threads)
        self.image_flops = image_flops
        self._batch, self._per_epoch, self._total = loader.batch_size, len(loader), total
        self._state = state
        self._of_epoch, self._of_display = (Stopwatch(loader, image_flops, rate * loader.ranks) for _ in range(2))
        self._meter = Meter()
        self._before = state.joules
        self._first = state.steps(self._per_epoch)
        self._began = time.perf_counter()
        self._seconds_before = state.seconds

    def count(self, step: Step) -> None:
        """Counts a step."""
        self._of_epoch.count(step.images)
        self._of_display.count(step.images)

    def keep(self) -> None:
        """Writes what has been taken into the state, for a checkpoint. Energy counters wrap, so they are read here too."""
        self._state.seconds = self.seconds
        taken = self._meter.joules()
        self._state.joules = None if taken is None else (self._before or 0.0) + taken

    @property
    def seconds(self) -> float:
        """Time spent on the run, by all attempts together."""
        return self._seconds_before + time.perf_counter() - self._began

    def seen(self, steps: int) -> Seen:
        """What `steps` steps take; interruptions do not change it."""
        images = steps * self._batch
        return Seen(images, images * self.image_flops, images * self.image_flops // 2)

    def measured(self) -> Speed:
        """Speed since the last epoch, and the energy of the whole run so far; both differ each time."""
        self.keep()
        joules = self._state.joules
        return replace(self._of_epoch.lap(), joules=None if joules is None else round(joules, 1))

    def pace(self, step: Step, every: float) -> Pace | None:
        """The current speed, at most once every `every` seconds; None in between."""
        if self._of_display.seconds < every:
            return None
        done = step.number + 1
        each = (time.perf_counter() - self._began) / max(done - self._first, 1)
        return Pace(
            epoch=done / self._per_epoch,
            epochs=self._total / self._per_epoch,
            loss=float(step.loss),
            speed=self._of_display.lap(),
            seconds_left=each * (self._total - done),
        )
