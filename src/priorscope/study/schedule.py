"""Which of a study's steps wait, which are under way, and how each ended.

A step starts as soon as what it needs is there and there is room. One that failed does not stop the others: those that need it
are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from priorscope.core.config import Plain
from priorscope.core.contracts import Subject
from priorscope.looking.about import about, subject_of
from priorscope.study.executors import WORKER_BYTES, Ended, Executor, Going, Resources
from priorscope.study.forecast import Memories
from priorscope.study.keeping import with_way_made
from priorscope.study.plan import Plan
from priorscope.study.rates import remember
from priorscope.study.steps import Step, TrainStep
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


class Schedule:
    """A plan that is carried out. Where trials choose what follows, it grows as they end.

    Runs that lie finished `elsewhere` are taken from there.
    """

    def __init__(self, plan: Plan, elsewhere: Mapping[str, Path]) -> None:
        self.plan, self._elsewhere = plan, elsewhere
        self._waiting = plan.to_do()
        self._steps = {step.id: step for step in self._waiting}
        self._memories = Memories()
        self.tally = Tally(len(self._waiting) + len(plan.following()))

    def left(self) -> list[str]:
        """The steps that wait or are under way."""
        return [*(step.id for step in self._waiting), *self.tally.going]

    def start_ready(self, executor: Executor) -> None:
        """Starts what can be started."""
        self._waiting = self._leave_out(self._waiting)
        pending = set(self.left())
        ready = _in_turn(self.plan, [step for step in self._waiting if pending.isdisjoint(step.needs)])
        under_way = [self._steps[id] for id in self.tally.going]
        while step := next((one for one in _apart(ready, under_way) if executor.room(self._resources(one))), None):
            executor.start(step.id, _work(step, self.plan.out), self._resources(step))
            self.tally.going[step.id] = 0.0
            under_way.append(step)
            ready = [other for other in ready if other.id != step.id]
        self._waiting = [step for step in self._waiting if step.id not in self.tally.going]

    def hear(self, news: Going | Ended) -> None:
        """Notes how far a step is, or how it ended."""
        if isinstance(news, Going):
            self.tally.going[news.id] = news.status.done
            return
        self._note_end(news)
        if isinstance(self._steps[news.id], TrainStep) and (self.plan.open or self._is_begun_with(news.id)):
            self._grow()

    def leave_out_following(self) -> None:
        """Leaves out the steps for which trials could not choose because one of them failed: tuning budgets must be equal."""
        self._leave_out(self.plan.following())

    def _leave_out(self, steps: Iterable[Step]) -> list[Step]:
        """Leaves out those of some steps that need one that failed; returns the others."""
        others: list[Step] = []
        for step in steps:
            broken = next((need for need in step.needs if need in self.tally.failed), None)
            if broken is None:
                others.append(step)
            else:
                self.tally.failed[step.id] = Failure(f"Left out, because it needs {broken!r}, which failed.", broken)
        return others

    def _note_end(self, news: Ended) -> None:
        del self.tally.going[news.id]
        if news.error is not None:
            self.tally.failed[news.id] = Failure(news.error)
        else:
            self.tally.done += 1
            if news.like_here:
                remember(self._steps[news.id], news.seconds, news.memory)
        self._memories.read()

    def _is_begun_with(self, train: str) -> bool:
        """Whether a run that still waits begins with this one: it may have been trained before this one's data changed."""
        return any(isinstance(step, TrainStep) and train in step.needs for step in self._waiting)

    def _grow(self) -> None:
        """Plans again, now that more is known, and takes up the steps that this adds."""
        self.plan = with_way_made(self.plan.study, self.plan.out, self._elsewhere)
        grown = [step for step in self.plan.to_do() if step.id not in self._steps]
        self._steps |= {step.id: step for step in grown}
        self._waiting += grown
        self.tally.to_do = len(self._steps) + len(self.plan.following())

    def _resources(self, step: Step) -> Resources:
        return Resources(step.threads, self._memories.of(step) or WORKER_BYTES, step.gpu, step.alone)


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
