"""The runs that a study asks for, a recipe or a cell of its grid with each of its seeds, and the trials that choose for it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from priorscope.core import layout
from priorscope.core.config import Plain, flat, is_number, is_table
from priorscope.core.errors import RequestError, unknown_name
from priorscope.recipe import Recipe, find_recipe, laid_over, read_recipe, shipped_recipes
from priorscope.study.study import Study
from priorscope.study.tune import Tune, changes, nested
from priorscope.train.config import TrainConfig


@dataclass(frozen=True)
class Cell:
    """One run of a study, or one trial of what is to be run."""

    run: str
    recipe_name: str
    recipe: Recipe
    arm: str = ""
    """What the run is a seed or a trial of: a recipe, or one cell of its grid."""
    init_seed: int = 0
    """The seed of the run that it begins with, where it begins with one."""

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.recipe.seed


@dataclass(frozen=True)
class RecipeArm:
    """What is compared: a recipe, or one cell of its grid, whatever the seed.

    `tried` are the settings of its trials, by dotted names; `like` is the arm whose choice it takes over.
    """

    name: str
    recipe_name: str
    settings: Plain
    seeds: tuple[int, ...]
    where: str
    tried: tuple[Plain, ...] = ()
    like: str | None = None

    @property
    def tuned_by(self) -> str | None:
        """The arm whose trials choose for this one."""
        return self.name if self.tried else self.like

    def runs(self, chosen: Plain) -> list[Cell]:
        """One run a seed, with what its trials chose laid over it."""
        values = laid_over(self.settings, nested(chosen))
        return [self._cell(layout.run_name(self.name, seed), {**values, "seed": seed}, seed) for seed in self.seeds]

    def trials(self, tune: Tune) -> list[Cell]:
        """One run a trial. It looks at val alone, and begins where the recipe's first seed does."""
        shared = laid_over(self.settings, {"train": {"track": []}})
        found: list[Cell] = []
        for number, settings in enumerate(self.tried, 1):
            values = laid_over(shared, nested(settings))
            if tune.epochs is not None and is_table(values["train"]):
                values = _shortened(values, tune.epochs)
            found.append(self._cell(layout.trial_name(self.name, number), {**values, "seed": tune.seed}, self.seeds[0]))
        return found

    def _cell(self, run: str, values: Plain, init_seed: int) -> Cell:
        if not re.fullmatch(r"[^/\\\0]{1,150}", run) or run.startswith("."):
            raise RequestError(
                f"{run!r} cannot name a folder.", "a recipe's name without slashes, not too long", "rename the recipe"
            )
        try:
            recipe = Recipe.of(values, where=self.where)
        except RequestError as error:  # of a model or a source in it: these do not know whose they are
            raise error if self.where in error.came else error.of(self.where) from None
        return Cell(run, self.recipe_name, recipe, self.name, init_seed)


def _shortened(values: Plain, epochs: int) -> Plain:
    """A recipe's settings for so many epochs; the warm-up is as large a part of them as of the whole."""
    train = values["train"]
    length = {name: value for name, value in train.items() if name not in ("steps", "flops", "keep")}
    whole = None if {"steps", "flops"} & train.keys() else train.get("epochs", TrainConfig().epochs)
    warmup = flat(values).get("optim.warmup")
    shorter = {**values, "train": {**length, "epochs": epochs}}
    if not whole or not is_number(warmup):
        return shorter
    return laid_over(shorter, {"optim": {"warmup": warmup * min(1.0, epochs / whole)}})


@dataclass(frozen=True)
class Cells:
    """Every run of a study, and every trial, in the order written: recipes, then grid cells, then seeds."""

    runs: tuple[Cell, ...]
    trials: Mapping[str, tuple[Cell, ...]] = field(default_factory=dict[str, tuple[Cell, ...]])
    """The trials of each arm that has some."""
    tuned_by: Mapping[str, str] = field(default_factory=dict[str, str])
    """The arm whose trials choose for a run's arm, where some do."""


def cells(study: Study) -> list[Cell]:
    """Every run of a study in the order written; what trials choose is taken from the first of them."""
    return list(all_cells(study, {}).runs)


def all_cells(study: Study, chosen: Mapping[str, int]) -> Cells:
    """Every run and trial of a study, with the trial that each arm chose laid over its runs; where none is yet, the first."""
    arms = [arm for name in study.recipes for arm in _arms_of(study, name)]
    tried = {arm.name: arm.tried for arm in arms if arm.tried}
    _check_alike(study, arms, tried)
    picks = {name: trials[chosen.get(name, 0)] for name, trials in tried.items()}
    runs = [cell for arm in arms for cell in arm.runs(picks[arm.tuned_by] if arm.tuned_by else {})]
    trials = {arm.name: tuple(arm.trials(study.tune)) for arm in arms if arm.tried and study.tune}
    _check_names(study, [*runs, *(cell for of_arm in trials.values() for cell in of_arm)])
    return Cells(tuple(runs), trials, {arm.name: arm.tuned_by for arm in arms if arm.tuned_by})


