"""Everything that a run's weights are a function of; its hash is the run's key."""

from __future__ import annotations

from priorscope.core.config import Plain
from priorscope.data import SOURCES
from priorscope.fitting.init import init_run_of
from priorscope.models import FAMILIES
from priorscope.recipe import Recipe
from priorscope.train import finetune, init, loop, optim


def inputs(recipe: Recipe, init_key: str | None) -> Plain:
    """The recipe, the key of the weights that it begins with, and the version of each part's numbers."""
    family, source = recipe.model.family, recipe.data.source.name
    run, finetuning = init_run_of(recipe), recipe.train.finetune
    return {
        "recipe": recipe.plain(),
        "init": init_key if run is None else run.key,
        "versions": {
            "training": loop.VERSION,
            "optimiser": optim.VERSION,
            "augmentation": recipe.data.augment.version,
            **({"beginning": init.VERSION} if recipe.init.kind in ("run", "recipe") else {}),
            **({"layers": finetune.VERSION} if finetuning and finetuning.mode == "layers" else {}),
            f"family {family}": FAMILIES.version(family),
            f"source {source}": SOURCES.version(source),
        },
    }
