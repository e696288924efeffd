"""One self-contained HTML page from stored results.

The page asks no network for anything: styles, scripts and data stand inside it, and its content security policy forbids
the rest (the scripts are allowed by their hashes, so that nothing else can run). Equal inputs give equal bytes: there is no
clock and no path of a machine in it.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import tomli_w

from priorscope.core.config import content_key
from priorscope.core.contracts import Result, Subject
from priorscope.core.errors import PriorscopeError
from priorscope.core.figure import DARK_OF, PAPER, STYLES, THEME, Figure, charting_script, in_dark, inline_json
from priorscope.core.folder import write_text
from priorscope.core.stats import Interval
from priorscope.report.claims import Answer, answers
from priorscope.report.confounds import limits, recipe_differences
from priorscope.report.curves import Curve, curve_of, training_figures
from priorscope.report.diff import Diff, diff
from priorscope.report.reading import Failure, Outcome, Reading, RunRecord, apart, read_source, read_sources
from priorscope.report.verdict import Arm, Finding, findings
from priorscope.report.words import between, difference_said, number, sentence, statement

TEMPLATES = Path(__file__).parent / "templates"
LEADING = 4
"""How many sentences the first screen says in full; the others stand in their sections."""


def write_report(
    sources: Sequence[Path | str], out: Path | str, *, title: str | None = None, other: Path | str | None = None
) -> Path:
    """Writes the page of study folders and run folders, with what differs from an `other` one; returns where it stands."""
    out = Path(out)
    beside = None if other is None else read_source(Path(other))
    write_text(out, render(read_sources([Path(source) for source in sources]), title, out.name, beside))
    return out


def render(reading: Reading, title: str | None = None, file: str = "report.html", other: Reading | None = None) -> str:
    """The page's text."""
    import jinja2
    from markupsafe import Markup

    templates = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = _page(reading, title, file, other)
    boot, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("boot.js", "page.js"))
    vega = charting_script()
    return templates.get_template("page.html").render(
        page=page,
        style=Markup(_family_colours() + (TEMPLATES / "page.css").read_text(encoding="utf-8")),
        boot=Markup(boot),
        vega=Markup(vega),
        script=Markup(script),
        hashes=Markup(" ".join(_hash(text) for text in (boot, vega, script))),
        data=Markup(inline_json(_payload(page))),
        styles=STYLES,
        pairs=pair_rows,
        number=number,
        toml=tomli_w.dumps,
    )


def _hash(script: str) -> str:
    """What a content security policy calls an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _family_colours() -> str:
    """CSS variables: every family's colour on light and on dark ground."""
    light, dark = (
        "".join(f"--{name.replace('_', '-')}:{getattr(style, ground)};" for name, style in STYLES.items())
        for ground in ("light", "dark")
    )
    return f":root{{{light}}}\n:root[data-theme=dark]{{{dark}}}\n"


def _payload(page: Page) -> dict[str, Any]:
    """What the page's script draws from: figures, and the two themes."""
    figures = [figure for section in page.sections for figure in section.figures]
    return {
        "figures": {
            f"{shown.id}": {
                "spec": shown.figure.spec,
                "csv": shown.figure.csv(),
                "title": shown.figure.title,
                "name": shown.figure.name,
                "alt": shown.figure.alt,
                "note": shown.note,
            }
            for shown in figures
        },
        "theme": THEME,
        "darkOf": dict(DARK_OF),
        "paper": {"light": PAPER, "dark": in_dark(PAPER)},
    }


# What the template is given -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A figure in its place on the page; `id` is its anchor."""

    id: str
    figure: Figure

    @property
    def note(self) -> str:
        """Its n and protocol as one line."""
        n = self.figure.n
        return f"{f'n = {n:,}' if isinstance(n, int) else n.rstrip('.')}. {self.figure.protocol}"


@dataclass(frozen=True)
class Section:
    """What one probe, or the training, has to show."""

    id: str
    heading: str
    question: str
    sentence: str
    figures: tuple[Shown, ...]
    finding: Finding | None = None
    caveats: tuple[tuple[str, str], ...] = ()
    told: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Mark:
    """A number with its interval, drawn small: positions from 0 to 100 on the scale of its column."""

    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """A number in a table."""

    value: float
    text: str
    between: str
    mark: Mark | None
    alone: bool


