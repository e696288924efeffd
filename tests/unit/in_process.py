"""An executor for tests: steps are carried out at once, in this process."""

from __future__ import annotations

import os
from dataclasses import dataclass

from priorscope.core.errors import WorkError
from priorscope.study.executors import Ended, Resources, do_catching


class Here:
    """Carries out steps at once, in this process."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []
        self.order: list[str] = []

    def room(self, takes: Resources) -> bool:  # noqa: ARG002
        return not self.ended

    def start(self, id: str, work, takes: Resources) -> None:  # noqa: ARG002
        self.order.append(id)
        self.ended.append(Ended(id, 0.0, 0.0, do_catching(work, lambda _: None)))

    def news(self, seconds: float):  # noqa: ARG002
        found, self.ended = self.ended, []
        return iter(found)

    def stop(self) -> None:
        pass


@dataclass(frozen=True)
class SaysItsDevices:
    """A step that fails, and says which process it is in and which CUDA devices that sees."""

    def do(self, watch) -> None:  # noqa: ARG002
        raise WorkError(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}", "no more", "nothing")
