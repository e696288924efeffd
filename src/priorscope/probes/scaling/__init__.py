"""How does error fall with compute, and what is compute best spent on?

From runs of several sizes, amounts of data and lengths, family by family: the front of those that nothing cheaper beats, the
curve E(C) = a (b + C)^-alpha + E_inf through it (Bachmann et al., arXiv 2306.13575), the parameters and samples of the runs on
it, and what the curve of the cheaper runs says of the largest. A law has four free numbers and fits any front; where width,
decades or noise leave the exponent open, the answer is "not identified", and what would identify it. Always stated is the
*local exponent*: minus the slope of log error over log compute, over the range that was tried and no further.

Compute is that of training: the operations that were carried out, or, as that paper counts, three times the multiply-adds of a
forward pass for every image shown. Runs that begin with others (`init`) count with the compute of both: that is how error after
a linear transfer falls with the compute of pre-training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from priorscope.core.config import Config, Number
from priorscope.core.contracts import Array, Metric, Result, Standing, Subject
from priorscope.probes import ProbeConfig, TrainedRun, asks, check_trained, labelled_split
from priorscope.probes.scaling.batches import Batch, batches
from priorscope.probes.scaling.fit import Estimate, Found, HeldOut, Points, estimate
from priorscope.probes.scaling.points import Count, Spent, as_points, spent_by
from priorscope.probes.scaling.power_law import Law

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split

VERSION = 4

AMOUNTS = {"parameters": "parameters", "samples": "different images", "seen": "images shown"}


class ScalingConfig(ProbeConfig):
    """What is counted, what is a point, and how sure the exponent must be."""

    per = "set"
    reads_runs = True

    name: str = "scaling"
    split: str = Field(default="test", description="where the final weights are scored")
    count: Count = Field(
        default="operations",
        description='operations: as carried out; s: as "Scaling MLPs" counts, three forward passes for every image shown',
    )
    intermediate: bool = Field(
        default=True, description="earlier epochs count too, with their error on val, where the rate was constant"
    )
    resamples: int = Field(default=400, ge=100, description="how often whole runs are resampled for the intervals")
    width: Annotated[Number, Field(gt=0)] = Field(
        default=1.0, description="the exponent is identified where its 95 % interval is no wider than this times itself"
    )
    seed: int = Field(default=0, ge=0, description="the seed of the resamples")


class Best(Config):
    """A point of the front; `final` says that it is final weights on the split and not an earlier epoch on val."""

    model: str
    compute: float
    error: float
    parameters: int
    samples: int
    seen: int
    seeds: int
    final: bool


class Fit(Config):
    """What the runs of one family say. `lacking` is empty where the law is identified."""

    family: str
    runs: int
    recipes: int
    front: tuple[Best, ...]
    local: Estimate | None
    law: Law | None = None
    exponent: Estimate | None = None
    floor: Estimate | None = None
    lacking: tuple[str, ...] = ()
    band: tuple[tuple[float, float, float], ...] = ()
    held_out: HeldOut | None = None
    allocation: dict[str, Estimate] = Field(default_factory=dict[str, Estimate])

    @property
    def identified(self) -> bool:
        """Whether the runs say what the law is."""
        return self.law is not None and not self.lacking

    @property
    def decades(self) -> float:
        """Powers of ten of compute along the front."""
        return float(np.log10(self.front[-1].compute / self.front[0].compute))

    def sentence(self) -> str:
        """The law, or why there is none and how the error falls here."""
        if self.identified and self.exponent and self.floor:
            return (
                f"{self.family}: error falls as compute^-{self.exponent.value:.2f} ({self.exponent.low:.2f} to "
                f"{self.exponent.high:.2f}) to a floor of {self.floor.value:.1%} ({self.floor.low:.1%} to "
                f"{self.floor.high:.1%})"
            )
        if self.local is None:
            return f"{self.family}: {len(self.front)} amounts of compute on the front say nothing of how error falls"
        return (
            f"{self.family}: the law is not identified; over {self.decades:.1f} decades the local exponent is "
            f"{self.local.value:.2f} ({self.local.low:.2f} to {self.local.high:.2f})"
        )


class Scaling(Result):
    """Error against compute; `value` is the local exponent of the first family that has one, 0 where none has."""

    probe: ClassVar[str] = "scaling"
    question: ClassVar[str] = "How does error fall with compute, and what is compute best spent on?"
    measure: ClassVar[str] = "local exponent"
    sampled: ClassVar[str] = "runs"
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"

    split: str
    count: Count
    resamples: int
    seed: int
    images: int
    transfer: bool
    fits: tuple[Fit, ...]
    batches: tuple[Batch, ...] = ()
    compute: Array
    """(points): the compute of every run at every moment that counts."""
    error: Array
    family: Array
    """(points): the number of the family in `fits`."""
    final: Array
    """(points): whether it is the final weights on the split, or an earlier epoch on val."""

    def standing(self) -> Standing:
        """It leads where some family's error was seen to fall."""
        return Standing(leads=any(fit.local is not None for fit in self.fits))

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        return "; ".join(fit.sentence() for fit in self.fits) + "."

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        counted = (
            "operations carried out" if self.count == "operations" else "3 x multiply-adds of a forward pass x images shown"
        )
        early = int(np.count_nonzero(~self.final))
        earlier = f" and {early} earlier epochs at a constant rate (error on val)" if early else ""
        start = ", that of the runs begun with included" if self.transfer else ""
        return (
            f"{self.n} runs' final weights (error on {self.images:,} images of {self.split}){earlier}; compute: {counted}"
            f"{start}; seeds averaged; least squares of relative residuals along the front; {self.resamples} resamples of "
            f"whole runs, the front taken anew, seed {self.seed}."
        )

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        return [row for fit in self.fits for row in self._of(fit)] + [self._of_batch(one) for one in self.batches]

    def _of(self, fit: Fit) -> list[Metric]:
        rows = [self._row(self.measure, fit.local, fit, "exponent")] if fit.local is not None else []
        if fit.identified and fit.exponent and fit.floor:
            rows += [self._row("exponent", fit.exponent, fit, "exponent"), self._row("floor", fit.floor, fit, "share wrong")]
        for name, grown in fit.allocation.items():
            rows.append(self._row(f"exponent of {AMOUNTS[name]}", grown, fit, "exponent"))
        if fit.held_out is not None:
            where = f"{fit.family} at {fit.held_out.compute:.3g}"
            rows.append(self._row("predicted error", fit.held_out.predicted, fit, "share wrong").replace(setting=where))
            rows.append(Metric.of("observed error", fit.held_out.observed, None, 1, "share wrong", setting=where))
        for best in fit.front:
            on = self.split if best.final else "val"
            where = f"{best.model} at {best.compute:.3g}"
            rows.append(Metric.of("error on the front", best.error, None, best.seeds, "share wrong", setting=where, split=on))
        return rows

    def _row(self, metric: str, number: Estimate, fit: Fit, unit: str) -> Metric:
        return Metric.of(metric, number.value, number.interval(), fit.runs, unit, setting=fit.family, split=self.split)

    def _of_batch(self, one: Batch) -> Metric:
        setting = f"{one.model}, batch {one.batch}, lr {one.lr:g}, {one.amount:,} {one.held}"
        ends: dict[str, Any] = {"low": one.low, "high": one.high, "setting": setting, "split": self.split}
        return Metric(metric=f"error at equal {one.held}", value=one.error, n=one.seeds, unit="share wrong", **ends)

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of each set, most important first."""
        from priorscope.probes.scaling.figures import draw_all

        return [figure for _, result in results for figure in draw_all(result)]


@asks(ScalingConfig)
def measure_scaling(subjects: Mapping[str, TrainedRun], data: Source | Split, asked: ScalingConfig) -> Scaling:
    """Reads what runs cost and scores them, then fits each family's front."""
    check_trained("scaling", subjects)
    chosen = labelled_split(data, asked.split, *(run.evidence for run in subjects.values()))
    runs = spent_by(subjects, chosen, asked.count, asked.intermediate)
    families = list(dict.fromkeys(run.family for run in runs))
    fits: list[Fit] = []
    for family in families:
        own = [run for run in runs if run.family == family]
        points = as_points(own)
        fits.append(_fit(family, own, points, estimate(points, asked.resamples, asked.width, asked.seed)))
    compared = batches(runs)
    local = next((fit.local for fit in fits if fit.local is not None), None)
    return Scaling(
        value=local.value if local else 0.0,
        interval=local.interval() if local else None,
        n=len(runs),
        unit="exponent",
        caveats=(*_caveats(fits, runs), *_of_batches(compared)),
        split=chosen.name,
        count=asked.count,
        resamples=asked.resamples,
        seed=asked.seed,
        images=len(chosen),
        transfer=any(run.began is not None for run in runs),
        fits=tuple(fits),
        batches=compared,
        compute=np.array([compute for run in runs for compute in run.compute]),
        error=np.array([error for run in runs for error in run.error]),
        family=np.array([families.index(run.family) for run in runs for _ in run.compute]),
        final=np.array([at == len(run.compute) - 1 for run in runs for at in range(len(run.compute))]),
    )


