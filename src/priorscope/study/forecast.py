"""What a step will cost on this machine: from what steps like it have cost, here or on the machine where the shipped
studies were measured.

Like it means: the same recipe and probe, whatever the seed; or else a recipe that differs in what costs nothing, the numbers
of its optimiser, and in its length, by which the time is scaled: so trials foretell each other and what follows them. Times
measured elsewhere are scaled by how fast this processor multiplies matrices beside that one; a step that was measured nowhere
is said to be unknown, not guessed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from stat import S_ISREG

import numpy as np

from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key
from priorscope.core.environment import read_environment
from priorscope.core.errors import PriorscopeError
from priorscope.core.machine import cores, processor
from priorscope.data.folders import cache_folder
from priorscope.study.cells import Cell
from priorscope.study.plan import Plan
from priorscope.study.steps import Step, TrainStep

SHIPPED = "rates.json"


@dataclass(frozen=True)
class Forecast:
    """What the steps that are left will take. `unknown` of them were never measured and are not in the sums.

    `disk` is None where what some of the others leave on the disk was never measured.
    """

    seconds: float
    memory: float
    unknown: int
    disk: float | None = None


def forecast(plan: Plan, workers: int | None = None) -> Forecast:
    """Time with as many steps side by side as cores allow, the memory of that many processes, and what they leave on the disk.

    However many cores there are, it is not less than that of the longest chain of steps that wait for each other.
    """
    here, shipped = _rates(_path()), _shipped()
    known: list[tuple[float, float, int]] = []
    left_behind: list[float | None] = []
    ends: dict[str, float] = {}
    left = [*plan.to_do(), *plan.following()]
    for step in left:
        rate = _rate(step, here, shipped)
        if rate is not None:
            known.append((rate["seconds"], rate["memory"], step.threads))
            left_behind.append(rate.get("disk"))
        begins = max((ends.get(need, 0.0) for need in step.needs), default=0.0)
        ends[step.id] = begins + (rate["seconds"] if rate else 0.0)
    side_by_side = max(1, min(workers or cores(), cores() // max((threads for _, _, threads in known), default=1)))
    seconds = max(sum(cost for cost, _, _ in known) / side_by_side, *ends.values(), 0.0)
    memory = sum(sorted((memory for _, memory, _ in known), reverse=True)[:side_by_side])
    told = [size for size in left_behind if size is not None]
    return Forecast(seconds, memory, len(left) - len(known), sum(told) if len(told) == len(known) else None)


class Memories:
    """The most memory that steps have taken, here or else where the shipped studies were measured."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, str]] = {}
        self.read()

    def read(self) -> None:
        """Reads what is remembered by now."""
        self._rates = _rates(_path()), _shipped()

    def of(self, step: Step) -> float | None:
        """The most that a step, or else one like it, has taken; None where none was measured."""
        if step.id not in self._keys:  # a scheduler asks again and again, and a recipe takes long to hash
            self._keys[step.id] = _key(step), _alike(step)
        found = (rates[key] for rates in self._rates for key in self._keys[step.id] if key in rates)
        return next((float(rate["memory"]) for rate in found), None)


def _rate(step: Step, here: Plain, shipped: Plain) -> Plain | None:
    """What a step, or else one like it, has cost here, or else where the shipped studies were measured."""
    for rates in (here, shipped):
        exact, like = rates.get(_key(step)), rates.get(_alike(step))
        found = exact or (like and {**like, "seconds": like["seconds"] * _length(step)})
        if found:
            return {**found, "seconds": found["seconds"] * (rates["gemm"] / _yardstick() if "gemm" in rates else 1.0)}
    return None


def remember(step: Step, seconds: float, memory: float) -> None:
    """Notes what a step has cost here: a training in all its attempts, and an epoch of it by those that it came to.

    One that diverged says nothing. A cache that cannot be written does not stop anything.
    """
    try:
        epochs, disk = _length(step), _left_behind(step, seconds)
        if isinstance(step, TrainStep) and layout.is_finished(step.out):
            record, rows = read_environment(step.out), folder.read_rows(step.out / layout.STEPS)
            if record.diverged:
                return
            seconds = max(seconds, record.seconds or 0.0)
            if step.cell.recipe.train.epochs:  # else steps or operations set its length
                epochs = len(rows) or epochs
        cost = {"seconds": round(seconds, 3), "memory": memory, "disk": disk}
        like = {"seconds": round(seconds / epochs, 5), "memory": memory, "disk": disk}
        rates = {**_rates(_path()), _key(step): cost, _alike(step): like}
        folder.write_json(_path(), {"processor": processor(), "rates": rates})
    except PriorscopeError:
        return


