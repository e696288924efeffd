"""Runs as points: what each cost, how often it was wrong then, and what the compute was spent on.

The final weights count with their error on the split that is asked about. An earlier epoch counts with its error on val, which
the log has, and only while the learning rate is constant (`constant`, or `wsd` before its fall): under a schedule that falls to
the end of the run, the network at half of its steps is not what a run of half the length would end with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from priorscope.core import layout
from priorscope.core.config import content_key
from priorscope.core.environment import Environment
from priorscope.core.epoch import Epoch
from priorscope.core.errors import RequestError
from priorscope.core.metrics import top_k_correct
from priorscope.probes.scaling.fit import Points

if TYPE_CHECKING:
    from priorscope.data.sources import SourceConfig
    from priorscope.data.split import Split
    from priorscope.models import FamilyConfig
    from priorscope.probes import TrainedRun
    from priorscope.recipe import Recipe

Count = Literal["operations", "s"]
STEADY = ("constant", "wsd")
SIZES = ("width", "depth", "blocks", "dim", "expansion")
FINAL = -1
"""The moment of final weights, whatever step they are of."""


@dataclass(frozen=True)
class Spent:
    """One run: its points are its entries, in the order of its steps, the last with the final weights."""

    name: str
    family: str
    model: str
    recipe: Recipe
    parameters: int
    samples: int
    compute: tuple[float, ...]
    error: tuple[float, ...]
    step: tuple[int, ...]
    seen: tuple[int, ...]
    right: NDArray[np.bool_]
    """(images): whether the final weights answer right."""
    val_error: float
    """The error on val of the epoch whose weights were kept: what a setting may be chosen by."""
    began: str | None
    """The run among those given that this one began with."""

    @property
    def config(self) -> str:
        """A key of the recipe without its seed."""
        return content_key({name: value for name, value in self.recipe.plain().items() if name != "seed"})


def spent_by(runs: Mapping[str, TrainedRun], split: Split, count: Count, intermediate: bool) -> list[Spent]:
    """The points of runs. The compute of a run that another one began with counts there, and it is not a point itself."""
    began = {name: _origin(run, runs) for name, run in runs.items()}
    origins = {origin for origin in began.values() if origin is not None}
    found: list[Spent] = []
    for name, run in runs.items():
        if name not in origins:
            found.append(_spent(name, run, runs, began, split, count, intermediate))
    _check_alike(found)
    return found


def as_points(runs: Sequence[Spent]) -> Points:
    """All points of all runs in one table.

    Final weights of one recipe are one moment, `FINAL`, whenever each seed stopped: at the mean of what they took.
    """
    number = {config: at for at, config in enumerate(dict.fromkeys(run.config for run in runs))}
    ends = {config: [run for run in runs if run.config == config] for config in number}
    took = {config: float(np.mean([run.compute[-1] for run in those])) for config, those in ends.items()}
    saw = {config: float(np.mean([run.seen[-1] for run in those])) for config, those in ends.items()}
    rows = [(of, run, at, at == len(run.compute) - 1) for of, run in enumerate(runs) for at in range(len(run.compute))]
    return Points(
        run=np.array([of for of, *_ in rows], np.int64),
        config=np.array([number[run.config] for _, run, *_ in rows], np.int64),
        step=np.array([FINAL if final else run.step[at] for _, run, at, final in rows], np.int64),
        compute=np.array([took[run.config] if final else run.compute[at] for _, run, at, final in rows]),
        error=np.array([run.error[at] for _, run, at, _ in rows]),
        parameters=np.array([float(run.parameters) for _, run, *_ in rows]),
        samples=np.array([float(run.samples) for _, run, *_ in rows]),
        seen=np.array([saw[run.config] if final else float(run.seen[at]) for _, run, at, final in rows]),
    )


def _origin(run: TrainedRun, runs: Mapping[str, TrainedRun]) -> str | None:
    """The run among those given whose weights this one began with."""
    init = run.recipe.init
    match init.kind:
        case "recipe":
            name = layout.run_name(str(init.recipe), run.recipe.seed)
        case "run":
            name = PurePath(str(init.run)).name
        case _:
            return None
    return name if name in runs else None


def _spent(
    name: str,
    run: TrainedRun,
    runs: Mapping[str, TrainedRun],
    began: Mapping[str, str | None],
    split: Split,
    count: Count,
    intermediate: bool,
) -> Spent:
    recipe, environment = run.recipe, run.environment
    images = environment.images_seen
    if not images or not run.history:
        raise RequestError(f"{name} took no step.", "runs that were trained here", "leave it out")
    each = _image_compute(name, run, count)
    before = _before(name, run, runs, began, count)
    right = top_k_correct(run.evidence.logits(split), split.labels)
    least = 0.5 / len(right)  # no error is 0: this many images say only that it is below about this
    steady = _steady(run) if intermediate and recipe.init.kind == "scratch" else []
    val = [max(1 - epoch.val.accuracy, 0.5 / epoch.val.n) for epoch in steady]
    return Spent(
        name=name,
        family=recipe.model.family,
        model=_model_name(recipe.model),
        recipe=recipe,
        parameters=environment.network.parameters,
        samples=_samples(environment, recipe, images),
        compute=(*(before + each * epoch.images for epoch in steady), before + each * images),
        error=(*val, max(1 - float(right.mean()), least)),
        step=(*(epoch.step for epoch in steady), run.history[-1].step),
        seen=(*(epoch.images for epoch in steady), images),
        right=right,
        val_error=_val_error(run),
        began=began[name],
    )


def _val_error(run: TrainedRun) -> float:
    """The error on val of the weights that are scored: of the epoch that was kept, or else, of a snapshot, of the last one."""
    kept = run.environment.kept_epoch(run.history) or run.history[-1]
    return 1 - kept.val.accuracy


def _image_compute(name: str, run: TrainedRun, count: Count) -> float:
    """What training on one image costs: S's three times its multiply-adds, or the operations that were carried out."""
    if count == "s":
        from priorscope.models.counting import info

        return 3.0 * info(run.evidence.model).macs
    if not run.environment.flops:
        raise RequestError(f"{name} does not say how many operations it took.", "a run that counted them", 'count = "s"')
    return run.environment.flops / run.environment.images_seen


