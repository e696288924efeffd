"""Executors: what may run beside what. That steps are carried out at all is what the end-to-end tests show."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import pytest

from priorscope.fitting import Status
from priorscope.recipe import Recipe
from priorscope.study.executors import Ended, LocalExecutor, _death, do_catching
from priorscope.study.work import TrainWork

WORK = TrainWork(Recipe.of({"data": {"source": "shapetex"}, "model": "mlp/tiny"}), Path("out"), init=Path("nowhere"))
"""It fails, because there is nothing to begin with; until somebody hears of that, its process is busy."""


def ended(executor: LocalExecutor, count: int) -> list[Ended]:
    found: list[Ended] = []
    for _ in range(300):
        found += [news for news in executor.news(1.0) if isinstance(news, Ended)]
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} of {count} steps have ended after five minutes")


@pytest.fixture
def executor():
    made = LocalExecutor(cores=4, most=3)
    yield made
    made.stop()


def test_steps_fill_the_cores_and_no_more(executor):
    executor.start("a", WORK, threads=3, alone=False)
    assert executor.room(1, alone=False)
    assert not executor.room(2, alone=False)


def test_a_step_that_measures_time_has_the_machine_to_itself(executor):
    assert executor.room(1, alone=True)
    executor.start("a", WORK, threads=1, alone=False)
    assert not executor.room(1, alone=True)


def test_nothing_starts_beside_a_step_that_measures_time(executor):
    executor.start("a", WORK, threads=1, alone=True)
    assert not executor.room(1, alone=False)


def test_a_process_that_died_while_it_was_idle_is_replaced(executor):
    executor.start("a", WORK, threads=1, alone=False)
    ended(executor, 1)
    (idle,) = multiprocessing.active_children()
    idle.kill()
    idle.join()
    executor.start("b", WORK, threads=1, alone=False)
    (end,) = ended(executor, 1)
    assert (end.id, "nowhere holds no run" in str(end.error)) == ("b", True)


def test_a_step_larger_than_the_machine_runs_when_nothing_else_does(executor):
    assert executor.room(64, alone=False)


def test_what_went_wrong_is_told_in_words(executor):
    executor.start("a", WORK, threads=1, alone=False)
    (end,) = ended(executor, 1)
    assert end.error is not None
    assert "nowhere holds no run" in end.error
    assert executor.room(1, alone=True)


def test_a_process_that_is_killed_fails_its_step_and_the_next_has_another(executor):
    executor.start("a", WORK, threads=1, alone=False)
    (before,) = multiprocessing.active_children()
    before.kill()  # while it still imports what it needs
    (end,) = ended(executor, 1)
    assert (end.id, end.error) == (
        "a",
        "Its process was ended by SIGKILL. The system does that when memory runs out.\n"
        "  wanted: a process that lives until its step ends\n"
        "  try:    the same command again goes on where it stopped",
    )
    executor.start("b", WORK, threads=1, alone=False)
    (after,) = multiprocessing.active_children()
    assert after.pid != before.pid
    (end,) = ended(executor, 1)
    assert (end.id, "nowhere holds no run" in str(end.error)) == ("b", True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-9, "Its process was ended by SIGKILL. The system does that when memory runs out."),
        (-15, "Its process was ended by SIGTERM."),
        (-35, "Its process was ended by signal 35."),
        (3, "Its process ended with status 3."),
    ],
)
def test_how_a_process_died_is_said(code, said):
    assert _death(code).partition("\n")[0] == said


@dataclass
class Raises:
    """A step that fails."""

    error: Exception

    def do(self, watch) -> None:  # noqa: ARG002
        raise self.error


def test_a_step_for_which_memory_does_not_suffice_says_what_helps():
    assert do_catching(Raises(MemoryError()), lambda _: None) == (
        "Memory ran out.\n"
        "  wanted: room for a batch of every step under way\n"
        "  try:    a smaller train.batch_size, or fewer steps side by side: --workers 1"
    )


def test_a_step_that_fails_by_a_fault_of_ours_says_where():
    said = do_catching(Raises(ZeroDivisionError("by zero")), lambda _: None).splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[-1] == "ZeroDivisionError: by zero"


class Tells:
    """A step that says how far it is, then saves."""

    saved = False

    def do(self, watch) -> None:
        watch(Status(0.5, 0))
        self.saved = True


def test_a_step_whose_listener_has_gone_goes_on_to_save():
    def gone(_: Status) -> None:
        raise BrokenPipeError

    step = Tells()
    assert do_catching(step, gone, every=0.0) is None
    assert step.saved
