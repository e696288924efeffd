"""Where steps are carried out: what every executor promises, and the one that uses a few processes of this machine.

Those processes live as long as the study, and each does one step at a time. One that dies (killed, out of memory) fails its
step and is replaced; processes whose parent dies end by themselves at once, so that a study killed with -9 leaves nothing
that writes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from priorscope.core.errors import PriorscopeError, WorkError
from priorscope.core.machine import cuda_devices, forget_most_memory, most_memory
from priorscope.core.stopping import SIGNALS
from priorscope.fitting import Status, Watch
from priorscope.study.work import Work

WORKER_BYTES = 1.5 * 2**30
"""What a process with torch and a small network takes: an idle one, or a step whose like was never measured."""

TELL_EVERY_SECONDS = 0.2


@dataclass(frozen=True)
class Resources:
    """What a step takes of the machine that carries it out."""

    cores: int
    memory: float = WORKER_BYTES
    gpu: bool = False
    """Whether it takes a GPU where there is one."""
    alone: bool = False
    """Whether nothing else may run beside it: it measures time."""


@dataclass(frozen=True)
class Going:
    """News of a step under way."""

    id: str
    status: Status


@dataclass(frozen=True)
class Ended:
    """A step has ended, well or with an error in words."""

    id: str
    seconds: float
    memory: float
    error: str | None = None
    like_here: bool = True
    """Whether a processor of this machine's kind did it, so that what it cost foretells what others will cost here."""


News = Going | Ended


class Executor(Protocol):
    """Carries out steps somewhere."""

    def room(self, takes: Resources) -> bool:
        """Whether a step that takes this can start now."""
        ...

    def start(self, id: str, work: Work, takes: Resources) -> None:
        """Starts a step; there must be room."""
        ...

    def news(self, seconds: float) -> Iterator[News]:
        """What has happened, waiting at most so long for something to happen."""
        ...

    def stop(self) -> None:
        """Asks every step to save and end, and waits for it."""
        ...


@dataclass(frozen=True)
class _Last:
    """A worker's last word on a step: what went wrong, if anything, and the most memory it has taken so far."""

    error: str | None
    memory: float


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    device: str | None
    """The one CUDA device that it sees and alone uses; None where it has none, and its steps are the processor's."""
    step: str | None = None
    takes: Resources = field(default_factory=lambda: Resources(0))
    began: float = field(default_factory=time.monotonic)


class LocalExecutor:
    """At most so many processes on this machine, within its cores and memory; one step at a time on each CUDA device.

    The devices are counted when the first step asks for one.
    """

    def __init__(
        self, cores: int, memory: float, most: int | None = None, devices: Callable[[], Sequence[str]] = cuda_devices
    ) -> None:
        self._cores, self._memory, self._most = cores, memory, most
        self._count_devices = devices
        self._workers: list[_Worker] = []

    @cached_property
    def _devices(self) -> Sequence[str]:
        return self._count_devices()

    def room(self, takes: Resources) -> bool:
        """There is always room for one step; for more as long as all that they take lasts, and none of them is to be alone."""
        busy = self._busy()
        if not busy:
            return True
        if takes.alone or any(worker.takes.alone for worker in busy) or len(busy) == self._most:
            return False
        device = self._device_for(takes)
        if takes.gpu and self._devices and device is None:
            return False
        idle = len(self._workers) - len(busy) - (self._idle(device) is not None)
        memory = sum(worker.takes.memory for worker in busy) + takes.memory + idle * WORKER_BYTES
        return sum(worker.takes.cores for worker in busy) + takes.cores <= self._cores and memory <= self._memory

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.step is not None]

    def _device_for(self, takes: Resources) -> str | None:
        """A device that no step has, for a step that is to have one; None for others, and where there is none."""
        if not takes.gpu:
            return None
        taken = [worker.device for worker in self._busy()]
        return next((device for device in self._devices if device not in taken), None)

    def _idle(self, device: str | None) -> _Worker | None:
        """An idle process with this device. No device has two: torch keeps what a step frees there for its own process."""
        return next((worker for worker in self._workers if worker.step is None and worker.device == device), None)

    def start(self, id: str, work: Work, takes: Resources) -> None:
        """Hands a step to an idle process, or to a new one: one that has died while it was idle hears nothing."""
        device = self._device_for(takes)
        while idle := self._idle(device):
            try:
                idle.pipe.send(work)
            except OSError:
                self._workers.remove(idle)
                idle.process.join()
                continue
            break
        else:
            idle = self._hire(device)
            idle.pipe.send(work)
        idle.step, idle.takes, idle.began = id, takes, time.monotonic()

    def _hire(self, device: str | None) -> _Worker:
        spawning = multiprocessing.get_context("spawn")
        ours, theirs = spawning.Pipe()
        process = spawning.Process(target=_serve, args=(theirs, os.getpid(), device), daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process, ours, device)
        self._workers.append(worker)
        return worker

    def news(self, seconds: float) -> Iterator[News]:
        """What busy processes have said; a process that died without a word has failed its step."""
        for pipe in wait([worker.pipe for worker in self._workers if worker.step is not None], timeout=seconds):
            worker = next(worker for worker in self._workers if worker.pipe is pipe)
            yield from self._hear(worker)

    def _hear(self, worker: _Worker) -> Iterator[News]:
        step, took = str(worker.step), time.monotonic() - worker.began
        try:
            said: Status | _Last = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            self._workers.remove(worker)
            yield Ended(step, took, 0.0, _death(worker.process.exitcode))
            return
        if isinstance(said, Status):
            yield Going(step, said)
            return
        worker.step = None
        yield Ended(step, took, said.memory, said.error)

    def stop(self) -> None:
        """Busy processes save and end; idle ones end."""
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.terminate()
        for worker in self._workers:
            worker.pipe.close()
            worker.process.join(timeout=30)
            if worker.process.is_alive():
                worker.process.kill()
        self._workers.clear()


def _death(code: int | None) -> str:
    how = f"Its process ended with status {code}."
    if code is not None and code < 0:
        name = next((one.name for one in signal.Signals if one == -code), f"signal {-code}")  # those of real time have none
        how = f"Its process was ended by {name}."
        how += " The system does that when memory runs out." if name == "SIGKILL" else ""
    return str(WorkError(how, "a process that lives until its step ends", "the same command again goes on where it stopped"))


def _serve(pipe: Connection, parent: int, device: str | None) -> None:
    """A worker process: steps in, news out, until the parent closes the pipe or dies."""
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device  # CUDA reads it once, when the first step asks for a device
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent passes on what is to happen
    while True:
        try:
            work: Work = pipe.recv()
            pipe.send(_Last(do_catching(work, pipe.send), most_memory()))
        except (EOFError, OSError):
            return


def do_catching(work: Work, watch: Watch, every: float = TELL_EVERY_SECONDS) -> str | None:
    """Carries out one step in this process, saying how far it is now and then; returns what went wrong, in words."""
    last = 0.0
    forget_most_memory()

    def now_and_then(status: Status) -> None:
        nonlocal last
        if status.ended is not None or time.monotonic() - last > every:
            last = time.monotonic()
            with suppress(OSError):  # whoever listened has gone; the step is told to stop, and saves first
                watch(status)

    try:
        work.do(now_and_then)
    except PriorscopeError as error:
        return str(error)
    except MemoryError:
        do = "a smaller train.batch_size, or fewer steps side by side: --workers 1"
        return str(WorkError("Memory ran out.", "room for a batch of every step under way", do))
    except Exception:
        return traceback.format_exc()
    return None


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(128 + SIGNALS[0])
