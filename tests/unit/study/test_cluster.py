"""The cluster's executor: what each step asks for, and what becomes of one whose node is lost.

Ray is played by a cluster on paper, so that this holds where Ray is absent; `tests/e2e/test_cluster.py` is about the real one.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from priorscope.core.contracts import About
from priorscope.core.errors import RequestError
from priorscope.core.folder import locked
from priorscope.core.machine import processor
from priorscope.data import source_config
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.fitting import Status
from priorscope.probes import probe_config
from priorscope.recipe import Recipe
from priorscope.study import cluster
from priorscope.study.executors import Ended, Going, Resources
from priorscope.study.work import ProbeWork, TrainWork


class RayError(Exception):
    """What all errors of the cluster on paper are."""


class NodeDiedError(RayError):
    pass


class WorkerCrashedError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class TaskUnschedulableError(RayError):
    pass


@dataclass(eq=False)
class Ref:
    """A task that was handed over, and what it comes to once the test says so."""

    options: dict[str, Any]
    arguments: tuple[Any, ...] = ()
    outcome: Any = None


@dataclass
class PaperRay:
    """The parts of Ray that are used: it places nothing, and notes what it is asked."""

    machines: dict[str, dict[str, float]]
    kinds: dict[str, str] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    handed: list[Ref] = field(default_factory=list)
    said: list[tuple[str, int, Status]] = field(default_factory=list)
    cancelled: list[Ref] = field(default_factory=list)
    forced: list[Ref] = field(default_factory=list)
    deaf: bool = False
    """Whether steps that are asked to end do not."""
    waited: list[float] = field(default_factory=list)
    exceptions: Any = field(
        default_factory=lambda: SimpleNamespace(
            RayError=RayError,
            NodeDiedError=NodeDiedError,
            WorkerCrashedError=WorkerCrashedError,
            OutOfMemoryError=OutOfMemoryError,
            TaskUnschedulableError=TaskUnschedulableError,
        )
    )
    util: Any = field(
        default_factory=lambda: SimpleNamespace(
            scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft))
        )
    )

    def is_initialized(self) -> bool:
        return True

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "home")

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": name not in self.dead, "Resources": has} for name, has in self.machines.items()]

    def remote(self, what: Any) -> Any:
        def options(**options: Any) -> Any:
            def hand_over(*arguments: Any) -> Any:
                if what is cluster.Board:
                    return SimpleNamespace(take=SimpleNamespace(remote=self._take))
                ref = Ref(options, arguments)
                if what is cluster.kind:
                    ref.outcome = self.kinds[options["scheduling_strategy"][0]]
                else:
                    self.handed.append(ref)
                return ref

            return SimpleNamespace(remote=hand_over)

        return SimpleNamespace(options=options)

    def _take(self) -> Ref:
        said, self.said = self.said, []
        return Ref({}, (), said)

    def wait(self, refs: list[Ref], *, num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
        """At most so many of those that have ended, and all others; it refuses what Ray refuses."""
        assert 0 < num_returns <= len(set(map(id, refs))) == len(refs)
        self.waited.append(timeout)
        ended = [ref for ref in refs if ref.outcome is not None][:num_returns]
        return ended, [ref for ref in refs if not any(ref is one for one in ended)]

    def get(self, ref: Ref) -> Any:
        if isinstance(ref.outcome, Exception):
            raise ref.outcome
        return ref.outcome

    def cancel(self, ref: Ref, force: bool = False) -> None:
        (self.forced if force else self.cancelled).append(ref)
        if force or not self.deaf:
            ref.outcome = ref.outcome or "cancelled"

    def kill(self, _actor: Any) -> None: ...


GIB = 2.0**30
HEAD, WORKER = {"CPU": 4.0, "memory": 8 * GIB}, {"CPU": 8.0, "GPU": 2.0, "memory": 64 * GIB}


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> PaperRay:
    made = PaperRay({"home": HEAD, "far": WORKER}, {"far": "another kind"})
    monkeypatch.setattr(cluster, "_ray", lambda: made)
    monkeypatch.setattr(cluster, "see", lambda _path: True)
    return made


@pytest.fixture
def executor(ray: PaperRay, tmp_path: Path) -> cluster.ClusterExecutor:  # noqa: ARG001  it stands in for Ray
    return cluster.ClusterExecutor("auto", tmp_path)


def training() -> TrainWork:
    return TrainWork(Recipe.of({"data": {"source": "shapetex"}, "model": "mlp/tiny"}), Path("out"), init=None)


def done(error: str | None = None, kind: str | None = None) -> Any:
    return cluster._Last(error, 12.0, GIB, kind or processor())


@pytest.mark.parametrize(("gpu", "gpus"), [(False, 0), (True, 1)])
def test_a_step_states_its_threads_its_memory_and_a_gpu_where_it_trains_on_one(ray, executor, gpu, gpus):
    executor.start("a", training(), Resources(3, 2.5 * GIB, gpu))
    assert ray.handed[0].options == {
        "name": "a",
        "max_retries": 0,
        "num_cpus": 3,
        "num_gpus": gpus,
        "memory": int(2.5 * GIB),
    }


def test_a_step_larger_than_every_node_takes_the_largest(ray, executor):
    executor.start("a", training(), Resources(64, 100 * GIB))
    assert (ray.handed[0].options["num_cpus"], ray.handed[0].options["memory"]) == (8, 64 * GIB)


def test_a_step_that_measures_time_has_a_whole_node_of_this_kind(ray, executor):
    executor.start("a", training(), Resources(1, alone=True))
    assert ray.handed[0].options["num_cpus"] == 4
    assert ray.handed[0].options["scheduling_strategy"] == ("home", False)


def test_times_are_measured_elsewhere_where_the_head_gives_no_cores(ray, executor):
    ray.machines = {"home": {"CPU": 0.0}, "far": WORKER, "further": WORKER}
    ray.kinds["further"] = processor()
    executor.start("a", training(), Resources(1, alone=True))
    assert ray.handed[0].options["scheduling_strategy"] == ("further", False)


def test_a_time_that_no_node_can_measure_fails_its_step_and_says_why(ray, executor):
    ray.machines = {"home": {"CPU": 0.0}, "far": WORKER}
    executor.start("a", training(), Resources(1, alone=True))
    (end,) = executor.news(0)
    assert isinstance(end, Ended)
    assert end.error is not None
    assert end.error.startswith("It measures time on a processor of this machine's kind")
    assert not ray.handed


def test_steps_wait_with_ray_up_to_a_number_and_those_under_way_do_not_count(ray, executor):
    for number in range(cluster.QUEUE):
        assert executor.room(Resources(1))
        executor.start(str(number), training(), Resources(1))
    assert not executor.room(Resources(1))
    ray.said = [("0", 1, Status(0.25, 10))]
    assert list(executor.news(0)) == [Going("0", Status(0.25, 10))]
    assert executor.room(Resources(1))


def test_no_more_steps_than_asked_for_are_handed_over(ray, tmp_path):  # noqa: ARG001  it stands in for Ray
    executor = cluster.ClusterExecutor("auto", tmp_path, most=1)
    executor.start("a", training(), Resources(1))
    assert not executor.room(Resources(1))


def test_a_step_that_is_done_says_what_it_cost_and_whether_that_tells_about_this_machine(ray, executor):
    for id, kind in (("a", None), ("b", "another kind")):
        executor.start(id, training(), Resources(1))
        ray.handed[-1].outcome = done(kind=kind)
        assert list(executor.news(0)) == [Ended(id, 12.0, GIB, None, like_here=kind is None)]


def test_a_step_whose_node_is_lost_is_begun_again_however_often(ray, executor):
    executor.start("a", training(), Resources(1))
    for _ in range(5):
        ray.handed[-1].outcome = NodeDiedError()
        assert list(executor.news(0)) == [Going("a", Status(0.0, 0))]
    ray.said = [("a", 1, Status(0.9, 10)), ("a", 6, Status(0.1, 10))]  # the first is the word of a lost node
    assert list(executor.news(0)) == [Going("a", Status(0.1, 10))]
    assert executor.begun_again == ["a"] * 5


def test_a_step_whose_process_dies_again_and_again_fails(ray, executor):
    executor.start("a", training(), Resources(1))
    told = []
    while not told or isinstance(told[-1], Going):
        ray.handed[-1].outcome = WorkerCrashedError()
        told += executor.news(0)
    assert len(ray.handed) == cluster.ATTEMPTS
    assert told[-1].error.startswith("Its process died 3 times.")


def test_a_step_that_runs_out_of_memory_fails_at_once(ray, executor):
    executor.start("a", training(), Resources(1))
    ray.handed[-1].outcome = OutOfMemoryError()
    (end,) = executor.news(0)
    assert end.error.startswith("Memory ran out on its node.")


def test_the_cores_of_a_lost_node_are_not_asked_for(ray, executor):
    ray.dead = frozenset({"far"})
    executor.start("a", training(), Resources(64, gpu=True))
    assert (ray.handed[0].options["num_cpus"], ray.handed[0].options["num_gpus"]) == (4, 0)
    ray.dead = frozenset({"home"})
    ray.kinds["far"] = processor()
    executor.start("b", training(), Resources(1, alone=True))
    assert ray.handed[1].options["scheduling_strategy"] == ("far", False)


def test_of_two_steps_that_ended_at_once_each_is_heard(ray, executor):
    for id in "ab":
        executor.start(id, training(), Resources(1))
        ray.handed[-1].outcome = done()
    assert [news.id for _ in range(2) for news in executor.news(0.5)] == ["a", "b"]
    assert ray.waited == [0.5, 0.5]
    assert list(executor.news(0.5)) == []


def test_what_went_wrong_with_a_node_is_told_in_rays_words(ray, executor):
    executor.start("a", training(), Resources(1))
    ray.handed[-1].outcome = RayError("The node far lost its disk.")
    assert list(executor.news(0)) == [Ended("a", 0.0, 0.0, "The node far lost its disk.")]


def test_stopping_asks_every_step_that_is_under_way(ray, executor):
    for id in "abc":
        executor.start(id, training(), Resources(1))
    over, *under_way = ray.handed
    over.outcome = done()
    assert [news.id for news in executor.news(0)] == ["a"]
    executor.stop()
    assert ray.cancelled == under_way
    assert not ray.forced


def test_a_step_that_does_not_end_when_asked_is_ended(ray, executor):
    ray.deaf = True
    executor.start("a", training(), Resources(1))
    executor.stop()
    assert ray.cancelled == ray.forced == ray.handed


class PaperBoard:
    """A board that keeps all that was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, Status]] = []
        self.tell = SimpleNamespace(remote=lambda *news: self.told.append(news))


