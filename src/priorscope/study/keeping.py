"""What a study's folder keeps: what is moved aside and back before its steps are carried out, and what is deleted after them.

Nothing that was trained is thrown away: a run of another recipe, or of data that has changed, is set aside.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key, read_toml
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.study.plan import Plan, make_plan
from priorscope.study.sharing import take
from priorscope.study.steps import ProbeStep, TrainStep
from priorscope.study.study import Study


def check_folder(study: Study, out: Path) -> None:
    """Refuses a folder that something else has filled: what a study does not ask for it takes away, or writes over."""
    holds = _other_than(study, out)
    if holds is not None:
        raise RequestError(
            f"{out} holds {holds}, and {study.name!r} would take away what it does not ask for.",
            f"an empty folder, or that of {study.name!r}",
            "choose another folder with --out",
        )


def _other_than(study: Study, out: Path) -> str | None:
    """What a folder holds that is not this study's: a run, a study that people wrote, another study, or what is of none."""
    if layout.is_run(out):
        return "a run"
    if (out / layout.STUDY).exists():
        found = read_toml(out / layout.STUDY)
        if not layout.is_own_copy(found):
            return f"a {layout.STUDY} that no study wrote"
        return None if found["name"] == study.name else f"the study {found['name']!r}"
    filled = [name for name in layout.STUDY_FOLDERS if (out / name).exists()]
    return f"{' and '.join(filled)} of no study" if filled else None


def forget(out: Path) -> None:
    """Deletes all that a study has made."""
    for name in layout.STUDY_FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def with_way_made(study: Study, out: Path, elsewhere: Mapping[str, Path]) -> Plan:
    """The plan, once runs of other recipes are moved aside, and those of these recipes are back or taken from `elsewhere`.

    Nothing is thrown away, and a step that is under way is left alone.
    """
    while True:  # trials that are back, or taken, tell what the runs are that they chose
        plan = make_plan(study, out)
        moved = [_make_way(step, plan) for step in plan.to_do() if isinstance(step, TrainStep)]
        if not any(moved) and not take(plan, elsewhere):
            return plan


def _make_way(step: TrainStep, plan: Plan) -> bool:
    """Moves a run of another recipe or other data aside, and one of this recipe back; whether anything was moved."""
    changed = step.changed() is not None
    if changed:
        _set_aside(plan.out, step.out)
        _delete(other.out for other in plan.steps if isinstance(other, ProbeStep) and step.id in other.needs)
    back = None if step.out.exists() else _kept(step, plan.out)
    if back:
        step.out.parent.mkdir(parents=True, exist_ok=True)
        back.rename(step.out)
    return changed or back is not None


def _kept(step: TrainStep, out: Path) -> Path | None:
    """The folder among the stale runs where the run of a step lies, made from the data as they are now; None without one."""
    kept, _ = layout.stale(out, step.cell.run, step.key)
    return next((place for place in kept if replace(step, out=place).changed() is None), None)


def _set_aside(out: Path, run: Path) -> None:
    """Moves a run's folder to where stale ones are kept, its key in its name."""
    try:
        key = content_key(folder.read_json(run / layout.MADE_FROM))
    except PriorscopeError:
        key = "unknown"
    _, aside = layout.stale(out, run.name, key)
    aside.parent.mkdir(parents=True, exist_ok=True)
    run.rename(aside)


def note_failures(out: Path, failed: Mapping[str, Plain], left: Sequence[str]) -> None:
    """Keeps what failed: now, or before where it was `left` and not tried again to its end."""
    path = out / layout.FAILURES
    try:
        before = {one["step"]: one for one in folder.read_json(path)["failures"]}
    except (PriorscopeError, LookupError):
        before = {}
    told = {name: before[name] for name in left if name in before}
    told |= {name: {"step": name, **failure} for name, failure in failed.items()}
    if told:
        folder.write_json(path, {"failures": [*told.values()]})
    else:
        path.unlink(missing_ok=True)


def retire(plan: Plan) -> None:
    """Removes from the page what the study no longer asks for.

    Runs are set aside, results of other settings deleted.
    """
    wanted = {step.out for step in plan.steps}
    if plan.open:
        return  # which runs and results are wanted is not known before every trial has ended
    places = [*(plan.out / layout.RUNS).glob("*"), *(plan.out / layout.TUNING).glob("*")]
    for run in places:
        if run.is_dir() and run not in wanted:
            _set_aside(plan.out, run)
    kept = [*(plan.out / layout.RUNS).glob(f"*/{layout.RESULTS}"), plan.out / layout.JOINT]
    results = [path for place in kept for path in layout.results(place)]
    _delete(path for path in results if path not in wanted)


def _delete(results: Iterable[Path]) -> None:
    """Deletes results with their arrays, where they are there."""
    for path in results:
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink(missing_ok=True)
