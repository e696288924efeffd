"""The command line: every verb parses, calls one function and prints.

Exit status: 0 done, 1 the work failed, 2 the request was wrong. Heavy imports stand inside the verbs, so that `--help`
answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from priorscope.core.errors import PriorscopeError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from priorscope import run as runs
    from priorscope.study.plan import Plan
    from priorscope.study.run import Progress


def _app(help: str) -> typer.Typer:
    return typer.Typer(
        help=help, rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )


app = _app("Shows what an architecture's prior does: train, attack, open up and compare vision architectures.")
data_app = _app("Data: what there is, what is in it.")
models_app = _app("Models: what there is, what one is made of.")
recipes_app = _app("Recipes that come with the package.")
plot_app = _app("Plots of logs.")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(recipes_app, name="recipes")
app.add_typer(plot_app, name="plot")

Setting = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. optim.lr=0.001; may be given often.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="A shipped study, a TOML file, or `list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder for runs, results and page (default: out/NAME).")] = None,
    settings: Setting = [],  # noqa: B006  typer reads the default
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and why, and stop.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what is in the folder.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="At most so many steps side by side.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a study, only what is missing, and write its page; `study list` shows the shipped ones."""
    from priorscope.study.plan import Study, make_plan, shipped_studies

    if name == "list":
        return _print_studies(shipped_studies(), as_json)
    asked = Study.load(name, settings)
    folder = out or Path("out") / asked.name
    if plan:
        return _print_plan(make_plan(asked, folder), workers, as_json)
    from priorscope.report import write_study_page
    from priorscope.study.run import run_study

    with _live() as show:
        outcome = run_study(asked, folder, fresh=fresh, workers=workers, show=show)
    page = write_study_page(folder, changed=outcome.changed)
    outcome.check()
    if as_json:
        return _print_json({"out": str(folder), "report": str(page), "steps_done": outcome.asked})
    rest = "" if outcome.asked else "; everything was there"
    print(f"{outcome.asked} steps done{rest}. The page: {page}")
    return None


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A shipped recipe or a TOML file.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder (default: runs/NAME).")] = None,
    settings: Setting = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run in the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Carry out one recipe."""
    from priorscope import run as runs
    from priorscope.recipe import Recipe, find_recipe

    path = find_recipe(name)
    recipe = Recipe.load(path, settings)
    folder = out or Path("runs") / path.stem
    if (folder / runs.RECIPE).exists() and not (folder / runs.ENVIRONMENT).exists() and not resume:
        raise RequestError(
            f"{folder} holds an unfinished run.", "leave to go on with it", "add --resume, or choose another folder with --out"
        )
    with _bar(path.stem) as report:
        run = runs.fit(recipe, folder, report=report)
    last = run.history[int(run.environment["chosen_epoch"]) - 1]
    if as_json:
        return _print_json({"out": str(folder), "chosen": last, "seconds": run.environment["seconds"]})
    print(f"{folder}: epoch {last['epoch']} chosen on val, {last['val']['accuracy']:.1%} of {last['val']['n']:,} right.")
    return None


@app.command()
def probe(
    name: Annotated[str, typer.Argument(help="The probe's name.")],
    subjects: Annotated[list[str], typer.Argument(metavar="SUBJECT...", help="Folders of finished runs.")],
    data: Annotated[str | None, typer.Option(help="Another source than the run's own.")] = None,
    settings: Setting = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Look at runs with one probe and store what it says in their folders."""
    from priorscope.core.config import assign
    from priorscope.probes import probe_config
    from priorscope.study.work import probe_runs

    table: dict[str, Any] = {"name": name}
    for setting in settings:
        table = assign(table, setting)
    results = probe_runs(probe_config(table), [Path(subject) for subject in subjects], data)
    if as_json:
        return _print_json({path: [metric.plain() for metric in result.metrics()] for path, result in results.items()})
    for path, result in results.items():
        print(f"{path}: {result.headline()}\n{result.protocol()}\n{result.table()}")
        for caveat in result.caveats:
            print(f"  but: {caveat}")
    return None


@app.command()
def report(
    sources: Annotated[list[Path], typer.Argument(metavar="RUN|STUDY...", help="Folders of runs or studies.")],
    out: Annotated[Path, typer.Option(help="The page to write.")],
) -> None:
    """Write the page from stored results: no model, no GPU."""
    from priorscope.report import write_report

    print(write_report(sources, out))