@dataclass(frozen=True)
class Line:
    """A line of a table: an arm, or a run."""

    name: str
    family: str
    facts: tuple[tuple[float | str, str], ...]
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Page:
    """Everything that the page says, in order."""

    title: str
    eyebrow: str
    promise: str
    facts: tuple[tuple[str, str], ...]
    verdict: tuple[str, ...]
    more: tuple[tuple[str, str, str], ...]
    claims: tuple[Answer, ...]
    limits: tuple[str, ...]
    findings: tuple[Finding, ...]
    arms: tuple[Line, ...]
    runs: tuple[Line, ...]
    sections: tuple[Section, ...]
    records: tuple[RunRecord, ...]
    differences: dict[str, dict[str, str]]
    failures: tuple[Failure, ...]
    families: tuple[str, ...]
    diff: Diff | None
    command: str

    @property
    def seeded(self) -> bool:
        """Whether some recipe was run with more than one seed."""
        return len({run.recipe_name for run in self.records}) < len(self.records)

    @property
    def few(self) -> bool:
        """Whether some number rests on too few seeds to speak for a family."""
        return any(cell.alone for line in self.arms for cell in line.cells if cell)


def _page(reading: Reading, title: str | None, file: str, other: Reading | None) -> Page:
    every = findings(reading)
    found = [finding for finding in every if finding.leads]
    failures = list(reading.failures)
    sections = [section for section in (_training(reading), *_probes(reading, every, failures)) if section]
    sections = _numbered(sections)
    verdict = [statement(finding) for finding in found]
    ids = {id(section.finding): section.id for section in sections if section.finding}
    more = tuple((finding.measure, said, ids.get(id(finding), "")) for finding, said in zip(found, verdict, strict=True))[
        LEADING:
    ]
    arms = _arm_lines(reading, found)
    return Page(
        title=title or reading.question or reading.name,
        eyebrow=reading.name,
        promise=reading.promise,
        facts=tuple(_facts(reading)),
        verdict=tuple(verdict[:LEADING]),
        more=more,
        claims=tuple(answers(reading, found)),
        limits=tuple(limits(reading, found)),
        findings=tuple(found),
        arms=arms,
        runs=_run_lines(reading, found),
        sections=tuple(sections),
        records=reading.runs,
        differences=recipe_differences(reading.runs) if len({run.recipe_name for run in reading.runs}) > 1 else {},
        failures=tuple(failures),
        families=tuple(family for family in STYLES if family in {run.family for run in reading.runs}),
        diff=None if other is None else diff(reading, other),
        command=f"priorscope report {' '.join(reading.sources)} --out {file}"
        + (f" --diff {' '.join(other.sources)}" if other else ""),
    )


def _facts(reading: Reading) -> Iterable[tuple[str, str]]:
    """What stands under the question: how much was run, on what, where."""
    recipes = list(dict.fromkeys(run.recipe_name for run in reading.runs))
    seeds = sorted({run.seed for run in reading.runs})
    yield "Runs", f"{len(reading.runs)} ({_count(len(recipes), 'recipe')}, {_count(len(seeds), 'seed')})"
    if data := list(dict.fromkeys(str((run.environment.get("data") or {}).get("source", "")) for run in reading.runs)):
        yield "Data", ", ".join(one for one in data if one) or "not recorded"
    if seconds := sum(float(run.environment.get("seconds") or 0) for run in reading.runs):
        yield "Training time", _duration(seconds)
    for label, name in (("Priorscope", "code"), ("PyTorch", "torch")):
        if versions := sorted({str(run.environment[name]) for run in reading.runs if run.environment.get(name)}):
            yield label, ", ".join(versions)
    if machines := sorted({_machine(run) for run in reading.runs} - {""}):
        yield "Machine", "; ".join(machines)


def _machine(run: RunRecord) -> str:
    hardware: Any = run.environment.get("hardware") or {}
    parts = [str(hardware[name]) for name in ("gpu", "processor", "cpu") if isinstance(hardware, dict) and hardware.get(name)]
    return ", ".join(parts[:2])


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _training(reading: Reading) -> Section | None:
    """The curves of all runs that tracked any; runs of different worlds in pictures of their own."""
    tracked = [(run, curve) for run in reading.runs if (curve := curve_of(run)).points]
    if not tracked:
        return None
    worlds: dict[str, list[tuple[RunRecord, Curve]]] = {}
    for run, curve in tracked:
        worlds.setdefault(content_key(run.world), []).append((run, curve))
    shown: list[Figure] = []
    for members in worlds.values():
        where = apart(members[0][0].world, [others[0][0].world for others in worlds.values()])
        names = " ".join(shlex.quote(f"runs/{run.name}") for run, _ in members)
        for metric, figure in training_figures([curve for _, curve in members], where).items():
            shown.append(replace(figure, command=f"priorscope plot curves {names} --metric {metric} --split val"))
    return Section("training", "Training", "How did they learn?", "", tuple(Shown("", figure) for figure in shown))


def _probes(reading: Reading, found: Sequence[Finding], failures: list[Failure]) -> list[Section]:
    sections = [
        _probe_section(finding.probe, finding.result, finding.outcomes, failures, sentence(finding), finding)
        for finding in found
    ]
    joint: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in reading.joint:
        joint.setdefault((outcome.probe, outcome.setting()), []).append(outcome)
    for outcomes in joint.values():
        said = outcomes[0].result.headline() if len(outcomes) == 1 else ""
        sections.append(_probe_section(outcomes[0].probe, type(outcomes[0].result), outcomes, failures, said, None))
    return sections


