"""What is measured of a network's cost: peak memory by the allocator's own accounts, and times with all else left out."""

from __future__ import annotations

import copy
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from priorscope.core.machine import processor, settle
from priorscope.models.classifier import Classifier, seeded

WARM_UP = 3
FEWEST = 6
"""Calls before the clock counts; timed calls at least, so that the median has a 95 % interval."""


def inference_peak(classifier: Classifier, batch: int) -> int:
    """Bytes of the weights, and of everything else that is alive at once, while a batch is answered."""
    counted, images = _copied(classifier, batch)
    counted.eval()

    def answer() -> None:
        with torch.inference_mode():
            counted(images)

    answer()
    return _bytes_of(counted.state_dict().values()) + _peak(answer, images.device)


def training_peak(classifier: Classifier, batch: int) -> int:
    """Bytes of weights, AdamW's state, gradients and what the backward pass needs, at most at once, in a float32 step.

    The second step is measured: the first one makes the optimiser's state.
    """
    counted, images = _copied(classifier, batch)
    counted.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(counted.parameters(), lr=0.0)
    labels = torch.zeros(batch, dtype=torch.long, device=images.device)

    def step() -> None:
        F.cross_entropy(counted(images), labels).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    step()
    state = [value for own in optimiser.state.values() for value in own.values() if isinstance(value, Tensor)]
    return _bytes_of([*counted.state_dict().values(), *state]) + _peak(step, images.device)


def _copied(classifier: Classifier, batch: int) -> tuple[Classifier, Tensor]:
    """A copy, and images beside it: nothing of the original is touched."""
    side = classifier.image_size
    return copy.deepcopy(classifier), torch.full((batch, 3, side, side), 0.5, device=classifier.device)


def _bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _peak(call: Callable[[], None], device: torch.device) -> int:
    """Bytes that the allocator holds at most during a call, beyond what it held before."""
    gc.collect()
    with seeded(0, "cost"):
        return _peak_on_gpu(call, device) if device.type == "cuda" else _peak_on_cpu(call)


def _peak_on_gpu(call: Callable[[], None], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_on_cpu(call: Callable[[], None]) -> int:
    """The peak on a CPU, from the record that torch's profiler keeps of every allocation and release, in their order.

    A process's own high-water mark would hold whatever ran before, and the pages that the allocator keeps.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it reports its start and stop on stderr
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    running = np.cumsum([change for _, change in sorted(changes, key=lambda change: change[0])])
    return int(max(running.max(initial=0), 0))


def latencies(classifier: Classifier, batch: int, repeats: int, seconds: float) -> NDArray[np.float64]:
    """Seconds that a batch takes, call by call: warmed up, synchronised, the images made before; as many as fit the time."""
    device, side = classifier.device, classifier.image_size
    images = torch.full((batch, 3, side, side), 0.5, device=device)
    taken: list[float] = []
    with torch.inference_mode(), _undisturbed():
        for _ in range(WARM_UP):
            classifier(images)
        until = time.perf_counter() + seconds
        while len(taken) < repeats and (len(taken) < FEWEST or time.perf_counter() < until):
            settle(device)
            start = time.perf_counter()
            classifier(images)
            settle(device)
            taken.append(time.perf_counter() - start)
    return np.array(taken)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection inside the block."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def machine_of(classifier: Classifier) -> dict[str, Any]:
    """What the times belong to: device, its name, threads and torch."""
    device = classifier.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {"device": device.type, "hardware": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
