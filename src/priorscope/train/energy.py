"""The energy that a run takes, if the machine counts it: processors by RAPL, NVIDIA's GPUs by NVML.

It is that of the whole machine, other work on it included; of a run on several machines, that of rank 0's alone. If nothing
can be read (RAPL needs rights on most systems), there is no number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

RAPL = Path("/sys/class/powercap")
"""One folder a processor, `intel-rapl:0` and so on (AMD's are called the same); folders with two colons are parts of one."""


class Meter:
    """Joules since it was made. Counters that wrap are followed as long as they are read once per turn (minutes)."""

    def __init__(self, rapl: Path = RAPL) -> None:
        self._counters = [counter for read in (*_processors(rapl), *_gpus()) if (counter := _Counter.of(*read))]

    def joules(self) -> float | None:
        """What has been taken so far; None if nothing counts it."""
        return sum(counter.joules() for counter in self._counters) if self._counters else None


Read = Callable[[], float]


class _Counter:
    """A growing number of joules that starts again at 0 after `wraps` (infinity: never)."""

    def __init__(self, read: Read, wraps: float, first: float) -> None:
        self._read, self._wraps = read, wraps
        self._last, self._sum = first, 0.0

    @classmethod
    def of(cls, read: Read, wraps: float) -> _Counter | None:
        """A counter, or None if it may not be read."""
        try:
            return cls(read, wraps, read())
        except (OSError, ValueError):
            return None

    def joules(self) -> float:
        try:
            now = self._read()
        except (OSError, ValueError):
            return self._sum
        self._sum += now - self._last if now >= self._last else now + self._wraps - self._last
        self._last = now
        return self._sum


def _processors(rapl: Path) -> list[tuple[Read, float]]:
    found: list[tuple[Read, float]] = []
    for zone in sorted(rapl.glob("intel-rapl:*")):
        if zone.name.count(":") == 1:
            try:
                wraps = int((zone / "max_energy_range_uj").read_text()) / 1e6
            except (OSError, ValueError):
                continue
            found.append((lambda zone=zone: int((zone / "energy_uj").read_text()) / 1e6, wraps))
    return found


def _gpus() -> list[tuple[Read, float]]:
    """Every GPU of the machine, whatever CUDA_VISIBLE_DEVICES says; none if NVIDIA's library is not installed."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []

    def read(handle: object) -> float:
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    return [(partial(read, handle), float("inf")) for handle in handles]