def _fit(family: str, runs: Sequence[Spent], points: Points, found: Found) -> Fit:
    """What was found, with the names of what stands on the front."""
    owners = [(run, at) for run in runs for at in range(len(run.compute))]
    front: list[Best] = []
    for row, compute, error, count in zip(
        found.front.row, found.front.compute, found.front.error, found.front.weight, strict=True
    ):
        run, at = owners[int(row)]
        front.append(
            Best(
                model=run.model,
                compute=float(compute),
                error=float(error),
                parameters=run.parameters,
                samples=run.samples,
                seen=round(float(points.seen[row])),
                seeds=int(count),
                final=at == len(run.compute) - 1,
            )
        )
    return Fit(
        family=family,
        runs=len(runs),
        recipes=len({run.config for run in runs}),
        front=tuple(front),
        local=found.local,
        law=found.law,
        exponent=found.exponent,
        floor=found.floor,
        lacking=found.lacking,
        band=tuple((float(c), float(low), float(high)) for c, low, high in found.band),
        held_out=found.held_out,
        allocation=found.allocation,
    )


def _caveats(fits: Sequence[Fit], runs: Sequence[Spent]) -> list[str]:
    said: list[str] = []
    for fit in fits:
        said += [f"{fit.family}: not identified, because {reason}." for reason in fit.lacking]
        early = sum(not best.final for best in fit.front)
        if early:
            said.append(
                f"{fit.family}: {early} of the front's {len(fit.front)} points are earlier epochs, whose error is that on val."
            )
        if fit.held_out is not None and not fit.held_out.met:
            said.append(
                f"{fit.family}: the curve of the cheaper runs misses the largest point ({fit.held_out.predicted.value:.1%} "
                f"predicted, {fit.held_out.observed:.1%} observed): do not extend it."
            )
        said += _at_the_end(fit, [run for run in runs if run.family == fit.family])
    return said


