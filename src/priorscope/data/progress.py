"""How far long work is: a bar with an estimate on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

Watch = Callable[[int, int], None]
"""Called after each piece of work with how much is done and how much there is in all."""


def silent(_done: int, _total: int) -> None:
    """Nobody watches."""


@contextmanager
def bar(what: str, *, of_bytes: bool = False) -> Generator[Watch]:
    """A progress bar on a terminal, with the time left; if standard error is not a terminal, nothing is written."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn(elapsed_when_finished=True))
    console, seen = Console(stderr=True), sys.stdout.isatty()  # what is printed meanwhile stays where it belongs
    with Progress(*columns, console=console, transient=True, redirect_stdout=seen) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
