"""The verb that looks for faults: in a recipe, a run, a study, a log, a script, this machine, or our own instruments."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from priorscope.cli.printing import AsJson, Setting, print_json, print_table
from priorscope.core.errors import RequestError
from priorscope.core.wording import counted


def doctor(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE|RUN|STUDY|LOG|SCRIPT",
            help="A recipe by name or file, the folder of a run or a study, a log (.json, .yaml, .csv) or a script (.py); "
            "without one, this machine.",
        ),
    ] = None,
    instruments: Annotated[bool, typer.Option("--instruments", help="Ask every probe what is known beforehand.")] = False,
    settings: Setting = [],  # noqa: B006  typer reads the default
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with it, in numbers, and what to do; status 1 where there is a fault."""
    if instruments:
        if subject is not None:
            raise RequestError(f"{subject!r} came with --instruments.", "one of them", "priorscope doctor --instruments")
        if settings:
            raise RequestError("--set came with --instruments.", "a recipe, whose settings can be changed", "remove --set")
        return _certify(as_json)
    from priorscope.doctor.examination import examine

    found = examine(subject, settings)
    if as_json:
        print_json(found.plain())
    else:
        if found.facts:
            print_table(
                ("what", "value"),
                [(name, f"{value:,}" if type(value) is int else str(value)) for name, value in found.facts.items()],
            )
        for finding in found.findings:
            print(finding)
        counts = ", ".join(counted(found.count(severity), severity) for severity in ("fault", "warning", "note"))
        print(f"{found.subject} ({found.kind}): {counts}; {counted(len(found.checks), 'check')}: {', '.join(found.checks)}.")
    if found.count("fault"):
        raise typer.Exit(1)
    return None


def _certify(as_json: bool) -> None:
    from priorscope.doctor.instruments import INSTRUMENTS, Answer, certify

    answers: list[Answer] = []
    for name in INSTRUMENTS:
        if sys.stderr.isatty():
            print(f"asking {name} ...", file=sys.stderr)
        answers += certify(name)
    if as_json:
        print_json([{**answer.plain(), "ok": answer.ok} for answer in answers])
    else:
        rows = [
            (
                a.probe,
                a.question,
                f"{a.expected:.6g}",
                "no number" if a.got is None else f"{a.got:.6g}",
                f"{a.within:.3g}",
                "ok" if a.ok else "WRONG",
            )
            for a in answers
        ]
        print_table(("probe", "question", "expected", "got", "within", ""), rows)
    if not all(answer.ok for answer in answers):
        raise typer.Exit(1)
