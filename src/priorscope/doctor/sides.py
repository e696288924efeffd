"""The side of a recipe's pictures: read from them, or known without opening any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from priorscope.core.errors import RequestError
from priorscope.data import known_side

if TYPE_CHECKING:
    from priorscope.data.split import Split
    from priorscope.recipe import Recipe


def picture_side(recipe: Recipe, train: Split | None = None) -> int:
    """What a classifier receives: set by the augmentation, else the pictures' own; refused where nothing tells it."""
    source, side = recipe.data.source, recipe.data.augment.size
    if side is None:
        side = train.image_size if train else known_side(source)
    if side is None:
        raise RequestError(
            f"Only the pictures of {source.name} say how large they are, and they cannot be opened here.",
            "pictures on this machine",
            f"priorscope data info {source.name}",
        )
    return side
