"""The steps of a study: what each is a function of, where what it makes lies, and why it is to be done.

A step's key is a hash of everything it is a function of (`made_from`); a step is done when what it makes stands under its
key. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key, is_table
from priorscope.core.environment import read_environment
from priorscope.core.epoch import read_history
from priorscope.core.errors import PriorscopeError
from priorscope.data.sources import SourceConfig
from priorscope.fitting.init import init_changed
from priorscope.fitting.run_folder import data_changed, finished_in, stands_for
from priorscope.looking.question import ON_GPU, looks_on_gpu, measured_from
from priorscope.probes import ProbeConfig, probe_config
from priorscope.probes.tuning import val_accuracy
from priorscope.study.cells import Cell


@dataclass(frozen=True)
class TrainStep:
    """A step that carries out a recipe."""

    ABSENT: ClassVar[str] = "not begun"
    """Why it is to be done where nothing of it is there."""

    cell: Cell
    out: Path
    made_from: Plain
    init: Path | None
    needs: tuple[str, ...]
    trial: bool = False
    """Whether the step is a trial, one of those that choose settings: if it diverges, that is its outcome."""

    @property
    def id(self) -> str:
        return f"train {self.cell.run}"

    @property
    def threads(self) -> int:
        return self.cell.recipe.train.threads

    @property
    def gpu(self) -> bool:
        """Whether it takes a GPU where there is one."""
        return self.cell.recipe.train.device in ON_GPU

    @property
    def alone(self) -> bool:
        """Whether nothing else may run beside it."""
        return False

    @property
    def looks_at(self) -> None:
        """What a probe looks at: a training looks at nothing."""
        return None

    @cached_property
    def key(self) -> str:
        return content_key(self.made_from)

    def missing(self) -> str | None:
        """Why it is to be done; None when it is done."""
        if stands_for(self.out, self.made_from) is None:
            return self.ABSENT
        if changed := self.changed():
            return f"changed: {changed}"
        record = finished_in(self.out)
        if record is None:
            return "not finished"
        if self.trial and not is_judged(self.out):
            return "its log is damaged"
        diverged = self.trial and record.diverged is not None
        return None if diverged or (self.out / layout.WEIGHTS).exists() else "its weights are gone"

    def changed(self) -> str | None:
        """What has changed since the run in this folder was started; None where nothing is, or none stands there."""
        before = stands_for(self.out, self.made_from)
        if before is None:
            return None
        if before != self.made_from:
            return difference(before, self.made_from)
        record = finished_in(self.out)
        if record and data_changed(record, self.cell.recipe.data.source):
            return "the files of its data"
        return "what it begins with" if record and init_changed(record, self.cell.recipe.init, self.init) else None


@dataclass(frozen=True)
class ProbeStep:
    """A step that looks with one probe at one run, or at several together; `whom` says in words at which."""

    ABSENT: ClassVar[str] = "not measured"

    probe: ProbeConfig
    subjects: tuple[TrainStep, ...]
    whom: str
    data: SourceConfig | None
    results: Path
    companions: Mapping[str, TrainStep] = field(default_factory=dict[str, TrainStep])
    """Runs of recipes that differ as the probe's `companions` asks for, by what sets them apart."""

    @property
    def id(self) -> str:
        plain = self.probe == probe_config(self.probe.name) and self.data is None
        return f"{self.probe.name} of {self.whom}" + ("" if plain else f" ({self.key[:6]})")

    @property
    def joint(self) -> bool:
        """Whether the step looks at several runs together."""
        return self.probe.per == "set"

    @property
    def threads(self) -> int:
        return max(subject.threads for subject in self.subjects)

    @property
    def gpu(self) -> bool:
        """Whether it takes a GPU where there is one."""
        return looks_on_gpu(self.probe, (subject.cell.recipe.train.device for subject in self.subjects))

    @property
    def alone(self) -> bool:
        """Whether nothing else may run beside it: it measures time."""
        return self.probe.alone

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.id for step in (*self.subjects, *self.companions.values())))

    @property
    def source(self) -> SourceConfig:
        """The data on which the probe asks."""
        return self.data or self.subjects[0].cell.recipe.data.source

    @cached_property
    def looks_at(self) -> tuple[str, str] | None:
        """The one run and the data that the probe asks about: steps that share both share what the run says about them."""
        return None if self.joint else (self.subjects[0].id, self.source.toml())

    @cached_property
    def made_from(self) -> Plain:
        """Everything that the step's result is a function of."""
        keys = {subject.cell.run: subject.key for subject in self.subjects}
        beside = {name: step.key for name, step in self.companions.items()}
        return measured_from(self.probe, keys, self.source, self.data, beside)

    @cached_property
    def key(self) -> str:
        return content_key(self.made_from)

    @property
    def out(self) -> Path:
        return layout.result(self.results, self.probe.name, self.key)

    def missing(self) -> str | None:
        """Why it is to be done; None when it is done."""
        if not self.out.exists():
            kept = layout.results_of(self.results, self.probe.name)
            others = (_read(path).get("about", {}).get("made_from") or {} for path in kept)
            before = next((other for other in others if _about_the_same(other, self.made_from)), None)
            return f"changed: {difference(before, self.made_from)}" if before else self.ABSENT
        stored = _read(self.out)
        if stored.get("about", {}).get("made_from") != self.made_from:
            return "its result is damaged"
        return "its arrays are gone" if stored.get("arrays") and not self.out.with_suffix(".npz").exists() else None


def score(trial: Path) -> float:
    """The accuracy on val that a finished trial is judged by."""
    return val_accuracy(trial.name, read_environment(trial), read_history(trial))


def is_judged(trial: Path) -> bool:
    """Whether the log of a finished trial still says what the trial is judged by."""
    try:
        score(trial)
    except PriorscopeError:
        return False
    return True


Step = TrainStep | ProbeStep


def _about_the_same(one: Plain, other: Plain) -> bool:
    """Whether two results are about the same runs, whatever weights these have now."""
    whom = [set(weights) if isinstance(weights := made.get("weights"), Mapping) else None for made in (one, other)]
    return whom[0] == whom[1]


def difference(before: Any, now: Any, path: str = "") -> str:
    """The first settings that differ between two tables, in words."""
    found = list(_differences(before, now, path))
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if is_table(before) and is_table(now):
        for name in sorted({*before, *now}):
            yield from _differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif before != now:
        yield f"{path} {before} -> {now}"


def _read(path: Path) -> Plain:
    """A stored table; a damaged one reads as empty, so that its step is done again."""
    try:
        return folder.read_json(path)
    except PriorscopeError:
        return {}
