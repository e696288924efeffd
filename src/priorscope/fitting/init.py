"""The weights that a run begins with: none, those of a run or of a snapshot of one, a published file's, or timm's."""

from __future__ import annotations

from pathlib import Path

from priorscope.core import layout
from priorscope.core.environment import Environment, read_environment
from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home
from priorscope.data.stamp import weights_stamp
from priorscope.recipe import InitConfig, Recipe
from priorscope.run import Run, load
from priorscope.train.init import InitialWeights, Stored, Timm


def initial_weights(recipe: Recipe, init: Path | None) -> InitialWeights | None:
    """The weights that a recipe begins with; None if it begins at random.

    `init` is the folder of the run to begin with, which a study knows where the recipe names another of its recipes.
    """
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
    run = load(init) if init else init_run_of(recipe)
    if run is None:
        raise RequestError(
            f"The recipe begins with the recipe {recipe.init.recipe!r} of its study.", "its study", "priorscope study NAME"
        )
    network = run.environment.network
    return Stored(run.weights, network.num_classes, stamp=_stamp(recipe.init, init), names=network.classes)


def init_run_of(recipe: Recipe) -> Run | None:
    """The run, or its snapshot, that a recipe itself names to begin with."""
    if recipe.init.run is None:
        return None
    run = load(recipe.init.run)
    return run if recipe.init.step is None else run.at(step=recipe.init.step)


def init_changed(environment: Environment, init: InitConfig, run: Path | None = None) -> bool:
    """Whether what a finished run began with has changed: that run was trained again on other pictures, or the file is another.

    `run` is the folder of the run to begin with where a study names it by its recipe.
    """
    then, now = environment.began_with, _stamp(init, run)
    return then is not None and now is not None and then != now


def _stamp(init: InitConfig, run: Path | None) -> str | None:
    """What distinguishes the weights that a run begins with from others in their place; None if they are not at hand."""
    if init.kind == "published":
        return weights_stamp(str(init.published))
    folder = run or init.run
    if folder is None or not layout.is_finished(at_home(folder)):
        return None
    learnt = read_environment(at_home(folder)).data
    return learnt.fingerprint if learnt else None
