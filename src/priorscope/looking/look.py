"""Looking at networks with a probe.

A result about one run belongs to it and lies in its folder; one about several belongs to the study that asked, and one about
a network from elsewhere is only shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from priorscope import run as runs
from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key
from priorscope.core.contracts import About, Result, Subject
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.machine import looking_device, on_threads, timed_on
from priorscope.data import open as open_source
from priorscope.data import source_config
from priorscope.data.progress import Watch, silent
from priorscope.data.sources import SourceConfig
from priorscope.looking.about import about, subject_of
from priorscope.looking.answer import answer, check_names
from priorscope.looking.networks import Network
from priorscope.looking.question import check_one_source, companions_of, looks_on_gpu, measured_from
from priorscope.probes import ProbeConfig, load_result, probe_config

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source


Device = Literal["auto", "cpu", "cuda"]
"""Where to look: `auto` takes a CUDA device where there is one."""

Asked = runs.Run | Path | str
"""A finished run, or its folder."""

_ALONE: Mapping[str, runs.Run] = {}
"""A network without companions."""


def measure(
    subject: Asked | Mapping[str, Asked] | Sequence[Asked],
    probe: str,
    data: str | Path | Mapping[str, Any] | SourceConfig | None = None,
    device: Device | None = None,
    **settings: Any,
) -> Result:
    """What a probe says about a finished run, or about several, by names or in a list, where it compares networks.

    `ps.measure(run, "robustness", eps="8/255")` is `priorscope probe robustness RUN --set eps=8/255`: `data` names what to look
    at in place of what the run learnt from, `device` where, in place of where it learnt. The run keeps the result; one that
    it has kept so is read and not measured again. Of `run.at(epoch=2)` nothing is kept.
    """
    config = probe_config({"name": probe, **settings})
    networks = _asked(subject, config)
    question = _Question(config, tuple(networks), None if data is None else On.named(_nameable(data, probe)), device)
    if config.per == "set":
        return _look_at_all(question).result
    if isinstance(networks[0].run, runs.Snapshot):  # what lies in its folder is about the finished weights
        return question.answer()
    return _look_at(question, again=False).result


def _asked(subject: object, probe: ProbeConfig) -> list[Network]:
    """The networks of a run, or of several where the probe compares them, by names or as folders are told apart."""
    several = f'ps.measure({{"mlp": run, "cnn": other}}, "{probe.name}")'
    if not isinstance(subject, Mapping | list | tuple):
        network = _asked_run(subject, probe)
        if probe.per == "set":
            raise RequestError(f"{probe.name} compares networks and was given one run.", "a table of runs by names", several)
        return [network]
    given, each = ("a table", "runs.values()") if isinstance(subject, Mapping) else ("a list", "runs")
    if probe.per != "set":
        do = f'[ps.measure(run, "{probe.name}") for run in {each}]'
        raise RequestError(f"{probe.name} looks at one run and was given {given}.", "a run", do)
    if not subject:
        raise RequestError(f"{probe.name} compares networks and was given none.", "a table of runs by names", several)
    if isinstance(subject, Mapping):
        named = cast("Mapping[object, object]", subject).items()
        return [replace(_asked_run(one, probe), name=str(name)) for name, one in named]
    return _apart([_asked_run(one, probe) for one in cast("Sequence[object]", subject)])


def _asked_run(subject: object, probe: ProbeConfig) -> Network:
    """The network of a run, or of the folder of one."""
    if not isinstance(subject, runs.Run | Path | str):
        raise RequestError(
            f"ps.measure was given a {type(subject).__name__}.",
            "a finished run, or its folder",
            f"ps.probes.measure_{probe.name}(model, data) for a network of your own",
        )
    run = subject if isinstance(subject, runs.Run) else runs.load(subject)
    return Network(run.name, run=run, typed=(str(run.path),))


def _nameable(data: object, probe: str) -> Any:
    """Data as a recipe names it: by that name a run keeps what was said on it."""
    if isinstance(data, str | Path | Mapping | SourceConfig):
        return cast("object", data)
    raise RequestError(
        f"data came as a {type(data).__name__}.",
        "its name, its path, or a table of its settings, by which the run keeps the result",
        f'data="cifar10", for example, or ps.probes.measure_{probe}(run.model, data), which keeps nothing',
    )


@dataclass(frozen=True)
class On:
    """Data to look at in place of what the networks learnt from: as a recipe names it, and opened."""

    config: SourceConfig
    source: Source

    @classmethod
    def named(cls, data: str | Plain) -> On:
        """Opens what a user names."""
        config = source_config(data)
        return cls(config, open_source(config))


@dataclass(frozen=True)
class Looked:
    """What a probe said of which networks, with what a reader needs to know beside it, and where a run keeps it."""

    networks: tuple[Network, ...]
    result: Result
    about: About
    kept: Path | None = None
    read: bool = False
    """Whether it was kept already, and not measured now."""

    @property
    def name(self) -> str:
        """The networks as a command's output names them: a run by its folder."""
        if len(self.networks) == 1 and self.networks[0].run is not None and self.kept is not None:
            return str(self.networks[0].run.path)
        return ", ".join(one.name for one in self.networks)

    def save(self, path: Path) -> Path:
        """Writes the result and what a reader needs to know into one file, the result's arrays beside it."""
        return self.result.save(path, self.about.replace(protocol=self.result.protocol()))

    def plain(self) -> Plain:
        """The result and what a reader needs to know as plain data: what is said in words, and every number."""
        result = self.result
        said = {"headline": result.headline(), "protocol": result.protocol(), "caveats": list(result.caveats)}
        told = self.about.replace(made_from={}).plain()
        return {**told, **said, "metrics": [metric.plain() for metric in result.metrics()]}


