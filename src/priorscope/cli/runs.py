"""The verbs about runs: probe, report, plot curves, recipes, schema."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from priorscope.cli.printing import AsJson, application, print_json, print_table, setting
from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    from priorscope.data.split import Source
    from priorscope.looking.look import Looked
    from priorscope.looking.networks import Network

plot_app = application("Plots of logs.")
recipes_app = application("Recipes that come with the package.")


def probe(
    name: Annotated[str, typer.Argument(help="The probe's name.")],
    subjects: Annotated[
        list[str] | None,
        typer.Argument(metavar="SUBJECT...", help="Folders of finished runs, timm/NAME, or published files of weights."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Another source than the run's own; networks from elsewhere need one.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Your own network: package.module:function, called without arguments.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The file of weights for --model.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        typer.Option(help="Where to look: without it, where the run learnt (its train.device), if that is here."),
    ] = None,
    settings: Annotated[list[str], setting("k=3")] = [],  # noqa: B006  typer reads the default
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write results (PROBE.json, then PROBE-2.json) and figures (SVG, rows as CSV) there."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what runs have kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at networks with one probe; what it says about one run is kept in its folder, and read where it was.

    `probe list` shows them all.
    """
    from priorscope.core.config import assign
    from priorscope.core.wording import counted
    from priorscope.data.progress import bar
    from priorscope.looking.look import On, figures, look
    from priorscope.probes import probe_config

    if name == "list":
        if subjects or settings or data or model or weights or device or out or fresh:
            raise RequestError(
                "probe list came with what only a probe takes.", "nothing beside it but --json", "priorscope probe list"
            )
        return _list_probes(as_json)
    config = probe_config(assign({"name": name}, *settings))
    on = On.named(data) if data else None
    networks = _networks(subjects or (), model, weights, on.source if on else None)
    if not networks:
        raise RequestError("No network was named.", "one or more", f"priorscope probe {name} runs/a")
    found: list[Looked] = []
    written: list[Path] = []
    try:  # what has ended is told and written, whatever becomes of the others
        with bar(f"{name} of {counted(len(networks), 'network')}") as watch:
            for looked in look(config, networks, on, watch, device=device, again=fresh):
                found.append(looked)
                if out is not None:
                    written.append(looked.save(out / (f"{name}-{len(found)}.json" if len(found) > 1 else f"{name}.json")))
                if not as_json:
                    _tell(looked)
        if out is not None:
            written += [figure.save(out / f"{figure.name}{end}") for figure in figures(found, on) for end in (".svg", ".csv")]
    finally:
        _tell_at_the_end(found, written, as_json)
    return None


def _tell(looked: Looked) -> None:
    result = looked.result
    print(f"{looked.name}: {result.headline()}\n{result.protocol()}\n{result.table()}")
    for caveat in result.caveats:
        print(f"  but: {caveat}")


def _tell_at_the_end(found: Sequence[Looked], written: Sequence[Path], as_json: bool) -> None:
    """What was written, what was kept before, and what will not be kept; results themselves where all are one document."""
    from priorscope.core.wording import counted
    from priorscope.study.passing import passing

    if before := sum(looked.read for looked in found):
        print(f"{counted(before, 'result')} read as kept, not measured now: --fresh measures again", file=sys.stderr)
    for study in passing(one.kept for one in found if one.kept):
        print(f"kept with its run until the study in {study} is run again: it is not in its [[probes]]", file=sys.stderr)
    for file in written:
        print(file, file=sys.stderr if as_json else sys.stdout)
    if as_json and found:
        print_json({looked.name: looked.plain() for looked in found})


def _list_probes(as_json: bool) -> None:
    from priorscope.probes import PROBES, result_class

    print_table(("probe", "question"), [(probe, result_class(probe).question) for probe in PROBES], as_json)


def _networks(subjects: Sequence[str], model: str | None, weights: Path | None, source: Source | None) -> list[Network]:
    """The networks that a command names, the user's own last."""
    from priorscope.looking.networks import network, own_network

    if weights is not None and model is None:
        raise RequestError(
            "--weights came without --model.", "the network that they belong to", "--model package.module:function"
        )
    named = [network(subject, source) for subject in subjects]
    return named if model is None else [*named, own_network(model, weights, source)]


