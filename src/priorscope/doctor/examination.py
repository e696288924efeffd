"""An examination: what kind of thing a subject is, every check that can look at it, and what they found."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from priorscope import run as runs
from priorscope.core import layout
from priorscope.core.config import Plain
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.wording import counted
from priorscope.doctor import CHECKS, Finding
from priorscope.doctor.refused import refused
from priorscope.doctor.sides import picture_side

if TYPE_CHECKING:
    from priorscope.data.split import Source
    from priorscope.models.classifier import Classifier
    from priorscope.recipe import Recipe

Kind = Literal["machine", "recipe", "run", "study", "log", "script"]


@dataclass(frozen=True)
class Examination:
    """What was looked at, by which checks, and what they found, the worst first. `facts` are the machine's."""

    subject: str
    kind: Kind
    checks: tuple[str, ...]
    findings: tuple[Finding, ...]
    facts: Plain = field(default_factory=dict[str, object])

    def count(self, severity: str) -> int:
        """How many findings of one severity there are."""
        return sum(finding.severity == severity for finding in self.findings)

    def plain(self) -> Plain:
        """The examination as JSON holds it."""
        return {
            "subject": self.subject,
            "kind": self.kind,
            "checks": list(self.checks),
            "findings": [finding.plain() for finding in self.findings],
            **({"facts": self.facts} if self.facts else {}),
        }


def examine(subject: str | None = None, settings: Sequence[str] = ()) -> Examination:
    """Looks at a recipe, a run's or a study's folder, a log or a script, by its name or path; at this machine without one.

    `settings` are `--set` settings laid over a recipe.
    """
    if subject is None:
        from priorscope.doctor.machine import facts, look_at_machine

        if settings:
            raise RequestError("--set came with no subject.", "a recipe, whose settings can be changed", "name a recipe")
        known = facts()
        return Examination("this machine", "machine", ("machine",), _sorted(look_at_machine(known)), known)
    kind, desk = kind_of(subject), _Desk()
    if settings and kind != "recipe":
        raise RequestError(f"--set came with a {kind}.", "a recipe, whose settings can be changed", "remove --set")
    _EXAMINERS[kind](desk, subject, settings)
    return Examination(subject, kind, tuple(desk.checks), _sorted(desk.findings))


def kind_of(subject: str) -> Kind:
    """What a name or a path names."""
    path = Path(subject)
    if layout.is_run(path):
        return "run"
    if layout.is_study(path):
        return "study"
    if path.is_dir():
        raise RequestError(f"{path} holds neither a run nor a study.", "the folder of one", "check the path")
    if path.name == layout.STEPS:
        raise RequestError(
            f"{path} is the log of a run.", "the run's folder", f"priorscope doctor {shlex.quote(str(path.parent))}"
        )
    kinds: dict[str, Kind] = {".py": "script", ".json": "log", ".yaml": "log", ".yml": "log", ".csv": "log"}
    kind = kinds.get(path.suffix.lower())
    if kind is None and "/" in subject and path.suffix.lower() != ".toml" and not path.exists():
        raise RequestError(
            f"There is nothing at {subject!r}.",
            "the folder of a run or a study, a recipe (.toml), a log (.json, .yaml, .csv) or a script (.py)",
            "check the path",
        )
    return kind or "recipe"


@dataclass
class _Desk:
    """The checks that have looked at something, and what they found."""

    checks: dict[str, None] = field(default_factory=dict[str, None])
    findings: list[Finding] = field(default_factory=list[Finding])

    def look(self, what: str, *subject: object) -> None:
        """Every check that can look at such a thing does; one that cannot finish says so."""
        for name in CHECKS:
            look: Callable[..., Iterable[Finding]] | None = getattr(CHECKS.load(name), f"look_at_{what}", None)
            if look is not None:
                self.checks[name] = None
                try:
                    self.findings += look(*subject)
                except PriorscopeError as error:
                    self.findings.append(_not_looked_at(name, error))


def _not_looked_at(check: str, error: PriorscopeError) -> Finding:
    return Finding(
        check=check,
        severity="note",
        saw=error.came,
        means=f"this was not looked at: {check.replace('_', ' ')}",
        do=error.do,
    )


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    order = ("fault", "warning", "note")
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: order.index(finding.severity)))


def _recipe(desk: _Desk, subject: str, settings: Sequence[str]) -> None:
    """The recipe itself, its pictures where they are at hand, its untrained network, and both together."""
    from priorscope.recipe import Recipe, find_recipe

    recipe = Recipe.load(find_recipe(subject), settings)
    desk.look("recipe", recipe)
    source = _pictures(desk, recipe)
    side = _side(desk, recipe, source)
    seen = recipe.model.input_size or side
    if seen is not None:
        desk.look("side", recipe, seen)
    network = None if side is None else _untrained(desk, recipe, source, side)
    if network is not None:
        desk.look("network", network)
        if source is not None:
            desk.look("training", recipe, source.split("train"), network)


