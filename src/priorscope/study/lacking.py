"""What a plan needs that is not on this machine: data sets, files of published weights, weights from the hub.

A study does not stop for it. Steps that need what is not here fail with an error that says so, those behind them are left out,
and all others are done; but a plan says it beforehand. Nothing is opened and nothing is asked of a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from priorscope.core.folder import at_home
from priorscope.data import SOURCES, source_config
from priorscope.data.describe import is_here
from priorscope.data.hub import is_on_hub
from priorscope.data.sources import SourceConfig
from priorscope.study.plan import Plan
from priorscope.study.steps import Step, TrainStep


def lacking(plan: Plan) -> list[str]:
    """One sentence a thing that is not here, with how many steps cannot be done without it."""
    wanted: dict[str, set[str]] = {}
    left = [*plan.to_do(), *plan.following()]
    for step in left:
        for thing in _wants(step):
            wanted.setdefault(thing, set()).add(step.id)
    for steps in wanted.values():
        for step in left:  # in an order in which they can be done
            if steps.intersection(step.needs):
                steps.add(step.id)
    return [f"{thing}: {len(steps)} {'step needs' if len(steps) == 1 else 'steps need'} it." for thing, steps in wanted.items()]


def _wants(step: Step) -> Iterator[str]:
    """What one step itself needs and is not here, in words that say how to get it."""
    if isinstance(step, TrainStep):
        yield from _of_source(step.cell.recipe.data.source)
        yield from _of_weights(step)
        return
    if step.data is not None:
        yield from _of_source(step.data)
    for read in step.probe.reads():
        yield from _of_path(read) if isinstance(read, Path) else _of_source(source_config(read))


def _of_path(path: Path) -> Iterator[str]:
    if not at_home(path).exists():
        yield f"{path} is not here"


def _of_source(source: SourceConfig) -> Iterator[str]:
    path = getattr(source, "path", None)
    if is_on_hub(source):
        yield f"The tables of {path} are fetched from the hub, unless its cache holds them"
    elif path is not None:
        yield from _of_path(Path(path))
    elif not is_here(source.name):
        published = getattr(SOURCES.load(source.name), "PUBLISHED", ())
        do = f"priorscope data get {source.name}, or set PRIORSCOPE_DATA" if published else "set PRIORSCOPE_DATA"
        yield f"{source.name} is not here ({do})"


def _of_weights(step: TrainStep) -> Iterator[str]:
    model, init = step.cell.recipe.model, step.cell.recipe.init
    name = model.name.partition("/")[2] if getattr(model, "pretrained", False) else init.timm
    if name is not None:
        yield f"timm's weights of {name} are fetched from the hub, unless its cache holds them"
    if init.published is not None and not at_home(init.published).exists():
        yield f"The file of weights {init.published} is not here"
