"""What steps have cost: here, or on the machine where the shipped studies were measured.

Like a step is one of the same recipe and probe, whatever the seed; or else of a recipe that differs in what costs nothing, the
numbers of its optimiser, and in its length, by which the time is scaled: so trials foretell each other and what follows them.
Times measured elsewhere are scaled by how fast this processor multiplies matrices beside that one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, Self

import numpy as np

from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key
from priorscope.core.environment import read_environment
from priorscope.core.epoch import read_history
from priorscope.core.errors import PriorscopeError
from priorscope.core.folder import cache_folder
from priorscope.core.machine import processor
from priorscope.study.cells import Cell
from priorscope.study.steps import Step, TrainStep

SHIPPED = "rates.json"


class Rate(NamedTuple):
    """What a step has cost: seconds, the most bytes of memory, and bytes left on the disk, where these were measured."""

    seconds: float
    memory: float
    disk: float | None = None


class Keys(NamedTuple):
    """By what a step's cost is kept: one key for all of its recipe, whatever the seed, one for an epoch of any like it.

    `epochs` is how many of these the step is.
    """

    exact: str
    like: str
    epochs: int


@dataclass(frozen=True)
class Rates:
    """What steps have cost, by their keys: on this processor, or on one that multiplies `gemm` a second."""

    by_key: Mapping[str, Rate] = field(default_factory=dict[str, Rate])
    gemm: float | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Those in a file; none where it holds nothing that is of use here."""
        with suppress(PriorscopeError, LookupError, TypeError, AttributeError):  # a cache of another make says nothing
            stored = folder.read_json(path)
            gemm = stored.get("gemm")
            if gemm is not None or stored["processor"] == processor():
                rates = {key: Rate(one["seconds"], one["memory"], one.get("disk")) for key, one in stored["rates"].items()}
                return cls(rates, gemm)
        return cls()

    def of(self, keys: Keys) -> Rate | None:
        """What a step of these keys has cost, or else as many times an epoch of one like it as it is long."""
        found = self.by_key.get(keys.exact)
        if found is None and (like := self.by_key.get(keys.like)):
            found = like._replace(seconds=like.seconds * keys.epochs)
        if found is None or self.gemm is None:
            return found
        return found._replace(seconds=found.seconds * self.gemm / _yardstick())


def rates_here() -> Rates:
    """What steps have cost on this machine."""
    return Rates.read(_path())


def rates_shipped() -> Rates:
    """What the steps of shipped studies have cost where they were measured."""
    return Rates.read(Path(str(files("priorscope") / "studies" / SHIPPED)))


def remember(step: Step, seconds: float, memory: float) -> None:
    """Notes what a step has cost here: a training in all its attempts, and an epoch of it by those that it came to.

    One that diverged says nothing. A cache that cannot be written does not stop anything.
    """
    try:
        keys, disk = keys_of(step), _left_behind(step, seconds)
        epochs = keys.epochs
        if isinstance(step, TrainStep) and layout.is_finished(step.out):
            record, history = read_environment(step.out), read_history(step.out)
            if record.diverged:
                return
            seconds = max(seconds, record.seconds or 0.0)
            if step.cell.recipe.train.epochs:  # else steps or operations set its length
                epochs = len(history) or epochs
        cost = Rate(round(seconds, 3), memory, disk)
        like = Rate(round(seconds / epochs, 5), memory, disk)
        rates = {**rates_here().by_key, keys.exact: cost, keys.like: like}
        folder.write_json(_path(), {"processor": processor(), "rates": _plain(rates)})
    except PriorscopeError:
        return


def export(steps: Sequence[Step]) -> Plain:
    """The costs of some steps on this machine, as they are shipped."""
    here = rates_here().by_key
    keys = (key for known in map(keys_of, steps) for key in (known.exact, known.like))
    measured = {key: here[key] for key in keys if key in here}
    return {"processor": processor(), "gemm": _yardstick(), "rates": _plain(measured)}


def _plain(rates: Mapping[str, Rate]) -> Plain:
    return {key: rate._asdict() for key, rate in rates.items()}


def _path() -> Path:
    return cache_folder() / SHIPPED


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


def keys_of(step: Step) -> Keys:
    """By what a step's cost is kept; a recipe takes long to hash."""
    return Keys(_key(step), _alike(step), _length(step))


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
