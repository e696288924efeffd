"""Which images are attacked and how: the settings that probes which attack have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from priorscope.attacks import Attack, LossName, Norm, Start, attacks_of
from priorscope.core.config import Number
from priorscope.probes import ProbeConfig


class AttackingConfig(ProbeConfig):
    """Which images, and which attack with which of its settings."""

    split: str = Field(default="test", description="whose images are attacked")
    images: int | None = Field(default=200, ge=1, description="how many, class-balanced; all where there are no more")
    attack: str = Field(default="quick", description="the name of an attack or of an ensemble")
    norm: Norm = Field(default="linf", description="in which norm budgets are measured: linf or l2")
    eps: Annotated[Number, Field(gt=0)] | None = Field(default=None, description="the budget; not set: 8/255 (l2: 0.5)")
    steps: int | None = Field(default=None, ge=1, description="of a single attack: how many; not set: its own")
    step: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="of FGSM, BIM, PGD and MI-FGSM: the size of a step as a share of the budget; not set: its own"
    )
    momentum: Annotated[Number, Field(ge=0)] | None = Field(
        default=None,
        description="of the same: how much of the sum of gradients each step keeps (MI-FGSM's decay, 1); not set: its own",
    )
    start: Start | None = Field(
        default=None,
        description="of a single attack with gradients: none, at the picture itself, or random; not set: its own",
    )
    restarts: int | None = Field(
        default=None, ge=1, description="of a single attack that begins at random: how often it is begun; not set: its own"
    )
    loss: LossName | None = Field(
        default=None, description="of a single attack: cross-entropy, margin, dlr or targeted-dlr; not set: its own"
    )

    def attacks(self, classes: int) -> tuple[Attack, ...]:
        """The attacks to run on a network of that many classes."""
        changes = self.model_dump(include={"steps", "step", "momentum", "start", "restarts", "loss"}, exclude_none=True)
        return attacks_of(self.attack, classes, **changes)
