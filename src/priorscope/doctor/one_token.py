"""Attention to a single token: a softmax over one score is 1, whatever the score.

A study's Perceiver IO took the whole picture for one token. Its latents had nothing to choose from, the queries of its input
attention never got a gradient, and its 56, 47 and 12 % say little about Perceiver IO. A Swin stage on a map of one position
and a TNT with one pixel a patch are the same case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.recipe import Recipe

REPAIRS = {
    "perceiver_io": "--set model.tokens=patches",
    "tnt": "a pixel size below the patch size: model = 'tnt/p4-x2'",
    "swin": "fewer stages, a smaller patch, or larger images: --set model.input_size=64",
}


def look_at_side(recipe: Recipe, side: int) -> Iterator[Finding]:
    """What the family itself says has no effect at this size."""
    idle = recipe.model.idle_parameters(side)
    if getattr(recipe.model, "pixel", None) is not None and getattr(recipe.model, "pixel", 0) == getattr(
        recipe.model, "patch", 0
    ):
        idle = [f"layers.{i}.0 (queries and keys of pixel attention)" for i in range(getattr(recipe.model, "depth", 0))]
    if idle:
        more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
        yield Finding(
            check="one_token",
            severity="warning",
            saw=f"{recipe.model.name} at {side} pixels attends to a single token in places: {idle[0]}{more} get no gradient.",
            means="there attention is a constant; what the network reaches says little about attention",
            do=REPAIRS.get(recipe.model.family, "more tokens: a smaller patch, or larger images"),
        )
