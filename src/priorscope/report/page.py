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
from typing import Any

import tomli_w

from priorscope.core.errors import RequestError
from priorscope.core.figure import THEME, charting_script, inline_json
from priorscope.core.folder import at_home, write_text
from priorscope.core.palette import DARK_OF, PAPER, STYLES, in_dark
from priorscope.core.wording import counted
from priorscope.report.claims import Answer, answers, shared_confounds
from priorscope.report.confounds import limits
from priorscope.report.diff import Diff, diff
from priorscope.report.fingerprint import Fingerprint, fingerprint
from priorscope.report.joined import Place, Sources, read_sources
from priorscope.report.recipes import SideBySide, side_by_side
from priorscope.report.records import Failure, Reading, RunRecord, by_recipe
from priorscope.report.sections import Section, ShownFigure, sections
from priorscope.report.tables import Line, arm_lines, pair_rows, run_lines
from priorscope.report.verdict import Finding, findings
from priorscope.report.words import number, statement, trusted

TEMPLATES = Path(__file__).parent / "templates"
LEADING = 4
"""How many sentences the first screen says in full; the others stand in their sections."""


PAGES = (".html", ".htm")


def write_report(sources: Sources, out: Path | str, *, title: str | None = None, other: Place | None = None) -> Path:
    """Writes the page of studies and runs, or of their folders, with what differs from an `other` one; returns where it is."""
    out = at_home(out)
    beside = None if other is None else read_sources(other)
    return write_page(contents(read_sources(sources), title, out.name, beside), out)


def write_page(page: Page, out: Path) -> Path:
    """Writes a page as one file of HTML."""
    if out.suffix.lower() not in PAGES:
        raise RequestError(f"{out.name} names no page.", "a name that ends in .html, or in .md", "--out report.html")
    write_text(out, render(page))
    return out


def render(page: Page) -> str:
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
    figures: list[ShownFigure] = [figure for section in page.sections for figure in section.figures]
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
        "models": [{"recipe": one.recipe, "family": one.family, "runs": list(one.runs)} for one in page.models],
        "theme": THEME,
        "darkOf": dict(DARK_OF),
        "paper": {"light": PAPER, "dark": in_dark(PAPER)},
    }


# What the template is given -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """What a reader may choose to see: a recipe, with the names of its runs."""

    recipe: str
    family: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """An error, and the steps that ended with it."""

    steps: tuple[str, ...]
    error: str


@dataclass(frozen=True)
class Said:
    """A sentence of the first screen, what it is about, how far it can be trusted, and the section that says more."""

    about: str
    sentence: str
    trusted: str
    section: str


@dataclass(frozen=True)
class Page:
    """Everything that the page says, in order."""

    title: str
    eyebrow: str
    promise: str
    facts: tuple[tuple[str, str], ...]
    said: tuple[Said, ...]
    more: tuple[tuple[str, str, str], ...]
    claims: tuple[Answer, ...]
    of_claims: tuple[str, ...]
    """What is to be known of every claim, and is said once."""
    limits: tuple[str, ...]
    findings: tuple[Finding, ...]
    fingerprint: Fingerprint
    arms: tuple[Line, ...]
    runs: tuple[Line, ...]
    sections: tuple[Section, ...]
    records: tuple[RunRecord, ...]
    beside: SideBySide | None
    lacking: tuple[str, ...]
    failures: tuple[Missing, ...]
    models: tuple[Model, ...]
    diff: Diff | None
    command: str

    @property
    def seeded(self) -> bool:
        """Whether some recipe was run with more than one seed."""
        return len({run.recipe_name for run in self.records}) < len(self.records)

    @property
    def failed(self) -> int:
        """How many steps failed."""
        return sum(len(failure.steps) for failure in self.failures)

    @property
    def few(self) -> bool:
        """Whether some number rests on too few seeds to speak for a family."""
        return any(cell.alone for line in self.arms for cell in line.cells if cell)


def contents(reading: Reading, title: str | None = None, file: str = "report.html", other: Reading | None = None) -> Page:
    """What the page says, in order."""
    every = findings(reading)
    found = [finding for finding in every if finding.leads]
    failures = list(reading.failures)
    parts = sections(reading, every, failures)
    anchors = {id(section.finding): section.id for section in parts if section.finding}
    said = [
        Said(finding.result.aspect or finding.measure, statement(finding), trusted(finding), anchors.get(id(finding), ""))
        for finding in found
    ] + _said_of_sets(parts)
    arms = arm_lines(reading, found)
    answered = answers(reading, every)
    of_claims = shared_confounds(answered)
    return Page(
        title=title or reading.question or reading.name,
        eyebrow=reading.name,
        promise=reading.promise,
        facts=tuple(_facts(reading)),
        said=tuple(said[:LEADING]),
        more=tuple((one.about, one.sentence, one.section) for one in said[LEADING:]),
        claims=tuple(replace(one, confounds=tuple(c for c in one.confounds if c not in of_claims)) for one in answered),
        of_claims=of_claims,
        limits=tuple(limits(reading, found)),
        findings=tuple(found),
        fingerprint=fingerprint(reading, found, anchors),
        arms=arms,
        runs=run_lines(reading, found),
        sections=tuple(parts),
        records=reading.runs,
        beside=side_by_side(reading, found),
        lacking=reading.lacking,
        failures=tuple(_by_error(failures)),
        models=tuple(_models(reading)),
        diff=None if other is None else diff(reading, other),
        command=f"priorscope report {shlex.join((*reading.sources, '--out', file))}"
        + (f" --diff {shlex.join(other.sources)}" if other else ""),
    )


def _said_of_sets(parts: Sequence[Section]) -> list[Said]:
    """What probes say that look at several networks at once: about these checkpoints, by their own protocol."""
    return [
        Said(section.heading.lower(), section.sentence, section.together.protocol(), section.id)
        for section in parts
        if section.together
    ]


def _by_error(failures: Iterable[Failure]) -> Iterable[Missing]:
    """Every error once, with all steps that ended with it: what is wrong with one run is often wrong with all."""
    steps: dict[str, list[str]] = {}
    for failure in failures:
        steps.setdefault(failure.error, []).append(failure.step)
    for error, names in steps.items():
        yield Missing(tuple(names), error)


def _models(reading: Reading) -> Iterable[Model]:
    """Every recipe that is compared or begun with, in the order of the study."""
    for recipe, own in by_recipe(reading.runs).items():
        yield Model(recipe, own[0].family, tuple(run.name for run in own))


def _facts(reading: Reading) -> Iterable[tuple[str, str]]:
    """What stands under the question: how much was run, on what, where."""
    recipes = by_recipe(reading.runs)
    seeds = sorted({run.seed for run in reading.runs})
    done = [run.environment for run in reading.runs if run.environment]
    begun = len(reading.runs) - len(done)
    unfinished = f", {begun} of them not finished" if begun else ""
    yield "Runs", f"{len(reading.runs)} ({counted(len(recipes), 'recipe')}, {counted(len(seeds), 'seed')}){unfinished}"
    if reading.runs:
        yield "Data", ", ".join(dict.fromkeys(one.data.source for one in done if one.data)) or "not recorded"
    if seconds := sum(one.seconds or 0.0 for one in done):
        yield "Training time", _duration(seconds)
    told = {
        "Priorscope": {one.priorscope for one in done},
        "PyTorch": {one.torch for one in done},
        "Machine": {one.hardware.named or None for one in done},
    }
    for label, names in told.items():
        if known := sorted(name for name in names if name):
            yield label, ("; " if label == "Machine" else ", ").join(known)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
