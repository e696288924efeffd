"""The verb `study`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from priorscope.cli.printing import AsJson, print_json, print_table, setting
from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    from priorscope.study.cluster import ClusterExecutor
    from priorscope.study.forecast import Forecast
    from priorscope.study.plan import Plan
    from priorscope.study.schedule import Tally


def study(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped study, a TOML file, or `list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder for runs, results and page (default: out/NAME).")] = None,
    settings: Annotated[list[str], setting("base.optim.lr=0.001")] = [],  # noqa: B006  typer reads the default
    budget: Annotated[
        str | None, typer.Option(help="One of the study's budgets, e.g. smoke; a name that is none of them lists all.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and why, and stop.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete its runs, stale runs and results, and begin anew.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="How many steps may run side by side.")] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="auto|ADDRESS", help="Carry it out on the Ray cluster of this machine, or there.")
    ] = None,
    shared: Annotated[
        list[Path],
        typer.Option("--runs", metavar="DIR", help="Take finished runs of equal recipes from another study's folder."),
    ] = [],  # noqa: B006  typer reads the default
    as_json: AsJson = False,
) -> None:
    """Run a study, only what is missing, and write its page; `study list` shows the shipped ones."""
    from priorscope.study.askable import check_askable
    from priorscope.study.keeping import check_folder
    from priorscope.study.plan import make_plan
    from priorscope.study.run import run_study
    from priorscope.study.study import Study, shipped_studies

    if name == "list":
        if settings or budget or plan or fresh or out or workers or cluster or shared:
            raise RequestError(
                "study list came with what only a study takes.", "nothing beside it but --json", "priorscope study list"
            )
        return _show_shipped(shipped_studies(), as_json)
    asked = Study.load(name, settings, budget)
    folder = out or Path("out") / asked.name
    check_folder(asked, folder)
    if plan and cluster:
        raise RequestError("--plan came with --cluster.", "one of them: a forecast is for this machine", "leave --cluster out")
    if plan:
        planned = make_plan(asked, folder, fresh=fresh)
        check_askable(planned)
        return _show_plan(planned, shared, workers, as_json)
    from priorscope.report import write_study_page

    executor = None if cluster is None else _on_cluster(cluster, folder, workers)
    with _live() as show:
        outcome = run_study(asked, folder, fresh=fresh, workers=workers, show=show, executor=executor, shared=shared)
    if executor is not None and executor.begun_again:
        print(f"begun again elsewhere: {', '.join(executor.begun_again)}", file=sys.stderr)
    page = write_study_page(folder)
    if as_json:
        done, failed = outcome.asked - len(outcome.failed), {name: failure.error for name, failure in outcome.failed.items()}
        print_json({"out": str(folder), "report": str(page), "steps_done": done, "failed": failed})
    outcome.check()
    if as_json:
        return None
    rest = "" if outcome.asked else "; everything was there"
    print(f"{outcome.asked} steps done{rest}. The page: {page}")
    return None


def _on_cluster(address: str, folder: Path, workers: int | None) -> ClusterExecutor:
    from priorscope.study.cluster import ClusterExecutor

    return ClusterExecutor(address, folder, workers)


def _show_shipped(studies: dict[str, Path], as_json: bool) -> None:
    from priorscope.study.study import Study

    found = [Study.load(name) for name in studies]
    print_table(("study", "question", "promise"), [(each.name, each.question, each.promise) for each in found], as_json)


def _show_plan(plan: Plan, places: list[Path], workers: int | None, as_json: bool) -> None:
    from priorscope.study.forecast import forecast
    from priorscope.study.lacking import lacking
    from priorscope.study.sharing import finished_runs, shared, without

    taken = shared(plan, finished_runs(places))
    plan = without(plan, taken)
    standing = {
        step.id: f"in {taken[step.id]}" if step.id in taken else plan.missing.get(step.id, "done") for step in plan.steps
    }
    costs = forecast(plan, workers)
    if as_json:
        steps = [{"step": step.id, "key": step.key, "why": standing[step.id]} for step in plan.steps]
        return print_json({"steps": steps, **asdict(costs), "lacking": lacking(plan)})
    print_table(("step", "why"), [(step.id, standing[step.id]) for step in plan.steps])
    later = len(plan.following())
    left = len(plan.to_do()) + later
    then = f", {later} of them when trials have chosen their settings" if later else ""
    for thing in lacking(plan):
        print(f"\n{thing}", end="")
    print(f"\n{left} of {len(plan.steps)} steps to do{then}: {_cost(costs, left)}.")
    return None


def _cost(costs: Forecast, steps: int) -> str:
    """What is left will take, as far as steps like those that are left were ever measured."""
    from priorscope.core.wording import counted

    if steps and costs.unknown == steps:
        return "nothing like them was ever measured here, so how long they take is not known"
    disk = "" if costs.disk is None else f", {costs.disk / 2**20:,.0f} MiB on disk"
    known = f"{costs.seconds:.0f} s, {costs.memory / 2**30:.1f} GiB{disk}"
    if not costs.unknown:
        return known
    were = "was" if costs.unknown == 1 else "were"
    return f"at least {known}, without {counted(costs.unknown, 'step')} whose like {were} never measured"


def _live() -> Any:
    """A table that fills as steps end; nothing off a terminal."""
    if not sys.stderr.isatty():
        return nullcontext(_quiet)
    from priorscope.study.display import live

    return live()


def _quiet(_tally: Tally) -> None:
    return
