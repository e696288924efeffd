"""Does what is missing of a study.

A failed step does not stop the others: those that need it are left out, the rest are done, and all that failed is named at the
end and kept in `failures.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from priorscope.core import folder, layout
from priorscope.core.errors import WorkError
from priorscope.core.machine import cores, memory_bytes
from priorscope.core.stopping import Stopped, Stopping, stopping
from priorscope.study.askable import check_askable
from priorscope.study.executors import Executor, LocalExecutor
from priorscope.study.keeping import check_folder, forget, note_failures, retire, with_way_made
from priorscope.study.plan import make_plan
from priorscope.study.schedule import Failure, Schedule, Tally
from priorscope.study.sharing import finished_runs
from priorscope.study.study import Study

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
            forget(out)
        if not (out / layout.STUDY).exists() or (out / layout.STUDY).read_text(encoding="utf-8") != study.toml():
            folder.write_text(out / layout.STUDY, study.toml())
        schedule = Schedule(with_way_made(study, out, elsewhere), elsewhere)
        _carry_out(schedule, executor or _on_this_machine(workers), show)
        retire(schedule.plan)
    return StudyOutcome(out, schedule.tally.to_do, schedule.tally.failed)


def _on_this_machine(workers: int | None) -> Executor:
    return LocalExecutor(cores(), memory_bytes() * 0.8, workers)


def _carry_out(schedule: Schedule, executor: Executor, show: Show) -> None:
    """Starts steps and hears of them until none is left; what failed is kept, however it ends."""
    out = schedule.plan.out
    show(schedule.tally)
    with stopping() as asked:
        try:
            while schedule.left():
                schedule.start_ready(executor)
                for news in executor.news(0.2):
                    schedule.hear(news)
                show(schedule.tally)
                _check_stop(asked, out)
            schedule.leave_out_following()
        finally:
            executor.stop()
            note_failures(out, {name: one.plain() for name, one in schedule.tally.failed.items()}, schedule.left())


def _check_stop(asked: Stopping, out: Path) -> None:
    if asked.number:
        raise Stopped(asked.number, f"{out} keeps what is done", "the same command again goes on where it stopped")
