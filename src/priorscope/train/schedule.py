"""The learning rate of every step: a pure function of the step, and under `plateau` of the epochs before it.

Resuming therefore needs no scheduler's state, and cannot be off by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from priorscope.core.config import Config, Number
from priorscope.core.epoch import Epoch
from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    from priorscope.train.optim import OptimConfig

Schedule = Literal["cosine", "constant", "linear", "wsd", "plateau"]

LENGTHLESS = ("constant", "wsd", "plateau")
"""Schedules whose rate at a step does not depend on how long the run is (wsd: before its fall): such a run can be extended."""


class PlateauConfig(Config):
    """When and how far the rate falls because val does not improve."""

    watch: Literal["loss", "accuracy"] = Field(default="loss", description="which number on val must get better")
    factor: Number = Field(default=0.1, gt=0, lt=1, description="what the rate is multiplied by")
    patience: int = Field(
        default=10, ge=0, description="how many epochs in a row may pass without gain; one more lowers the rate"
    )
    threshold: Number = Field(default=1e-4, ge=0, lt=1, description="the least gain that counts, as a share of the best so far")
    floor: Number = Field(default=0.0, ge=0, description="the rate never falls below this")


def learning_rate(config: OptimConfig, step: int, steps: int, steps_per_epoch: int, history: Sequence[Epoch] = ()) -> float:
    """The learning rate of one step (0-based) of a run of `steps`; `history` are the epochs before it.

    Warm-up rises linearly to `lr` at its last step. Then cosine and linear fall from `lr` to near 0 at the run's last step,
    never reaching 0 while there is still a step to take; wsd (warm-up, stable, decay) stays, and falls linearly at the end;
    plateau falls by a factor whenever val has got no better for long enough.
    """
    warm = warm_steps(config, steps, steps_per_epoch)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "plateau":
        return _lowered(config.lr, config.plateau or PlateauConfig(), [epoch for epoch in history if epoch.step > warm])
    progress = max(step - fall_begins(config, steps, steps_per_epoch), 0) / max(_falling(config, steps, warm), 1)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * (1 - progress)


def check_warmup(config: OptimConfig, steps: int, steps_per_epoch: int) -> None:
    """Refuses a warm-up that is longer than its run, which would end before it reaches the rate that is asked for."""
    if round(config.warmup * steps_per_epoch) > steps:
        epochs = steps / steps_per_epoch
        raise RequestError(
            f"optim.warmup = {config.warmup:g} epochs came with a run of {epochs:.3g}: it would never reach optim.lr.",
            "a warm-up within the run",
            f"--set optim.warmup={epochs / 20:.2g}, or a longer run",
        )


def warm_steps(config: OptimConfig, steps: int, steps_per_epoch: int) -> int:
    """How many steps warm-up takes."""
    return min(round(config.warmup * steps_per_epoch), steps)


def fall_begins(config: OptimConfig, steps: int, steps_per_epoch: int) -> int:
    """The first step of the fall at the end of a run; the number of steps if the rate does not fall with them."""
    if config.schedule in ("constant", "plateau"):
        return steps
    return steps - _falling(config, steps, warm_steps(config, steps, steps_per_epoch))


def _falling(config: OptimConfig, steps: int, warm: int) -> int:
    if config.schedule == "wsd":
        return min(round((0.2 if config.decay_share is None else config.decay_share) * steps), steps - warm)
    return steps - warm


def _lowered(rate: float, config: PlateauConfig, epochs: Sequence[Epoch]) -> float:
    """The rate after some epochs. Each fall starts the count again; the best so far stays."""
    best, without = -math.inf, 0
    for epoch in epochs:
        score = epoch.val.accuracy if config.watch == "accuracy" else -epoch.val.loss
        if score > best + config.threshold * abs(best) or best == -math.inf:
            best, without = score, 0
        else:
            without += 1
        if without > config.patience:
            rate, without = min(rate, max(rate * config.factor, config.floor)), 0
    return rate
