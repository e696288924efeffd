"""The command line: every verb parses, calls one function and prints.

Exit status: 0 done, 1 the work failed or `doctor` found a fault, 2 the request was wrong, 130 or 143 stopped by Ctrl-C or
SIGTERM. Heavy imports stand inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Sequence
from traceback import walk_tb
from typing import Annotated, NoReturn

import typer

from priorscope.cli import runs
from priorscope.cli.bench import bench_app
from priorscope.cli.data import data_app
from priorscope.cli.doctor import doctor
from priorscope.cli.models import models_app
from priorscope.cli.printing import application
from priorscope.cli.studies import study
from priorscope.cli.train import train
from priorscope.core.errors import PriorscopeError, WorkError
from priorscope.core.imports import OWN

app = application(
    "Shows what an architecture's prior does: train, attack, open up and compare vision architectures.",
    epilog="""Exit status: 0 done, 1 the work failed or doctor found a fault, 2 the request was wrong, 130 or 143 stopped.

    PRIORSCOPE_DATA is the folder of published data sets (not set: data in the cache folder), PRIORSCOPE_CACHE that of what can
    be made again (not set: priorscope in XDG_CACHE_HOME, or in ~/.cache).""",
)


def _print_version(asked: bool) -> None:
    if asked:
        from priorscope import __version__

        print(f"priorscope {__version__}")
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
    """The entry point: errors are said in three parts, without a traceback."""
    try:
        _run([_at_home(word) for word in (sys.argv[1:] if arguments is None else arguments)])
    except PriorscopeError as error:
        _end(error)
    except OSError as error:
        if any(note.startswith(OWN) for note in getattr(error, "__notes__", ())):
            raise
        _end(_failed(error))


def _run(arguments: Sequence[str]) -> None:
    try:
        app(args=arguments, prog_name="priorscope")
    except SystemExit as ended:  # so typer ends always, with 1 also where the reader of our output has gone, as `| head` does
        well = not ended.code or isinstance(ended.__context__, BrokenPipeError)
        if well and _reader_gone():
            _print_nothing_more()
            sys.exit(0)
        raise


def _failed(error: OSError) -> WorkError:
    """What an error of the system means that nothing else has put into words."""
    wanted, do = "what may be read, and room for what is written", "check the path, its permissions and the disk"
    if error.filename:
        return WorkError(f"{error.filename} cannot be read or written: {error.strerror or error}.", wanted, do)
    if _of_printing(error):
        return WorkError(f"What is to be printed cannot be written: {error.strerror or error}.", wanted, do)
    return WorkError(f"The work failed: {error}.", wanted, do)


def _of_printing(error: OSError) -> bool:
    """Whether an error without a file's name comes from writing to standard output, as the verbs and their help do."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith((__name__, "typer."))


def _at_home(word: str) -> str:
    """A word of a command with its `~` as a path: shells leave one alone that stands behind a `=`, as in `--out=~/a`."""
    found = re.fullmatch(r"([\w.=-]*=)?(~(?:/.*)?)", word, re.DOTALL)
    if found is None:
        return word
    from priorscope.core.folder import at_home

    return f"{found[1] or ''}{at_home(found[2])}"


def _end(error: PriorscopeError) -> NoReturn:
    """Says what is wrong, and ends with its status."""
    try:
        sys.stdout.flush()
    except OSError:
        _print_nothing_more()
    print(f"priorscope: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


def _print_nothing_more() -> None:
    """Drops what is left to be printed, which Python would try again at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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
