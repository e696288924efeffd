"""Tables for a paper: what stored results say of every recipe, as LaTeX with booktabs.

    \\usepackage{booktabs}
    \\input{tables/models}

`models.tex` has a line a recipe and a column a probe; a table named after each probe says more of it, `NAME-pairs.tex` which
recipes it tells apart, and `claims.tex` what became of the study's claims. A result about several networks has a table of
who against whom. Numbers, intervals and words are those of the page.
Names come from users: in a table they are text, whatever they say.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from priorscope.core.contracts import Metric, Result
from priorscope.core.folder import write_text
from priorscope.core.stats import Interval
from priorscope.core.wording import capitalised
from priorscope.report.claims import answers
from priorscope.report.joined import Sources, read_sources
from priorscope.report.records import Outcome, Reading, by_recipe
from priorscope.report.verdict import Arm, Finding, Pair, findings
from priorscope.report.words import compared_images, few_compared, images_compared, images_said, number

COLUMNS = 4
"""How many probes stand beside each other in one table: with their intervals, more do not fit the width of a page."""

LISTED = 40
"""How many numbers of a result about several networks fit a page, unless it is a matrix."""

DAGGER = "$^\\dagger$"

_TEXT = {
    "\\": "\\textbackslash{}",
    "{": "\\{",
    "}": "\\}",
    "$": "\\$",
    "&": "\\&",
    "#": "\\#",
    "%": "\\%",
    "_": "\\_",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "{\\char34}",
    "`": "\\textasciigrave{}",
    "[": "{[}",  # after the end of a line it would be read as an option
    "]": "{]}",
    "*": "{*}",
    "\N{RIGHTWARDS ARROW}": "$\\rightarrow$",
    "\N{MULTIPLICATION SIGN}": "$\\times$",
    "\N{PLUS-MINUS SIGN}": "$\\pm$",
    "\N{LESS-THAN OR EQUAL TO}": "$\\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": "$\\geq$",
    "\N{GREEK SMALL LETTER EPSILON}": "$\\varepsilon$",
}
"""How a character is written that LaTeX would read as a command, would draw as another one, or has no letter for."""


def write_tables(sources: Sources, tables: Path) -> list[Path]:
    """Writes the tables of some studies and runs into a folder; returns the files."""
    written: list[Path] = []
    for name, text in all_tables(read_sources(sources)).items():
        write_text(tables / f"{name}.tex", text)
        written.append(tables / f"{name}.tex")
    return written


def all_tables(reading: Reading) -> dict[str, str]:
    """Every table by its file's stem."""
    found = findings(reading)
    parts = [found[at : at + COLUMNS] for at in range(0, len(found), COLUMNS)]
    tables = {_numbered("models", i): _models(reading, part, _numbered("models", i)) for i, part in enumerate(parts)}
    seen: list[str] = []
    for finding in found:
        name = _numbered(finding.probe, seen.count(finding.probe))
        seen.append(finding.probe)
        tables[name] = _arms(reading, finding, name)
        if finding.pairs:
            tables[f"{name}-pairs"] = _pairs(reading, finding, f"{name}-pairs")
    for outcome in reading.joint:
        for table in _joint(reading, outcome, _numbered(outcome.probe, seen.count(outcome.probe))):
            tables[_numbered(outcome.probe, seen.count(outcome.probe))] = table
            seen.append(outcome.probe)
    if reading.claims:
        tables["claims"] = _claims(reading, found)
    return tables


def _numbered(name: str, at: int) -> str:
    return name if at == 0 else f"{name}-{at + 1}"


# The tables ----------------------------------------------------------------------------------------------------------------


def _models(reading: Reading, found: Sequence[Finding], name: str) -> str:
    """One line a recipe, one column a probe."""
    rows: list[tuple[str, ...]] = []
    for label, runs in by_recipe(reading.runs).items():
        size = runs[0].parameters
        cells = [_with_interval(arm, finding.unit) if (arm := finding.arm(label)) else "--" for finding in found]
        rows.append((escaped(label), str(len(runs)), _digits(f"{size:,}") if size else "--", *cells))
    head = ("recipe", "seeds", "parameters", *(_headed(finding) for finding in found))
    about = f"{reading.name}: {reading.question}" if reading.question else reading.name
    caption = f"{_ended(escaped(about))} Intervals at 95\\,\\%.{_footnote(found)}"
    return _table(name, reading, caption, "lrr" + "l" * len(found), head, rows)


