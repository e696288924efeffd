"""A study as it is written: recipes laid over a base, grids over recipes, seeds over grids, and what is to be looked at.

A study is TOML. `base` is what all recipes share; a recipe is laid over it, or over another recipe that it `extends`; a
`grid` makes one cell for every combination of its values; every cell is run once a seed. Probes look at every finished run,
or at those of the recipes named, on the runs' own data or on the `data` named.

    question = "Does an MLP lean on texture where a CNN leans on shape?"
    seeds = [0, 1, 2]

    [base.data]
    source = "shapetex"

    [recipes.mlp]
    model = "mlp/tiny"

    [recipes.cnn]
    model = "cnn/tiny"
    grid = {"optim.lr" = [0.001, 0.003]}

    [[probes]]
    name = "accuracy"

    [budgets.smoke]
    seeds = [0]
    base = {train = {epochs = 1}}

`--budget smoke` lays that over the study: the same question, asked with less.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import BeforeValidator, Field, SerializeAsAny, WithJsonSchema, model_validator

from priorscope.core.claim import Claim
from priorscope.core.config import NAMED, Config, Plain, assign, merge, read_toml
from priorscope.core.errors import RequestError, unknown_name
from priorscope.data import source_config
from priorscope.data.sources import SourceConfig
from priorscope.probes import ProbeConfig, probe_config
from priorscope.recipe import Recipe, find_recipe, laid_over, read_recipe, shipped_recipes

FULL = "full"
"""The budget at which a study is run as it is written."""

Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class RecipeEntry(Config):
    """One recipe of a study: settings laid over `base`, or over the recipe of this study, or a shipped one, that it extends."""

    extends: str | None = None
    seeds: Seeds | None = Field(default=None, description="not set: the study's")
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    data: Plain = Field(default_factory=dict)
    model: str | Plain | None = None
    init: Plain = Field(default_factory=dict)
    optim: Plain = Field(default_factory=dict)
    train: Plain = Field(default_factory=dict)

    def settings(self) -> Plain:
        """The recipe's own settings, without what places it in the study."""
        return {name: value for name, value in self.plain().items() if name not in ("extends", "seeds", "grid") and value != {}}


def _source(data: Any) -> SourceConfig | None:
    return None if data is None else source_config(data)


class ProbeEntry(Config):
    """One probe of a study: at which recipes and seeds it looks (not set: all), and on which data (not set: the runs' own)."""

    probe: Annotated[SerializeAsAny[ProbeConfig], BeforeValidator(probe_config)]
    recipes: tuple[str, ...] | None = None
    seeds: Seeds | None = None
    data: Annotated[SerializeAsAny[SourceConfig] | None, BeforeValidator(_source), WithJsonSchema(NAMED)] = None

    @classmethod
    def of(cls, table: object) -> object:
        """`{name, recipes, seeds, data, ...settings}` as it stands in TOML."""
        if not isinstance(table, Mapping) or "probe" in table:
            return table
        settings = dict(cast("Mapping[str, Any]", table))
        placed = {name: settings.pop(name) for name in ("recipes", "seeds", "data") if name in settings}
        return {"probe": settings, **placed}


class Study(Config):
    """A study as it is written."""

    name: str = Field(min_length=1)
    question: str
    promise: str = Field(default="", description="time, machine, n, and what it shows")
    seeds: Seeds = (0,)
    base: Plain = Field(default_factory=dict)
    claims: tuple[str, ...] = Field(default=(), description="what is to be decided: A > B in PROBE, margin M")
    recipes: dict[str, RecipeEntry] = Field(min_length=1)
    budgets: dict[str, Plain] = Field(default_factory=dict, description="what --budget NAME lays over the study")
    probes: tuple[Annotated[ProbeEntry, BeforeValidator(ProbeEntry.of), WithJsonSchema(NAMED)], ...] = ()

    @model_validator(mode="after")
    def _claims_that_can_be_decided(self) -> Self:
        probes = [entry.probe.name for entry in self.probes]
        for text in self.claims:
            claim = Claim.read(text)
            for name in (claim.first, claim.second):
                if name not in self.recipes and not any(name.startswith(f"{recipe}-") for recipe in self.recipes):
                    raise unknown_name("recipe of this study", name, self.recipes, f"see the claim {text!r}")
            if claim.probe not in probes:
                raise unknown_name("probe of this study", claim.measure, probes, f"see the claim {text!r}")
        return self

    @classmethod
    def load(cls, name: str, settings: Sequence[str] = (), budget: str | None = None) -> Self:
        """A shipped study by its name, or a file, at one of its budgets, with `--set` settings laid over it."""
        path = find_study(name)
        values: Plain = {"name": path.stem, **read_toml(path)}
        if budget is not None:
            values = at_budget(values, budget)
        for setting in settings:
            values = assign_study(values, setting)
        return cls.parse(values, str(name))