def look(
    probe: ProbeConfig,
    networks: Sequence[Network],
    on: On | None = None,
    watch: Watch = silent,
    *,
    device: Device | None = None,
    again: bool = False,
) -> Iterator[Looked]:
    """Asks about networks, one after another or together as the probe wants it, and hands on each answer as it ends.

    A run keeps what was said about it alone, and what it has kept is read unless it is asked `again`. `watch` is called with
    how many networks were looked at, of how many. Without a `device` a run is looked at where it learnt.
    """
    networks = _apart(networks)
    if probe.per == "set":
        yield _look_at_all(_Question(probe, tuple(networks), on, device))
        return
    check_names([one.name for one in networks if one.run is None])
    for done, one in enumerate(networks, 1):
        yield _look_at(_Question(probe, (one,), on, device), again=again)
        watch(done, len(networks))


@dataclass(frozen=True)
class _Question:
    """What is asked of which networks: with which probe, on which data, on which device."""

    probe: ProbeConfig
    networks: tuple[Network, ...]
    on: On | None
    device: Device | None

    @cached_property
    def place(self) -> str:
        """The device that was asked for, or where a run was put, or a GPU if all of them are runs that learnt on one."""
        if self.device is not None:
            return looking_device(self.device)
        put = next((one.run.device for one in self.networks if one.run is not None and one.run.device is not None), None)
        learnt_on = ["cpu" if one.run is None else one.run.recipe.train.device for one in self.networks]
        return put or looking_device("auto" if looks_on_gpu(self.probe, learnt_on) else "cpu")

    def answer(self, companions: Mapping[str, runs.Run] = _ALONE) -> Result:
        """What the probe says, with as many threads as the recipes of runs say; without a run, with those of torch."""
        threads = [one.run.recipe.train.threads for one in self.networks if one.run is not None]
        data = self.on.source if self.on else self.networks[0].source
        beside = {name: run.path for name, run in companions.items()}
        with on_threads(max(threads)) if threads else nullcontext():
            return answer(self.probe, self.networks, data, beside, self.place)

    def about(self, companions: Mapping[str, runs.Run] = _ALONE) -> About:
        """Whom and what the answer is about; what it was made from is known of runs alone."""
        learnt = {one.name: one.run.recipe.data.source for one in self.networks if one.run is not None}
        named = self.on.config if self.on else None
        asked_on = named or next(iter(learnt.values()))
        other_data = len(learnt) < len(self.networks) or any(source != asked_on for source in learnt.values())
        elsewhere = self.probe.alone and self.place != "cpu"
        made_from: Plain = {}
        if len(learnt) == len(self.networks):
            keys = {one.name: one.run.key for one in self.networks if one.run is not None}
            beside = {name: other.key for name, other in companions.items()}
            made_from = measured_from(self.probe, keys, asked_on, named, beside, timed_on(self.place) if elsewhere else None)
        whom = [(_subject(one), one.typed) for one in self.networks]
        return about(self.probe, whom, asked_on, made_from, other_data=other_data, device="cuda" if elsewhere else None)


