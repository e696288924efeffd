"""Epochs for TensorBoard, in RUN/tensorboard: every number of an epoch's line is a curve over the run's steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.config import Plain
from priorscope.core.epoch import Epoch
from priorscope.core.errors import RequestError
from priorscope.train.exporters import numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def epoch(self, epoch: Epoch) -> None:
        """One point on every curve."""
        for name, value in numbers(epoch.plain()).items():
            if name not in ("step", "epoch"):
                self._writer.add_scalar(name, value, epoch.step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def open_exporter(out: Path, about: Plain, history: Sequence[Epoch]) -> TensorBoard:
    """Opens RUN/tensorboard; points of steps that a killed run took and takes again are purged.

    A folder without events gets the recipe and every epoch so far: the run was made longer from another, or began without it.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise RequestError("TensorBoard is not installed.", "the package tensorboard", "uv sync --extra tensorboard") from None
    begun = any((out / FOLDER).glob("events.*"))
    writer = SummaryWriter(str(out / FOLDER), purge_step=history[-1].step + 1 if begun and history else 0)
    board = TensorBoard(writer)
    if not (begun and history):
        writer.add_text("recipe", "\n".join(f"    {line}" for line in _lines(about)), 0)
        for epoch in history:
            board.epoch(epoch)
    return board


def _lines(about: Plain, path: str = "") -> list[str]:
    found: list[str] = []
    for name, value in about.items():
        found += _lines(value, f"{path}{name}.") if isinstance(value, dict) else [f"{path}{name} = {value}"]
    return found
