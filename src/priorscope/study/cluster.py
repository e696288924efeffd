"""Where steps are carried out: on the nodes of a Ray cluster.

Ray places every step by what it takes: its threads as processor cores, a GPU where its recipe trains on one, the memory of
steps like it, and the whole of one node for a step that measures time. Runs and results pass between nodes through the
study's folder, which all of them must see, as they must see the folder in which the command was typed. A step whose node is
lost is begun again on another, where a training resumes from its checkpoint. What is stored is the same as on one machine
with that kind of processor; only measured times differ.

Ray is an extra of the package, imported when a cluster is asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from priorscope.core import folder, layout
from priorscope.core.config import Plain
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.machine import most_memory, processor, versions
from priorscope.fitting import Status
from priorscope.study.executors import Ended, Going, News, Resources, do_catching
from priorscope.study.work import Work

QUEUE = 16
"""How many steps wait with Ray for a place: enough for a cluster that grows by itself to see that nodes are wanted."""

ATTEMPTS = 3
"""How often a step is begun whose process dies while its node lives; that a node is lost never counts against a step."""

PATIENCE = 180.0
"""Seconds to wait for a lost node's folder lock to expire; file servers drop it after 90 s of silence."""

SIGHT = 60.0
"""Seconds to wait until this node sees what another has written: file systems cache a folder's listing for that long."""

TELL_EVERY_SECONDS = 1.0
RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
"""Variables inherited from `srun` that a worker would mistake for its own rank."""


@dataclass(frozen=True)
class Surroundings:
    """The folders, variables and versions of the process that started a study; its steps run as if they ran there."""

    here: Path
    study: Path
    variables: dict[str, str]
    versions: Plain

    @classmethod
    def of(cls, study: Path) -> Surroundings:
        """The surroundings of this process."""
        own = {name: value for name, value in os.environ.items() if name.startswith("PRIORSCOPE_")}
        return cls(Path.cwd(), study.resolve(), own, versions())

    def enter(self) -> str | None:
        """Recreates those surroundings in this process; returns the reason if it cannot."""
        unseen = next((path for path in (self.here, self.study) if not path.is_dir()), None)
        if unseen is not None:
            return _unseen(unseen, "put study and data on it, and type the command there")
        other = {name: value for name, value in versions().items() if value != self.versions[name]}
        if other:
            said = ", ".join(f"{name} {value}, not {self.versions[name]}" for name, value in other.items())
            came = f"The node {os.uname().nodename} has other versions: {said}."
            return str(RequestError(came, "the same environment on every node", "install what the study's machine has"))
        os.chdir(self.here)
        os.environ.update(self.variables)
        for name in RANKS:
            os.environ.pop(name, None)
        return None


@dataclass(frozen=True)
class _Last:
    """How a step ended and what it cost, as the node that carried it out says."""

    error: str | None
    seconds: float
    memory: float
    processor: str


@dataclass
class _Task:
    """A step handed to Ray."""

    id: str
    work: Work
    takes: Resources
    ref: Any = None
    began: int = 0
    """How often the step was handed to Ray."""
    crashes: int = 0
    under_way: bool = False


class Board:
    """Collects from all nodes how far their steps are. It lives on the study's node, so that no other's loss takes it away."""

    def __init__(self) -> None:
        self._said: list[tuple[str, int, Status]] = []

    def tell(self, id: str, began: int, status: Status) -> None:
        """Notes how far a step is, in its `began`-th attempt."""
        self._said.append((id, began, status))

    def take(self) -> list[tuple[str, int, Status]]:
        """What nodes have said since this was last called."""
        said, self._said = self._said, []
        return said


