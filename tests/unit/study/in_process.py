"""An executor for tests: steps are carried out at once, in this process."""

from __future__ import annotations

from priorscope.study.executors import Ended, do_catching


class Here:
    """Carries out steps at once, in this process."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []
        self.order: list[str] = []

    def room(self, threads: int, alone: bool) -> bool:  # noqa: ARG002
        return not self.ended

    def start(self, id: str, work, threads: int, alone: bool) -> None:  # noqa: ARG002
        self.order.append(id)
        self.ended.append(Ended(id, 0.0, 0.0, do_catching(work, lambda _: None)))

    def news(self, seconds: float):  # noqa: ARG002
        found, self.ended = self.ended, []
        return iter(found)

    def stop(self) -> None:
        pass
