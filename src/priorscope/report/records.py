"""What a page is made from: runs, results and what a study asks, as they were read. Nothing here touches a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from priorscope.core.config import Plain, content_key, is_table
from priorscope.core.contracts import Result, Subject
from priorscope.core.environment import Environment
from priorscope.report.settings import world_of


@dataclass(frozen=True)
class Failure:
    """Something that is missing from the report, and why."""

    step: str
    error: str


@dataclass(frozen=True)
class Outcome:
    """A stored result with what it is about."""

    result: Result
    subjects: tuple[Subject, ...]
    about: Plain = field(default_factory=dict)

    @property
    def probe(self) -> str:
        """The probe's name."""
        return self.result.probe

    @property
    def subject(self) -> Subject:
        """What the result is about, as one thing to draw: a run, a pair "a → b", or a set."""
        if len(self.subjects) == 1:
            return self.subjects[0]
        if len(self.subjects) == 2:
            return Subject(name=" → ".join(subject.name for subject in self.subjects), family=self.subjects[0].family)
        return Subject(name=f"{len(self.subjects)} runs", family="other")

    @property
    def command(self) -> str:
        """What makes the result again."""
        return str(self.about.get("command", ""))

    @property
    def world(self) -> dict[str, str]:
        """The source that it was asked on, where the result says so; see `RunRecord.world`."""
        source = (self.about.get("made_from") or {}).get("data")
        return world_of(source) if is_table(source) else {}

    @property
    def version(self) -> int:
        """That of the probe that measured it; 0 where it does not say."""
        return int((self.about.get("made_from") or {}).get("version") or 0)

    def setting(self) -> str:
        """What must be equal for two results to be comparable: data, split and the probe's own settings."""
        told = {name: self.about.get(name) for name in ("data", "split", "config")}
        return content_key({**told, "world": self.world})


@dataclass(frozen=True)
class RunRecord:
    """A run's folder, read. `recipe_name` is what it shares with the other seeds of its recipe (and grid cell)."""

    name: str
    family: str
    recipe_name: str
    seed: int
    recipe: Plain
    environment: Environment | None
    history: tuple[Plain, ...]
    outcomes: tuple[Outcome, ...]
    trial: bool = False
    """Whether it is one of the trials on val by which a study tunes its recipes, and not what is compared."""

    @property
    def data(self) -> str:
        """What the run's images were: equal for two runs that saw, and were asked about, the same images."""
        learnt = self.environment.data if self.environment else None
        return (learnt and learnt.fingerprint) or content_key(self.recipe.get("data") or {})

    @property
    def world(self) -> dict[str, str]:
        """The source of the run's images, as flat settings, the seed of a drawn world left out."""
        source: Any = (self.recipe.get("data") or {}).get("source") or {}
        return world_of({"name": source} if isinstance(source, str) else source)

    @property
    def parameters(self) -> int | None:
        """How many parameters the network has, where the run says so."""
        made = self.environment.model if self.environment else None
        return made.parameters if made else None


@dataclass(frozen=True)
class Entry:
    """One of a study's `[[probes]]`: its settings, where it looks if not where the runs learnt, and which runs it looks at."""

    probe: Plain
    data: Plain | None = None
    recipes: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None

    def fits(self, outcome: Outcome, own: Mapping[str, str]) -> bool:
        """Whether it asks what a result answers; `own` is the world that the result's network learnt in."""
        if self.probe != outcome.about.get("config"):
            return False
        return outcome.world == world_of(self.data) if self.data else outcome.world in ({}, own)


@dataclass(frozen=True)
class Reading:
    """Everything that a report is made from."""

    name: str
    question: str
    promise: str
    sources: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    joint: tuple[Outcome, ...]
    failures: tuple[Failure, ...]
    entries: tuple[Entry, ...] = ()
    """What the study asks, in its order: what it asks first is answered first."""
    claims: tuple[str, ...] = ()
    """What the study sets out to decide, in its own words."""
    tuned: tuple[str, ...] = ()
    """The settings that equal numbers of trials on val chose for every recipe."""
    lacking: tuple[str, ...] = ()
    """What the study asks for and is not there, "2 of 6 runs are not finished"; nothing where it is complete."""


def by_recipe(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs by the name that the seeds of a recipe share, in the order in which they come."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(run.recipe_name, []).append(run)
    return found
