"""A study as a page of a documentation: Markdown, with its figures as SVG files beside it.

It says what the HTML page says, in the same words and the same order, for whoever reads results where code is read. Equal
inputs give equal bytes, so that a page in a repository changes where a number does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from priorscope.core.folder import at_home, write_text
from priorscope.core.wording import listed
from priorscope.probes import PROBES
from priorscope.report.joined import Sources, read_sources
from priorscope.report.page import Page, contents
from priorscope.report.recipes import SideBySide
from priorscope.report.sections import Section, ShownFigure
from priorscope.report.tables import Line, TableCell, pair_rows

ESCAPES = str.maketrans({**{mark: "\\" + mark for mark in "\\`*_[]#"}, **{mark: f"&#{ord(mark)};" for mark in "&<>|"}})
"""What Markdown would read as syntax: by a backslash where every reader knows that, by number elsewhere."""


def write_markdown(sources: Sources, out: Path | str) -> list[Path]:
    """Writes `out` and its figures, into a folder of its name; returns every file written.

    Figures of an earlier time that the page no longer shows are removed; a file that is not named as one stays.
    """
    out = at_home(out)
    return write_markdown_page(contents(read_sources(sources), None, out.with_suffix(".html").name), out)


def write_markdown_page(page: Page, out: Path) -> list[Path]:
    """Writes a page and its figures."""
    pictures = out.with_suffix("")
    figures = {f"{shown.id}.svg": shown for section in page.sections for shown in section.figures}
    sections = "|".join(("training", *(probe.replace("_", "-") for probe in PROBES)))
    for stale in pictures.glob("*.svg"):
        if stale.name not in figures and re.fullmatch(rf"({sections})(-\d+){{1,3}}\.svg", stale.name):
            stale.unlink()
    written = [shown.figure.save(pictures / name) for name, shown in figures.items()]
    write_text(out, "\n".join(_lines(page, pictures.name)).rstrip() + "\n")
    return [out, *written]


def _lines(page: Page, pictures: str) -> Iterator[str]:
    """The page, line by line."""
    yield f"# {_escaped(page.title)}"
    yield ""
    if page.promise:
        yield from (_escaped(page.promise), "")
    yield from (f"- **{_escaped(one.about)}**: {_escaped(one.sentence)} *{_escaped(one.trusted)}*" for one in page.said)
    yield from ("",) if page.said else ("No result is stored yet, so there is no answer.", "")
    yield from (f"**Unfinished**: {_escaped(listed(page.lacking))}.", "") if page.lacking else ()
    for claim in page.claims:
        needs = f" To decide it: {_escaped(claim.needs)}." if claim.needs else ""
        yield f"- **{claim.verdict}**: “{_escaped(claim.text)}”. {_escaped(claim.sentence)}{needs}"
        yield from (f"    - {_escaped(confound)}" for confound in claim.confounds)
    yield from ("", f"Of all claims: {_escaped(' '.join(page.of_claims))}") if page.of_claims else ()
    yield from _listed("How far this can be trusted", page.limits)
    yield from _table(page)
    yield from _listed("Also found", [said for _, said, _ in page.more])
    for section in page.sections:
        yield from _section(section, pictures)
    if page.beside:
        yield from _beside(page.beside)
    yield from _listed("What is missing", [f"{', '.join(failure.steps)}: {failure.error}" for failure in page.failures])
    yield from ("", "## How it was made", "")
    yield from _rows(["what", "value"], [[name, _escaped(value)] for name, value in page.facts])


def _beside(beside: SideBySide) -> Iterator[str]:
    """One line a setting in which the recipes differ, and whether it confounds the comparison of families."""
    yield from ("", "## Recipes side by side", "", _escaped(beside.said()), "")
    head = ["setting", *(f"`{name}`" for name, _ in beside.recipes), "what that means"]
    yield from _rows(head, [[f"`{s.name}`", *map(_escaped, s.values), s.verdict] for s in beside.settings])


def _section(section: Section, pictures: str) -> Iterator[str]:
    yield from ("", f"## {_escaped(section.heading)}", "", f"*{_escaped(section.question)}*")
    if section.sentence:
        yield from ("", _escaped(section.sentence))
    if section.told:
        yield from ("", "Settings: " + ", ".join(f"{name} {_escaped(value)}" for name, value in section.told) + ".")
    for shown in section.figures:
        yield from _figure(shown, pictures)
    if section.finding and section.finding.pairs:
        yield ""
        yield from _rows(
            ["first", "second", "first minus second", "the first is"],
            [[_escaped(cell) for cell in row] for row in pair_rows(section.finding)],
        )
    if section.caveats:
        yield from ("", "Caveats:", "")
        yield from (f"- {_escaped(caveat)} ({_escaped(about)})" for caveat, about in section.caveats)


def _figure(shown: ShownFigure, pictures: str) -> Iterator[str]:
    alt = " ".join(shown.figure.alt.split())
    yield from ("", f"![{_escaped(alt)}]({quote(f'{pictures}/{shown.id}.svg')})", "", _escaped(shown.note))
    if shown.figure.command:
        yield from ("", "```text", shown.figure.command, "```")


def _table(page: Page) -> Iterator[str]:
    """Every recipe's numbers with their intervals."""
    if not (page.arms and page.findings):
        return
    yield ""
    heads = [f"{finding.measure} ({finding.unit})" for finding in page.findings]
    yield from _rows(["recipe", "seeds", "parameters", *map(_escaped, heads)], [_numbers(line) for line in page.arms])
    if page.few:
        yield from ("", "† Too few seeds to speak for a family.")


def _numbers(line: Line) -> list[str]:
    return [f"`{line.name}`", *(text for _, text in line.facts), *map(_number, line.cells)]


def _number(cell: TableCell | None) -> str:
    """A number with its mark and its interval."""
    if cell is None:
        return ""
    text = _escaped(cell.text) + ("†" if cell.alone else "")
    return f"{text} ({cell.between})" if cell.between else text


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def _listed(heading: str, points: Sequence[str]) -> Iterator[str]:
    if points:
        yield from ("", f"**{heading}**", "")
        yield from (f"- {_escaped(point)}" for point in points)


def _escaped(text: str) -> str:
    """Text as Markdown that shows it letter by letter, whatever a recipe is called."""
    return text.translate(ESCAPES)
