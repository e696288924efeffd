"""The record of a finished run (`environment.json`): where, on what and how it was carried out, and what it took.

What is not known is `None`, or 0 for a count. Fields that a later version added to the file are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from priorscope.core import folder, layout
from priorscope.core.config import Config
from priorscope.core.contracts import Statistics
from priorscope.core.epoch import Epoch
from priorscope.core.errors import WorkError


class Recorded(Config):
    """Base of the record and of its parts."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")


class NetworkRecord(Recorded):
    """What is needed beside the recipe to build the network again, and how large it is."""

    image_size: int
    num_classes: int
    parameters: int
    classes: tuple[str, ...] = ()
    statistics: Statistics | None = None


class Learnt(Recorded):
    """The data that a run learnt from."""

    source: str
    train: int | None = None
    """How many pictures."""
    fingerprint: str | None = None
    files: str | None = None
    """The stamp of the files that stood behind the source."""
    origin: str = ""
    caveats: tuple[str, ...] = ()


class Hardware(Recorded):
    """What a measured time depends on."""

    system: str = ""
    processor: str = ""
    cores: int | None = None
    memory: int | None = None
    gpus: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """The machine in words: each kind of GPU once, and the processor."""
        return ", ".join(name for name in (*dict.fromkeys(self.gpus), self.processor) if name)


class Environment(Recorded):
    """The whole record."""

    key: str
    data: Learnt | None = None
    model: NetworkRecord | None = None
    began_with: str | None = None
    chosen_epoch: int = 0
    diverged: str | None = None
    """Why a trial diverged; it then has neither data nor network."""

    precision: str | None = None
    threads: int | None = None
    ranks: int | None = None
    parts: int | None = None
    compiled: bool = False

    seconds: float | None = None
    joules: float | None = None
    images_seen: int = 0
    flops: int = 0
    macs: int = 0

    priorscope: str | None = None
    torch: str | None = None
    numpy: str | None = None
    numba: str | None = None
    python: str | None = None
    hardware: Hardware = Hardware()

    @property
    def network(self) -> NetworkRecord:
        """The record of the network; refused for a run that diverged."""
        if self.model is None:
            raise WorkError(f"The run came to no network: {self.diverged}", "a run that did not diverge", "a smaller rate")
        return self.model

    def kept_epoch(self, history: Iterable[Epoch]) -> Epoch | None:
        """The epoch whose weights were kept; None where nothing was trained, or the log has lost it."""
        return next((epoch for epoch in history if epoch.epoch == self.chosen_epoch), None)


def read_environment(run: Path) -> Environment:
    """The record in a finished run's folder."""
    path = run / layout.ENVIRONMENT
    mend = "put a whole copy of it back, or train its recipe in another folder"
    return Environment.parse(folder.read_json(path, mend), str(path))


def write_environment(run: Path, environment: Environment) -> None:
    """Writes the record, as the last file of a run: it says that the others are complete."""
    folder.write_json(run / layout.ENVIRONMENT, environment.plain())