@plot_app.command("curves")
def plot_curves(
    logs: Annotated[
        list[Path], typer.Argument(metavar="RUN|LOG...", help="Run folders, or logs of the predecessors (YAML, JSON, CSV).")
    ],
    metric: Annotated[str, typer.Option(help="acc or loss")] = "acc",
    split: Annotated[str, typer.Option(help="train, val or test")] = "val",
    labels: Annotated[str | None, typer.Option(help="Names, separated by commas; logs of one name become a band.")] = None,
    out: Annotated[Path, typer.Option(help="A name that ends in .svg, .pdf, .png, .html or .csv.")] = Path("curves.svg"),
) -> None:
    """Training curves of our runs and of foreign logs."""
    from priorscope.report.curves import curves_figure, read_log

    curves = [curve for path in logs for curve in read_log(path)]
    names = labels.split(",") if labels else None
    print(curves_figure(curves, metric=metric, split=split, labels=names).save(out))


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """The sources there are."""
    from priorscope.data import SOURCES

    _print_table(("source", "what"), [(name, _first_line(SOURCES.load(name).__doc__)) for name in SOURCES], as_json)


@models_app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """The presets of every family."""
    from priorscope.models import FAMILIES

    rows = [(f"{family}/{preset}", family) for family in FAMILIES for preset in FAMILIES.load(family).PRESETS]
    _print_table(("model", "family"), rows, as_json)


@recipes_app.command("list")
def recipes_list(as_json: AsJson = False) -> None:
    """The recipes that come with the package."""
    from priorscope.recipe import shipped_recipes

    _print_table(
        ("recipe", "what"),
        [(name, path.read_text().splitlines()[0].lstrip("# ")) for name, path in shipped_recipes().items()],
        as_json,
    )


@recipes_app.command("show")
def recipes_show(name: str) -> None:
    """A recipe as TOML, with its opening comment."""
    from priorscope.recipe import find_recipe

    print(find_recipe(name).read_text(), end="")


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="recipe or study")] = "recipe",
) -> None:
    """The JSON schema of a recipe or a study, for editors."""
    from priorscope.recipe import Recipe
    from priorscope.study.plan import Study

    kinds = {"recipe": Recipe, "study": Study}
    if kind not in kinds:
        raise RequestError(f"There is no schema of {kind!r}.", "recipe or study", "priorscope schema recipe")
    _print_json(kinds[kind].model_json_schema())


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]], as_json: bool) -> None:
    if as_json:
        return _print_json([dict(zip(head, row, strict=True)) for row in rows])
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return None


def _print_studies(studies: dict[str, Path], as_json: bool) -> None:
    from priorscope.study.plan import Study

    found = [Study.load(name) for name in studies]
    _print_table(("study", "question", "promise"), [(each.name, each.question, each.promise) for each in found], as_json)


def _print_plan(plan: Plan, workers: int | None, as_json: bool) -> None:
    from priorscope.study.forecast import forecast

    costs = forecast(plan, workers)
    if as_json:
        steps = [{"step": step.id, "key": step.key, "why": plan.missing.get(step.id, "done")} for step in plan.steps]
        return _print_json({"steps": steps, "seconds": costs.seconds, "memory": costs.memory, "unknown": costs.unknown})
    _print_table(("step", "why"), [(step.id, plan.missing.get(step.id, "done")) for step in plan.steps], False)
    least = "at least " if costs.unknown else ""
    unknown = f" ({costs.unknown} steps were never measured and are not counted)" if costs.unknown else ""
    cost = f"{least}{costs.seconds:.0f} s, {costs.memory / 2**30:.1f} GiB{unknown}"
    print(f"\n{len(plan.to_do())} of {len(plan.steps)} steps to do: {cost}.")
    return None


def _live() -> Any:
    """A table that fills as steps end; nothing off a terminal."""
    from contextlib import nullcontext

    if not sys.stderr.isatty():
        return nullcontext(_quiet)
    from priorscope.study.display import live

    return live()


def _quiet(_progress: Progress) -> None:
    return


def _bar(name: str) -> Any:
    """A progress bar for one run; nothing off a terminal."""
    from contextlib import nullcontext

    if not sys.stderr.isatty():
        return nullcontext(_silent)
    from priorscope.study.display import bar

    return bar(name)


def _silent(_status: runs.Status) -> None:
    return


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: errors of ours are said in three parts, without a traceback."""
    run: Callable[..., Any] = app
    try:
        run(args=arguments, prog_name="priorscope")
    except PriorscopeError as error:
        print(f"priorscope: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
