"""What a run says of an epoch: one line of `steps.jsonl`.

Every tracked split has its score in the line under its own name. Whatever else a later version added is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator

from priorscope.core import folder, layout
from priorscope.core.config import Config, Plain, is_table
from priorscope.core.errors import PriorscopeError, WorkError


@dataclass(frozen=True)
class Score:
    """How a network did on a split: mean cross-entropy, the share that was right, of how many images."""

    loss: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Robust:
    """What adversarial training left of val: the share of `n` moved images that is right after one step and after ten."""

    eps: float
    n: int
    fgsm: float
    pgd: float
    overfitted: bool


@dataclass(frozen=True)
class Speed:
    """How fast a run was since its last line; `joules` is the energy of all of it so far, where the machine counts it."""

    img_per_s: float
    data_wait_share: float
    gemm_share: float
    joules: float | None = None


class Epoch(Config):
    """An epoch of a run. What is counted (step, images, flops, macs, seconds) is counted from the run's beginning."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Score] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    epoch: int
    step: int
    lr: float
    """The learning rate of its last step."""
    train_loss: float
    val: Score
    images: int
    flops: int
    macs: int
    measured: Speed
    seconds: float
    robust: Robust | None = None
    parts: int | None = None
    """Into how many parts a batch was split, where the recipe does not say it."""

    @property
    def scores(self) -> Mapping[str, Score]:
        """The score on every tracked split, by its name."""
        return {**self.__pydantic_extra__, "val": self.val}

    @model_validator(mode="before")
    @classmethod
    def _known(cls, line: Any) -> Any:
        """The line without what this version does not know: what is neither a field nor a score."""
        if not is_table(line):
            return line
        return {name: value for name, value in line.items() if name in cls.model_fields or _is_score(value)}


def _is_score(value: object) -> bool:
    return isinstance(value, Score) or (is_table(value) and value.keys() >= Score.__annotations__.keys())


def read_history(run: Path) -> list[Epoch]:
    """The epochs that a run's folder tells of."""
    path = run / layout.STEPS
    return [_epoch(line, path, number) for number, line in enumerate(folder.read_rows(path), 1)]


def write_history(run: Path, history: Iterable[Epoch]) -> None:
    """Writes the epochs so far into a run's folder, all of them at once."""
    folder.write_rows(run / layout.STEPS, [epoch.plain() for epoch in history])


def _epoch(line: Plain, path: Path, number: int) -> Epoch:
    try:
        return Epoch.parse(line)
    except PriorscopeError as error:
        came = f"{path} is damaged: line {number} is not an epoch of a run. {error.came}"
        do = "put a whole copy of it back, or train in another folder"
        raise WorkError(came, "the log as the run wrote it", do) from None