def _before(name: str, run: TrainedRun, runs: Mapping[str, TrainedRun], began: Mapping[str, str | None], count: Count) -> float:
    """The compute of what a run began with, and of what that began with."""
    kind = run.recipe.init.kind
    if kind == "scratch":
        return 0.0
    origin = began[name]
    if origin is None:
        raise RequestError(
            f"{name} began with weights (init.kind = {kind!r}) whose training is not among the runs given.",
            "the run that it began with beside it: its compute counts",
            "give that run too, or leave this one out",
        )
    first = runs[origin]
    own = _image_compute(origin, first, count) * first.environment.images_seen
    return own + _before(origin, first, runs, began, count)


def _steady(run: TrainedRun) -> list[Epoch]:
    """The epochs that ended at the rate that warm-up ended with, without the last one, whose weights are scored themselves."""
    optim = run.recipe.optim
    if optim.schedule not in STEADY:
        return []
    return [epoch for epoch in run.history[:-1] if abs(epoch.lr / optim.lr - 1) < 1e-9]


def _samples(environment: Environment, recipe: Recipe, images: int) -> int:
    learnt = environment.data.train if environment.data else None
    return learnt or recipe.data.subset or images


def _model_name(model: FamilyConfig) -> str:
    """A preset's name; behind it what was set otherwise, where that says the size."""
    sizes = [f"{key} {value}" for key, value in model.plain().items() if key in SIZES]
    return f"{model.name} ({', '.join(sizes)})" if sizes else model.name


def _check_alike(runs: Sequence[Spent]) -> None:
    """Refuses errors that are about different data, or of networks that began in different ways."""
    if len(runs) < 3:
        raise RequestError(
            f"{len(runs)} runs came with an error to compare.", "three, and for a law far more", "name more runs"
        )
    for what, of in (("data", _data_of), ("beginnings", _begins)):
        other = next((run for run in runs if of(run) != of(runs[0])), None)
        if other is not None:
            raise RequestError(
                f"{runs[0].name} and {other.name} have different {what}.",
                "runs on one source, all from scratch or all from given runs",
                "ask about them apart",
            )


def _data_of(run: Spent) -> SourceConfig:
    return run.recipe.data.source


def _begins(run: Spent) -> bool:
    return run.recipe.init.kind != "scratch"
