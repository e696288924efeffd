"""What a study shows on a terminal: a table that fills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from priorscope.study.schedule import Tally


@contextmanager
def live() -> Iterator[Callable[[Tally], None]]:
    """A study's table: one bar for the whole, one for every step under way, and what has failed."""
    whole = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )
    task = whole.add_task("steps", total=None)
    with Live(console=Console(stderr=True), refresh_per_second=5) as screen:

        def show(tally: Tally) -> None:
            whole.update(task, total=tally.to_do, completed=tally.done + len(tally.failed))
            screen.update(_table(whole, tally))

        yield show


def _table(whole: Progress, tally: Tally) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(whole)
    for name, done in tally.going.items():
        table.add_row(f"  {escape(name)}  {done:.0%}")
    for name in tally.failed:
        table.add_row(f"  [red]failed[/red] {escape(name)}")
    return table
