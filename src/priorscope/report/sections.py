"""The sections of a page: what the training, and each probe, has to show."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from priorscope.core import layout
from priorscope.core.config import content_key
from priorscope.core.contracts import Result, Subject
from priorscope.core.errors import PriorscopeError
from priorscope.core.figure import Figure
from priorscope.report.curves import Curve, curve_of, training_figures
from priorscope.report.records import Failure, Outcome, Reading, RunRecord
from priorscope.report.settings import differences_said, setting_said
from priorscope.report.surfaces import surfaces
from priorscope.report.verdict import Finding
from priorscope.report.words import sentence


@dataclass(frozen=True)
class ShownFigure:
    """A figure in its place on the page; `id` is its anchor."""

    id: str
    figure: Figure

    @property
    def note(self) -> str:
        """The figure's n and protocol as one line."""
        n = self.figure.n
        return f"{f'n = {n:,}' if isinstance(n, int) else n.rstrip('.')}. {self.figure.protocol}"


@dataclass(frozen=True)
class Section:
    """What one probe, or the training, has to show."""

    id: str
    heading: str
    question: str
    sentence: str
    figures: tuple[ShownFigure, ...]
    finding: Finding | None = None
    together: Result | None = None
    """What it says of several networks at once, where it says one thing."""
    caveats: tuple[tuple[str, str], ...] = ()
    told: tuple[tuple[str, str], ...] = ()


def sections(reading: Reading, found: Sequence[Finding], failures: list[Failure]) -> list[Section]:
    """Every section with its anchors; what could not be drawn is added to the failures."""
    every = (_training(reading), *_probes(reading, found, failures))
    return _numbered([section for section in every if section])


def _training(reading: Reading) -> Section | None:
    """The curves of all runs that tracked any; runs of different worlds, and a grid's, in pictures of their own."""
    tracked = [(run, curve) for run in reading.runs if (curve := curve_of(run)).points]
    if not tracked:
        return None
    apart_by: dict[tuple[str, str], list[tuple[RunRecord, Curve]]] = {}
    for run, curve in tracked:
        apart_by.setdefault((content_key(run.world), curve.grid[0]), []).append((run, curve))
    worlds = list({world: members[0][0].world for (world, _), members in apart_by.items()}.values())
    shown: list[Figure] = []
    for (_, grid), members in apart_by.items():
        where = ", ".join(said for said in (grid, differences_said(members[0][0].world, worlds)) if said)
        curves = [replace(curve, label=curve.grid[1] or curve.label) for _, curve in members]
        names = " ".join(shlex.quote(f"runs/{run.name}") for run, _ in members)
        for metric, figure in training_figures(curves, where).items():
            shown.append(replace(figure, command=f"priorscope plot curves {names} --metric {metric} --split val"))
    return Section("training", "Training", "How did they learn?", "", tuple(ShownFigure("", figure) for figure in shown))


def _probes(reading: Reading, found: Sequence[Finding], failures: list[Failure]) -> list[Section]:
    sections = [
        _with_surfaces(
            _probe_section(finding.probe, finding.result, finding.outcomes, failures, sentence(finding), finding),
            finding,
            reading,
        )
        for finding in found
    ]
    joint: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in reading.joint:
        joint.setdefault((outcome.probe, outcome.question), []).append(outcome)
    for outcomes in joint.values():
        together = outcomes[0].result if len(outcomes) == 1 else None
        said = together.headline() if together else ""
        section = _probe_section(outcomes[0].probe, type(outcomes[0].result), outcomes, failures, said, None)
        sections.append(replace(section, together=together))
    return sections


def _with_surfaces(section: Section, finding: Finding, reading: Reading) -> Section:
    """A section with its number over the grids among the recipes, each made again by the commands of all its cells."""
    shown = [
        ShownFigure("", replace(figure, command="\n".join(dict.fromkeys(o.command for o in finding.outcomes if o.command))))
        for figure in surfaces(finding, reading.runs)
    ]
    return replace(section, figures=(*shown, *section.figures)) if shown else section


def _probe_section(
    probe: str, kind: type[Result], outcomes: Sequence[Outcome], failures: list[Failure], said: str, finding: Finding | None
) -> Section:
    heading = probe.replace("_", " ").capitalize() + (f", {finding.where}" if finding and finding.where else "")
    config = {name: value for name, value in outcomes[0].about.config.items() if name not in ("name", "split")}
    return Section(
        id=probe.replace("_", "-"),
        heading=heading,
        question=kind.question,
        sentence=said,
        figures=tuple(ShownFigure("", figure) for figure in _drawn(kind, outcomes, failures)),
        finding=finding,
        caveats=_caveats(outcomes),
        told=tuple((name.replace("_", " "), setting_said(value)) for name, value in config.items()),
    )


def _drawn(kind: type[Result], outcomes: Sequence[Outcome], failures: list[Failure]) -> list[Figure]:
    """The probe's pictures of these results, each with the command that makes its numbers again.

    A probe that cannot draw is a failure of the page, not its end.
    """
    pairs: list[tuple[Subject, Result]] = [(outcome.subject, outcome.result) for outcome in outcomes]
    try:
        figures = kind.draw(pairs)
    except (PriorscopeError, ValueError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        failures.append(Failure(f"draw {kind.probe}", f"{type(error).__name__}: {error}"))
        return []
    command = joined_command(outcome.command for outcome in outcomes)
    return [figure if figure.command else replace(figure, command=command) for figure in figures]


def joined_command(commands: Iterable[str]) -> str:
    """What makes the numbers and draws them again: one command for all runs that were asked in one way."""
    ways: dict[tuple[str, ...], dict[str, None]] = {}
    for command in map(shlex.split, commands):
        if command[:2] == ["priorscope", "probe"]:
            runs = [*itertools.takewhile(lambda word: not word.startswith("--"), command[3:])]
            asked = (command[2], *command[3 + len(runs) :])
            ways.setdefault(asked, {}).update(dict.fromkeys(map(_from_study, runs)))
    return "\n".join(
        shlex.join(["priorscope", "probe", probe, *runs, *how, "--out", "pictures"]) for (probe, *how), runs in ways.items()
    )


def _from_study(path: str) -> str:
    """A run's folder as seen from its study's, wherever the probe was typed that looked at it."""
    return re.sub(rf"^.*/(?={layout.RUNS}/[^/]+/?$)", "", path)


def _caveats(outcomes: Sequence[Outcome]) -> tuple[tuple[str, str], ...]:
    """Every caveat once, with whom it is about."""
    about: dict[str, list[str]] = {}
    for outcome in outcomes:
        for caveat in outcome.result.caveats:
            about.setdefault(caveat, []).append(outcome.subject.name)
    return tuple((caveat, "all" if len(names) == len(outcomes) else ", ".join(names)) for caveat, names in about.items())


def _numbered(sections: Sequence[Section]) -> list[Section]:
    """Sections and figures with anchors of their own, whatever probes and figures are called."""
    taken: dict[str, int] = {}

    def anchor(wanted: str) -> str:
        taken[wanted] = taken.get(wanted, 0) + 1
        return wanted if taken[wanted] == 1 else f"{wanted}-{taken[wanted]}"

    named = [replace(section, id=anchor(section.id)) for section in sections]
    return [
        replace(
            section,
            figures=tuple(ShownFigure(anchor(f"{section.id}-{i}"), shown.figure) for i, shown in enumerate(section.figures, 1)),
        )
        for section in named
    ]
