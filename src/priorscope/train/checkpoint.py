"""Where a killed run resumes: everything with a state, the position and the history in one file, written atomically.

The file holds tensors and plain values alone, so it is read with `weights_only=True`: loading a file must not run it. No
random state is needed, because every step draws its random numbers from (seed, epoch, step).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from priorscope.core.epoch import Epoch
from priorscope.core.errors import WorkError, first_line
from priorscope.core.folder import replacing
from priorscope.core.machine import ran_out
from priorscope.core.stopping import AGAIN
from priorscope.train.distributed import ALONE, Ranks
from priorscope.train.loop import Position, Step
from priorscope.train.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor


class Stateful(Protocol):
    """What changes in training beside the `RunState`: the model, the optimiser, an average of the weights, a scaler."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


@dataclass
class RunState:
    """What a run has done so far, beside its weights: enough to resume it, to choose an epoch and to say how it went.

    `data` is the fingerprint of what it is trained on, `files` the stamp of its files when the run began; `precision`,
    `in_parts` and `compiled` are how its steps came to be made.
    """

    key: str
    position: Position = field(default_factory=Position)
    loss_sum: Tensor | float = 0.0
    images: int = 0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list[Epoch])
    best_epoch: int = 0
    best_score: tuple[float, float] | None = None
    best_weights: dict[str, Tensor] | None = None
    data: str | None = None
    files: str | None = None
    precision: Precision | None = None
    in_parts: int | None = None
    compiled: bool | None = None
    joules: float | None = None

    def count(self, step: Step) -> None:
        """Counts one step; the sum stays on the device in float64, so that interruptions do not change it."""
        loss = step.loss.cpu() if step.loss.device.type == "mps" else step.loss  # which has no float64
        self.loss_sum = self.loss_sum + loss.double() * step.images
        self.images += step.images
        self.position = step.next

    def steps(self, per_epoch: int) -> int:
        """How many updates have been made."""
        return self.position.epoch * per_epoch + self.position.step

    def mean_loss(self) -> float:
        """The mean training loss of the epoch at hand."""
        return float(self.loss_sum) / max(self.images, 1)

    def end_epoch(self, epoch: Epoch, weights: Callable[[], dict[str, Tensor]] | None) -> None:
        """Adds an epoch.

        If `weights` are given, keeps those of an epoch that val finds right more often, or as often at a lower loss.
        """
        self.history.append(epoch)
        self.loss_sum, self.images = 0.0, 0
        if weights is None:
            return
        score = _score(epoch)
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_epoch = score, epoch.epoch
            self.best_weights = weights()

    def epochs_without_gain(self) -> int:
        """How many epochs ago val was best: a function of the history alone, so that a resumed run stops at the same epoch."""
        scores = [_score(epoch) for epoch in self.history]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def _score(epoch: Epoch) -> tuple[float, float]:
    """What epochs are compared by: the share of val that is right, then minus its loss.

    If the network learns from moved pictures, it is the share of moved ones that is right.
    """
    return epoch.robust.pgd if epoch.robust else epoch.val.accuracy, -epoch.val.loss


def save(path: Path, state: RunState, parts: Mapping[str, dict[str, Any]]) -> None:
    """Writes a checkpoint; a process killed in the middle leaves the old one in place."""
    import torch

    at, history = state.position, [epoch.plain() for epoch in state.history]
    content = {**vars(state), "position": (at.epoch, at.step), "history": history, "parts": dict(parts)}
    with replacing(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            hidden = error.__context__  # torch covers a full disk with the end of its archive, which is not there
            if isinstance(hidden, OSError):
                raise hidden from None
            raise


def load(path: Path, key: str, parts: Mapping[str, Stateful], ranks: Ranks = ALONE) -> RunState:
    """Puts the parts of a checkpoint in place and returns how far the run was.

    A fresh state if there is no checkpoint, or one of another recipe. It is read into the processor's memory: its device may
    not be here, and every rank would fill that of the first. Ranks that read different files are refused.
    """
    with _naming_damage(path):
        content = _read(path, key)
        position = Position() if content is None else Position(*content["position"])
    ranks.check_one_folder(path.parent, position.epoch, position.step)  # before sharded parts, which ranks load together
    if content is None:
        return RunState(key)
    with _naming_damage(path):
        states = content.pop("parts")
        for name, part in parts.items():
            part.load_state_dict(states[name])
        content["position"], content["history"] = position, [Epoch.parse(line) for line in content["history"]]
        return RunState(**content)


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """What a checkpoint holds; None if there is none, or one of another recipe."""
    import torch

    if not path.exists():
        return None
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content if content["key"] == key else None


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Says in our words that a checkpoint cannot be read, or is damaged."""
    try:
        yield
    except Exception as error:  # torch reports a damaged file in a dozen ways; each means the same here
        if isinstance(error, OSError) or ran_out(error):
            raise WorkError(
                f"The checkpoint {path} cannot be read now: {first_line(error)}.",
                "a file that may be read, and memory for it",
                f"make room, then {AGAIN}",
            ) from error
        raise WorkError(
            f"The checkpoint {path} is damaged: {first_line(error)}.",
            "a checkpoint as it was written",
            f"delete {path.name} to train this run from its beginning, then {AGAIN}",
        ) from error