class ClusterExecutor:
    """The nodes of a Ray cluster, each taking as many steps as it has room for."""

    def __init__(self, address: str, study: Path, most: int | None = None) -> None:
        self._ray = _ray()
        self._surroundings = Surroundings.of(study)
        self._most = most
        self._tasks: dict[str, _Task] = {}
        self._told: list[News] = []
        self.begun_again: list[str] = []
        """The steps that lost their node or their process, once for each time."""
        self._processors: dict[str, str] = {}
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _connect(self._ray, address)
        self._home: str = self._ray.get_runtime_context().get_node_id()
        self._board: Any = self._remote(Board).options(**self._at(self._home), num_cpus=0).remote()

    def room(self, takes: Resources) -> bool:  # noqa: ARG002  Ray finds the place
        """Whether Ray's own queue is short: which node has room is for Ray to say."""
        waiting = sum(not task.under_way for task in self._tasks.values())
        return waiting < QUEUE and (self._most is None or len(self._tasks) < self._most)

    def start(self, id: str, work: Work, takes: Resources) -> None:
        """Hands a step to Ray."""
        self._begin(_Task(id, work, takes))

    def _begin(self, task: _Task) -> None:
        """Hands a step to Ray, for the first time or after its node was lost."""
        wanted = self._wanted(task.takes)
        if wanted is None:
            self._tasks.pop(task.id, None)
            self._told.append(Ended(task.id, 0.0, 0.0, _nowhere(processor())))
            return
        task.began, task.under_way = task.began + 1, False
        remote = self._remote(carry_out).options(name=task.id, max_retries=0, **wanted)
        task.ref = remote.remote(task.work, self._surroundings, self._board, task.id, task.began)
        self._tasks[task.id] = task

    def _wanted(self, takes: Resources) -> dict[str, Any] | None:
        """What Ray is asked for: what a step takes, never more than the largest node has; None where no node will do."""
        nodes = self._nodes()
        if takes.alone:
            quiet = self._quiet_node(nodes)
            return None if quiet is None else {**self._at(quiet), "num_cpus": nodes[quiet]["CPU"]}
        most = {name: max((node.get(name, 0.0) for node in nodes.values()), default=0.0) for name in ("CPU", "GPU", "memory")}
        return {
            "num_cpus": min(float(takes.cores), most["CPU"] or 1.0),
            "num_gpus": min(1.0, most["GPU"]) if takes.gpu else 0.0,
            "memory": int(min(takes.memory, most["memory"])),
        }

    def _nodes(self) -> dict[str, dict[str, float]]:
        """What the living nodes have, by their names."""
        return {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}

    def _quiet_node(self, nodes: dict[str, dict[str, float]]) -> str | None:
        """The node for all steps that measure time: this one, or else one with the processor that such results are about."""
        able = sorted((node for node in nodes if nodes[node].get("CPU")), key=lambda node: (node != self._home, node))
        return next((node for node in able if self._processor(node) == processor()), None)

    def _processor(self, node: str) -> str:
        """A node's kind of processor; nothing where the node is lost while it is asked."""
        if node == self._home:
            return processor()
        if node not in self._processors:
            try:
                asked = self._remote(kind).options(**self._at(node), num_cpus=0, max_retries=0).remote()
                self._processors[node] = self._ray.get(asked)
            except self._ray.exceptions.RayError:
                return ""
        return self._processors[node]

    def _at(self, node: str) -> dict[str, Any]:
        """Ray's option that ties a task or an actor to a node."""
        tied = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        return {"scheduling_strategy": tied}

    def _remote(self, what: Any) -> Any:
        return self._ray.remote(what)

    def news(self, seconds: float) -> Iterator[News]:
        """How far steps are, and one that has ended; a step that lost its node is begun again and said to be at its start."""
        told, self._told = self._told, []
        yield from told
        if not self._tasks:
            return
        ended, _ = self._ray.wait([task.ref for task in self._tasks.values()], num_returns=1, timeout=0 if told else seconds)
        for id, began, status in self._ray.get(self._board.take.remote()):
            task = self._tasks.get(id)
            if task is not None and task.began == began:
                task.under_way = True
                yield Going(id, status)
        for ref in ended:
            yield self._end(next(task for task in self._tasks.values() if task.ref == ref))

    def _end(self, task: _Task) -> News:
        """How a step ended; one that lost its node, or its process for no reason of its own, resumes elsewhere."""
        errors = self._ray.exceptions
        try:
            last: _Last = self._ray.get(task.ref)
        except errors.OutOfMemoryError:
            do = "a smaller train.batch_size, or larger nodes"
            return self._failed(task, str(WorkError("Memory ran out on its node.", "room for a batch", do)))
        except (errors.NodeDiedError, errors.TaskUnschedulableError):
            return self._again(task)
        except errors.WorkerCrashedError:
            task.crashes += 1
            if task.crashes < ATTEMPTS:
                return self._again(task)
            died = f"Its process died {ATTEMPTS} times."
            return self._failed(task, str(WorkError(died, "a process that survives its step", "see what Ray logged: ray logs")))
        except errors.RayError as error:
            return self._failed(task, str(error))
        if last.error is None:
            see(task.work.product)
        del self._tasks[task.id]
        return Ended(task.id, last.seconds, last.memory, last.error, last.processor == processor())

    def _failed(self, task: _Task, error: str) -> Ended:
        del self._tasks[task.id]
        return Ended(task.id, 0.0, 0.0, error)

    def _again(self, task: _Task) -> Going:
        self.begun_again.append(task.id)
        self._begin(task)
        return Going(task.id, Status(0.0, 0))

    def stop(self) -> None:
        """Asks every step to save and end, waits for it, and leaves the cluster."""
        refs = [task.ref for task in self._tasks.values()]
        for ref in refs:
            self._ray.cancel(ref)
        if refs:
            _, left = self._ray.wait(refs, num_returns=len(refs), timeout=30)
            for ref in left:
                self._ray.cancel(ref, force=True)
        self._tasks.clear()
        self._ray.kill(self._board)
        if self._ours:
            self._ray.shutdown()


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError:
        raise RequestError(
            "Ray is not installed, which carries out steps on a cluster.",
            "the extra `cluster`, on every node",
            "uv sync --extra cluster, or leave out --cluster",
        ) from None


