"""Executors: what may run beside what. That steps are carried out at all is what the end-to-end tests show."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest
from in_process import SaysItsDevices

from priorscope.fitting import Status
from priorscope.recipe import Recipe
from priorscope.study.executors import WORKER_BYTES, Ended, LocalExecutor, Resources, _death, _Worker, do_catching
from priorscope.study.work import TrainWork

WORK = TrainWork(Recipe.of({"data": {"source": "shapetex"}, "model": "mlp/tiny"}), Path("out"), init=Path("nowhere"))
"""It fails, because there is nothing to begin with; until somebody hears of that, its process is busy."""


GIB = 2**30


def ended(executor: LocalExecutor, count: int) -> list[Ended]:
    found: list[Ended] = []
    for _ in range(300):
        found += [news for news in executor.news(1.0) if isinstance(news, Ended)]
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} of {count} steps have ended after five minutes")


@pytest.fixture
def executor():
    made = LocalExecutor(4, 16 * GIB, most=3, devices=tuple)
    yield made
    made.stop()


@pytest.fixture
def on_paper(monkeypatch):
    """An executor of eight cores, 16 GiB and the CUDA devices 2 and 5, whose processes are on paper and never end."""
    monkeypatch.setattr(LocalExecutor, "_hire", hire_on_paper)
    return LocalExecutor(8, 16 * GIB, devices=lambda: ("2", "5"))


def hire_on_paper(executor: LocalExecutor, device: str | None) -> _Worker:
    worker = _Worker(Mock(), Mock(), device)
    executor._workers.append(worker)
    return worker


def end(executor: LocalExecutor, id: str) -> None:
    """What hearing of a step's end does."""
    next(worker for worker in executor._workers if worker.step == id).step = None


def test_steps_fill_the_cores_and_no_more(executor):
    executor.start("a", WORK, Resources(3))
    assert executor.room(Resources(1))
    assert not executor.room(Resources(2))


def test_a_step_that_measures_time_has_the_machine_to_itself(executor):
    assert executor.room(Resources(1, alone=True))
    executor.start("a", WORK, Resources(1))
    assert not executor.room(Resources(1, alone=True))


def test_nothing_starts_beside_a_step_that_measures_time(executor):
    executor.start("a", WORK, Resources(1, alone=True))
    assert not executor.room(Resources(1))


def test_no_more_steps_than_asked_for_run_side_by_side(executor):
    for id in "abc":
        assert executor.room(Resources(1))
        executor.start(id, WORK, Resources(1))
    assert not executor.room(Resources(1))


def test_steps_fill_the_memory_that_their_like_took_and_no_more(on_paper):
    on_paper.start("a", WORK, Resources(1, 10 * GIB))
    assert on_paper.room(Resources(1, 6 * GIB))
    assert not on_paper.room(Resources(1, 6 * GIB + 1))
    on_paper.start("b", WORK, Resources(1, 5 * GIB))
    assert on_paper.room(Resources(1, 1 * GIB))
    assert not on_paper.room(Resources(1)), "a step of which nothing is known counts for 1.5 GiB"


def test_idle_processes_keep_memory_unless_one_of_them_takes_the_step(on_paper):
    for id in "abc":
        on_paper.start(id, WORK, Resources(1))
    end(on_paper, "a")
    end(on_paper, "b")
    assert on_paper.room(Resources(1, 16 * GIB - 2 * WORKER_BYTES))
    assert not on_paper.room(Resources(1, 16 * GIB - 2 * WORKER_BYTES + 1))


def test_a_step_that_takes_more_memory_than_there_is_runs_when_nothing_else_does(on_paper):
    assert on_paper.room(Resources(1, 64 * GIB))


def test_each_device_has_one_training_at_a_time_and_the_processor_works_beside_them(on_paper):
    gpu, cpu = Resources(1, gpu=True), Resources(1)
    for id in "ab":
        assert on_paper.room(gpu)
        on_paper.start(id, WORK, gpu)
    assert [worker.device for worker in on_paper._workers] == ["2", "5"]
    assert not on_paper.room(gpu)
    assert on_paper.room(cpu)
    on_paper.start("probe", WORK, cpu)
    end(on_paper, "b")
    assert on_paper.room(cpu)
    on_paper.start("another probe", WORK, cpu)
    assert on_paper.room(gpu)
    on_paper.start("c", WORK, gpu)
    assert {worker.step: worker.device for worker in on_paper._workers} == {
        "a": "2",
        "c": "5",
        "probe": None,
        "another probe": None,
    }
    assert not on_paper.room(gpu)


def test_devices_are_not_looked_for_until_a_step_asks_for_one(monkeypatch):
    monkeypatch.setattr(LocalExecutor, "_hire", hire_on_paper)
    count = Mock(return_value=())
    executor = LocalExecutor(8, 16 * GIB, devices=count)
    executor.start("a", WORK, Resources(1))
    assert executor.room(Resources(1))
    count.assert_not_called()
    for id in "bc":
        assert executor.room(Resources(1, gpu=True)), "without a device its training is the processor's"
        executor.start(id, WORK, Resources(1, gpu=True))
    count.assert_called_once_with()


def test_a_training_sees_its_own_device_alone_and_keeps_its_process(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    executor = LocalExecutor(8, 16 * GIB, devices=lambda: ("2", "5"))
    try:
        for id in "ab":
            executor.start(id, SaysItsDevices(), Resources(1, gpu=True))
        executor.start("probe", SaysItsDevices(), Resources(1))
        first = {end.id: str(end.error).partition("\n")[0].partition(" ") for end in ended(executor, 3)}
        assert {id: seen for id, (_, _, seen) in first.items()} == {"a": "2", "b": "5", "probe": "2,5"}
        executor.start("c", SaysItsDevices(), Resources(1, gpu=True))
        (again,) = ended(executor, 1)
        assert str(again.error).startswith(" ".join(first["a"][::2]))
    finally:
        executor.stop()


def test_a_process_that_died_while_it_was_idle_is_replaced(executor):
    executor.start("a", WORK, Resources(1))
    ended(executor, 1)
    (idle,) = multiprocessing.active_children()
    idle.kill()
    idle.join()
    executor.start("b", WORK, Resources(1))
    (end,) = ended(executor, 1)
    assert (end.id, "nowhere holds no run" in str(end.error)) == ("b", True)


def test_a_step_larger_than_the_machine_runs_when_nothing_else_does(executor):
    assert executor.room(Resources(64))


def test_what_went_wrong_is_told_in_words(executor):
    executor.start("a", WORK, Resources(1))
    (end,) = ended(executor, 1)
    assert end.error is not None
    assert "nowhere holds no run" in end.error
    assert executor.room(Resources(1, alone=True))


def test_a_process_that_is_killed_fails_its_step_and_the_next_has_another(executor):
    executor.start("a", WORK, Resources(1))
    (before,) = multiprocessing.active_children()
    before.kill()  # while it still imports what it needs
    (end,) = ended(executor, 1)
    assert (end.id, end.error) == (
        "a",
        "Its process was ended by SIGKILL. The system does that when memory runs out.\n"
        "  wanted: a process that lives until its step ends\n"
        "  try:    the same command again goes on where it stopped",
    )
    executor.start("b", WORK, Resources(1))
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
