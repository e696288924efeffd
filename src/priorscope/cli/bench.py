"""The verbs that measure speed: beside peers where there are any, ratios taken within one run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from priorscope.cli.printing import application, setting

bench_app = application("How fast it is: beside peers where there are any, ratios within one run.")

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the cases here as JSON.")]


_BEGAN = time.perf_counter()


class Measured(Protocol):
    """What a benchmark returns."""

    def table(self) -> str: ...

    def plain(self) -> dict[str, Any]: ...


def _tell(measured: Measured, json: Path | None) -> None:
    from priorscope.core.folder import write_json

    print(measured.table())
    if json is not None:
        write_json(json, measured.plain())


def _say(what: str) -> None:
    """What is being measured and after how long, on a terminal; a bar that draws itself would be measured too."""
    if sys.stderr.isatty():
        minutes, seconds = divmod(round(time.perf_counter() - _BEGAN), 60)
        print(f"{minutes:3}:{seconds:02}  {what}", file=sys.stderr)


def _names(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",")]


def _counts(text: str) -> list[int]:
    """Whole numbers above 0, separated by commas."""
    from priorscope.core.errors import RequestError

    names = _names(text)
    if not all(name.isdecimal() and int(name) for name in names):
        raise RequestError(f"{text!r} are not numbers of pictures.", "whole numbers above 0", "--batch-sizes 1,32")
    return [int(name) for name in names]


@bench_app.command()
def loader(
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the pictures, one round.")] = False, json: JsonFile = None
) -> None:
    """The loader beside FFCV (where it is installed) and torchvision, on one file."""
    from priorscope.bench.loader import run

    _tell(run(say=_say, rounds=1, share=0.1) if quick else run(say=_say), json)


@bench_app.command()
def attack(
    images: Annotated[int, typer.Option(min=1, help="Images of PGD-20.")] = 1000,
    curve_images: Annotated[int, typer.Option(min=0, help="Images of the FGSM curve; 0 leaves it out.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of PGD-20, of which the medians count.")] = 3,
    json: JsonFile = None,
) -> None:
    """PGD-20 and a curve of FGSM on ResNet-20 beside torchattacks (where it is installed): about half an hour on two cores."""
    from priorscope.bench.attack import run

    _tell(run(images=images, curve_images=curve_images, rounds=rounds, say=_say), json)


@bench_app.command()
def train(
    models: Annotated[str, typer.Option(help="Names separated by commas, or all.")] = "mlp/b12-w1024,perceiver/v-cifar10",
    image_size: Annotated[int | None, typer.Option(min=1, help="Side of the pictures (not set: each model's own).")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures a step (not set: each model's own).")] = None,
    json: JsonFile = None,
) -> None:
    """The training step: its share of the machine's matrix products, beside float32 and beside references."""
    from priorscope.bench.train import run

    named = models if models == "all" else _names(models)
    _tell(run(named, image_size=image_size, batch_size=batch_size, say=_say), json)


@bench_app.command()
def infer(
    models: Annotated[str, typer.Option(help="Names separated by commas, or all.")] = "all",
    image_size: Annotated[int | None, typer.Option(min=1, help="Side of the pictures (not set: each model's own).")] = None,
    batch_sizes: Annotated[str, typer.Option(help="Numbers of pictures, separated by commas.")] = "1,32",
    json: JsonFile = None,
) -> None:
    """How fast networks answer: latency of one picture and rate of many, beside references."""
    from priorscope.bench.infer import run

    named = models if models == "all" else _names(models)
    _tell(run(named, image_size=image_size, batch_sizes=_counts(batch_sizes), say=_say), json)


@bench_app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped study or a TOML file.")] = "quickstart",
    settings: Annotated[list[str], setting("base.train.epochs=1")] = [],  # noqa: B006  typer reads the default
    budget: Annotated[str | None, typer.Option(help="One of the study's budgets, e.g. smoke.")] = None,
    json: JsonFile = None,
) -> None:
    """A study from end to end: time and peak memory of a fresh run and of a second one, and how soon --help comes."""
    from priorscope.bench.study import run
    from priorscope.study.cells import cells
    from priorscope.study.study import Study

    cells(Study.load(name, settings, budget))  # so that a wrong request is refused here, and not by what is timed
    _tell(run(name, settings, budget, say=_say), json)


@bench_app.command()
def probes(
    kinds: Annotated[
        str, typer.Option(help="Of similarity, activation and transform, separated by commas.")
    ] = "similarity,activation,transform",
    json: JsonFile = None,
) -> None:
    """What looking inside costs: time and peak memory of similarity, of wanted pictures and of every transform."""
    from priorscope.bench.probes import ALL, run
    from priorscope.core.errors import unknown_name

    named = _names(kinds)
    for name in named:
        if name not in ALL:
            raise unknown_name("kind", name, ALL)
    _tell(run([kind for kind in ALL if kind in named], say=_say), json)