def _connect(ray: Any, address: str) -> None:
    if "://" in address:
        raise RequestError(
            f"{address!r} leads to a cluster from outside.",
            "a command that is typed on one of its nodes, where the study's folder is",
            "--cluster auto, on a node",
        )
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise RequestError(
            f"No Ray cluster answers at {address!r}: {reason}.",
            "a cluster of which this machine is a node",
            "ray start --head here, and ray start --address=HOST:6379 on every other node",
        ) from None


def _nowhere(wanted: str) -> str:
    error = RequestError(
        f"It measures time on a processor of this machine's kind ({wanted}), which no node with cores to give has.",
        "a node with such a processor",
        "start the study on a node of the kind that is to be measured",
    )
    return str(error)


def kind() -> str:
    """The processor of whatever node this is. Ray takes plain functions alone; `processor` has a cache around it."""
    return processor()


def carry_out(work: Work, surroundings: Surroundings, board: Any, id: str, began: int) -> _Last:
    """One step, on whatever node this is."""
    start = time.monotonic()
    board.tell.remote(id, began, Status(0.0, 0))
    error = surroundings.enter() or _await(work)
    if error is None:
        error = do_catching(work, lambda status: board.tell.remote(id, began, status), TELL_EVERY_SECONDS)
    return _Last(error, time.monotonic() - start, most_memory(), processor())


def _await(work: Work) -> str | None:
    """Waits until this node sees what a step begins with, and until nobody holds the folder that it writes into."""
    unseen = next((path for run in work.reads if not see(path := run / layout.ENVIRONMENT)), None)
    if unseen is not None:
        return _unseen(unseen, "the same command again tries what failed")
    return None if work.writes_into is None else _await_folder(work.writes_into)


def _unseen(path: Path, do: str) -> str:
    return str(RequestError(f"The node {os.uname().nodename} does not see {path}.", "storage that all nodes share", do))


def _await_folder(out: Path, patience: float = PATIENCE) -> str | None:
    """Waits for a lost node to let go of a run's folder; its process may outlive it for a moment."""
    end = time.monotonic() + patience
    while True:
        try:
            with folder.locked(out):
                return None
        except RequestError as error:
            if time.monotonic() > end:
                return str(error)
        time.sleep(0.5)


def see(path: Path, patience: float = SIGHT) -> bool:
    """Whether this node sees a file, waiting a while for what a file system remembers of its folder to pass."""
    end = time.monotonic() + patience
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True
