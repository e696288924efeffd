"""What does it cost: weights, arithmetic, memory, time, and training until it is right?

What can be counted is counted twice: the multiply-adds by torch's counter with attention taken apart, and by the operands of
every product of the network as it runs. Memory is what torch's allocator held at most. Times stand apart (`times`): they
belong to this machine and to this minute, are measured with nothing else running, and comparisons of results leave them out.
Arithmetic does not rank speed across families, so both are shown.

How often the network is right is part of the result, because a cost without it chooses the smallest network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.aspects import AspectName
from priorscope.core.config import Config, Number, Plain
from priorscope.core.contracts import Array, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.metrics import top_k_correct
from priorscope.core.stats import Interval, wilson
from priorscope.core.wording import amount_said, counted
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, labelled_split, run_of

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 3

AGREE = 0.005
"""The two counts may differ by this share: torch's leaves out products of a matrix and a vector."""

Share = Annotated[Number, Field(gt=0, le=1)]


class CostConfig(ProbeConfig):
    """What to measure."""

    reads_runs = True
    alone = True

    name: str = "cost"
    split: str = Field(default="test", description="whose images say the accuracy that is drawn against the costs")
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 8, 64), min_length=1, description="images in a batch whose latency is measured"
    )
    repeats: int = Field(default=50, ge=6, description="how many calls of each batch size are timed at most")
    seconds: Number = Field(
        default=2.0, gt=0, description="how long each batch size is timed at most; six calls are timed in any case"
    )
    memory_batch: int = Field(default=32, ge=2, description="images in the batch whose peak memory is measured")
    targets: tuple[Share, ...] = Field(
        default=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
        description="shares of val answered right; the log says when each was first reached",
    )


class Latency(Config):
    """How long a batch takes: the median with its interval, and between what times four of five calls lie. Seconds."""

    batch: int
    repeats: int
    median: float
    interval: Interval
    p10: float
    p90: float

    @property
    def images_per_second(self) -> float:
        """The throughput at this batch size."""
        return self.batch / self.median


class Reached(Config):
    """When val was first answered right this often: seconds (validation included), epochs, images and multiply-adds seen."""

    target: float
    seconds: float
    epoch: int
    images: int
    macs: int


class Times(Config):
    """What was measured on one machine: never compared, never part of a key."""

    device: str
    hardware: str
    threads: int
    torch: str
    latencies: tuple[Latency, ...]
    training_seconds: float | None = None
    training_hardware: str = ""
    training_threads: int | None = None
    log: tuple[tuple[float, float], ...] = ()
    """Seconds of training and accuracy on val, epoch by epoch."""
    reached: tuple[Reached, ...] = ()


class Cost(Result):
    """What a network costs, and how often it is right for that."""

    probe: ClassVar[str] = "cost"
    question: ClassVar[str] = "What does it cost, in weights, arithmetic, memory and time?"
    measure: ClassVar[str] = "multiply-adds an image"
    bounds: ClassVar[tuple[float, float]] = (0, math.inf)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    exact: ClassVar[bool] = True
    aspect: ClassVar[AspectName | None] = "cost"
    seeds_needed: ClassVar[int] = 1

    split: str
    parameters: int
    weight_bytes: int
    macs: int
    macs_as_run: int
    activation_bytes: int
    memory_batch: int
    inference_bytes: int
    training_bytes: int
    times: Times
    correct: Array
    """(images of the split): whether each is answered right."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        alone, most = self.times.latencies[0], max(self.times.latencies, key=lambda one: one.images_per_second)
        return (
            f"{amount_said(self.parameters)} parameters and {amount_said(self.macs)} multiply-adds an image; "
            f"{1000 * alone.median:.3g} ms for a batch of {alone.batch}, "
            f"{most.images_per_second:,.0f} images a second at {most.batch}; "
            f"{self.correct.mean():.1%} right on {self.split}."
        )

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        where = self.times
        return (
            f"Float32 on {where.hardware} ({where.device}), {counted(where.threads, 'thread')}, "
            f"torch {where.torch}: warmed up, synchronised, data excluded; medians with order-statistic intervals over calls."
        )

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows; the measured times last."""
        right, n = int(self.correct.sum()), len(self.correct)
        batch = f"batch {self.memory_batch}"
        rows = [
            Metric.of("parameters", self.parameters, None, 1, "numbers"),
            Metric.of("weights", self.weight_bytes, None, 1, "bytes"),
            Metric.of(self.measure, self.macs, None, 1, "multiply-adds"),
            Metric.of(self.measure, self.macs_as_run, None, 1, "multiply-adds", setting="second count, as run"),
            Metric.of("operations an image", 2 * self.macs, None, 1, "FLOPs"),
            Metric.of("activations kept for the backward pass, an image", self.activation_bytes, None, 1, "bytes"),
            Metric.of("peak memory, inference", self.inference_bytes, None, 1, "bytes", setting=batch),
            Metric.of("peak memory, training step", self.training_bytes, None, 1, "bytes", setting=f"{batch}, AdamW"),
            Metric.of("accuracy", right / n, wilson(right, n), n, "share of images", split=self.split),
        ]
        return [*rows, *(row.replace(timed=True) for row in self._timed())]

    def _timed(self) -> list[Metric]:
        """What was taken with a clock."""
        rows: list[Metric] = []
        for one in self.times.latencies:
            at: dict[str, Any] = {"setting": f"batch {one.batch}"}
            rows.append(Metric.of("latency, median", one.median, one.interval, one.repeats, "seconds", **at))
            rows.append(
                Metric(
                    metric="latency",
                    value=one.median,
                    low=one.p10,
                    high=one.p90,
                    n=one.repeats,
                    unit="seconds, 10 to 90 %",
                    **at,
                )
            )
            rows.append(Metric.of("throughput", one.images_per_second, None, one.repeats, "images per second", **at))
        for one in self.times.reached:
            setting = f"val {one.target:.0%}"
            rows.append(Metric.of("training time to accuracy", one.seconds, None, 1, "seconds", setting=setting, split="val"))
            rows.append(
                Metric.of("training arithmetic to accuracy", one.macs, None, 1, "multiply-adds", setting=setting, split="val")
            )
        if self.times.training_seconds is not None:
            rows.append(Metric.of("training time", self.times.training_seconds, None, 1, "seconds"))
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.cost import figures

        return figures.draw(results)


