"""What a page is made from: runs, results and what a study asks, as they were read. Nothing here touches a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from priorscope.core.config import Plain, content_key
from priorscope.core.contracts import About, Result, Subject
from priorscope.core.environment import Environment
from priorscope.core.epoch import Epoch
from priorscope.report.settings import settings_of, world_of


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
    about: About = field(default_factory=About)

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
        return self.about.command

    @property
    def question(self) -> str:
        """What a network was asked: data with its seed, split and the probe's own settings. It has one answer."""
        return content_key([self.about.data, self.about.split, self.about.config, self.about.source])

    @property
    def comparable(self) -> str:
        """The question without the seed of a drawn world, which answers in two studies at different seeds share."""
        return content_key([self.about.data, self.about.split, self.about.config, world_of(self.about.source)])


@dataclass(frozen=True)
class RunRecord:
    """A run's folder, read. `recipe_name` is what it shares with the other seeds of its recipe (and grid cell)."""

    name: str
    family: str
    recipe_name: str
    seed: int
    recipe: Plain
    environment: Environment | None
    history: tuple[Epoch, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def source(self) -> Plain:
        """The settings of the source that it learnt from."""
        source: Any = (self.recipe.get("data") or {}).get("source") or {}
        return {"name": source} if isinstance(source, str) else source

    @property
    def world(self) -> dict[str, str]:
        """The source that the run learnt from as flat settings, the seed of a drawn world left out."""
        return world_of(self.source)

    def images(self, outcome: Outcome) -> str:
        """Which images one of its results is about: equal for two that saw the same, whatever part of train the runs learnt."""
        if outcome.about.source not in ({}, self.source):
            return content_key([outcome.about.source, outcome.about.made_from.get("files")])
        learnt = self.environment.data if self.environment else None
        whole = (self.recipe.get("data") or {}).get("subset") is None
        if whole and learnt is not None and learnt.fingerprint:
            return learnt.fingerprint
        return content_key([self.source, learnt and learnt.files])

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

    def fits(self, outcome: Outcome, own: Plain) -> bool:
        """Whether it asks what a result answers; `own` is the source that the result's network learnt from."""
        if self.probe != outcome.about.config:
            return False
        asked, told = (settings_of(source) for source in (self.data or own, outcome.about.source))
        return told == asked or (not told and not self.data)


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
