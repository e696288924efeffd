"""A study's plan: its steps in an order in which they can be done, which of them are done, and why the others are not.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from priorscope import run as runs
from priorscope.core.config import Plain, content_key
from priorscope.core.errors import RequestError, unknown_name
from priorscope.probes import PROBES
from priorscope.study.steps import ProbeStep, Step, TrainStep
from priorscope.study.study import Cell, ProbeEntry, Study, cells

RUNS, JOINT = "runs", "joint"


@dataclass(frozen=True)
class Plan:
    """A study's steps in an order in which they can be done, and why each that is not done is to be done."""

    study: Study
    out: Path
    steps: tuple[Step, ...]
    missing: Mapping[str, str]

    def to_do(self) -> list[Step]:
        """The steps that are not done."""
        return [step for step in self.steps if step.id in self.missing]


def make_plan(study: Study, out: Path) -> Plan:
    """Works out the steps of a study and looks at what stands in its folder."""
    found = cells(study)
    trains = _train_steps(found, out)
    probes = [step for entry in study.probes for step in _probe_steps(study, entry, list(trains.values()), out)]
    steps: list[Step] = [*trains.values(), *probes]
    missing: dict[str, str] = {}
    for step in steps:
        why = step.missing()
        if why is None:
            redone = next((need for need in step.needs if need in missing), None)
            why = f"after {redone}" if redone else None
        if why is not None:
            missing[step.id] = why
    return Plan(study, out, tuple(steps), missing)


def _train_steps(found: Sequence[Cell], out: Path) -> dict[str, TrainStep]:
    """One step a run, a recipe that begins with another after that one."""
    by_name = {cell.run: cell for cell in found}
    done: dict[str, TrainStep] = {}

    def add(cell: Cell, waiting: tuple[str, ...]) -> TrainStep:
        if cell.run in waiting:
            raise RequestError(
                f"{' -> '.join((*waiting, cell.run))} begin with each other.", "a first one", "change one init.recipe"
            )
        if cell.run not in done:
            earlier = None
            if cell.recipe.init.recipe is not None:
                before = f"{cell.recipe.init.recipe}-s{cell.seed}"
                if before not in by_name:
                    raise _no_beginning(cell, found)
                earlier = add(by_name[before], (*waiting, cell.run))
            done[cell.run] = TrainStep(
                cell,
                out / RUNS / cell.run,
                runs.inputs(cell.recipe, earlier.key if earlier else None),
                earlier.out if earlier else None,
                (earlier.id,) if earlier else (),
            )
        return done[cell.run]

    for cell in found:
        add(cell, ())
    return done


def _no_beginning(cell: Cell, found: Sequence[Cell]) -> RequestError:
    """Why there is no run for another to begin with: its recipe has a grid, or not this seed."""
    name = cell.recipe.init.recipe
    seeds = sorted({other.seed for other in found if other.recipe_name == name})
    if cell.seed not in seeds:
        return RequestError(
            f"{cell.run} begins with the recipe {name!r}, which is run with the seeds {', '.join(map(str, seeds))} only.",
            f"the seed {cell.seed} for both",
            f"add {cell.seed} to the seeds of {name!r}",
        )
    return RequestError(
        f"{cell.run} begins with the recipe {name!r}, which has a grid.",
        "a recipe with one cell",
        "name a recipe without a grid",
    )


def _probe_steps(study: Study, entry: ProbeEntry, trains: Sequence[TrainStep], out: Path) -> Iterator[ProbeStep]:
    """One step a run, or one for all runs together, as the probe wants it."""
    for name in entry.recipes or ():
        if name not in study.recipes:
            raise unknown_name("recipe of this study", name, study.recipes, f"see [recipes] of {study.name}")
    subjects = [step for step in trains if _is_asked(entry, step.cell)]
    if not subjects:
        raise RequestError(
            f"{entry.probe.name!r} of {study.name} looks at no run.", "seeds that its recipes have", "change its seeds"
        )
    if PROBES.load(entry.probe.name).PER == "set":
        _check_one_source(study, entry, subjects)
        about = "all runs" if entry.recipes is None else ", ".join(entry.recipes)
        yield ProbeStep(entry.probe, tuple(subjects), about, entry.data, out / JOINT)
        return
    for subject in subjects:
        beside = _companions(entry, subject, trains)
        yield ProbeStep(entry.probe, (subject,), subject.cell.run, entry.data, subject.out / runs.RESULTS, beside)


def _is_asked(entry: ProbeEntry, cell: Cell) -> bool:
    of_recipe = entry.recipes is None or cell.recipe_name in entry.recipes
    return of_recipe and (entry.seeds is None or cell.seed in entry.seeds)


def _check_one_source(study: Study, entry: ProbeEntry, subjects: Sequence[TrainStep]) -> None:
    """Refuses to ask several runs about the data of the first where they learnt from different data."""
    sources = {content_key(subject.cell.recipe.data.source.plain()): subject.cell.recipe_name for subject in subjects}
    if entry.data is None and len(sources) > 1:
        first, second, *_ = sources.values()
        raise RequestError(
            f"{entry.probe.name!r} of {study.name} compares {first!r} and {second!r}, which learn from different data.",
            "one source on which all are asked",
            f'recipes = ["{first}"], or data = "NAME" in its [[probes]]',
        )


def _companions(entry: ProbeEntry, subject: TrainStep, trains: Sequence[TrainStep]) -> dict[str, TrainStep]:
    """The runs of this study whose recipes differ from one as the probe would like to see."""
    module = PROBES.load(entry.probe.name)
    if not hasattr(module, "companions"):
        return {}
    by_recipe = {content_key(step.cell.recipe.plain()): step for step in trains}
    asked: dict[str, Plain] = module.companions(subject.cell.recipe.plain())
    return {name: by_recipe[key] for name, recipe in asked.items() if (key := content_key(recipe)) in by_recipe}
