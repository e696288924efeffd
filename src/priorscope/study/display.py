"""What a study shows on a terminal: a table that fills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from priorscope.study.run import Progress


@contextmanager
def live() -> Iterator[Callable[[Progress], None]]:
    """A study's table: one bar for the whole, one for every step under way, and what has failed."""
    whole = Bars(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )
    task = whole.add_task("steps", total=None)
    with Live(console=Console(stderr=True), refresh_per_second=5) as screen:

        def show(progress: Progress) -> None:
            whole.update(task, total=progress.to_do, completed=progress.done + len(progress.failed))
            screen.update(_table(whole, progress))

        yield show


def _table(whole: Bars, progress: Progress) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(whole)
    for name, done in progress.going.items():
        table.add_row(f"  {name}  {done:.0%}")
    for name in progress.failed:
        table.add_row(f"  [red]failed[/red] {name}")
    return table
