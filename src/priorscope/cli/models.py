"""The verbs about models: what there is, what one is made of, and how weights come in and go out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from priorscope.cli.printing import AsJson, application, print_json, print_table, setting

models_app = application("Models: what there is, what one is made of.")


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The presets of every family."""
    from priorscope.models import FAMILIES

    rows = [(f"{family}/{preset}", family) for family in FAMILIES for preset in FAMILIES.load(family).PRESETS]
    print_table(("model", "family"), rows, as_json)


@models_app.command()
def info(
    name: Annotated[str, typer.Argument(help="A preset (`models list` shows them), or timm/NAME.")],
    image_size: Annotated[int, typer.Option(min=1, help="Side of the images.")] = 32,
    num_classes: Annotated[int, typer.Option(min=2, help="How many classes the network tells apart.")] = 10,
    settings: Annotated[list[str], setting("width=64")] = [],  # noqa: B006  typer reads the default
    as_json: AsJson = False,
) -> None:
    """Parameters, multiply-adds, memory and taps of a model."""
    from priorscope.core.config import assign
    from priorscope.models import create
    from priorscope.models import info as describe

    model = create(assign({"name": name}, *settings), image_size=image_size, num_classes=num_classes)
    counted = describe(model)
    told = {**counted.plain(), "taps": model.taps()}
    if as_json:
        return print_json(told)
    print_table(("what", "value"), [(key, f"{value:,}") for key, value in told.items() if isinstance(value, int | float)])
    print(f"tokens: {', '.join(f'{count:,} at {tap}' for tap, count in counted.tokens.items()) or 'none'}")
    print(f"taps: {', '.join(model.taps())}")
    return None


@models_app.command("import")
def import_weights(
    weights: Annotated[Path, typer.Argument(help="A published file or folder, named as published, or what `export` wrote.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    data: Annotated[str | None, typer.Option(help="The source it was trained on, where its name does not say.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a run of published weights, every key checked, so that probes run on it."""
    from priorscope.fitting.adoption import adopt

    run = adopt(weights, out, data)
    if as_json:
        return print_json({"out": str(run.path), "parameters": run.environment.network.parameters})
    print(f"{run.path}: {run.recipe.model.name}, {run.environment.network.parameters:,} parameters.")
    return None


@models_app.command()
def fetch(
    key: Annotated[str | None, typer.Argument(help="The checkpoint; without it all that are known are listed.")] = None,
    folder: Annotated[Path, typer.Option(help="Where its files go.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Download a published checkpoint (of "Scaling MLPs", or a CIFAR ResNet of the hub), and check it."""
    from priorscope.models.published import fetch_published, published_names

    if key is None:
        rows = [(name, source, "yes" if linked else "no") for name, (source, linked) in published_names().items()]
        return print_table(("checkpoint", "trained on", "link"), rows, as_json)
    weights = fetch_published(key, folder)
    if as_json:
        return print_json({"weights": str(weights)})
    print(f"{weights}. A run to look at: priorscope models import {shlex.quote(str(weights))} --out RUN")
    return None


@models_app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    out: Annotated[Path, typer.Option(help="The folder to make: it must be empty.")],
    as_json: AsJson = False,
) -> None:
    """Write a run as a folder for the Hugging Face hub: weights, config and a model card with its stored results."""
    from priorscope.run import load

    folder = load(run).export(out)
    files = sorted(path.name for path in folder.iterdir())
    if as_json:
        return print_json({"out": str(folder), "files": files})
    print(f"{folder}: {', '.join(files)}. The card leaves the licence to you.")
    return None