def _look_at_all(question: _Question) -> Looked:
    """What the probe says about several networks together; it belongs to whoever asked."""
    if question.on is None:
        learnt = [(one.name, one.run.recipe.data.source) for one in question.networks if one.run is not None]
        check_one_source(repr(question.probe.name), learnt, "add --data NAME")
    return Looked(question.networks, question.answer(), question.about())


def _look_at(question: _Question, *, again: bool) -> Looked:
    """What the probe says about one network. A run keeps it under the key that a study would store it under.

    Unless it is asked `again`, what it has kept so is read.
    """
    (one,), probe = question.networks, question.probe
    if one.run is None:
        return Looked((one,), question.answer(), question.about())
    known = dict(_runs_beside(one.run)) if probe.companions(one.run.recipe) else {}
    companions = companions_of(probe, one.run.recipe, known)
    about_it = replace(question, networks=(replace(one, name=one.run.name),)).about(companions)
    kept = layout.result(one.run.path / layout.RESULTS, probe.name, content_key(about_it.made_from))
    if not again and kept.exists():
        with suppress(PriorscopeError):  # a damaged one is measured again
            return Looked((one,), load_result(kept), About.read(kept), kept, read=True)
    looked = Looked((one,), question.answer(companions), about_it, kept)
    with folder.keeping(kept):
        looked.save(kept)
    return looked


def _subject(one: Network) -> Subject:
    return Subject(name=one.name, family="other") if one.run is None else subject_of(one.name, "", one.run.recipe)


def _runs_beside(run: runs.Run) -> Iterator[tuple[str, runs.Run]]:
    """The finished runs in the folder where a run lies, by the keys of their recipes."""
    for path in layout.runs_in(run.path.resolve().parent):
        beside = runs.Run(path)
        if layout.is_finished(path) and beside.weights.exists():
            with suppress(PriorscopeError):  # one whose record is damaged stands beside nothing
                yield content_key(beside.recipe.plain()), beside


def _apart(networks: Sequence[Network]) -> list[Network]:
    """The networks, those of runs named by as much of their folders' paths as tells them apart."""
    named = [one for one in networks if one.run is not None]
    names = iter(folder.shortest_names([one.run.path.resolve() for one in named if one.run is not None]) if named else ())
    return [one if one.run is None else replace(one, name=f"{next(names)}{_after(one.run)}") for one in networks]


def _after(run: runs.Run) -> str:
    """What tells a run as it was after some steps from the finished one."""
    return f"@{run.step}" if isinstance(run, runs.Snapshot) else ""


def figures(found: Sequence[Looked], on: On | None = None) -> list[Figure]:
    """The figures of what `look` found: networks that were asked one after another stand side by side in them.

    Those that were asked on other data, each on what it learnt from, stand in figures of their own.
    """
    if any(len(looked.networks) > 1 for looked in found):
        return [figure for looked in found for figure in looked.result.charts()]
    groups: dict[str, list[tuple[Subject, Result]]] = {}
    for looked in found:
        (one,) = looked.networks
        learnt = "" if on or one.run is None else content_key(one.run.recipe.data.source.plain())
        groups.setdefault(learnt, []).append((_subject(one), looked.result))
    drawn = [(group[0][0].name, type(group[0][1]).draw(group)) for group in groups.values()]
    if len(drawn) == 1:
        return drawn[0][1]
    return [
        replace(figure, name=f"{figure.name}-{i}", title=f"On what {first} learnt from: {figure.title}")
        for i, (first, own) in enumerate(drawn, 1)
        for figure in own
    ]
