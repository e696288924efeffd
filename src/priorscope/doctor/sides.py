"""The side of a recipe's pictures, where it can be known without opening any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from priorscope.recipe import Recipe

PUBLISHED = {"cifar10": 32, "cifar100": 32, "shapetex": 32, "stl10": 96, "tiny_imagenet": 64}


def picture_side(recipe: Recipe) -> int | None:
    """What a classifier receives: set by the augmentation, else the source's own; None where only its pictures tell."""
    source = recipe.data.source
    return recipe.data.augment.size or getattr(source, "res", None) or PUBLISHED.get(source.name)


def side_of(recipe: Recipe) -> int | None:
    """What the backbone sees, after the resize inside the model."""
    return recipe.model.input_size or picture_side(recipe)
