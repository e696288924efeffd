"""Reads study folders and run folders back as they stand: runs, results, curves, and what went wrong.

A damaged file does not stop the report: it becomes one of its failures, with what to do about it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from priorscope.core import layout
from priorscope.core.claim import Claim
from priorscope.core.config import Plain, content_key, flat, is_table, read_toml
from priorscope.core.contracts import Result, Subject
from priorscope.core.environment import Environment, read_environment
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.folder import read_json, read_rows, shortest_names
from priorscope.report.lacking import lacking_said
from priorscope.report.transferred import held_against


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


Place = PathLike[str] | str
"""A study's folder, a run's, or the run itself."""

Sources = Sequence[Place] | Place


def read_sources(sources: Sources) -> Reading:
    """Study folders and run folders as one reading, in the order given; of one alone, its folder or the run itself."""
    if isinstance(sources, str | PathLike):
        return read_source(Path(sources))
    if not sources:
        raise RequestError("No folder was given.", "the folders of studies or runs", "priorscope report OUT --out report.html")
    for source in sources:
        _check_place(source)
    places = list({Path(source).resolve(): Path(source) for source in sources}.values())
    read = [read_source(place) for place in places]
    if len(read) == 1:
        return read[0]
    within = [one.name for one in read]
    if len(set(within)) < len(within):
        within = shortest_names([place.resolve().parent if layout.is_run(place) else place.resolve() for place in places])
    unclear = _of_two_meanings([run for one in read for run in one.runs])
    named = list(zip(within, read, strict=True))
    runs = [_within(name, run) if run.recipe_name in unclear else run for name, one in named for run in one.runs]
    return Reading(
        name=" + ".join(dict.fromkeys(one.name for one in read)),
        question=" / ".join(dict.fromkeys(one.question for one in read if one.question)),
        promise=" ".join(dict.fromkeys(one.promise for one in read if one.promise)),
        sources=tuple(source for one in read for source in one.sources),
        runs=tuple(runs),
        joint=tuple(outcome for one in read for outcome in one.joint),
        failures=tuple(failure for one in read for failure in one.failures),
        entries=tuple(entry for one in read for entry in one.entries),
        claims=tuple(dict.fromkeys(_claim_within(name, claim, unclear) for name, one in named for claim in one.claims)),
        tuned=read[0].tuned if all(one.tuned == read[0].tuned for one in read) else (),
        lacking=tuple(f"{said} in {name}" for name, one in named for said in one.lacking),
    )


def _check_place(source: object) -> None:
    """Refuses what is neither a folder nor a run: a result, say."""
    if not isinstance(source, str | PathLike):
        raise RequestError(
            f"A page is made of runs and studies, and {type(source).__name__} is neither.",
            "runs, or folders of studies or runs",
            'ps.write_report([ps.load("runs/a")], "report.html"); result.chart().save("accuracy.svg") draws one result',
        )


def _of_two_meanings(runs: Sequence[RunRecord]) -> set[str]:
    """The recipes' names under which runs of different recipes come, or one seed twice: seeds of one recipe belong together."""
    unclear: set[str] = set()
    for name, own in by_recipe(runs).items():
        recipes = {content_key({**run.recipe, "seed": 0}) for run in own}
        if len(recipes) > 1 or len({run.name for run in own}) < len(own):
            unclear.add(name)
    return unclear


def read_source(path: Path) -> Reading:
    """One study folder or one run folder."""
    if layout.is_run(path):
        failures: list[Failure] = []
        run = read_run(path, failures)
        name = path.resolve().name  # `.` has none
        lacking = () if layout.is_finished(path) else ("the run is not finished",)
        return Reading(name, "", "", (name,), (run,) if run else (), (), tuple(failures), lacking=lacking)
    if (path / layout.STUDY).exists() or (path / layout.RUNS).is_dir():
        return read_study(path)
    raise RequestError(
        f"{path} holds neither a study nor a run.",
        f"a folder with {layout.STUDY} or {layout.RECIPE}",
        "priorscope study NAME --out FOLDER",
    )