def _check_names(study: Study, found: Sequence[Cell]) -> None:
    names = [cell.run for cell in found]
    for cell in found:
        wanted = cell.recipe.init.recipe
        if wanted is not None and wanted not in study.recipes:
            raise unknown_name("recipe of this study", wanted, study.recipes)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(
            f"Two runs of {study.name} are called {twice!r}.", "a name of its own for every run", "rename one of the recipes"
        )


def _check_alike(study: Study, arms: Sequence[RecipeArm], tried: Mapping[str, tuple[Plain, ...]]) -> None:
    """Refuses unequal budgets, trials that use a compared seed, and `tune = "NAME"` where NAME has no trials."""
    counts = {name: len(trials) for name, trials in tried.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise RequestError(
            f"The recipes of {study.name} have unequal numbers of trials: {said}.", "as many for each", "trials = 8"
        )
    for arm in arms:
        if arm.like is not None and arm.like not in tried:
            raise unknown_name("recipe with trials of this study", arm.like, tried)
        if study.tune is not None and arm.tuned_by and study.tune.seed in arm.seeds:
            raise RequestError(
                f"The trials of {study.name} have the seed {study.tune.seed}, which {arm.name} is compared with.",
                "a seed of their own, so that no run that was chosen is compared",
                "[tune] seed = 1000",
            )


def _arms_of(study: Study, name: str) -> Iterator[RecipeArm]:
    """A recipe, or each cell of its grid, with what its trials try."""
    entry, where = study.recipes[name], f"recipe {name!r} of {study.name}"
    if entry.tune is not None and study.tune is None:
        raise RequestError(f"The {where} says how it is tuned, and the study has no [tune].", "a number of trials", "[tune]")
    _check_grid(entry.grid, study.over, where)
    like = entry.tune.like if entry.tune else None
    tried: list[Plain] = []
    if study.tune is not None and like is None and not (entry.tune and entry.tune.off):
        over = study.tune.ranges(entry.tune)
        axes = entry.grid.items()
        both = next((k for k in over for axis, values in axes if changes(axis, values, k) or changes(k, over[k], axis)), None)
        if both is not None:
            raise RequestError(
                f"{both!r} stands in the grid and in the trials of {where}.", "one of them", "remove it from one"
            )
        tried = study.tune.tried(over, where)
    for label, settings in _grid(entry.grid):
        values = laid_over(laid_over(_settings(study, name, ()), settings), study.over)
        if tried and flat(values).get("train.epochs") == 0:
            raise RequestError(
                f"The {where} trains nothing (train.epochs = 0), so that no trial of it is better than another.",
                "a recipe that is trained, or no trials of it",
                "tune = false",
            )
        yield RecipeArm(f"{name}{label}", name, values, entry.seeds or study.seeds, where, tuple(tried), like)


def _check_grid(grid: Mapping[str, tuple[Any, ...]], over: Plain, where: str) -> None:
    """Refuses axes along which nothing would change: of no value, of seeds, and of what is laid over every recipe."""
    empty = next((axis for axis, values in grid.items() if not values), None)
    if empty is not None:
        raise RequestError(f"The axis {empty!r} in the grid of {where} has no value.", "one or more", f"remove {empty!r}")
    if "seed" in grid:
        raise RequestError(f"The grid of {where} has an axis of seeds.", "seeds of the recipe", f"seeds = {[*grid['seed']]}")
    both = next((key for key in flat(over) for axis, values in grid.items() if changes(axis, values, key)), None)
    if both is not None:
        raise RequestError(
            f"{both!r} stands in the grid of {where}, and is laid over every recipe by `over`.",
            "one of them: all cells would be alike",
            "remove it from one, or give the recipe another grid",
        )


def _settings(study: Study, name: str, seen: tuple[str, ...]) -> Plain:
    """A recipe's settings laid over those that it extends, down to the base; a shipped recipe lies on the base.

    One that extends its own name extends the shipped recipe of that name.
    """
    own = seen[-1:] == (name,) and name in shipped_recipes()
    if own or name not in study.recipes:
        if name not in shipped_recipes():
            known = (*study.recipes, *shipped_recipes())
            raise unknown_name("recipe of this study, or a shipped one", name, known)
        return laid_over(study.base, read_recipe(find_recipe(name)))
    if name in seen:
        raise RequestError(
            f"The recipe {name!r} extends itself: {' -> '.join((*seen, name))}.", "a chain that ends", "extend another recipe"
        )
    entry = study.recipes[name]
    below = study.base if entry.extends is None else _settings(study, entry.extends, (*seen, name))
    return laid_over(below, entry.settings())


def _grid(grid: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, Plain]]:
    """Every combination of a grid's values: what it is called and what it sets."""
    for values in itertools.product(*grid.values()):
        named = zip(grid, values, strict=True)
        label = "".join(f"-{key.rpartition('.')[2]}={_called(value)}" for key, value in named).replace("/", "_")
        yield label, nested(dict(zip(grid, values, strict=True)))


def _called(value: Any) -> str:
    """What a value is called in a run's name: itself; a table by its own name, or by its settings."""
    if is_table(value):
        rest = [f"{key}={_called(value[key])}" for key in value if key != "name"]
        return ",".join([str(value["name"]), *rest] if "name" in value else rest)
    if isinstance(value, list | tuple):
        return "+".join(_called(one) for one in value)
    return str(value)
