"""One step carried out, in whatever process an executor chose: plain data in, files out.

A worker lives long and keeps the last source open, so that imports and pictures are paid for once, not once a step. A network
is loaded for each step, in 5 to 30 ms where it is tiny: what it said about a split lies in the run's folder, and what a probe
leaves in memory does not become another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core import folder, layout
from priorscope.core.config import content_key
from priorscope.core.environment import Environment, write_environment
from priorscope.core.epoch import write_history
from priorscope.core.machine import looking_device, on_threads
from priorscope.data.sources import SourceConfig
from priorscope.fitting import Status, Watch, fit
from priorscope.looking.answer import answer
from priorscope.looking.networks import network_of_run
from priorscope.probes import ProbeConfig
from priorscope.recipe import Recipe
from priorscope.study.steps import is_judged

if TYPE_CHECKING:
    from priorscope.core.contracts import About
    from priorscope.data.split import Source


@dataclass(frozen=True)
class TrainWork:
    """A step that carries out a recipe in a folder."""

    recipe: Recipe
    out: Path
    init: Path | None
    trial: bool = False

    def do(self, watch: Watch) -> None:
        """Trains, or resumes where an earlier attempt stopped. That a trial diverges is what it finds out."""
        from priorscope.train.loop import DivergedError

        if self.trial and layout.is_finished(self.out) and not is_judged(self.out):
            (self.out / layout.ENVIRONMENT).unlink()  # it is there to be judged: without its log it is not done
        try:
            fit(self.recipe, self.out, watch=watch, init=self.init)
        except DivergedError as error:
            if not self.trial:
                raise
            self._note(error)

    @property
    def reads(self) -> tuple[Path, ...]:
        """The runs that it begins with."""
        return () if self.init is None else (self.init,)

    @property
    def writes_into(self) -> Path | None:
        """The folder into which it alone may write meanwhile."""
        return self.out

    @property
    def product(self) -> Path:
        """The file whose presence says that it is done."""
        return self.out / layout.ENVIRONMENT

    def _note(self, error: Exception) -> None:
        """Ends a trial that diverged: it is done, and was wrong on every image."""
        write_history(self.out, [])
        key = content_key(folder.read_json(self.out / layout.MADE_FROM))
        said = str(error).partition("\n")[0]
        write_environment(self.out, Environment(key=key, diverged=said))


@dataclass(frozen=True)
class ProbeWork:
    """A step that looks at runs with a probe and stores what it says."""

    runs: tuple[Path, ...]
    probe: ProbeConfig
    data: SourceConfig
    threads: int
    gpu: bool
    out: Path
    companions: Mapping[str, Path]
    about: About

    def do(self, watch: Watch) -> None:
        """Measures with as many threads as the runs were trained with, on a GPU if they take one, and stores."""
        networks = [network_of_run(path) for path in self.runs]
        device = looking_device("auto" if self.gpu else "cpu")
        with on_threads(self.threads):
            result = answer(self.probe, networks, _source(self.data), self.companions, device)
        result.save(self.out, self.about.replace(protocol=result.protocol()))
        watch(Status(1.0, 0))

    @property
    def reads(self) -> tuple[Path, ...]:
        """The runs that it looks at, and those beside them."""
        return (*self.runs, *self.companions.values())

    @property
    def writes_into(self) -> Path | None:
        """The folder into which it alone may write meanwhile: none, it writes one file."""
        return None

    @property
    def product(self) -> Path:
        """The file whose presence says that it is done."""
        return self.out


Work = TrainWork | ProbeWork

_kept_sources: dict[tuple[str, str | None], Source] = {}


def _source(config: SourceConfig) -> Source:
    """The source of a config; the last one stays open, as long as its files are the same."""
    from priorscope.data import open as open_source
    from priorscope.data.stamp import data_stamp

    key = config.toml(), data_stamp(config)
    if key not in _kept_sources:
        _kept_sources.clear()
        _kept_sources[key] = open_source(config)
    return _kept_sources[key]
