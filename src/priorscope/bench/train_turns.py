"""Networks that train in turns, each in the training loop with a loader of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import torch

from priorscope.bench.products import Product, Recorder
from priorscope.core.errors import WorkError
from priorscope.core.machine import keep_freed_memory, settle
from priorscope.data.loader import AHEAD
from priorscope.data.split import Split
from priorscope.models.classifier import Classifier
from priorscope.train.config import TrainConfig
from priorscope.train.gradient import Gradient
from priorscope.train.loop import Position, train
from priorscope.train.optim import OptimConfig, make_optimiser
from priorscope.train.precision import Precision, check_precision, make_scaler, numerics
from priorscope.train.watched import WatchedLoader

UNTIMED = AHEAD + 1
"""Steps before those that are timed: one more than the batches that lie rendered when a turn begins."""


class Turn(NamedTuple):
    """Seconds a step, and how many of them were spent waiting for the batch."""

    seconds: float
    waited: float


class TakesTurns(Protocol):
    """What is timed: some steps at a time."""

    def turn(self, steps: int) -> Turn: ...


class Contender:
    """One network in the training loop, which goes on from turn to turn.

    `keeps_memory` is how our training runs; without it the C library hands freed memory back, as it does by default.
    """

    def __init__(
        self,
        model: Classifier,
        split: Split,
        batch: int,
        precision: Precision,
        augment: str,
        threads: int,
        device: torch.device,
        *,
        keeps_memory: bool = True,
    ) -> None:
        if keeps_memory:
            keep_freed_memory()
        config = TrainConfig(epochs=1 << 20, batch_size=batch, precision=precision, threads=threads)
        optim = OptimConfig(lr=1e-5, schedule="constant")
        check_precision(precision, device)
        self._device = device
        self._precision: Precision = precision
        self._loader = WatchedLoader(
            split, batch_size=batch, augment=augment, device=str(device), shuffle=True, partial="drop", threads=threads
        )
        model.to(device)
        gradient = Gradient(model, config, make_scaler(precision, device))
        self._steps = train(gradient, self._loader, make_optimiser(model, optim), optim, 0, Position())

    def recorded(self) -> Counter[Product]:
        """The matrix products of one step."""
        with numerics(self._precision, self._device), Recorder() as recorder:
            next(self._steps)
        return recorder.products

    def turn(self, steps: int) -> Turn:
        """Some steps, after those that bring weights back near the processor and use up what was rendered while others ran."""
        with numerics(self._precision, self._device):
            for _ in range(UNTIMED):
                next(self._steps)
            settle(self._device)
            waited, begun = self._loader.waited, time.perf_counter()
            for _ in range(steps):
                next(self._steps)
            settle(self._device)
            return Turn((time.perf_counter() - begun) / steps, (self._loader.waited - waited) / steps)


class Apart:
    """A contender in a process of its own: what is set there for one process (memory, threads) is not set for it."""

    def __init__(self, make: Callable[[], Contender]) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make), daemon=True).start()
        theirs.close()
        self._answer(lambda: None)  # it is ready: what it imports and builds would disturb the others' first turns

    def turn(self, steps: int) -> Turn:
        """Some steps of the contender, made and timed in its own process."""
        return self._answer(lambda: self._end.send(steps))

    def _answer(self, ask: Callable[[], None]) -> Any:
        try:
            ask()
            return self._end.recv()
        except (EOFError, OSError) as error:
            raise WorkError(
                "The process of a reference has ended.", "a reference that trains", "see its error above, or --models NAME"
            ) from error


def _serve(end: Connection, make: Callable[[], Contender]) -> None:
    """Takes turns as long as somebody asks, once it has said that it is ready."""
    contender = make()
    end.send(None)
    while True:
        try:
            steps: int = end.recv()
        except EOFError:
            return
        end.send(contender.turn(steps))
