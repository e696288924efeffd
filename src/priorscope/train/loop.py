"""The training loop: batch, forward, loss, backward, update, yield.

It is a generator: whoever consumes it logs, times, saves, evaluates or stops. Every step is a pure function of the weights,
the optimiser's state and (seed, epoch, index): the batch comes from the loader's pure function, and the random numbers of
dropout are seeded again at each step. A run can therefore be stopped after any step and resumed, bit for bit the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from priorscope.core.epoch import Epoch
from priorscope.core.errors import WorkError
from priorscope.core.rng import seed_of
from priorscope.train.finetune import trains_body
from priorscope.train.optim import OptimConfig, Optimiser
from priorscope.train.sam import uphill
from priorscope.train.schedule import learning_rate

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.data.loader import Loader
    from priorscope.train.gradient import Gradient

VERSION = 1


@dataclass(frozen=True)
class Position:
    """How far a run has come: the next step to take is step `step` (0-based) of epoch `epoch` (0-based)."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Step:
    """One update that was made: the `number`-th of the run, from 0. `loss` stays on the device until somebody asks for it.

    `next` is where the run resumes; `ends` says whether a pass over the data ends here, or the run.
    """

    at: Position
    next: Position
    number: int
    loss: Tensor
    lr: float
    images: int
    ends: bool


def train(
    gradient: Gradient,
    loader: Loader,
    optimiser: Optimiser,
    optim: OptimConfig,
    seed: int,
    start: Position,
    *,
    history: Sequence[Epoch] = (),
) -> Iterator[Step]:
    """Trains the gradient's network from `start` to the last step, one yielded step at a time.

    `history` are the epochs so far, to which whoever consumes the steps adds.
    """
    import torch

    model, scaler, config = gradient.model, gradient.scaler, gradient.config
    total, per_epoch = config.total(len(loader)), len(loader)
    for epoch in range(start.epoch, -(-total // per_epoch)):
        first = start.step if epoch == start.epoch else 0
        indices = range(first, min(per_epoch, total - epoch * per_epoch))
        for index, batch in zip(indices, loader.epoch(epoch, start=first), strict=False):
            number, draws = epoch * per_epoch + index, seed_of(seed, "step", epoch, index)
            model.train(trains_body(config.finetune))
            lr = learning_rate(optim, number, total, per_epoch, history)
            for group in optimiser.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            loss = gradient(batch, draws, number / total)
            if optim.sam is not None:
                with uphill(model, optim.sam):
                    gradient(batch, draws, number / total)
            if optim.clip is not None:
                scaler.unscale_(optimiser)  # pyright: ignore[reportArgumentType]
                torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip)
            scaler.step(optimiser)  # pyright: ignore[reportArgumentType]
            scaler.update()
            optimiser.zero_grad(set_to_none=True)
            after = Position(epoch, index + 1) if index + 1 < per_epoch else Position(epoch + 1, 0)
            ends = after.step == 0 or number + 1 == total
            yield Step(Position(epoch, index), after, number, loss, lr, loader.batch_size, ends)


def check_finite(steps: Sequence[Step], loader: Loader, kept: Position | None, weights_finite: bool) -> None:
    """Stops a run that has diverged: with the step, the pictures it was taken on, and where the last good checkpoint stands.

    A loss may be finite while its gradient is not. Then the last step has ruined the weights, and a run resumed from them could
    only end the same way.
    """
    import torch

    if not steps:
        return
    finite = torch.stack([step.loss for step in steps]).isfinite().tolist()
    if not all(finite):
        bad = steps[finite.index(False)]
        what = f"The loss became {bad.loss.item()}"
    elif not weights_finite:
        bad, what = steps[-1], "The weights became nan or infinite"
    else:
        return
    first = bad.at.step * loader.batch_size
    pictures = loader.order(bad.at.epoch)[first : first + loader.batch_size].tolist()
    raise diverged(what, bad.at, kept, f", on the training pictures {pictures}")


class DivergedError(WorkError):
    """A run's numbers are no longer finite: the settings did it, not the machine."""


def diverged(what: str, at: Position, kept: Position | None, where: str = "") -> DivergedError:
    """The error of a run whose numbers are no longer finite."""
    good = f"before step {kept.step + 1} of epoch {kept.epoch + 1}" if kept else "nowhere: none was written yet"
    return DivergedError(
        f"{what} in epoch {at.epoch + 1}, step {at.step + 1}{where}. The last good checkpoint stands {good}.",
        "a finite loss",
        "a smaller learning rate or a longer warm-up: --set optim.lr=... --set optim.warmup=1",
    )
