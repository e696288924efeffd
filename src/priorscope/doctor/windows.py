"""Windows that never shift: a Swin transformer whose windows cover the whole map is a plain transformer on shrinking maps.

A study's Swin for CIFAR-10 had windows of 8 on maps of 8, 4, 2 and 1: no window of it ever shifted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.recipe import Recipe


def look_at_side(recipe: Recipe, side: int) -> Iterator[Finding]:
    """Every stage's window is as large as its map."""
    from priorscope.models.swin import SwinConfig, windows

    if not isinstance(recipe.model, SwinConfig):
        return
    stages = windows(recipe.model, side)
    if not any(stage.shift for stage in stages):
        told = ", ".join(f"{stage.window} on a map of {stage.map}" for stage in stages)
        yield Finding(
            check="windows",
            severity="warning",
            saw=f"{recipe.model.name} at {side} pixels has windows of {told}: none of them shifts.",
            means="what gives Swin its name is absent; what the network reaches says little about shifted windows",
            do="smaller windows or patches: --set model.name=swin/shifted, or --set model.window=4 --set model.patch=2",
        )
