"""A study's plan: its steps in an order in which they can be done, which of them are done, and why the others are not.

A study whose recipes are tuned is planned in two stages. Which settings a recipe is trained with is only known when all of
its trials are done; until then its runs, and what looks at them, are planned with the settings of the first trial, stand in
the plan as `open`, and cannot be begun. A plan that is made again when the trials are done has no open steps.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from priorscope.core import layout
from priorscope.core.claim import Claim
from priorscope.core.config import content_key
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.wording import listed
from priorscope.fitting.made_from import inputs
from priorscope.looking.question import check_one_source, companions_of
from priorscope.probes import probe_config, result_class
from priorscope.probes.tuning import best_trial
from priorscope.study.cells import Cell, Cells, all_cells
from priorscope.study.steps import ProbeStep, Step, TrainStep, score
from priorscope.study.study import ProbeEntry, Study


@dataclass(frozen=True)
class Plan:
    """A study's steps in an order in which they can be done, and why each that is not done is to be done."""

    study: Study
    out: Path
    steps: tuple[Step, ...]
    missing: Mapping[str, str]
    open: frozenset[str] = frozenset()
    """The steps that wait until trials have chosen what exactly they are."""

    def to_do(self) -> list[Step]:
        """The steps that are not done and can be."""
        return [step for step in self.steps if step.id in self.missing and step.id not in self.open]

    def following(self) -> list[Step]:
        """The steps that will be known when the trials are done."""
        return [step for step in self.steps if step.id in self.open]


def make_plan(study: Study, out: Path, *, fresh: bool = False) -> Plan:
    """Works out the steps of a study and looks at what stands in its folder, unless it is to be done from nothing."""
    chosen: dict[str, int] = {}
    while True:
        found = all_cells(study, chosen)
        trains = _train_steps(found, chosen, out)
        waiting = _waiting(found, trains, chosen)
        asked = {} if fresh else {arm: cells for arm, cells in found.trials.items() if arm not in chosen}
        tried = {arm: [trains[cell.run] for cell in cells] for arm, cells in asked.items()}
        ready = {
            arm: steps for arm, steps in tried.items() if all(one.id not in waiting and not one.missing() for one in steps)
        }
        if not ready:
            return _planned(study, out, found, trains, waiting, fresh=fresh)
        chosen |= {arm: best_trial([score(step.out) for step in steps]) for arm, steps in ready.items()}


def _planned(
    study: Study, out: Path, found: Cells, trains: Mapping[str, TrainStep], waiting: Mapping[str, str], *, fresh: bool
) -> Plan:
    """The plan of a study whose runs are worked out; `waiting` says why some cannot be begun."""
    of_runs = [trains[cell.run] for cell in found.runs]
    trials = tuple(trains[cell.run] for cells in found.trials.values() for cell in cells)
    steps: list[Step] = list(trains.values())
    if trials:
        steps.append(ProbeStep(probe_config("tuning"), trials, "all trials", None, out / layout.JOINT))
    asked = (step for entry in study.probes for step in _probe_steps(study, entry, of_runs, out))
    steps += {step.out: step for step in asked}.values()  # two entries may ask for the same
    _check_claims(study, of_runs)
    missing: dict[str, str] = {}
    open_steps: set[str] = set()
    for step in steps:
        held = next((need for need in step.needs if need in open_steps), None)
        if step.id in waiting or held is not None:
            open_steps.add(step.id)
            missing[step.id] = waiting.get(step.id) or f"after {held}"
            continue
        redone = next((need for need in step.needs if need in missing), None)
        why = step.ABSENT if fresh else step.missing() or (f"after {redone}" if redone else None)
        if why is not None:
            missing[step.id] = why
    return Plan(study, out, tuple(steps), missing, frozenset(open_steps))


def _waiting(found: Cells, trains: Mapping[str, TrainStep], chosen: Mapping[str, int]) -> dict[str, str]:
    """The runs and trials whose settings, or beginnings, are not known yet, and what they wait for."""
    waiting: dict[str, str] = {}
    for step in trains.values():
        by = None if step.trial else found.tuned_by.get(step.cell.arm)
        held = next((need for need in step.needs if need in waiting), None)
        if by is not None and by not in chosen:
            waiting[step.id] = f"after the best of the {len(found.trials[by])} trials of {by} is known"
        elif held is not None:
            waiting[step.id] = f"after {held}"
    return waiting


