"""Where the epochs of a run go beside its own `steps.jsonl`: one tracker a file.

An exporter is one file here and one line in `EXPORTERS`. Its module has `open_exporter(out, about, history) -> Exporter`:
the run's folder, what the run is (its recipe as plain data), and the epochs that a resumed run already has. Its packages are
imported when it is opened; a user without them is told what to install. Exporters change no number and are not part of a
recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from priorscope.core.config import Plain
from priorscope.core.epoch import Epoch
from priorscope.core.listing import Listing

EXPORTERS = Listing("tracker", "priorscope train --help", {"tensorboard": "priorscope.train.exporters.tensorboard"})


class Exporter(Protocol):
    """Takes a run's epochs as they come."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch that has ended."""
        ...

    def close(self) -> None:
        """No more will come: the run is finished, or stops."""
        ...


class Exporters:
    """Several exporters as one."""

    def __init__(self, names: Sequence[str], out: Path, about: Plain, history: Sequence[Epoch]) -> None:
        self._all: list[Exporter] = [EXPORTERS.load(name).open_exporter(out, about, history) for name in names]

    def epoch(self, epoch: Epoch) -> None:
        """Hands an epoch to each."""
        for exporter in self._all:
            exporter.epoch(epoch)

    def close(self) -> None:
        """Closes each, whatever happens to another."""
        with ExitStack() as closing:
            for exporter in self._all:
                closing.callback(exporter.close)


def numbers(table: Plain, path: str = "") -> dict[str, float]:
    """The numbers of an epoch's line by their path: `val/accuracy`, `train_loss`."""
    found: dict[str, float] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{path}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{path}{name}"] = float(value)
    return found