def report(
    sources: Annotated[list[Path], typer.Argument(metavar="RUN|STUDY...", help="Folders of runs or studies.")],
    out: Annotated[
        Path | None, typer.Option(help="The page to write: HTML in one file, or Markdown (.md) with its figures beside it.")
    ] = None,
    diff: Annotated[Path | None, typer.Option(metavar="OTHER", help="Show which numbers differ from another study's.")] = None,
    tables: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the tables of a paper (LaTeX, booktabs) there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the page or LaTeX tables from stored results, or show what differs between two: no model, no GPU."""
    from priorscope.report import compare_sources, write_tables
    from priorscope.report.joined import read_sources
    from priorscope.report.markdown import write_markdown_page
    from priorscope.report.page import contents, write_page

    if out is None and diff is None and tables is None:
        raise RequestError("report got none of --out, --diff and --tables.", "at least one of them", "--out report.html")
    markdown = out is not None and out.suffix.lower() == ".md"
    if markdown and diff is not None:
        raise RequestError("--diff came with a page in Markdown.", "a page in HTML, or no page", "--out report.html")
    read = read_sources(sources)
    failures = [f"{failure.step}: {failure.error}" for failure in read.failures]
    page = None
    if out is not None:
        shown = contents(read, None, f"{out.stem}.html" if markdown else out.name, None if diff is None else read_sources(diff))
        page = write_markdown_page(shown, out)[0] if markdown else write_page(shown, out)
        failures = [f"{step}: {missing.error}" for missing in shown.failures for step in missing.steps]
    found = None if diff is None else compare_sources(read, diff)
    written = [] if tables is None else write_tables(read, tables)
    for failure in failures:
        print(f"left out of the page: {failure}", file=sys.stderr)
    if as_json:
        changes = {} if found is None else {"same": found.same, "changes": [change.plain() for change in found.changes]}
        files = {} if tables is None else {"tables": [str(path) for path in written]}
        return print_json({"page": None if page is None else str(page), "failures": failures, **changes, **files})
    if found is not None:
        rows = [(c.run, c.probe, c.metric, c.setting, *c.told) for c in found.changes]
        print_table(("run", "probe", "number", "setting", "there", "here"), rows)
        print(found.headline())
    for path in (*written, *([] if page is None else [page])):
        print(path)
    if tables is not None and not written:
        print(f"nothing was written to {tables}: there is no result to make a table of", file=sys.stderr)
    return None


@plot_app.command("curves")
def plot_curves(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|STUDY|LOG...", help="Folders of runs or studies, or logs of the predecessors (YAML, JSON, CSV)."
        ),
    ],
    metric: Annotated[Literal["acc", "loss"], typer.Option(help="What to plot.")] = "acc",
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="On which split.")] = "val",
    labels: Annotated[str | None, typer.Option(help="Names, separated by commas; logs of one name become a band.")] = None,
    out: Annotated[Path, typer.Option(help="A name that ends in .svg, .pdf, .png, .html or .csv.")] = Path("curves.svg"),
) -> None:
    """Training curves of our runs, of all runs of a study, and of foreign logs."""
    from priorscope.report.curves import curves_figure, read_curves

    curves = [curve for path in logs for curve in read_curves(path)]
    names = None if labels is None else [name.strip() for name in labels.split(",")]
    if names is not None and not all(names):
        raise RequestError(f"--labels {labels!r} names nothing in one place.", "a name for each curve", "--labels A,B")
    print(curves_figure(curves, metric=metric, split=split, labels=names).save(out))


@recipes_app.command("list")
def recipes_list(as_json: AsJson = False) -> None:
    """The recipes that come with the package: ours, then one for every published run of three earlier systems."""
    from priorscope.recipe import recipe_aliases, shipped_recipes

    aliases = recipe_aliases()
    rows: list[dict[str, Any]] = [
        {
            "recipe": name,
            "origin": "priorscope" if path.parent.name == "recipes" else path.parent.name,
            "what": path.read_text(encoding="utf-8").splitlines()[0].lstrip("# "),
            "aliases": [alias for alias, meant in aliases.items() if meant == name],
        }
        for name, path in shipped_recipes().items()
    ]
    if as_json:
        return print_json(rows)
    width = max(len(row["recipe"]) for row in rows)
    for origin in dict.fromkeys(row["origin"] for row in rows):
        print(f"{origin}\n" + "".join(f"  {r['recipe']:{width}}  {r['what']}\n" for r in rows if r["origin"] == origin))
    return None


@recipes_app.command("show")
def recipes_show(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A shipped recipe, by its name or an alias, or a TOML file.")
    ],
) -> None:
    """A recipe as complete TOML, with its opening comment: what it extends is laid under it."""
    import tomli_w

    from priorscope.recipe import find_recipe, read_recipe

    path = find_recipe(name)
    complete = tomli_w.dumps(read_recipe(path))
    lines = path.read_text(encoding="utf-8").splitlines()
    print("\n".join(takewhile(lambda line: line.startswith("#"), lines)))
    print(complete, end="")


def schema(
    kind: Annotated[str, typer.Argument(help="recipe or study")] = "recipe",
) -> None:
    """The JSON schema of a recipe or a study, for editors."""
    from priorscope.recipe import Recipe
    from priorscope.study.study import Study

    kinds = {"recipe": Recipe, "study": Study}
    if kind not in kinds:
        raise RequestError(f"There is no schema of {kind!r}.", "recipe or study", "priorscope schema recipe")
    print_json(kinds[kind].model_json_schema())