@dataclass(frozen=True)
class Small:
    """A work that says once how far it is, and fails if it is told to."""

    error: Exception | None = None
    reads: tuple[Path, ...] = ()
    writes_into: Path | None = None

    def do(self, watch: Any) -> None:
        watch(Status(0.5, 7, ended=planted_epoch()))
        if self.error is not None:
            raise self.error


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this node sees, and in which the study was started; nothing that is not there is waited for."""
    monkeypatch.chdir(tmp_path)
    see = cluster.see
    monkeypatch.setattr(cluster, "see", lambda path: see(path, patience=0.0))
    return tmp_path


def test_a_node_carries_out_a_step_and_says_how_far_it_is_and_what_it_cost(shared):
    board = PaperBoard()
    last = cluster.carry_out(Small(), cluster.Surroundings.of(shared), board, "a", 2)
    assert (last.error, last.processor) == (None, processor())
    assert last.memory > 0
    assert board.told == [("a", 2, Status(0.0, 0)), ("a", 2, Status(0.5, 7, ended=planted_epoch()))]
    assert cluster.carry_out(Small(RequestError("No.", "x", "y")), cluster.Surroundings.of(shared), board, "a", 1).error == (
        "No.\n  wanted: x\n  try:    y"
    )


def test_a_node_that_does_not_see_the_study_carries_out_nothing(shared):
    board = PaperBoard()
    last = cluster.carry_out(Small(), cluster.Surroundings.of(shared / "elsewhere"), board, "a", 1)
    assert str(last.error).startswith(f"The node {os.uname().nodename} does not see {shared / 'elsewhere'}.")
    assert board.told == [("a", 1, Status(0.0, 0))]


def test_a_node_that_does_not_see_what_a_step_begins_with_says_so(shared):
    before, looked_at, beside = (shared / name for name in ("before", "looked_at", "beside"))
    train = replace(training(), init=before, out=shared / "out")
    source = source_config("shapetex")
    probe = ProbeWork((looked_at,), probe_config("accuracy"), source, 1, False, shared / "a.json", {"shape": beside}, About())
    for work, needed in ((train, before), (probe, looked_at), (probe, beside)):
        said = cluster._await(work)
        assert said == (
            f"The node {os.uname().nodename} does not see {needed / 'environment.json'}.\n"
            "  wanted: storage that all nodes share\n"
            "  try:    the same command again tries what failed"
        )
        needed.mkdir()
        (needed / "environment.json").touch()
        last = cluster._await(work)
        assert last is None or str(needed) not in last
    assert cluster._await(train) is cluster._await(probe) is None


def test_a_step_whose_folder_is_in_use_waits_for_it(shared, monkeypatch):
    monkeypatch.setattr(cluster, "_await_folder", lambda out: f"{out} is in use")
    assert cluster._await(replace(training(), out=shared / "out")) == f"{shared / 'out'} is in use"
    assert cluster._await(Small()) is None


def test_surroundings_are_those_in_which_the_study_was_started(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_CACHE", "/of/the/study")
    monkeypatch.chdir(tmp_path)
    told = cluster.Surroundings.of(Path("out"))
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("PRIORSCOPE_CACHE", "/of/the/node")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.chdir("/")
    assert told.enter() is None
    assert (Path.cwd(), os.environ["PRIORSCOPE_CACHE"]) == (tmp_path, "/of/the/study")
    assert "SLURM_STEP_NUM_TASKS" not in os.environ


def test_a_node_without_the_shared_folder_says_which_one_it_does_not_see(tmp_path):
    said = cluster.Surroundings.of(tmp_path / "elsewhere").enter()
    assert said == (
        f"The node {os.uname().nodename} does not see {tmp_path / 'elsewhere'}.\n"
        "  wanted: storage that all nodes share\n"
        "  try:    put study and data on it, and type the command there"
    )


def test_a_node_with_other_versions_is_refused(tmp_path):
    told = cluster.Surroundings.of(tmp_path)
    said = replace(told, versions={**told.versions, "torch": "0.1"}).enter()
    assert said is not None
    assert said.splitlines()[0].endswith(f"has other versions: torch {told.versions['torch']}, not 0.1.")


def test_a_folder_that_a_lost_node_still_holds_is_waited_for(tmp_path):
    with locked(tmp_path):
        said = cluster._await_folder(tmp_path, patience=0.1)
        assert said is not None
        assert said.startswith(f"The folder {tmp_path} is in use by another process")
    assert cluster._await_folder(tmp_path, patience=0.1) is None


def test_a_file_of_another_node_is_waited_for(tmp_path):
    assert not cluster.see(tmp_path / "late", patience=0.1)
    (tmp_path / "late").touch()
    assert cluster.see(tmp_path / "late", patience=0.0)


def test_ray_absent_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RequestError) as raised:
        cluster.ClusterExecutor("auto", tmp_path)
    assert str(raised.value) == (
        "Ray is not installed, which carries out steps on a cluster.\n"
        "  wanted: the extra `cluster`, on every node\n"
        "  try:    uv sync --extra cluster, or leave out --cluster"
    )


def test_an_address_from_outside_is_refused(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RequestError, match="leads to a cluster from outside"):
        cluster.ClusterExecutor("ray://head:10001", tmp_path)