def _train_steps(found: Cells, chosen: Mapping[str, int], out: Path) -> dict[str, TrainStep]:
    """A step for each run and trial, each after the run that it begins with and after the trials that choose for it."""
    trials = {cell.run: cell for cells in found.trials.values() for cell in cells}
    by_name = {cell.run: cell for cell in found.runs}
    done: dict[str, TrainStep] = {}

    def add(cell: Cell, waiting: tuple[str, ...]) -> TrainStep:
        if cell.run in waiting:
            raise RequestError(
                f"{' -> '.join((*waiting, cell.run))} each start from the other.",
                "one that starts from scratch",
                "change one init.recipe",
            )
        if cell.run not in done:
            init, trial = None, cell.run in trials
            if cell.recipe.init.recipe is not None:
                before = layout.run_name(cell.recipe.init.recipe, cell.init_seed)
                if before not in by_name:
                    raise _no_beginning(cell, found.runs)
                init = add(by_name[before], (*waiting, cell.run))
            by = None if trial else found.tuned_by.get(cell.arm)
            choosing = () if by is None or by in chosen else found.trials[by]
            done[cell.run] = TrainStep(
                cell,
                out / (layout.TUNING if trial else layout.RUNS) / cell.run,
                inputs(cell.recipe, init.key if init else None),
                init.out if init else None,
                (*((init.id,) if init else ()), *(f"train {one.run}" for one in choosing)),
                trial,
            )
        return done[cell.run]

    for cell in (*trials.values(), *found.runs):
        add(cell, ())
    return done


def _no_beginning(cell: Cell, found: Sequence[Cell]) -> RequestError:
    """Why there is no run for another to begin with: its recipe has a grid, or not this seed."""
    name = cell.recipe.init.recipe
    seeds = sorted({other.seed for other in found if other.recipe_name == name})
    if cell.init_seed not in seeds:
        return RequestError(
            f"{cell.run} begins with the recipe {name!r}, which is run with the seeds {', '.join(map(str, seeds))} only.",
            f"the seed {cell.init_seed} for both",
            f"add {cell.init_seed} to the seeds of {name!r}",
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
            raise unknown_name("recipe of this study", name, study.recipes)
    subjects = [step for step in trains if _is_asked(entry, step.cell)]
    if not subjects:
        raise RequestError(
            f"{entry.probe.name!r} of {study.name} looks at no run.", "seeds that its recipes have", "change its seeds"
        )
    if entry.probe.per == "set":
        if entry.data is None:
            learnt = [(step.cell.recipe_name, step.cell.recipe.data.source) for step in subjects]
            do = f'recipes = ["{learnt[0][0]}"], or data = "NAME" in its [[probes]]'
            check_one_source(f"{entry.probe.name!r} of {study.name}", learnt, do)
        whom = "all runs" if entry.recipes is None else ", ".join(entry.recipes)
        if entry.seeds is not None:
            whom += f", seed{'s' if len(entry.seeds) > 1 else ''} {listed([*map(str, entry.seeds)])}"
        yield ProbeStep(entry.probe, tuple(subjects), whom, entry.data, out / layout.JOINT)
        return
    by_recipe = {content_key(step.cell.recipe.plain()): step for step in trains}
    for subject in subjects:
        beside = companions_of(entry.probe, subject.cell.recipe, by_recipe)
        yield ProbeStep(entry.probe, (subject,), subject.cell.run, entry.data, subject.out / layout.RESULTS, beside)


def _check_claims(study: Study, trains: Sequence[TrainStep]) -> None:
    """Refuses claims that this study can never decide: of what it does not compare, or does not ask."""
    arms = list(dict.fromkeys(step.cell.arm for step in trains))
    probes = [entry.probe.name for entry in study.probes]
    for text in study.claims:
        claim, where = Claim.read(text), f"which the claim {text!r} is about"
        for name in (claim.first, claim.second):
            if name not in arms:
                raise unknown_name(f"recipe, or cell of a grid, of this study, {where}", name, arms)
        if claim.first == claim.second:
            raise RequestError(f"{text!r} compares {claim.first!r} with itself.", "two of this study", "name another recipe")
        if claim.probe not in probes:
            raise unknown_name(f"probe of this study, {where}", claim.measure, probes)
        if probe_config(claim.probe).per == "set":
            raise RequestError(
                f"{claim.probe!r} says one thing of many networks together, which no claim is about: {text!r}.",
                "a probe that says a number of each",
                "accuracy, or another of [[probes]]",
            )
        if wanted := claim.unit_refused(kind := result_class(claim.probe)):
            raise RequestError(
                f"{text!r} can never be decided: no two networks are compared in the unit of its margin.",
                f"a margin in {kind.difference_unit or f'the unit of the {kind.measure}, without a word'}",
                wanted,
            )
        if not any(_decides(entry, claim, trains) for entry in study.probes):
            told = "".join(f", {name} = {value!r}" for name, value in claim.settings.items())
            raise RequestError(
                f"{text!r} is about what no entry of [[probes]] asks both.",
                f"one with name = {claim.probe!r}{told}, which looks at {claim.first} and {claim.second}",
                "add it to [[probes]]",
            )


def _decides(entry: ProbeEntry, claim: Claim, trains: Sequence[TrainStep]) -> bool:
    asked = {step.cell.arm for step in trains if _is_asked(entry, step.cell)}
    meant = entry.probe.name == claim.probe and claim.settings.items() <= entry.probe.plain().items()
    return meant and {claim.first, claim.second} <= asked


def _is_asked(entry: ProbeEntry, cell: Cell) -> bool:
    of_recipe = entry.recipes is None or cell.recipe_name in entry.recipes
    return of_recipe and (entry.seeds is None or cell.seed in entry.seeds)