def at_budget(values: Plain, budget: str) -> Plain:
    """A study with one of its budgets laid over it; its name says which, so that a folder of its own is found for it."""
    if budget == FULL:
        return values
    budgets: Plain = values.get("budgets", {})
    if budget not in budgets:
        raise unknown_name("budget of this study", budget, (*budgets, FULL), f"see [budgets] of {values['name']}")
    return {**merge(values, budgets[budget]), "name": f"{values['name']}-{budget}"}


def shipped_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    found = Path(str(files("priorscope") / "studies")).glob("*.toml")
    return {path.stem: path for path in sorted(found)}


def find_study(name: str) -> Path:
    """The file of a study: a path that exists, or a shipped one."""
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    if name not in shipped_studies():
        raise unknown_name("study", name, shipped_studies(), "priorscope study list")
    return shipped_studies()[name]


def assign_study(values: Plain, setting: str) -> Plain:
    """One `--set`.

    `probes.accuracy.k=3` finds the probe by its name, everything else is a dotted key (`base.train.epochs=2`).
    """
    match = re.fullmatch(r"\s*probes\.(\w+)\.([^=]+=.*)", setting, re.DOTALL)
    if not match:
        return assign(values, setting)
    name, rest = match.groups()
    probes: list[Plain] = [dict(table) for table in values.get("probes", [])]
    if name not in [table.get("name") for table in probes]:
        raise unknown_name(
            "probe of this study", name, [str(table.get("name")) for table in probes], "priorscope study NAME --plan"
        )
    return {**values, "probes": [assign(table, rest) if table.get("name") == name else table for table in probes]}


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    run: str
    recipe_name: str
    recipe: Recipe

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.recipe.seed


def cells(study: Study) -> list[Cell]:
    """Every run of a study, in the order written: recipes, then grid cells, then seeds."""
    found = [cell for name in study.recipes for cell in _cells_of(study, name)]
    names = [cell.run for cell in found]
    for cell in found:
        wanted = cell.recipe.init.recipe
        if wanted is not None and wanted not in study.recipes:
            raise unknown_name("recipe of this study", wanted, study.recipes, f"see [recipes] of {study.name}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(
            f"Two runs of {study.name} are called {twice!r}.", "a name of its own for every run", "rename one of the recipes"
        )
    return found


def _cells_of(study: Study, name: str) -> Iterator[Cell]:
    for label, settings in _grid(study.recipes[name].grid):
        for seed in study.recipes[name].seeds or study.seeds:
            values: Plain = {**merge(_settings(study, name, ()), settings), "seed": seed}
            run = f"{name}{label}-s{seed}"
            if not re.fullmatch(r"[^/\\\0]{1,150}", run) or run.startswith("."):
                raise RequestError(
                    f"{run!r} cannot name a folder.", "a recipe's name without slashes, not too long", "rename the recipe"
                )
            yield Cell(run, name, Recipe.of(values, where=f"recipe {name!r} of {study.name}"))


def _settings(study: Study, name: str, seen: tuple[str, ...]) -> Plain:
    """A recipe's settings laid over those that it extends, down to the base; a shipped recipe lies on the base."""
    if name not in study.recipes:
        if name not in shipped_recipes():
            known = (*study.recipes, *shipped_recipes())
            raise unknown_name("recipe of this study, or a shipped one", name, known, f"see [recipes] of {study.name}")
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
        label = "".join(f"-{key.rpartition('.')[2]}={value}" for key, value in zip(grid, values, strict=True)).replace("/", "_")
        settings: Plain = {}
        for key, value in zip(grid, values, strict=True):
            keys = key.split(".")
            nested: Any = value
            for part in reversed(keys):
                nested = {part: nested}
            settings = merge(settings, nested)
        yield label, settings
