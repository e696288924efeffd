"""The training loop: batch, forward, loss, backward, update, yield.

It is a generator: whoever consumes it logs, times, saves, evaluates or stops. Every step is a pure function of the weights,
the optimiser's state and (seed, epoch, index): the batch comes from the loader's pure function, and the random numbers of
dropout are seeded anew at each step. A run can therefore be stopped after any step and go on bit for bit the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from pydantic import Field, model_validator

from priorscope.core.config import Config, Number
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.rng import seed_of
from priorscope.train.finetune import FinetuneConfig, trains_body
from priorscope.train.optim import OptimConfig, Optimiser, learning_rate
from priorscope.train.sam import uphill

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.amp.grad_scaler import GradScaler

    from priorscope.data.loader import Batch, Loader
    from priorscope.models.classifier import Classifier

VERSION = 1

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class TrainConfig(Config):
    """How long and in what steps a run trains, and what is looked at on the way."""

    epochs: int = Field(default=10, ge=0, description="0 for a published network that is taken as it is, and beside steps")
    steps: int | None = Field(default=None, ge=1, description="how many updates, in place of epochs")
    patience: int | None = Field(
        default=None, ge=1, description="stop after this many epochs in which val was no better than before"
    )
    batch_size: int = Field(default=128, ge=1)
    accumulate: int | None = Field(
        default=None,
        ge=2,
        description="in how many parts a batch goes through the network where memory is short: one update, the same"
        " gradient, but batch statistics are those of a part",
    )
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
    ema: Number | None = Field(
        default=None, gt=0, lt=1, description="decay of a moving average of the weights, which is evaluated and kept"
    )
    finetune: FinetuneConfig | None = Field(
        default=None, description="what learns at which rate; not set, or full: all, at the same"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, Any]", values)
        if given.get("finetune") == {"mode": "full"}:  # what a recipe without the table does: one spelling, one key
            given = {name: value for name, value in given.items() if name != "finetune"}
        return {"epochs": 0, **given} if given.get("steps") is not None else given

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.steps is not None and self.epochs:
            raise RequestError(
                f"train.epochs = {self.epochs} came with train.steps = {self.steps}.",
                "one of them",
                "train.epochs = 0 beside train.steps, or remove train.steps",
            )
        if self.accumulate is not None and self.accumulate > self.batch_size:
            raise RequestError(
                f"A batch of {self.batch_size} cannot go through in {self.accumulate} parts.",
                f"at most {self.batch_size} parts",
                "a smaller train.accumulate",
            )
        return self

    def total(self, steps_per_epoch: int) -> int:
        """How many updates the run makes."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps


@dataclass(frozen=True)
class Position:
    """How far a run has come: the next step to take is step `step` (0-based) of epoch `epoch` (0-based)."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Step:
    """One update that was made: the `number`-th of the run, from 0. `loss` stays on the device until somebody asks for it.

    `next` is where the run goes on; `ends` says that a pass over the data ends here, or the run.
    """

    at: Position
    next: Position
    number: int
    loss: Tensor
    lr: float
    images: int
    ends: bool


def train(
    model: Classifier,
    loader: Loader,
    optimiser: Optimiser,
    scaler: GradScaler,
    config: TrainConfig,
    optim: OptimConfig,
    seed: int,
    start: Position,
) -> Iterator[Step]:
    """Trains from `start` to the last step, one yielded step at a time."""
    import torch

    total, per_epoch = config.total(len(loader)), len(loader)
    for epoch in range(start.epoch, -(-total // per_epoch)):
        first = start.step if epoch == start.epoch else 0
        indices = range(first, min(per_epoch, total - epoch * per_epoch))
        for index, batch in zip(indices, loader.epoch(epoch, start=first), strict=False):
            number, draws = epoch * per_epoch + index, seed_of(seed, "step", epoch, index)
            model.train(trains_body(config.finetune))
            lr = learning_rate(optim, number, total, per_epoch)
            for group in optimiser.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            loss = put_gradient(model, batch, config, scaler, draws)
            if optim.sam is not None:
                with uphill(model, optim.sam):
                    put_gradient(model, batch, config, scaler, draws)
            if optim.clip is not None:
                scaler.unscale_(optimiser)  # pyright: ignore[reportArgumentType]
                torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip)
            scaler.step(optimiser)  # pyright: ignore[reportArgumentType]
            scaler.update()
            optimiser.zero_grad(set_to_none=True)
            after = Position(epoch, index + 1) if index + 1 < per_epoch else Position(epoch + 1, 0)
            ends = after.step == 0 or number + 1 == total
            yield Step(Position(epoch, index), after, number, loss, lr, len(batch.labels), ends)


def put_gradient(model: Classifier, batch: Batch, config: TrainConfig, scaler: GradScaler, draws: int) -> Tensor:
    """Leaves the gradient of the batch's mean loss in the parameters, part by part where it is accumulated, and gives the loss.

    The same `draws` give the same dropout.
    """
    import torch

    torch.manual_seed(draws)
    device = batch.images.device
    dtype = compute_dtype(config.precision, device)
    mean = torch.zeros((), device=device)
    for images, wanted in _parts(batch, config.accumulate or 1):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(images)
        loss = batch_loss(logits, wanted, config.label_smoothing) * (len(images) / len(batch.images))
        scaler.scale(loss).backward()
        mean = mean + loss.detach()
    return mean


def _parts(batch: Batch, parts: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures with what is wanted of them: labels, or soft targets where the batch was mixed."""
    wanted = batch.labels if batch.targets is None else batch.targets
    return zip(batch.images.chunk(parts), wanted.chunk(parts), strict=True)


def batch_loss(logits: Tensor, wanted: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy in float32, against labels or soft targets."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), wanted, label_smoothing=label_smoothing)


def make_scaler(precision: Precision, device: torch.device) -> GradScaler:
    """Holds gradients within float16's range; at any other precision it does nothing."""
    import torch

    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that matrix products are computed in."""
    import torch

    if precision == "fp16":
        return torch.float16
    if precision == "fp32" or (precision == "auto" and not has_fast_bf16(device)):
        return torch.float32
    return torch.bfloat16


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 there: by hardware, not by emulation."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())  # pyright: ignore[reportPrivateUsage]


def check_finite(steps: Sequence[Step], loader: Loader, kept: Position | None) -> None:
    """Stops a run that has diverged: with the step, the pictures it was taken on, and where the last good checkpoint stands."""
    import torch

    finite = torch.stack([step.loss for step in steps]).isfinite().tolist() if steps else []
    if all(finite):
        return
    bad = steps[finite.index(False)]
    first = bad.at.step * loader.batch_size
    pictures = loader.order(bad.at.epoch)[first : first + loader.batch_size].tolist()
    raise diverged(f"The loss became {bad.loss.item()}", bad.at, kept, f", on the training pictures {pictures}")


def diverged(what: str, at: Position, kept: Position | None, where: str = "") -> WorkError:
    """The error of a run whose numbers are finite no longer."""
    good = f"before step {kept.step + 1} of epoch {kept.epoch + 1}" if kept else "nowhere: none was written yet"
    return WorkError(
        f"{what} in epoch {at.epoch + 1}, step {at.step + 1}{where}. The last good checkpoint stands {good}.",
        "a finite loss",
        "a smaller learning rate or a longer warm-up: --set optim.lr=... --set optim.warmup=1",
    )