def _left_behind(step: Step, seconds: float) -> int:
    """Bytes that a step which ended now has left: a run's own files, or a result and what its runs have kept since it began."""
    if isinstance(step, TrainStep):
        later = (layout.RESULTS, layout.EVIDENCE)
        return _size(file for part in step.out.glob("*") if part.name not in later for file in (part, *part.rglob("*")))
    began = time.time() - seconds
    kept = (file for subject in step.subjects for file in (subject.out / layout.EVIDENCE).rglob("*"))
    return _size((step.out, step.out.with_suffix(".npz"))) + _size(kept, since=began)


def _size(files: Iterable[Path], since: float = 0.0) -> int:
    """Bytes of the files among these that are still there, and were last written since then."""
    total = 0
    for file in files:
        with suppress(OSError):
            told = file.stat()
            total += told.st_size if S_ISREG(told.st_mode) and told.st_mtime >= since else 0
    return total


def export(steps: Sequence[Step]) -> Plain:
    """The costs of some steps on this machine, as they are shipped."""
    here = _rates(_path())
    return {
        "processor": processor(),
        "gemm": _yardstick(),
        "rates": {key: here[key] for step in steps for key in (_key(step), _alike(step)) if key in here},
    }


def _path() -> Path:
    return cache_folder() / SHIPPED


def _shipped() -> Plain:
    return _rates(Path(str(files("priorscope") / "studies" / SHIPPED)))


def _rates(path: Path) -> Plain:
    """Costs by key, of this processor or with the speed they were measured at."""
    if not path.exists():
        return {}
    try:
        stored = folder.read_json(path)
    except PriorscopeError:
        return {}
    if "gemm" in stored:
        return {"gemm": stored["gemm"], **stored["rates"]}
    return dict(stored["rates"]) if stored.get("processor") == processor() else {}


def _key(step: Step) -> str:
    """The key of a step's cost: one for all steps of the same recipes, probe and data, whatever the seeds."""
    if isinstance(step, TrainStep):
        return content_key(["train", _without_seed(step.cell)])
    recipes: list[object] = [_without_seed(subject.cell) for subject in step.subjects]
    data = [] if step.data is None else [step.data.plain()]
    return content_key([step.probe.plain(), *recipes, *data])


def _alike(step: Step) -> str:
    """The key of the cost of one epoch: one for all steps that differ only in what costs nothing and in length."""
    if isinstance(step, TrainStep):
        return content_key(["epoch of", _costing(step.cell)])
    data = [] if step.data is None else [step.data.plain()]
    return content_key(["like", step.probe.plain(), *(_costing(subject.cell) for subject in step.subjects), *data])


def _length(step: Step) -> int:
    """How many epochs a step is; 1 where its recipe, or what looks at it, counts none."""
    return max(1, step.cell.recipe.train.epochs) if isinstance(step, TrainStep) else 1


def _costing(cell: Cell) -> Plain:
    """A recipe without its seed, its length, what is tracked, and the numbers of its optimiser; SAM takes every step twice."""
    recipe = _without_seed(cell)
    optim = {name: value for name, value in recipe["optim"].items() if isinstance(value, str) or name == "sam"}
    train = {name: value for name, value in recipe["train"].items() if name not in ("epochs", "track", "keep", "patience")}
    return {**recipe, "optim": optim, "train": train}


def _without_seed(cell: Cell) -> Plain:
    return {name: value for name, value in cell.recipe.plain().items() if name != "seed"}


@cache
def _yardstick() -> float:
    """Multiply-adds a second of one float32 product of 512 x 512 matrices: the best of fifty products."""
    left = np.ones((512, 512), np.float32)
    took: list[float] = []
    for _ in range(50):
        began = time.perf_counter()
        np.matmul(left, left)
        took.append(time.perf_counter() - began)
    return 512**3 / min(took)
