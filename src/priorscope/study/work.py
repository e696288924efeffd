"""One step carried out, in whatever process an executor chose: plain data in, files out.

A worker lives long and keeps the last source open, so that imports and pictures are paid for once, not once a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope import run as runs
from priorscope.core.config import Plain, content_key
from priorscope.core.contracts import Result, Subject
from priorscope.probes import PROBES, ProbeConfig, probe_config
from priorscope.recipe import Recipe

if TYPE_CHECKING:
    from priorscope.data.split import Source


@dataclass(frozen=True)
class TrainWork:
    """Carry out a recipe into a folder."""

    recipe: Recipe
    out: Path
    init: Path | None

    def do(self, report: runs.Report) -> None:
        """Trains, or goes on where an earlier attempt stopped."""
        runs.fit(self.recipe, self.out, report=report, init=self.init)


@dataclass(frozen=True)
class ProbeWork:
    """Look at a run with a probe and store what it says."""

    run: Path
    probe: ProbeConfig
    out: Path
    alone: Mapping[str, Path]
    about: Plain

    def do(self, report: runs.Report) -> None:
        """Measures and stores."""
        result = measure_run(self.run, self.probe, self.alone)
        result.save(self.out, {**self.about, "protocol": result.protocol()})
        report(runs.Status(1.0, 0))


Work = TrainWork | ProbeWork


def measure_run(path: Path, probe: ProbeConfig, alone: Mapping[str, Path], source: Source | None = None) -> Result:
    """A probe's result on a finished run, with as many threads as the run was trained with."""
    import torch

    run = runs.load(path)
    torch.set_num_threads(run.recipe.train.threads)
    settings = {name: getattr(probe, name) for name in type(probe).model_fields if name != "name"}
    if alone:
        settings["alone"] = {cue: runs.load(twin).history for cue, twin in alone.items()}
    measure = getattr(PROBES.load(probe.name), f"measure_{probe.name}")
    data = source or _source(run.recipe.data.source.toml(), run)
    result: Result = measure(run.evidence, data, **settings)
    return result.model_copy(update={"caveats": (*result.caveats, *data.caveats)})


_kept_sources: dict[str, Source] = {}


def _source(key: str, run: runs.Run) -> Source:
    """The run's source; the last one stays open."""
    if key not in _kept_sources:
        _kept_sources.clear()
        _kept_sources[key] = run.source
    return _kept_sources[key]


def about(run: str, path: str, recipe_name: str, recipe: Recipe, probe: ProbeConfig, made_from: Plain) -> Plain:
    """What a reader needs to know beside a result."""
    subject = Subject(name=run, family=recipe.model.family, recipe=recipe_name, seed=recipe.seed)
    plain = probe_config(probe.name)
    settings = [f"--set {name}={value}" for name, value in probe.plain().items() if value != getattr(plain, name)]
    return {
        "subject": subject.plain(),
        "data": recipe.data.source.name,
        "split": getattr(probe, "split", ""),
        "command": " ".join(["priorscope", "probe", probe.name, path, *settings]),
        "config": probe.plain(),
        "made_from": made_from,
    }


def probe_runs(probe: ProbeConfig, paths: Sequence[Path], data: str | None) -> dict[str, Result]:
    """Looks at finished runs one after another and stores each result in its run's folder."""
    from priorscope.data import open as open_source

    if PROBES.load(probe.name).PER == "set":
        return {", ".join(map(str, paths)): _probe_set(probe, paths, open_source(data) if data else None)}
    found: dict[str, Result] = {}
    for path in paths:
        run = runs.load(path)
        source = open_source(data) if data else None
        made_from: Plain = {"probe": probe.plain(), "version": PROBES.load(probe.name).VERSION, "weights": run.key, "alone": {}}
        made_from["data"] = data or run.recipe.data.source.plain()
        result = measure_run(path, probe, {}, source)
        told = about(run.name, str(path), "", run.recipe, probe, made_from)
        result.save(
            path / runs.RESULTS / probe.name / f"{content_key(made_from)}.json", {**told, "protocol": result.protocol()}
        )
        found[str(path)] = result
    return found


def _probe_set(probe: ProbeConfig, paths: Sequence[Path], source: Source | None) -> Result:
    """One result about several runs together, on the first one's data; it belongs to none of them and is not stored."""
    subjects = [runs.load(path) for path in paths]
    data = source or subjects[0].source
    settings = {name: getattr(probe, name) for name in type(probe).model_fields if name != "name"}
    measure = getattr(PROBES.load(probe.name), f"measure_{probe.name}")
    result: Result = measure({run.name: run.evidence for run in subjects}, data, **settings)
    return result.model_copy(update={"caveats": (*result.caveats, *data.caveats)})