def _pictures(desk: _Desk, recipe: Recipe) -> Source | None:
    from priorscope.data import open as open_source
    from priorscope.data.hub import is_on_hub

    if is_on_hub(recipe.data.source):
        what = RequestError(f"{recipe.data.source.name} is on the hub.", "pictures that are here", "train, which fetches them")
        desk.findings.append(_not_looked_at("pictures", what))
        return None
    try:
        source = open_source(recipe.data.source)
        source.split("train")
    except PriorscopeError as error:
        desk.findings.append(_not_looked_at("pictures", error))
        return None
    desk.look("source", source)
    return source


def _side(desk: _Desk, recipe: Recipe, source: Source | None) -> int | None:
    try:
        return picture_side(recipe, source.split("train") if source else None)
    except PriorscopeError as error:
        desk.findings.append(_not_looked_at("network", error) if source is None else _untrainable(error))
        return None


def _untrainable(error: PriorscopeError) -> Finding:
    """Pictures are there and have no one side: they differ in size, or are not square."""
    means = f"no network can be trained on them; `train` wants {error.wanted}"
    return Finding(check="pictures", severity="fault", saw=error.came, means=means, do=error.do)


def _untrained(desk: _Desk, recipe: Recipe, source: Source | None, side: int) -> Classifier | None:
    """The recipe's network with random weights: nothing is downloaded to look at its parts."""
    from priorscope.models.building import build

    train = source.split("train") if source else None
    try:
        return build(
            recipe.model.without_start(),
            image_size=side,
            num_classes=len(train.classes) if train else 10,
            statistics=train.statistics if train else None,
            seed=recipe.seed,
        )
    except RequestError as error:
        desk.findings.append(refused(error) if source else _not_looked_at("network", error))
        return None
    except PriorscopeError as error:
        desk.findings.append(_not_looked_at("network", error))
        return None


def _run(desk: _Desk, subject: str, _settings: Sequence[str]) -> None:
    run = runs.load(subject)
    _recipe_of(desk, run)
    _pictures(desk, run.recipe)
    desk.look("network", run.model)
    desk.look("run", run)


def _recipe_of(desk: _Desk, run: runs.Run) -> None:
    """The recipe of a run, which wrote down the side of its pictures."""
    desk.look("recipe", run.recipe)
    desk.look("side", run.recipe, run.recipe.model.input_size or run.environment.network.image_size)


def _study(desk: _Desk, subject: str, _settings: Sequence[str]) -> None:
    paths = layout.runs_in(Path(subject) / layout.RUNS)
    if not any(layout.is_finished(path) for path in paths):
        raise RequestError(
            f"{subject} holds no finished run.", "a study that was run", f"priorscope study FILE --out {shlex.quote(subject)}"
        )
    desk.findings += _unfinished(subject, [*paths, *layout.runs_in(Path(subject) / layout.TUNING)])
    whole = [run for path in paths if layout.is_finished(path) and (run := _readable(desk, path)) is not None]
    for run in whole:
        _recipe_of(desk, run)
        desk.look("run", run)
    desk.look("study", whole)


def _unfinished(study: str, paths: Sequence[Path]) -> Iterable[Finding]:
    """The runs, and trials, that have begun and not ended."""
    names = [path.name for path in paths if not layout.is_finished(path)]
    if names:
        yield Finding(
            check="runs",
            severity="note",
            saw=f"{counted(len(names), 'run')} of {study} {'is' if len(names) == 1 else 'are'} not finished:"
            f" {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}.",
            means="every comparison is of the others",
            do=f"run the study again: priorscope study FILE --out {shlex.quote(study)}",
        )


def _readable(desk: _Desk, path: Path) -> runs.Run | None:
    """A finished run whose records can be read; a damaged one is a fault, and the others are looked at."""
    run = runs.load(path)
    try:
        _ = run.recipe, run.environment, run.history
    except PriorscopeError as error:
        means = "nothing is known of this run, and comparisons are of the others"
        desk.findings.append(Finding(check="runs", severity="fault", saw=error.came, means=means, do=error.do))
        return None
    return run


def _log(desk: _Desk, subject: str, _settings: Sequence[str]) -> None:
    from priorscope.core.logs import read_log

    desk.look("log", read_log(Path(subject)))


def _script(desk: _Desk, subject: str, _settings: Sequence[str]) -> None:
    from priorscope.doctor.scripts import read_script

    desk.look("script", read_script(Path(subject)))


_EXAMINERS: dict[Kind, Callable[[_Desk, str, Sequence[str]], None]] = {
    "recipe": _recipe,
    "run": _run,
    "study": _study,
    "log": _log,
    "script": _script,
}