def _arms(reading: Reading, finding: Finding, name: str) -> str:
    """What one probe says of every recipe, best first."""
    rows = [
        (
            escaped(arm.label) + _mark(arm),
            escaped(arm.family),
            str(arm.seeds),
            _digits(images_said(arm)),
            _least(arm) + _value(arm.value, finding.unit),
            _ends(arm.interval, finding.unit),
            escaped(arm.interval.over) if arm.interval else "--",
        )
        for arm in finding.arms
    ]
    protocol = escaped(finding.about.protocol or finding.arms[0].results[0].protocol())
    caption = f"{escaped(finding.result.question)} {protocol}{_caveats(finding)}{_footnote([finding])}"
    head = ("recipe", "family", "seeds", "$n$", _headed(finding), "95\\,\\% interval", "over")
    return _table(name, reading, caption, "llrrrll", head, rows)


def _pairs(reading: Reading, finding: Finding, name: str) -> str:
    """How the recipes compare, two by two."""
    rows = [(escaped(pair.first.label), escaped(pair.second.label), *_compared(pair)) for pair in finding.pairs]
    units = dict.fromkeys(pair.unit for pair in finding.pairs)
    unit = " (points)" if finding.unit.startswith("share") else "".join(_in(unit) for unit in units)
    caption = (
        f"Differences in {escaped(finding.measure)}, first minus second. $p$ is Holm-corrected over the table; "
        "not distinguishable does not mean equal."
    )
    if images_compared(finding):
        caption += f" $n$ counts the {escaped(compared_images(finding.result))} that they were compared on."
    if few := few_compared(finding):
        caption += f" {escaped(capitalised(few))}."
    head = ("first", "second", f"difference{unit}", "95\\,\\% interval", "$n$", "$p$", "the first is")
    return _table(name, reading, caption, "llrlrll", head, rows)


def _compared(pair: Pair) -> tuple[str, str, str, str, str]:
    """A difference, its interval, of how many images, its p-value, and what may be said; shares in points of a hundred."""
    scale = 100.0 if pair.unit.startswith("share") else 1.0
    if pair.comparison is None:
        gap = scale * (pair.first.value - pair.second.value)
        return _signed(gap), "exact", "--", "--", "higher" if gap > 0 else "lower" if gap < 0 else "the same"
    difference, p = pair.comparison.difference, pair.comparison.p_value
    low, high = scale * difference.interval.low, scale * difference.interval.high
    chance = "$< 0.001$" if p < 0.001 else f"{p:.3f}"
    n = "--" if difference.n is None else _digits(f"{difference.n:,}")
    between = f"{_signed(low)} to {_signed(high)}"
    return _signed(scale * difference.value), between, n, chance, escaped(pair.comparison.verdict)


def _joint(reading: Reading, outcome: Outcome, name: str) -> list[str]:
    """A result about several networks: names against names where it is such, else its first numbers."""
    result = outcome.result
    said = f"{escaped(outcome.result.protocol())}" + "".join(f" {escaped(caveat)}" for caveat in result.caveats)
    made: list[str] = []
    for matrix in result.matrices():
        rows = [(escaped(line), *map(_metric_cell, cells)) for line, cells in zip(matrix.lines, matrix.cells, strict=True)]
        head = (escaped(matrix.corner), *map(escaped, matrix.columns))
        unit = next((cell.unit for cells in matrix.cells for cell in cells if cell), "")
        caption = f"{escaped(matrix.title)} In {_unit(unit)}. Intervals at 95\\,\\%. {said}"
        made.append(_table(name, reading, caption, "l" + "l" * len(matrix.columns), head, rows))
    return made or [_listed(reading, result, name, said)]


def _metric_cell(metric: Metric | None) -> str:
    """A number with its interval, as a cell."""
    if metric is None:
        return "--"
    value, ends = _value(metric.value, metric.unit), (metric.low, metric.high)
    low, high = ends
    return value if low is None or high is None else f"{value} ({_value(low, metric.unit)} to {_value(high, metric.unit)})"


def _unit(unit: str) -> str:
    """A unit beside numbers as they are written: shares in per cent."""
    return "\\%" if unit.startswith("share") else escaped(unit)


def _listed(reading: Reading, result: Result, name: str, said: str) -> str:
    """The first numbers of a result, one a line; the rest are in `results.parquet`."""
    metrics = result.metrics()
    rows = [
        (escaped(m.metric), escaped(m.setting) or "--", _metric_cell(m), _digits(f"{m.n:,}"), _unit(m.unit))
        for m in metrics[:LISTED]
    ]
    more = f" The first {LISTED} of {len(metrics)} numbers." if len(metrics) > LISTED else ""
    head = ("number", "of", "value (95\\,\\% interval)", "$n$", "unit")
    return _table(name, reading, f"{escaped(result.question)} {said}{more}", "lllrl", head, rows)