def _probe_section(
    probe: str, kind: type[Result], outcomes: Sequence[Outcome], failures: list[Failure], said: str, finding: Finding | None
) -> Section:
    heading = probe.replace("_", " ").capitalize() + (f", {finding.where}" if finding and finding.where else "")
    config = {name: value for name, value in (outcomes[0].about.get("config") or {}).items() if name not in ("name", "split")}
    return Section(
        id=probe.replace("_", "-"),
        heading=heading,
        question=kind.question,
        sentence=said,
        figures=tuple(Shown("", figure) for figure in _drawn(kind, outcomes, failures)),
        finding=finding,
        caveats=_caveats(outcomes),
        told=tuple((name.replace("_", " "), _setting(value)) for name, value in config.items()),
    )


def _setting(value: Any) -> str:
    """A setting as a reader wants it: 0.06275, not 0.06274509803921569."""
    if isinstance(value, list | tuple):
        return ", ".join(_setting(one) for one in cast("Sequence[Any]", value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
    commands = "\n".join(dict.fromkeys(outcome.command for outcome in outcomes if outcome.command))
    return [figure if figure.command else replace(figure, command=commands) for figure in figures]


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
            figures=tuple(Shown(anchor(f"{section.id}-{i}"), shown.figure) for i, shown in enumerate(section.figures, 1)),
        )
        for section in named
    ]


# Tables --------------------------------------------------------------------------------------------------------------------


def _arm_lines(reading: Reading, found: Sequence[Finding]) -> tuple[Line, ...]:
    """One line a recipe: the fingerprint of each family, every number on the scale of its column."""
    labels = list(dict.fromkeys(run.recipe_name for run in reading.runs))
    lines: list[Line] = []
    for label in labels:
        runs = [run for run in reading.runs if run.recipe_name == label]
        cells: list[Cell | None] = []
        for finding in found:
            arm = next((arm for arm in finding.arms if arm.label == label), None)
            cells.append(
                _cell(arm.value, arm.interval, finding, alone=arm.scope != "family" and not arm.exact) if arm else None
            )
        if not any(cells):
            continue  # a run that others are compared with, or begin with, and of which nothing was asked
        size = runs[0].parameters
        facts = ((len(runs), str(len(runs))), (size or 0, f"{size:,}" if size else ""))
        lines.append(Line(label, runs[0].family, facts, tuple(cells)))
    return tuple(lines)


def _run_lines(reading: Reading, found: Sequence[Finding]) -> tuple[Line, ...]:
    lines: list[Line] = []
    for run in reading.runs:
        cells: list[Cell | None] = []
        for finding in found:
            result = next((r for arm in finding.arms for its, r in zip(arm.runs, arm.results, strict=True) if its is run), None)
            cells.append(_cell(result.value, result.interval, finding, alone=False) if result else None)
        lines.append(Line(run.name, run.family, ((run.seed, str(run.seed)),), tuple(cells)))
    return tuple(lines)


def _cell(value: float, interval: Interval | None, finding: Finding, *, alone: bool) -> Cell:
    low, high = _scale(finding)

    def place(x: float) -> float:
        return round(100 * (min(max(x, low), high) - low) / (high - low), 2) if high > low else 50.0

    ends = (place(interval.low), place(interval.high)) if interval else (None, None)
    return Cell(value, number(value, finding.unit), between(interval, finding.unit), Mark(place(value), *ends), alone)


def _scale(finding: Finding) -> tuple[float, float]:
    """The ends of a column's small scale: what its runs span with their intervals."""
    results = [result for arm in finding.arms for result in arm.results]
    arms: list[Arm] = list(finding.arms)
    lows = [one.interval.low if one.interval else one.value for one in (*results, *arms)]
    highs = [one.interval.high if one.interval else one.value for one in (*results, *arms)]
    values = [one.value for one in results]
    span = max(values) - min(values) or max(abs(values[0]), 1e-9)
    return max(min(lows), min(values) - span), min(max(highs), max(values) + span)


def pair_rows(finding: Finding) -> list[tuple[str, str, str, str]]:
    """The comparisons of a finding as a table: first, second, difference, what may be said."""
    rows: list[tuple[str, str, str, str]] = []
    for pair in finding.pairs:
        if pair.comparison is None:
            gap = pair.first.value - pair.second.value
            rows.append(
                (pair.first.label, pair.second.label, number(gap, finding.unit), "exact" if pair.differs else "the same")
            )
        else:
            rows.append(
                (pair.first.label, pair.second.label, difference_said(pair.comparison, pair.unit), pair.comparison.verdict)
            )
    return rows
