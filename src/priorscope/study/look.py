"""Looking at networks with a probe: finished runs of ours, published files, timm's, and a user's own.

A result about one run belongs to it and lies in its folder; one about several belongs to the study that asked, and one about
a network from elsewhere is only shown.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope import run as runs
from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key, inline_toml
from priorscope.core.contracts import Result, Subject
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.imports import made_by
from priorscope.core.machine import on_threads
from priorscope.data import source_config
from priorscope.models.published_resnets import HUB_FILES
from priorscope.probes import ProbeConfig, measure_of, probe_config
from priorscope.recipe import Recipe
from priorscope.study.steps import companions_of, measured_from

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.sources import SourceConfig
    from priorscope.data.split import Source
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier


@dataclass(frozen=True)
class Network:
    """What a probe is asked about. A run's network is not read before somebody asks for its evidence."""

    name: str
    own: Evidence | None = None
    run: runs.Run | None = None
    caveats: tuple[str, ...] = ()

    @property
    def evidence(self) -> Evidence:
        """What the network says about splits."""
        if self.own is not None:
            return self.own
        if self.run is None:
            raise TypeError("a network without evidence or run")
        return self.run.evidence


def measure(
    probe: ProbeConfig, networks: Sequence[Network], data: Source, companions: Mapping[str, Path] | None = None
) -> Result:
    """What a probe says about a network, or about several together."""
    settings: dict[str, Any] = {name: getattr(probe, name) for name in type(probe).model_fields if name != "name"}
    if companions:
        settings["companions"] = {name: runs.load(path) for name, path in companions.items()}
    asked = {one.name: one.run if probe.reads_runs and one.run is not None else one.evidence for one in networks}
    if probe.per == "set":
        _check_names([one.name for one in networks])
        if probe.reads_runs:
            _check_runs(probe.name, networks)
        subject: Any = asked
    else:
        (subject,) = asked.values()
    result = measure_of(probe.name)(subject, data, **settings)
    told = tuple(dict.fromkeys(caveat for one in networks for caveat in one.caveats))
    return result.model_copy(update={"caveats": (*result.caveats, *told, *data.caveats)})


