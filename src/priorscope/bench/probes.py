"""What looking inside costs: similarity of two deep networks, wanted pictures, every transform.

Every case has a process of its own, so that its peak of memory is its own. Weights and pictures are drawn at random: a product
takes as long on any numbers. `cpu_s` is the processor time of all threads: where it is far below threads times `seconds`, other
work had a share of the machine, or the case waits for one thread.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

from priorscope.core.config import Config
from priorscope.core.machine import most_memory
from priorscope.data.transforms import USUAL, transform_named

SIDE = 32
BLOCK = 500
"""Pictures that a transform is given at a time, as the probe gives them."""

Kind = Literal["similarity", "activation", "transform"]
ALL: tuple[Kind, ...] = ("similarity", "activation", "transform")


class ProbeCase(Config):
    """One case: how long it took, how many pictures a second that is, and the most memory its process held."""

    kind: Kind
    case: str
    images: int
    seconds: float
    cpu_s: float
    img_per_s: float
    peak_gib: float


class ProbeBench(Config):
    """All cases."""

    cases: tuple[ProbeCase, ...]
    threads: int

    def table(self) -> str:
        """The cases as text."""
        width = max(len(case.case) for case in self.cases)
        lines = [f"{'case':>{width}} {'images':>7} {'s':>8} {'cpu s':>8} {'img/s':>9} {'peak GiB':>8}"]
        lines += [
            f"{case.case:>{width}} {case.images:>7,} {case.seconds:>8.2f} {case.cpu_s:>8.2f} {case.img_per_s:>9,.1f} "
            f"{case.peak_gib:>8.2f}"
            for case in self.cases
        ]
        return "\n".join(lines)


def run(
    kinds: Sequence[Kind] = ALL,
    *,
    networks: tuple[str, str] = ("mlp/b12-w512", "vit/d12-w192-p4"),
    images: int = 2048,
    wanted: Sequence[str] = ("mlp/b6-w512", "cnn/resnet18"),
    steps: int = 256,
    transforms: Sequence[str] = USUAL,
    say: Callable[[str], None] = lambda _: None,
) -> ProbeBench:
    """Measures the kinds asked for, one case after the other."""
    import torch

    cases: list[ProbeCase] = []

    def add(kind: Kind, case: str, work: Callable[..., Callable[[], float]], *given: object) -> None:
        say(case)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            count, seconds, cpu, peak = alone.submit(_timed, work, *given).result()
        cases.append(
            ProbeCase(
                kind=kind,
                case=case,
                images=int(count),
                seconds=seconds,
                cpu_s=cpu,
                img_per_s=count / seconds,
                peak_gib=peak,
            )
        )

    if "similarity" in kinds:
        add("similarity", f"CKA of every layer, {' and '.join(networks)}", _similarity, networks, images)
    if "activation" in kinds:
        for name in wanted:
            add("activation", f"10 classes, {steps} steps, {name}", _activation, name, steps)
    if "transform" in kinds:
        for name in transforms:
            for level in transform_named(name).at():
                add("transform", name if level is None else f"{name} {level:g}", _transform, name, level)
    return ProbeBench(cases=tuple(cases), threads=torch.get_num_threads())


def _timed(work: Callable[..., Callable[[], float]], *given: object) -> tuple[float, float, float, float]:
    """How many pictures, seconds, seconds of the processor, GiB: `work` prepares, and what it returns is timed."""
    measured = work(*given)
    wall, cpu = time.perf_counter(), time.process_time()
    count = measured()
    seconds, busy = time.perf_counter() - wall, time.process_time() - cpu
    return count, seconds, busy, most_memory() / 2**30


def _similarity(networks: tuple[str, str], images: int) -> Callable[[], float]:
    """Linear CKA between and within two networks, all their taps, without twins."""
    from priorscope import models
    from priorscope.data import open as open_source
    from priorscope.probes.similarity import measure_similarity

    data = open_source({"name": "shapetex", "train": 100, "val": 100, "test": max(images, 1000)})
    subjects = {name: models.create(name, image_size=SIDE, num_classes=10).eval() for name in networks}

    def measured() -> float:
        measure_similarity(subjects, data, images=images, taps=("*",), twins=False, depth=False)
        return images

    return measured


def _activation(name: str, steps: int) -> Callable[[], float]:
    """A picture for each of ten classes, from one start."""
    from priorscope import models
    from priorscope.data import open as open_source
    from priorscope.probes.activation import measure_activation

    data = open_source({"name": "shapetex", "train": 100, "val": 100, "test": 1000})
    subjects = {name: models.create(name, image_size=SIDE, num_classes=len(data.split("test").classes)).eval()}

    def measured() -> float:
        made = measure_activation(subjects, data, starts=1, steps=steps)
        return len(made.targets)

    return measured


def _transform(name: str, level: float | None) -> Callable[[], float]:
    """A transform at one strength, for half a second at least."""
    import numpy as np
    import torch

    from priorscope.core.contracts import Statistics
    from priorscope.data.transforms import apply

    grey = Statistics(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    pictures, donors = torch.rand(2, BLOCK, 3, SIDE, SIDE)

    def once(index: int) -> None:
        rows = np.arange(index * BLOCK, (index + 1) * BLOCK)
        apply(name, pictures, rows, level=level, statistics=grey, donors=donors)

    once(0)

    def measured() -> float:
        begun, blocks = time.perf_counter(), 0
        while time.perf_counter() - begun < 0.5:
            blocks += 1
            once(blocks)
        return float(blocks * BLOCK)

    return measured
