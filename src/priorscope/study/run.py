"""Does what is missing of a study.

A failed step does not stop the others: those that need it are left out, the rest are done, and all that failed is named at the
end and kept in `failures.json`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key, read_toml
from priorscope.core.contracts import Subject
from priorscope.core.errors import PriorscopeError, RequestError, WorkError
from priorscope.core.machine import cores, memory_bytes
from priorscope.core.stopping import Stopped, Stopping, stopping
from priorscope.looking.about import about, subject_of
from priorscope.study.askable import check_askable
from priorscope.study.executors import WORKER_BYTES, Ended, Executor, Going, LocalExecutor, Resources
from priorscope.study.forecast import Memories
from priorscope.study.plan import Plan, make_plan
from priorscope.study.rates import remember
from priorscope.study.sharing import finished_runs, take
from priorscope.study.steps import ProbeStep, Step, TrainStep
from priorscope.study.study import Study
from priorscope.study.work import ProbeWork, TrainWork, Work


@dataclass(frozen=True)
class Failure:
    """Why a step is not done, in words."""

    error: str
    needs: str | None = None
    """The step that failed and for which this one was left out; None where this one was tried."""

    def plain(self) -> Plain:
        """As it is kept: a step that was tried names none that it needs."""
        return {"error": self.error} | ({} if self.needs is None else {"needs": self.needs})


@dataclass
class Tally:
    """What a display shows: how many steps there are, have ended, and are under way."""

    to_do: int
    done: int = 0
    failed: dict[str, Failure] = field(default_factory=dict[str, Failure])
    going: dict[str, float] = field(default_factory=dict[str, float])


Show = Callable[[Tally], None]


@dataclass(frozen=True)
class StudyOutcome:
    """What a study came to: how many steps it had to do, and which of them failed, or were left out for these, and why."""

    out: Path
    asked: int
    failed: dict[str, Failure]

    def check(self) -> None:
        """Says what failed, if anything did."""
        broken = {name: failure.error for name, failure in self.failed.items() if failure.needs is None}
        if broken:
            left_out = len(self.failed) - len(broken)
            more = f"; left out because of this: {left_out} more" if left_out else ""
            names = ", ".join(list(broken)[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
            raise WorkError(
                f"{len(broken)} of {self.asked} steps failed: {names}{more}.\n\n{next(iter(broken.values()))}\n",
                "every step done",
                f"see {self.out / layout.FAILURES}; the same command again tries what failed",
            )


def run_study(
    study: Study,
    out: Path,
    *,
    fresh: bool = False,
    workers: int | None = None,
    show: Show = lambda _: None,
    executor: Executor | None = None,
    shared: Sequence[Path] = (),
) -> StudyOutcome:
    """Carries out a study in a folder: only what is missing, or everything again.

    Its steps are carried out by `executor`, which is stopped at the end; where none is given, by at most `workers` processes
    of this machine. Runs that the `shared` folders hold finished are taken from there.
    """
    elsewhere = finished_runs(shared)
    check_folder(study, out)
    with folder.locked(out):
        check_askable(make_plan(study, out, fresh=True))  # what cannot be planned, or never be done, changes nothing
        folder.remove_leftovers(out, layout.STUDY_FOLDERS)
        if fresh:
            _forget(out)
        if not (out / layout.STUDY).exists() or (out / layout.STUDY).read_text(encoding="utf-8") != study.toml():
            folder.write_text(out / layout.STUDY, study.toml())
        plan = _with_way_made(study, out, elsewhere)
        plan, tally = _carry_out(plan, executor or _on_this_machine(workers), show, elsewhere)
        _retire(plan)
    return StudyOutcome(out, tally.to_do, tally.failed)


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


def _on_this_machine(workers: int | None) -> Executor:
    return LocalExecutor(cores(), memory_bytes() * 0.8, workers)


def _forget(out: Path) -> None:
    for name in layout.STUDY_FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def _with_way_made(study: Study, out: Path, elsewhere: Mapping[str, Path]) -> Plan:
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


def _carry_out(plan: Plan, executor: Executor, show: Show, elsewhere: Mapping[str, Path]) -> tuple[Plan, Tally]:
    """Starts every step as soon as what it needs is there and there is room.

    Where trials choose what follows, the plan grows as they end; it is returned as it stands in the end.
    """
    waiting = plan.to_do()
    tally = Tally(len(waiting) + len(plan.following()))
    steps = {step.id: step for step in waiting}
    memories = Memories()
    show(tally)
    with stopping() as asked:
        try:
            while waiting or tally.going:
                waiting = _start_ready(plan, waiting, [steps[id] for id in tally.going], executor, tally, memories)
                for news in executor.news(0.2):
                    if isinstance(news, Going):
                        tally.going[news.id] = news.status.done
                        continue
                    _note_end(news, steps[news.id], tally)
                    memories.read()
                    if isinstance(steps[news.id], TrainStep) and (plan.open or _begun_with(news.id, waiting)):
                        plan = _with_way_made(plan.study, plan.out, elsewhere)
                        grown = [step for step in plan.to_do() if step.id not in steps]
                        steps |= {step.id: step for step in grown}
                        waiting += grown
                        tally.to_do = len(steps) + len(plan.following())
                show(tally)
                _check_stop(asked, plan.out)
            _leave_out(plan, tally)
        finally:
            executor.stop()
            _note_failures(plan.out, tally.failed, [*(step.id for step in waiting), *tally.going])
    return plan, tally


def _begun_with(train: str, waiting: Sequence[Step]) -> bool:
    """Whether a run that still waits begins with this one: it may have been trained before this one's data changed."""
    return any(isinstance(step, TrainStep) and train in step.needs for step in waiting)


