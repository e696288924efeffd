"""How far long work is: a bar with an estimate on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Told after each piece of work what is done and what there is to do."""


def silent(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


@contextmanager
def bar(what: str, *, of_bytes: bool = False) -> Generator[Progress]:
    """A progress bar on a terminal, with the time left; where standard error is no terminal, nothing is written."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    count = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn(elapsed_when_finished=True))
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