def _signed(value: float) -> str:
    return _digits(f"{value:+.3g}")


def _claims(reading: Reading, found: Sequence[Finding]) -> str:
    """What the study set out to decide, and what became of it."""
    rows = [(escaped(one.text), one.verdict, _minus(escaped(one.sentence))) for one in answers(reading, found)]
    caption = "What the study set out to decide. All claims hold together at 95\\,\\% (Bonferroni)."
    return _table("claims", reading, caption, "llp{0.5\\linewidth}", ("claim", "answer", "numbers"), rows)


def _table(name: str, reading: Reading, caption: str, columns: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        f"% Made by: priorscope report {_comment(shlex.join(reading.sources))} --tables DIR. Needs the package booktabs.",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{caption}}}",
        f"  \\label{{tab:{_slug(reading.name)}:{name}}}",
        f"  \\begin{{tabular}}{{{columns}}}",
        "    \\toprule",
        f"    {' & '.join(head)} \\\\",
        "    \\midrule",
        *(f"    {' & '.join(row)} \\\\" for row in rows),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


# Their parts ---------------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text as LaTeX that draws it: no character of it is a command, and what cannot be drawn is left out."""
    seen = " ".join(text.split())
    drawn = "".join(
        _TEXT.get(character, character) for character in seen if not unicodedata.category(character).startswith("C")
    )
    return re.sub("-(?=-)", "-{}", drawn)  # two hyphens would become a dash


def _comment(text: str) -> str:
    """Text behind a % sign: on one line, whatever it says."""
    return " ".join(text.split())


def _slug(name: str) -> str:
    """A name as a label's part."""
    return re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or "study"


def _headed(finding: Finding) -> str:
    """What a number is called, with its unit where that says more; shares are written in per cent."""
    named = escaped(finding.measure)
    return named if finding.measure.startswith(finding.unit) else named + _in(finding.unit)


def _in(unit: str) -> str:
    return " (\\%)" if unit.startswith("share") else f" ({escaped(unit)})" if unit else ""


def _value(value: float, unit: str) -> str:
    """A number as the page writes it, without the sign that stands in the column's head."""
    return _digits(number(value, unit).removesuffix("%"))


def _digits(text: str) -> str:
    """One number: minus sign and power of ten as mathematics, thousands without the space behind a comma."""
    power = re.fullmatch(r"([+-]?[\d.]+)e([+-])0*(\d+)", text)
    if power is not None:
        digits, sign, exponent = power.groups()
        return f"${digits} \\times 10^{{{sign.removeprefix('+')}{exponent}}}$"
    text = f"$-${text[1:]}" if text.startswith("-") else text
    return re.sub(r"(?<=\d),(?=\d{3})", "{,}", text)


def _ended(text: str) -> str:
    """A sentence with its full stop, where whoever wrote it left it without an end."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _minus(text: str) -> str:
    """A sentence with the signs of its numbers as mathematics."""
    return re.sub(r"(?<![^\s(])-(?=\d)", "$-$", text)


def _ends(interval: Interval | None, unit: str) -> str:
    return "--" if interval is None else f"{_value(interval.low, unit)} to {_value(interval.high, unit)}"


def _least(arm: Arm) -> str:
    """What stands before a number that is only known to be larger."""
    return "$>$ " if arm.beyond else ""


def _with_interval(arm: Arm, unit: str) -> str:
    value = _least(arm) + _value(arm.value, unit) + _mark(arm)
    return value if arm.interval is None else f"{value} ({_ends(arm.interval, unit)})"


def _mark(arm: Arm) -> str:
    return "" if arm.scope == "family" or arm.exact else DAGGER


def _footnote(found: Sequence[Finding]) -> str:
    """What the dagger means, where there is one."""
    needed = sorted({finding.result.seeds_needed for finding in found if any(_mark(arm) for arm in finding.arms)})
    if not needed:
        return ""
    seeds = " or ".join(str(count) for count in needed)
    return f" {DAGGER}About these checkpoints, not their family, for which {seeds} seeds are needed."


def _caveats(finding: Finding) -> str:
    return "".join(f" {escaped(caveat)}" for caveat in _caveats_of(finding))


def _caveats_of(finding: Finding) -> Iterator[str]:
    """Every caveat of a finding's results once."""
    yield from dict.fromkeys(caveat for outcome in finding.outcomes for caveat in outcome.result.caveats)
