"""Reads study folders and run folders back as they stand: runs, results, curves, and what went wrong.

A damaged file does not stop the report: it becomes one of its failures, with what to do about it.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from priorscope.core import layout
from priorscope.core.config import Plain, is_table, read_toml
from priorscope.core.contracts import About, Subject
from priorscope.core.environment import read_environment
from priorscope.core.epoch import read_history
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.folder import read_json
from priorscope.report.lacking import lacking_said
from priorscope.report.records import Entry, Failure, Outcome, Reading, RunRecord
from priorscope.report.settings import family_of
from priorscope.report.transferred import held_against


def read_source(path: Path) -> Reading:
    """One study folder or one run folder."""
    if layout.is_run(path):
        failures: list[Failure] = []
        run = read_run(path, failures)
        name = path.resolve().name  # `.` has none
        lacking = () if layout.is_finished(path) else ("the run is not finished",)
        return Reading(name, "", "", (name,), (run,) if run else (), (), tuple(failures), lacking=lacking)
    if layout.is_study(path):
        return read_study(path)
    if not path.exists():
        raise RequestError(f"There is no folder {str(path)!r}.", "the folder of a study or of a run", "check the path")
    raise RequestError(
        f"{path} holds neither a study nor a run.",
        f"a folder with {layout.STUDY} or {layout.RECIPE}",
        "priorscope study NAME --out FOLDER",
    )


def read_study(path: Path) -> Reading:
    """A study's folder: every run that can be read, and every failure. Of a study that people wrote, the runs beside it."""
    path = path.resolve()
    failures: list[Failure] = []
    study = _table(path / layout.STUDY, failures) if (path / layout.STUDY).exists() else {}
    if study and not layout.is_own_copy(study):
        if not layout.runs_in(path / layout.RUNS):
            raise _not_carried_out(path)
        study = {}
    joint = tuple(read_outcomes(path / layout.JOINT, None, failures))
    runs = [_held_against(joint, run) for own in layout.runs_in(path / layout.RUNS) if (run := read_run(own, failures))]
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


def _not_carried_out(path: Path) -> RequestError:
    return RequestError(
        f"The study in {path} was not carried out there.",
        "the folder of a study that was",
        f"priorscope study {shlex.quote(str(path / layout.STUDY))} --out FOLDER, then name that folder",
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
    history = _read(path / layout.STEPS, lambda _: read_history(path), failures, [])
    seed = int(recipe.get("seed") or 0)
    arm = path.name.removesuffix(layout.run_name("", seed))
    subject = Subject(name=path.name, family=family_of(recipe), recipe=arm, seed=seed)
    outcomes = tuple(read_outcomes(path / layout.RESULTS, subject, failures))
    family = outcomes[0].subject.family if outcomes else subject.family
    return RunRecord(path.name, family, subject.recipe, seed, recipe, environment, tuple(history), outcomes)


def read_outcomes(folder: Path, subject: Subject | None, failures: list[Failure]) -> list[Outcome]:
    """Every stored result below a folder, `subject` where it does not say itself whom it is about."""
    from priorscope.probes import load_result

    outcomes: list[Outcome] = []
    for path in layout.results(folder):
        try:
            about = About.read(path)
            outcomes.append(Outcome(load_result(path), _subjects(about, subject), about))
        except PriorscopeError as error:
            failures.append(Failure(f"{folder.parent.name}/{path.parent.name}/{path.name}", str(error)))
    return _newest(outcomes)


def _newest(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One answer to a question, so that no number counts twice: of the newest version, and with most runs held beside it."""
    found: dict[tuple[str, ...], Outcome] = {}
    for outcome in outcomes:
        question = (outcome.probe, *(subject.name for subject in outcome.subjects), outcome.question)
        if question not in found or _rank(outcome) > _rank(found[question]):
            found[question] = outcome
    return list(found.values())


def _rank(outcome: Outcome) -> tuple[int, int, str]:
    """By what one of several answers to a question is taken; of times, those that one machine took, the same for all runs."""
    made_from = outcome.about.made_from
    return outcome.about.version, len(made_from.get("companions") or {}), str(made_from.get("machine", ""))


def _subjects(about: About, subject: Subject | None) -> tuple[Subject, ...]:
    if subject is None:
        return about.subjects
    return tuple(one.replace(recipe=subject.recipe) for one in about.subjects) or (subject,)


def _held_against(joint: Sequence[Outcome], run: RunRecord) -> RunRecord:
    """The run with its verdicts drawn again from what was found of all networks together."""
    together = [outcome.result for outcome in joint]
    outcomes = (replace(outcome, result=held_against(outcome.result, run.name, together)) for outcome in run.outcomes)
    return replace(run, outcomes=tuple(outcomes))


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