def _check_names(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(f"Two networks are called {twice!r}.", "a name of its own for each", "rename a file or a folder")


def _check_runs(probe: str, networks: Sequence[Network]) -> None:
    for one in networks:
        if one.run is None:
            raise RequestError(
                f"{probe} reads how networks were trained, which {one.name} does not say.",
                "folders of finished runs",
                f"priorscope probe {probe} runs/a runs/b",
            )


def network_of_run(path: Path) -> Network:
    """A finished run, as it is asked about."""
    run = runs.load(path)
    return Network(run.name, run=run)


def network(subject: str, data: Source | None) -> Network:
    """What a user names: a run's folder, published weights (a file or a folder), or a network of timm's with its own."""
    path = Path(subject)
    if (path / layout.RECIPE).exists():
        return network_of_run(path)
    if path.is_file() or any((path / name).is_file() for name in HUB_FILES):
        from priorscope.models.published import read_published

        own = path.absolute()  # not where a link leads: in the hub's cache files are links to blobs
        return _elsewhere(own.parent.name if own.name in HUB_FILES else own.name, read_published(path))
    if subject.startswith("timm/"):
        return _of_timm(subject, _needed(subject, data))
    raise RequestError(
        f"{subject!r} is no network to look at.",
        "the folder of a finished run, timm/NAME, or a published file of weights",
        "check the path, or name your own with --model package.module:function",
    )


def _of_timm(name: str, data: Source) -> Network:
    from priorscope.models import create

    split = data.split("test")
    model = create({"name": name, "pretrained": True}, image_size=split.image_size, num_classes=len(split.classes))
    caveat = f"{name} keeps its published head only where that tells {len(split.classes)} classes apart; else it is untrained."
    return _elsewhere(name, model, (caveat,))


def own_network(factory: str, weights: Path | None, data: Source | None) -> Network:
    """What a user's function returns: a classifier as it is, any other module as one that takes pixels in [0, 1]."""
    from torch.nn import Module

    from priorscope.models import wrap
    from priorscope.models.classifier import Classifier
    from priorscope.models.weights import check_fit, read_tensors

    made = made_by(factory)
    if not isinstance(made, Module):
        raise RequestError(f"{factory!r} returns a {type(made).__name__}.", "a torch.nn.Module", "return the network itself")
    if weights is not None:
        tensors = read_tensors(weights)
        check_fit(tensors, made.state_dict(), weights.name, "give the file that this network wrote")
        made.load_state_dict(tensors)
    if not isinstance(made, Classifier):
        split = _needed(factory, data).split("test")
        made = wrap(made, image_size=split.image_size, classes=split.classes)
    return _elsewhere(factory.partition(":")[2], made)


def _needed(what: str, data: Source | None) -> Source:
    if data is None:
        raise RequestError(f"{what} does not say what it was trained on.", "the name of a source", "add --data NAME")
    return data


def _elsewhere(name: str, model: Classifier, caveats: tuple[str, ...] = ()) -> Network:
    from priorscope.evidence import Evidence

    return Network(name, Evidence(model), None, caveats)


def look(probe: ProbeConfig, networks: Sequence[Network], data: str | None) -> dict[str, Result]:
    """Asks about networks, one after another or together as the probe wants it; a run keeps what was said about it."""
    from priorscope.data import open as open_source

    source = open_source(data) if data else None
    networks = _apart(networks)
    if probe.per == "set":
        if source is None:
            _check_one_source(probe.name, networks)
        together = ", ".join(one.name for one in networks)
        with _on_own_threads(networks):
            return {together: measure(probe, networks, source or _own(networks[0]))}
    _check_names([one.name for one in networks if one.run is None])
    found: dict[str, Result] = {}
    for one in networks:
        with _on_own_threads([one]):
            name, result = _look_at(probe, one, source or _own(one), data)
        found[name] = result
    return found


def _check_one_source(probe: str, networks: Sequence[Network]) -> None:
    """Refuses to ask several runs about the data of the first where they learnt from different data."""
    named = [(one.name, one.run.recipe.data.source) for one in networks if one.run is not None]
    other = next((name for name, learnt in named if learnt != named[0][1]), None)
    if other is not None:
        raise RequestError(
            f"{probe!r} compares {named[0][0]!r} and {other!r}, which learnt from different data.",
            "one source on which all are asked",
            "add --data NAME",
        )


def _on_own_threads(networks: Sequence[Network]) -> AbstractContextManager[None]:
    """On as many threads as the recipes of runs say, as a study does it; else on those that torch has."""
    threads = [one.run.recipe.train.threads for one in networks if one.run is not None]
    return on_threads(max(threads)) if threads else nullcontext()


def _look_at(probe: ProbeConfig, one: Network, source: Source, data: str | None) -> tuple[str, Result]:
    """What the probe says about one network, under what it is called."""
    if one.run is None:
        return one.name, measure(probe, [one], source)
    known = dict(_runs_beside(one.run)) if probe.companions(one.run.recipe.plain()) else {}
    companions = companions_of(probe, one.run.recipe, known)
    result = measure(probe, [one], source, {name: run.path for name, run in companions.items()})
    _keep(probe, one.run, data, companions, result)
    return str(one.run.path), result


def _runs_beside(run: runs.Run) -> Iterator[tuple[str, runs.Run]]:
    """The finished runs in the folder where a run lies, by the keys of their recipes."""
    for path in sorted(run.path.resolve().parent.glob(f"*/{layout.ENVIRONMENT}")):
        beside = runs.Run(path.parent)
        if beside.weights.exists():
            with suppress(PriorscopeError):  # one whose record is damaged stands beside nothing
                yield content_key(beside.recipe.plain()), beside


def _apart(networks: Sequence[Network]) -> list[Network]:
    """Networks, those of runs called by as much of their folders' paths as tells them apart."""
    named = [one for one in networks if one.run is not None]
    names = iter(folder.apart([one.run.path.resolve() for one in named if one.run is not None]) if named else ())
    return [one if one.run is None else replace(one, name=next(names)) for one in networks]


def pictures(networks: Sequence[Network], results: Mapping[str, Result], data: str | None = None) -> list[Figure]:
    """The pictures of what `look` found: networks that were asked one after another stand side by side in them.

    Those that were asked on other data, each on what it learnt from, stand in pictures of their own.
    """
    found = list(results.values())
    if len(found) < len(networks):
        return [figure for result in found for figure in result.charts()]
    groups: dict[str, list[tuple[Subject, Result]]] = {}
    for one, result in zip(_apart(networks), found, strict=True):
        subject = Subject(name=one.name, family="other") if one.run is None else subject_of(one.name, "", one.run.recipe)
        learnt = "" if data or one.run is None else content_key(one.run.recipe.data.source.plain())
        groups.setdefault(learnt, []).append((subject, result))
    drawn = [(group[0][0].name, type(found[0]).draw(group)) for group in groups.values()]
    if len(drawn) == 1:
        return drawn[0][1]
    return [
        replace(figure, name=f"{figure.name}-{i}", title=f"On what {first} learnt from: {figure.title}")
        for i, (first, figures) in enumerate(drawn, 1)
        for figure in figures
    ]


def _own(one: Network) -> Source:
    """The data that a network was trained on."""
    return one.run.source if one.run is not None else _needed(one.name, None)


def _keep(probe: ProbeConfig, run: runs.Run, data: str | None, companions: Mapping[str, runs.Run], result: Result) -> None:
    """Stores what was said about a run in its folder, under the key that a study would store it under."""
    own = run.recipe.data.source
    asked_on = source_config(data) if data else own
    beside = {name: other.key for name, other in companions.items()}
    made_from = measured_from(probe, run.key, asked_on, asked_on if data else None, beside)
    whom = [(subject_of(run.name, "", run.recipe), str(run.path))]
    told = about(probe, whom, asked_on, made_from, other_data=asked_on != own)
    path = layout.result(run.path / layout.RESULTS, probe.name, content_key(made_from))
    result.save(path, {**told, "protocol": result.protocol()})


def _typed_source(source: SourceConfig) -> str:
    """A source as people type it: its name or its path where that says it all, else a table."""
    short = (source.name, str(source.plain().get("path", "")))
    return next((text for text in short if text and _means(text) == source), inline_toml(source.plain()))


def _means(text: str) -> SourceConfig | None:
    try:
        return source_config(text)
    except RequestError:
        return None


def _typed(value: Any) -> str:
    """A setting as people type it: a word without quotes."""
    return value if isinstance(value, str) and value.isidentifier() else inline_toml(value)


def subject_of(run: str, recipe_name: str, recipe: Recipe) -> Subject:
    """Whom a result about a run is about."""
    return Subject(name=run, family=recipe.model.family, recipe=recipe_name, seed=recipe.seed)


def about(
    probe: ProbeConfig,
    subjects: Sequence[tuple[Subject, str]],
    data: SourceConfig,
    made_from: Plain,
    *,
    other_data: bool,
) -> Plain:
    """What a reader needs to know beside a result: subjects with their folders, data, and the command that makes it again.

    `other_data` says that it is not what the subjects learnt from.
    """
    plain = probe_config(probe.name)
    given = {name: value for name, value in probe.plain().items() if value != plain.plain().get(name)}
    settings = [f"--set {shlex.quote(f'{name}={_typed(value)}')}" for name, value in given.items()]
    if other_data:
        settings.append(f"--data {shlex.quote(_typed_source(data))}")
    whom = [subject.plain() for subject, _ in subjects]
    return {
        **({"subject": whom[0]} if len(whom) == 1 else {"subjects": whom}),
        "data": data.name,
        "split": getattr(probe, "split", ""),
        "command": " ".join(["priorscope", "probe", probe.name, *(shlex.quote(path) for _, path in subjects), *settings]),
        "config": probe.plain(),
        "made_from": made_from,
    }
