"""The training loop: batch, forward, loss, backward, update, yield.

It is a generator: whoever consumes it logs, times, saves, evaluates or stops. Every step is a pure function of the weights,
the optimiser's state and (seed, epoch, index): the batch comes from the loader's pure function, and the random numbers of
dropout are seeded anew at each step. A run can therefore be stopped after any step and go on bit for bit the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from priorscope.core.config import Config, Number
from priorscope.core.errors import WorkError
from priorscope.core.rng import seed_of
from priorscope.train.optim import OptimConfig, learning_rate

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.optim import Optimizer

    from priorscope.data.loader import Batch, Loader
    from priorscope.models.classifier import Classifier

VERSION = 1

Precision = Literal["auto", "fp32", "bf16"]


class TrainConfig(Config):
    """How long and in what steps a run trains, and what is looked at on the way."""

    epochs: int = Field(default=10, ge=0, description="0 for a published network that is taken as it is")
    batch_size: int = Field(default=128, ge=1)
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    precision: Precision = Field(
        default="auto", description="auto: bf16 where the processor multiplies it in hardware, else fp32"
    )
    threads: int = Field(
        default=1, ge=1, description="processor threads of this run, on any machine: part of what makes it repeatable"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    track: tuple[str, ...] = Field(
        default=("train", "val"), description="splits to evaluate after each epoch; none of them but val chooses anything"
    )
    track_images: int = Field(default=1000, ge=1, description="how many images of each tracked split (val always whole)")
    choose: Literal["best", "last"] = Field(
        default="best", description="which epoch's weights are kept: the best on val, or the last"
    )


@dataclass(frozen=True)
class Position:
    """How far a run has come: the next step to take is step `step` (0-based) of epoch `epoch` (0-based)."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Step:
    """One update that was made. `loss` stays on the device until somebody asks for it."""

    at: Position
    loss: Tensor
    lr: float
    images: int
    last_of_epoch: bool


def train(
    model: Classifier, loader: Loader, optimiser: Optimizer, config: TrainConfig, optim: OptimConfig, seed: int, start: Position
) -> Iterator[Step]:
    """Trains from `start` to the last epoch, one yielded step at a time."""
    import torch

    device = next(model.parameters()).device
    dtype = compute_dtype(config.precision, device)
    steps = config.epochs * len(loader)
    for epoch in range(start.epoch, config.epochs):
        first = start.step if epoch == start.epoch else 0
        for index, batch in enumerate(loader.epoch(epoch, start=first), start=first):
            model.train()
            torch.manual_seed(seed_of(seed, "step", epoch, index))
            lr = learning_rate(optim, epoch * len(loader) + index, steps, len(loader))
            for group in optimiser.param_groups:
                group["lr"] = lr
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(batch.images)
            loss = batch_loss(logits, batch, config.label_smoothing)
            loss.backward()
            if optim.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            yield Step(Position(epoch, index), loss.detach(), lr, len(batch.labels), index + 1 == len(loader))


def batch_loss(logits: Tensor, batch: Batch, label_smoothing: float) -> Tensor:
    """Mean cross-entropy in float32, against soft targets where the batch was mixed."""
    from torch.nn import functional as F

    wanted = batch.labels if batch.targets is None else batch.targets
    return F.cross_entropy(logits.float(), wanted, label_smoothing=label_smoothing)


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that matrix products are computed in."""
    import torch

    if precision == "fp32" or (precision == "auto" and not has_fast_bf16(device)):
        return torch.float32
    return torch.bfloat16


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 there: by hardware, not by emulation."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())  # pyright: ignore[reportPrivateUsage]


def check_finite(loss: float, at: Position) -> None:
    """Stops a run that has diverged, and says where."""
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise WorkError(
            f"The loss became {loss} in epoch {at.epoch + 1}, at or before step {at.step + 1}.",
            "a finite loss",
            "a smaller learning rate or a longer warm-up: --set optim.lr=... --set optim.warmup=1",
        )
