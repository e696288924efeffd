"""Looking at networks with a probe.

A result about one run belongs to it and lies in its folder; one about several belongs to the study that asked, and one about
a network from elsewhere is only shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope import run as runs
from priorscope.core import folder, layout
from priorscope.core.config import content_key
from priorscope.core.contracts import Result, Subject
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.machine import on_threads
from priorscope.data import source_config
from priorscope.data.progress import Watch, silent
from priorscope.probes import ProbeConfig, measure_of
from priorscope.study.about import about, subject_of
from priorscope.study.networks import Network
from priorscope.study.steps import check_one_source, companions_of, measured_from

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source


def measure(
    probe: ProbeConfig, networks: Sequence[Network], data: Source, companions: Mapping[str, Path] | None = None
) -> Result:
    """What a probe says about a network, or about several together."""
    beside = {"companions": {name: runs.load(path) for name, path in companions.items()}} if companions else {}
    asked = {one.name: one.run if probe.reads_runs and one.run is not None else one.evidence for one in networks}
    if probe.per == "set":
        _check_names([one.name for one in networks])
        if probe.reads_runs:
            _check_runs(probe.name, networks)
        subject: Any = asked
    else:
        (subject,) = asked.values()
    result = measure_of(probe.name)(subject, data, probe, **beside)
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


def look(probe: ProbeConfig, networks: Sequence[Network], data: str | None, watch: Watch = silent) -> dict[str, Result]:
    """Asks about networks, one after another or together as the probe wants it; a run keeps what was said about it.

    `watch` is called with how many networks were looked at, of how many.
    """
    from priorscope.data import open as open_source

    source = open_source(data) if data else None
    networks = _apart(networks)
    if probe.per == "set":
        if source is None:
            learnt = [(one.name, one.run.recipe.data.source) for one in networks if one.run is not None]
            check_one_source(repr(probe.name), learnt, "add --data NAME")
        together = ", ".join(one.name for one in networks)
        with _on_own_threads(networks):
            return {together: measure(probe, networks, source or networks[0].source)}
    _check_names([one.name for one in networks if one.run is None])
    found: dict[str, Result] = {}
    for done, one in enumerate(networks, 1):
        with _on_own_threads([one]):
            name, result = _look_at(probe, one, source or one.source, data)
        found[name] = result
        watch(done, len(networks))
    return found


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
    for path in layout.runs_in(run.path.resolve().parent):
        beside = runs.Run(path)
        if layout.is_finished(path) and beside.weights.exists():
            with suppress(PriorscopeError):  # one whose record is damaged stands beside nothing
                yield content_key(beside.recipe.plain()), beside


def _apart(networks: Sequence[Network]) -> list[Network]:
    """Networks, those of runs called by as much of their folders' paths as tells them apart."""
    named = [one for one in networks if one.run is not None]
    names = iter(folder.shortest_names([one.run.path.resolve() for one in named if one.run is not None]) if named else ())
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


def _keep(probe: ProbeConfig, run: runs.Run, data: str | None, companions: Mapping[str, runs.Run], result: Result) -> None:
    """Stores what was said about a run in its folder, under the key that a study would store it under."""
    own = run.recipe.data.source
    asked_on = source_config(data) if data else own
    beside = {name: other.key for name, other in companions.items()}
    made_from = measured_from(probe, run.key, asked_on, asked_on if data else None, beside)
    whom = [(subject_of(run.name, "", run.recipe), str(run.path))]
    about_it = about(probe, whom, asked_on, made_from, other_data=asked_on != own)
    path = layout.result(run.path / layout.RESULTS, probe.name, content_key(made_from))
    result.save(path, {**about_it, "protocol": result.protocol()})