def read_study(path: Path) -> Reading:
    """A study's folder: every run that can be read, and every failure."""
    path = path.resolve()
    failures: list[Failure] = []
    study = _table(path / layout.STUDY, failures) if (path / layout.STUDY).exists() else {}
    joint = tuple(read_outcomes(path / layout.JOINT, None, failures))
    runs = [
        _placed(_held_against(joint, run), study)
        for own in layout.runs_in(path / layout.RUNS)
        if (run := read_run(own, failures))
    ]
    entries = tuple(_entry(table) for table in study.get("probes") or ())
    return Reading(
        name=str(study.get("name") or path.name),
        question=str(study.get("question") or ""),
        promise=str(study.get("promise") or ""),
        sources=(path.name,),
        runs=tuple(sorted(runs, key=_order(study))),
        joint=joint,
        failures=(*_told_failures(path / layout.FAILURES, failures), *failures),
        entries=entries,
        claims=tuple(str(claim) for claim in study.get("claims") or ()),
        tuned=_tuned(study),
        lacking=tuple(lacking_said(study, entries, runs, joint)),
    )


def _entry(table: Plain) -> Entry:
    recipes, seeds = (None if table.get(name) is None else tuple(table[name]) for name in ("recipes", "seeds"))
    return Entry(table["probe"], table.get("data"), recipes, seeds)


def read_run(path: Path, failures: list[Failure]) -> RunRecord | None:
    """A run's folder; None where its recipe cannot be read."""
    path = path.resolve()
    recipe = _table(path / layout.RECIPE, failures)
    if not recipe:
        return None
    environment = _read(path / layout.ENVIRONMENT, lambda _: read_environment(path), failures, None)
    history = _read(path / layout.STEPS, read_rows, failures, [])
    seed = int(recipe.get("seed") or 0)
    subject = Subject(name=path.name, family=family_of(recipe), recipe=re.sub(rf"-s{seed}$", "", path.name), seed=seed)
    outcomes = tuple(read_outcomes(path / layout.RESULTS, subject, failures))
    family = outcomes[0].subject.family if outcomes else subject.family
    return RunRecord(path.name, family, subject.recipe, seed, recipe, environment, tuple(history), outcomes)


def family_of(recipe: Mapping[str, Any]) -> str:
    """The family that a recipe names: what stands before the slash of its model's name."""
    model: Any = recipe.get("model") or "other"
    return str(model.get("name", "other") if is_table(model) else model).partition("/")[0]


def world_of(source: Mapping[str, Any]) -> dict[str, str]:
    """A source as flat settings, the seed of a drawn world left out."""
    return {name: value for name, value in settings_of(source).items() if name != "seed"}


def settings_of(table: Mapping[str, Any]) -> dict[str, str]:
    """The settings of nested tables by their dotted keys, as text."""
    return {name: str(value) for name, value in flat(table).items()}