def _leave_out(plan: Plan, tally: Tally) -> None:
    """Leaves out the steps for which trials could not choose because one of them failed: tuning budgets must be equal."""
    for step in plan.following():
        _left_out(step, tally)


def _left_out(step: Step, tally: Tally) -> bool:
    """Whether a step is left out because one that it needs failed; the tally then says so."""
    broken = next((need for need in step.needs if need in tally.failed), None)
    if broken is not None:
        tally.failed[step.id] = Failure(f"Left out, because it needs {broken!r}, which failed.", broken)
    return broken is not None


def _start_ready(
    plan: Plan, waiting: Sequence[Step], going: Sequence[Step], executor: Executor, tally: Tally, memories: Memories
) -> list[Step]:
    """Starts what can be started; returns what still waits."""
    left = [step for step in waiting if not _left_out(step, tally)]
    pending = {step.id for step in (*left, *going)}
    ready = _in_turn(plan, [step for step in left if pending.isdisjoint(step.needs)])
    under_way = [*going]
    while step := next((one for one in _apart(ready, under_way) if executor.room(_resources(one, memories))), None):
        executor.start(step.id, _work(step, plan.out), _resources(step, memories))
        tally.going[step.id] = 0.0
        under_way.append(step)
        ready = [other for other in ready if other.id != step.id]
    return [step for step in left if step.id not in tally.going]


def _in_turn(plan: Plan, ready: Iterable[Step]) -> list[Step]:
    """Steps in the plan's order, but those that look at the same one after another, where the first of them stands."""
    places: dict[object, int] = {}
    for place, step in enumerate(plan.steps):
        places.setdefault(step.looks_at or step.id, place)
    return sorted(ready, key=lambda step: places.get(step.looks_at or step.id, len(places)))


def _apart(ready: Sequence[Step], under_way: Sequence[Step]) -> list[Step]:
    """Steps, those last that look at the same as one under way: what that computes and keeps, they need not compute."""
    looked_at = {step.looks_at for step in under_way if step.looks_at is not None}
    return sorted(ready, key=lambda step: step.looks_at in looked_at)


def _resources(step: Step, memories: Memories) -> Resources:
    return Resources(step.threads, memories.of(step) or WORKER_BYTES, step.gpu, step.alone)


def _work(step: Step, out: Path) -> Work:
    if isinstance(step, TrainStep):
        return TrainWork(step.cell.recipe, step.out, step.init, step.trial)
    about_it = about(
        step.probe,
        [_shown(subject, out) for subject in step.subjects],
        step.source,
        step.made_from,
        other_data=step.data is not None,
    )
    paths = tuple(subject.out for subject in step.subjects)
    companions = {name: other.out for name, other in step.companions.items()}
    return ProbeWork(paths, step.probe, step.source, step.threads, step.gpu, step.out, companions, about_it)


def _shown(subject: TrainStep, out: Path) -> tuple[Subject, tuple[str, ...]]:
    """A run as the subject of a result, and its folder relative to the study's."""
    cell = subject.cell
    return subject_of(cell.run, cell.arm, cell.recipe), (subject.out.relative_to(out).as_posix(),)


def _note_end(news: Ended, step: Step, tally: Tally) -> None:
    tally.going.pop(news.id, None)
    if news.error is not None:
        tally.failed[news.id] = Failure(news.error)
        return
    tally.done += 1
    if news.like_here:
        remember(step, news.seconds, news.memory)


def _check_stop(asked: Stopping, out: Path) -> None:
    if asked.number:
        raise Stopped(asked.number, f"{out} keeps what is done", "the same command again goes on where it stopped")


def _note_failures(out: Path, failed: Mapping[str, Failure], left: Sequence[str]) -> None:
    """Keeps what failed: now, or before where it was `left` and not tried again to its end."""
    path = out / layout.FAILURES
    try:
        before = {one["step"]: one for one in folder.read_json(path)["failures"]}
    except (PriorscopeError, LookupError):
        before = {}
    told = {name: before[name] for name in left if name in before}
    told |= {name: {"step": name, **failure.plain()} for name, failure in failed.items()}
    if told:
        folder.write_json(path, {"failures": [*told.values()]})
    else:
        path.unlink(missing_ok=True)


def _retire(plan: Plan) -> None:
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
