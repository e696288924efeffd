"""The verb `train`, and what it shows while a run is carried out."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from priorscope.cli.printing import AsJson, Setting, print_json
from priorscope.core.epoch import Epoch
from priorscope.core.errors import PriorscopeError

if TYPE_CHECKING:
    from priorscope.fitting import Status, Watch
    from priorscope.run import Run
    from priorscope.train.pace import Pace


def train(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A shipped recipe (`recipes list` shows them) or a TOML file.")
    ],
    out: Annotated[Path | None, typer.Option(help="The run's folder (default: runs/NAME).")] = None,
    settings: Setting = [],  # noqa: B006  typer reads the default
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run in the folder.")] = False,
    extend: Annotated[Path | None, typer.Option(help="A finished run of the same recipe, shorter, to go on from.")] = None,
    exporters: Annotated[
        list[str] | None,
        typer.Option("--export", metavar="TRACKER", help="A tracker to hand every row to: tensorboard. May be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry out one recipe; under torchrun or srun on many ranks."""
    from priorscope.fitting import fit
    from priorscope.fitting.run_folder import begun
    from priorscope.recipe import Recipe, find_recipe
    from priorscope.train.distributed import launch_of

    path = find_recipe(name)
    recipe = Recipe.load(path, settings)
    folder = out or Path("runs") / path.stem

    def carry_out(watch: Watch) -> Run:
        return fit(recipe, folder, watch=watch, extend=extend, exporters=exporters or (), resume=resume)

    launch = launch_of(os.environ)
    if launch is not None and not launch.ranks.first:  # the first rank alone shows how it goes
        return _quietly(launch.ranks.rank, lambda: carry_out(_silent))
    if resume and not begun(folder):
        print(f"nothing was begun in {folder}: this is its beginning", file=sys.stderr)
    with _bar(path.stem) as watch:
        run = carry_out(watch)
    kept = run.environment.kept_epoch(run.history)
    if as_json:
        return print_json({"out": str(folder), "chosen": kept and kept.plain(), "seconds": run.environment.seconds})
    diverged = run.environment.diverged
    print(f"{folder}: {_outcome(kept) if diverged is None else diverged}")
    if diverged is None:
        print(f"what it gets right on test: priorscope probe accuracy {shlex.quote(str(folder))}", file=sys.stderr)
    return None


def _outcome(kept: Epoch | None) -> str:
    """What came of a run, in a sentence."""
    if kept is None:
        return "the weights as they were published; nothing was trained."
    return f"epoch {kept.epoch} chosen on val, {kept.val.accuracy:.1%} of {kept.val.n:,} right."


def _quietly(rank: int, fit: Callable[[], object]) -> None:
    """A rank that is not the first: it shows nothing, and says what is wrong, which may be so here alone."""
    from priorscope.train.distributed import LostRankError

    try:
        fit()
    except PriorscopeError as error:
        if not isinstance(error, LostRankError):
            print(f"rank {rank}: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_status) from None


def _bar(name: str) -> AbstractContextManager[Watch]:
    """A bar on a terminal; nothing elsewhere."""
    return bar(name) if sys.stderr.isatty() else nullcontext(_silent)


def _silent(_status: Status) -> None:
    return


@contextmanager
def bar(name: str) -> Iterator[Watch]:
    """One run's bar: how far it is and what is left; below it speed, loss and what it waits for, and the last epoch on val."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=1.0, said="")

        def watch(status: Status) -> None:
            bars.update(task, completed=status.done)
            if status.pace is not None:
                bars.update(task, said=going(status.pace))
            if status.ended is not None:
                bars.console.print(ended(status.ended), highlight=False)

        yield watch


def going(pace: Pace) -> str:
    """How a run goes, on one line."""
    speed = pace.speed
    return (
        f"epoch {pace.epoch:.1f} of {pace.epochs:g}, loss {pace.loss:.3f}, {speed.img_per_s:,.0f} img/s, "
        f"{speed.data_wait_share:.0%} waiting, {speed.gemm_share:.0%} of GEMM, {_clock(pace.seconds_left)} left"
    )


def ended(epoch: Epoch) -> str:
    """How an epoch ended, on one line."""
    return f"epoch {epoch.epoch}: loss {epoch.train_loss:.3f}, val {epoch.val.accuracy:.1%}, {_clock(epoch.seconds)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