def _at_the_end(fit: Fit, runs: Sequence[Spent]) -> list[str]:
    """What stands at the end of what was tried, so that its growth cannot be seen whole."""
    most = {
        "parameters": max(run.parameters for run in runs),
        "samples": max(run.samples for run in runs),
        "seen": max(run.seen[-1] for run in runs),
    }
    at_end = {name: sum(getattr(best, name) == most[name] for best in fit.front) for name in fit.allocation}
    return [
        f"{fit.family}: {count} of the front's points have the largest number of {AMOUNTS[name]} that was tried: "
        "more might have been better, and its exponent reads low."
        for name, count in at_end.items()
        if count > 1
    ]


def _of_batches(compared: Sequence[Batch]) -> list[str]:
    edges = [one for one in compared if one.at_edge and one.rates > 1]
    untuned = [one for one in compared if one.rates == 1]
    said: list[str] = []
    if edges:
        where = ", ".join(dict.fromkeys(f"{one.model} at {one.batch}" for one in edges))
        said.append(f"The best learning rate is the largest or smallest tried: {where}. Another might be better.")
    if untuned:
        where = ", ".join(dict.fromkeys(f"{one.model} at {one.batch}" for one in untuned))
        said.append(f"One learning rate alone was tried: {where}. A batch size is judged by its best rate.")
    return said
