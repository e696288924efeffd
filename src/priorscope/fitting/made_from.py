"""Everything that a run's weights are a function of; its hash is the run's key."""

from __future__ import annotations

from types import ModuleType

from priorscope.core.config import Plain
from priorscope.data import SOURCES
from priorscope.fitting.beginning import branched_from
from priorscope.models import FAMILIES
from priorscope.recipe import Recipe
from priorscope.train import finetune, loop, optim, start


def inputs(recipe: Recipe, init_key: str | None) -> Plain:
    """Everything that a run's weights are a function of.

    The recipe, what it begins with, and the version of each part's numbers.
    """
    family, source = FAMILIES.load(recipe.model.family), SOURCES.load(recipe.data.source.name)
    begins_with, finetuning = branched_from(recipe), recipe.train.finetune
    return {
        "recipe": recipe.plain(),
        "init": init_key if begins_with is None else begins_with.key,
        "versions": {
            "training": loop.VERSION,
            "optimiser": optim.VERSION,
            "augmentation": recipe.data.augment.version,
            **({"beginning": start.VERSION} if recipe.init.kind in ("run", "recipe") else {}),
            **({"layers": finetune.VERSION} if finetuning and finetuning.mode == "layers" else {}),
            f"family {recipe.model.family}": _version(family),
            f"source {recipe.data.source.name}": _version(source),
        },
    }


def _version(part: ModuleType) -> int:
    """The version of a part's numbers; 1 where they never changed."""
    return int(getattr(part, "VERSION", 1))
