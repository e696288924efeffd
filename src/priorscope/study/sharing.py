"""Runs that other folders hold finished, taken over where a study asks for exactly these.

A run is a function of its recipe, its data and the versions of the code that made it, all of which stand in its folder. Two
studies that ask for the same run can therefore share it: it is copied, without what was measured on it, and not trained again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from priorscope.core import folder, layout
from priorscope.core.config import content_key
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.study.plan import Plan
from priorscope.study.steps import TrainStep


def finished_runs(places: Sequence[Path]) -> dict[str, Path]:
    """Every finished run below some folders of studies or runs, by its key."""
    found: dict[str, Path] = {}
    for place in places:
        held = _runs_below(place)
        if not held:
            raise RequestError(
                f"{place} holds no run.", "the folder of a study, of runs, or of one run", "--runs out/quickstart"
            )
        for run in held:
            if layout.is_finished(run) and (run / layout.WEIGHTS).exists():
                found.setdefault(_key(run), run)
    return found


def shared(plan: Plan, found: Mapping[str, Path]) -> dict[str, Path]:
    """Pending steps that another folder already holds finished, with the run to copy for each."""
    trains = (step for step in plan.to_do() if isinstance(step, TrainStep) and step.key in found)
    return {step.id: found[step.key] for step in trains if replace(step, out=found[step.key]).missing() is None}


def without(plan: Plan, steps: Mapping[str, Path]) -> Plan:
    """The plan as it stands when these steps are done."""
    missing = {name: why for name, why in plan.missing.items() if name not in steps}
    return replace(plan, missing=missing)


def take(plan: Plan, found: Mapping[str, Path]) -> list[str]:
    """Copies what can be taken and is not here; returns the names of the steps that are done by it.

    A run that is here may still wait in the plan: for the one that it began with. What says that a run is done is copied last:
    a copy that was killed is not a run.
    """
    taken = shared(plan, found)
    steps = [step for step in plan.to_do() if isinstance(step, TrainStep) and step.id in taken and step.missing()]
    for step in steps:
        source = taken[step.id]
        for path in sorted(_files(source), key=lambda path: (path.name == layout.ENVIRONMENT, path.name == layout.MADE_FROM)):
            folder.write_bytes(step.out / path.relative_to(source), path.read_bytes())
    return [step.id for step in steps]


def _runs_below(place: Path) -> list[Path]:
    """The run folders of a study, its trials among them, of a folder of runs, or the folder itself."""
    inside = (place, place / layout.RUNS, place / layout.TUNING)
    return [*([place] if layout.is_run(place) else ()), *(run for folder in inside for run in layout.runs_in(folder))]


def _key(run: Path) -> str:
    """The key of a run; one whose record is damaged has none that anybody asks for."""
    try:
        return content_key(folder.read_json(run / layout.MADE_FROM))
    except PriorscopeError:
        return ""


def _files(run: Path) -> Iterator[Path]:
    """What belongs to a run itself: neither what was measured on it nor what a killed process left."""
    for path in run.rglob("*"):
        own = path.relative_to(run).parts
        if path.is_file() and own[0] != layout.RESULTS and not any(part.startswith(".") for part in own):
            yield path
