"""What a run begins with: nothing, an earlier run or a snapshot of one, a published file, or weights of timm's."""

from __future__ import annotations

from pathlib import Path

from priorscope.core import layout
from priorscope.core.environment import Environment, read_environment
from priorscope.core.errors import RequestError
from priorscope.data.stamp import weights_stamp
from priorscope.recipe import InitConfig, Recipe
from priorscope.run import Run, load
from priorscope.train.start import Start, Stored, Timm


def start_of(recipe: Recipe, init: Path | None) -> Start | None:
    """The weights that a recipe begins with; None where it begins at random."""
    if recipe.init.kind == "scratch":
        return None
    if recipe.init.kind == "timm":
        return Timm(str(recipe.init.timm))
    if recipe.init.kind == "published":
        from priorscope.models.published import read_published, weights_file

        path = weights_file(str(recipe.init.published))
        published = read_published(path)
        statistics = None if recipe.train.trains else published.statistics
        return Stored(path, published.num_classes, statistics, _stamp(recipe.init, init))
    earlier = load(init) if init else branched_from(recipe)
    if earlier is None:
        raise RequestError(
            f"The recipe begins with the recipe {recipe.init.recipe!r} of its study.", "its study", "priorscope study NAME"
        )
    made = earlier.environment.network
    return Stored(earlier.weights, made.num_classes, stamp=_stamp(recipe.init, init), names=made.classes)


def branched_from(recipe: Recipe) -> Run | None:
    """The run, or its snapshot, that a recipe names to begin with."""
    if recipe.init.run is None:
        return None
    run = load(recipe.init.run)
    return run if recipe.init.step is None else run.at(step=recipe.init.step)


def beginning_changed(environment: Environment, init: InitConfig, before: Path | None = None) -> bool:
    """Whether what a finished run began with is another now: an earlier run trained anew on other pictures, or another file.

    `before` is the earlier run where a study names it by its recipe.
    """
    then, now = environment.began_with, _stamp(init, before)
    return then is not None and now is not None and then != now


def _stamp(init: InitConfig, before: Path | None) -> str | None:
    """What tells the weights that a run begins with from others in their place; None where they are not at hand."""
    if init.kind == "published":
        return weights_stamp(str(init.published))
    place = before or init.run
    if place is None or not Path(place, layout.ENVIRONMENT).exists():
        return None
    learnt = read_environment(Path(place)).data
    return learnt.fingerprint if learnt else None