def differences_said(own: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> str:
    """What sets some settings apart from others, in words; nothing where nothing does."""
    differing = [key for key in own if any(other.get(key) != own[key] for other in others)]
    return ", ".join(f"{key.rpartition('.')[2].replace('_', ' ')} {setting_said(own[key])}" for key in differing)


def setting_said(value: Any) -> str:
    """A setting as a reader wants it: 2/255, not 0.00784313725490196; 0.06275, not 0.062745098."""
    if isinstance(value, list | tuple):
        return ", ".join(setting_said(one) for one in value) or "none"
    if isinstance(value, str) and "." in value:
        try:
            value = float(value)
        except ValueError:
            return value
    if not isinstance(value, float):
        return str(value)
    short, levels = f"{value:.4g}", 255 * value
    if float(short) != value and levels <= 64 and abs(4 * levels - round(4 * levels)) < 1e-9:
        return f"{levels:g}/255"
    return short


def read_outcomes(folder: Path, subject: Subject | None, failures: list[Failure]) -> list[Outcome]:
    """Every stored result below a folder, `subject` where it does not say itself whom it is about."""
    from priorscope.probes import load_result

    outcomes: list[Outcome] = []
    for path in layout.results(folder):
        try:
            about: Plain = dict(read_json(path).get("about") or {})
            outcomes.append(Outcome(load_result(path), _subjects(about, subject), about))
        except PriorscopeError as error:
            failures.append(Failure(f"{folder.parent.name}/{path.parent.name}/{path.name}", str(error)))
    return _newest(outcomes)


def _newest(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One answer to a question, so that no number counts twice: of the newest version, and with most runs held beside it."""
    found: dict[tuple[str, ...], Outcome] = {}
    for outcome in outcomes:
        question = (outcome.probe, *(subject.name for subject in outcome.subjects), outcome.setting())
        if question not in found or _rank(outcome) > _rank(found[question]):
            found[question] = outcome
    return list(found.values())


def _rank(outcome: Outcome) -> tuple[int, int]:
    """By what one of several answers to a question is taken."""
    return outcome.version, len((outcome.about.get("made_from") or {}).get("companions") or {})


def _subjects(about: Plain, subject: Subject | None) -> tuple[Subject, ...]:
    told = about.get("subjects") or ([about["subject"]] if "subject" in about else [])
    subjects = tuple(Subject.parse(one) for one in told)
    if subject is None:
        return subjects
    return tuple(one.replace(recipe=subject.recipe) for one in subjects) or (subject,)


def _within(study: str, run: RunRecord) -> RunRecord:
    """The run called by its study as well, and its results' subjects with it: two studies may use one name."""
    name, recipe = f"{study}/{run.name}", f"{study}/{run.recipe_name}"
    outcomes = [replace(o, subjects=tuple(s.replace(name=name, recipe=recipe) for s in o.subjects)) for o in run.outcomes]
    return replace(run, name=name, recipe_name=recipe, outcomes=tuple(outcomes))


def _claim_within(study: str, text: str, unclear: Collection[str]) -> str:
    """A claim whose recipes are called as their runs are."""
    claim = Claim.read(text)
    first, second = (f"{study}/{name}" if name in unclear else name for name in (claim.first, claim.second))
    return re.sub(r"^.*?(?=\s+in\s)", lambda _: f"{first} {claim.relation} {second}", text, flags=re.DOTALL)


def _held_against(joint: Sequence[Outcome], run: RunRecord) -> RunRecord:
    """The run with its verdicts drawn again from what was found of all networks together."""
    together = [outcome.result for outcome in joint]
    outcomes = (replace(outcome, result=held_against(outcome.result, run.name, together)) for outcome in run.outcomes)
    return replace(run, outcomes=tuple(outcomes))


def _placed(run: RunRecord, study: Plain) -> RunRecord:
    """The run, marked where it is a trial: called so, and of the seed that only trials have."""
    seed = (study.get("tune") or {}).get("seed", 1000) if study.get("tune") else None
    return replace(run, trial=True) if run.seed == seed and re.search(r"-t\d+$", run.name) else run


def _tuned(study: Plain) -> tuple[str, ...]:
    """What was tuned alike for all recipes; nothing where one of them was left as it is written."""
    own: list[Plain] = [entry.get("tune") or {} for entry in (study.get("recipes") or {}).values() if is_table(entry)]
    if not study.get("tune") or any(entry.get("off") for entry in own):
        return ()
    return tuple(dict.fromkeys(name for table in (study["tune"], *own) for name in table.get("over") or ()))


def _order(study: Plain) -> Any:
    """Runs in the order in which the study names their recipes, then by name, with numbers as they grow, and seed."""
    recipes = list(study.get("recipes") or {})

    def key(run: RunRecord) -> tuple[int, list[str | float], int]:
        at = max(
            (i for i, name in enumerate(recipes) if run.recipe_name == name or run.recipe_name.startswith(f"{name}-")),
            default=len(recipes),
        )
        parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", run.recipe_name)
        return at, [float(part) if i % 2 else part for i, part in enumerate(parts)], run.seed

    return key


def _table(path: Path, failures: list[Failure]) -> Plain:
    try:
        return read_toml(path)
    except (PriorscopeError, tomllib.TOMLDecodeError, OSError) as error:
        failures.append(Failure(f"{path.parent.name}/{path.name}", str(error)))
        return {}


def _read(path: Path, read: Callable[[Path], Any], failures: list[Failure], empty: Any) -> Any:
    """What a file holds; `empty` where there is none, or where it is damaged, which is then a failure."""
    if not path.exists():
        return empty
    try:
        return read(path)
    except PriorscopeError as error:
        failures.append(Failure(f"{path.parent.name}/{path.name}", str(error)))
        return empty


def _told_failures(path: Path, failures: list[Failure]) -> list[Failure]:
    """The failures that the study itself wrote down: {step, error} for each."""
    told = _read(path, read_json, failures, {}).get("failures", [])
    return [Failure(str(one.get("step", "?")), str(one.get("error", "?"))) for one in told]