@asks(CostConfig)
def measure_cost(subject: Classifier | Evidence | TrainedRun, data: Source | Split, asked: CostConfig) -> Cost:
    """Counts on copies, measures in evaluation mode, and reads the log where the subject is a finished run."""
    from priorscope.models.arithmetic import macs_as_run
    from priorscope.models.classifier import looking
    from priorscope.models.counting import info
    from priorscope.probes.cost import measured

    run, evidence = run_of(subject), evidence_of(subject)
    model, chosen = evidence.model, labelled_split(data, asked.split, evidence)
    correct = top_k_correct(evidence.logits(chosen), chosen.labels)
    counted, second = info(model), macs_as_run(model)
    caveats: list[str] = []
    if abs(second - counted.macs) > AGREE * max(counted.macs, 1):
        caveats.append(
            f"Two counts of the multiply-adds disagree, {counted.macs:,} and {second:,}: one does not know some product."
        )
    with looking(model):
        sizes = sorted(set(asked.batch_sizes))
        taken = {batch: measured.latencies(model, batch, asked.repeats, asked.seconds) for batch in sizes}
        inference = measured.inference_peak(model, asked.memory_batch)
        training = measured.training_peak(model, asked.memory_batch)
    times = Times(
        **measured.machine_of(model),
        latencies=tuple(latency(batch, own) for batch, own in taken.items()),
        **(_log(run, asked.targets) if run is not None else {}),
    )
    if run is None:
        caveats.append("How it was trained is not known: time to accuracy is left out.")
    return Cost(
        value=float(counted.macs),
        interval=None,
        n=1,
        unit="multiply-adds",
        caveats=tuple(caveats),
        split=chosen.name,
        parameters=counted.parameters,
        weight_bytes=sum(p.numel() * p.element_size() for p in model.network.state_dict().values()),
        macs=counted.macs,
        macs_as_run=second,
        activation_bytes=counted.activation_bytes,
        memory_batch=asked.memory_batch,
        inference_bytes=inference,
        training_bytes=training,
        times=times,
        correct=correct,
    )


def latency(batch: int, taken: NDArray[np.float64]) -> Latency:
    """The distribution of some calls' times."""
    p10, p90 = np.quantile(taken, [0.1, 0.9])
    return Latency(
        batch=batch,
        repeats=len(taken),
        median=float(np.median(taken)),
        interval=median_interval(taken),
        p10=float(p10),
        p90=float(p90),
    )


def median_interval(values: NDArray[np.float64], level: float = 0.95) -> Interval:
    """Between two order statistics: how many of n values lie below the median is binomial with p = 1/2, whatever they are."""
    n = len(values)
    if n < 2:
        raise RequestError(f"{n} value has no median to be unsure of.", "several", "repeats=50")
    tail, below, cut = 0.0, 0, (1 - level) / 2
    while tail + math.comb(n, below) / 2**n <= cut:
        tail += math.comb(n, below) / 2**n
        below += 1
    rank, ordered = max(below - 1, 0), np.sort(values)
    return Interval(
        low=float(ordered[rank]), high=float(ordered[n - 1 - rank]), level=level, method="order statistics", over="calls"
    )


def _log(run: TrainedRun, targets: Sequence[float]) -> Plain:
    """What the run's log says of time: the curve, and when each target was first reached on val.

    The log's own count of multiply-adds is taken: it knows of adversarial and sharpness-aware steps and of frozen bodies.
    """
    reached: list[Reached] = []
    for target in sorted(targets):
        first = next((epoch for epoch in run.history if epoch.val.accuracy >= target), None)
        if first is not None:
            reached.append(
                Reached(target=target, seconds=first.seconds, epoch=first.epoch, images=first.images, macs=first.macs)
            )
    return {
        "training_seconds": run.environment.seconds,
        "training_hardware": ", ".join(run.environment.hardware.gpus or [run.environment.hardware.processor]),
        "training_threads": run.environment.threads,
        "log": tuple((epoch.seconds, epoch.val.accuracy) for epoch in run.history),
        "reached": tuple(reached),
    }
