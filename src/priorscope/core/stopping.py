"""Stopping in good order: SIGTERM and SIGINT end long work after the step at hand, with everything saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from priorscope.core.errors import WorkError

SIGNALS = (signal.SIGTERM, signal.SIGINT)

AGAIN = "the same command again (train: with --resume)"
"""What resumes a run, whichever verb began it: `train` resumes only when given `--resume`."""


class Stopped(WorkError):  # noqa: N818  to have been asked is not an error
    """Work that was asked to stop, and has; the exit status is 128 + the signal's number, as shells expect."""

    def __init__(self, number: int, where: str, do: str) -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name}; {where}.", "to run to its end", do)
        self.exit_status = 128 + number


class Stopping:
    """Whether somebody has asked to stop: `number` is the signal's, or None."""

    number: int | None = None

    def ask(self, number: int, _frame: FrameType | None = None) -> None:
        """Notes a signal. A second one of the same kind is not held back."""
        self.number = number
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Notes SIGTERM and SIGINT inside the block.

    Outside the main thread Python allows no handlers, and nothing is noted. Nor is a signal that is ignored: a worker leaves
    Ctrl-C to the process that started it.
    """
    asked = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, asked.ask) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
