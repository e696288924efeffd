"""The command line: every verb parses, calls one function and prints.

Exit status: 0 done, 1 the work failed or `doctor` found a fault, 2 the request was wrong, 130 or 143 stopped by Ctrl-C or
SIGTERM. Heavy imports stand inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from priorscope.cli import runs
from priorscope.cli.bench import bench_app
from priorscope.cli.data import data_app
from priorscope.cli.doctor import doctor
from priorscope.cli.models import models_app
from priorscope.cli.printing import application
from priorscope.cli.studies import study
from priorscope.cli.train import train
from priorscope.core.errors import PriorscopeError

app = application("Shows what an architecture's prior does: train, attack, open up and compare vision architectures.")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"priorscope {version('priorscope')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Options of the whole command."""


for verb in (study, train, runs.probe, runs.report, doctor, runs.schema):
    app.command()(verb)
app.add_typer(runs.plot_app, name="plot")
app.add_typer(runs.recipes_app, name="recipes")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(bench_app, name="bench")


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: errors of ours are said in three parts, without a traceback."""
    try:
        app(args=arguments, prog_name="priorscope")
    except PriorscopeError as error:
        print(f"priorscope: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except SystemExit as ended:  # so typer ends always, with 1 also where the reader of our output has gone, as `| head` does
        well = not ended.code or isinstance(ended.__context__, BrokenPipeError)
        if well and _reader_gone():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is flushed at the very end
            sys.exit(0)
        raise


def _reader_gone() -> bool:
    """Whether nobody reads standard output any more."""
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    except BrokenPipeError:
        return True
    asked = select.poll()
    asked.register(1, 0)  # for what is told unasked: that the other end is closed
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0))
