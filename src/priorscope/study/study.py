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

`--budget smoke` lays that over the study: the same question, asked with less. `[tune]` gives every recipe the same number of
trials on val before it is compared (`priorscope.study.tune`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, SerializeAsAny, model_validator
from pydantic_core import CoreSchema

from priorscope.core.config import Config, Plain, assign, is_table, merge, read_toml
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.folder import at_home
from priorscope.core.refusal import Like
from priorscope.core.schema import schema_within
from priorscope.data import source_config
from priorscope.data.sources import SourceConfig
from priorscope.models import FamilyConfig
from priorscope.probes import PROBES, ProbeConfig, probe_config
from priorscope.recipe import DataConfig, InitConfig, Recipe, laid_over, lies_here
from priorscope.study.tune import RecipeTune, Tune
from priorscope.train.config import TrainConfig
from priorscope.train.optim import OptimConfig

FULL = "full"
"""The budget at which a study is run as it is written."""

Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


PLACED = ("extends", "seeds", "grid", "tune")
"""What places a recipe in its study, and is not inherited by those that extend it."""


def _or_short(schema: Plain) -> None:
    """Lets the schema of a recipe's tuning also hold `false`, or the name of a recipe whose choice it takes over."""
    schema["anyOf"] += [{"const": False}, {"type": "string", "description": "the recipe whose choice it takes over"}]


class RecipeEntry(Config):
    """One recipe of a study: settings laid over `base`, or over the recipe of this study, or a shipped one, that it extends."""

    extends: str | None = None
    seeds: Seeds | None = Field(default=None, description="not set: the study's")
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    tune: RecipeTune | None = Field(
        default=None, description="what sets its tuning apart from the study's", json_schema_extra=_or_short
    )
    data: Annotated[Plain, Like(DataConfig)] = Field(default_factory=dict)
    model: Annotated[str | Plain | None, Like(FamilyConfig)] = None
    init: Annotated[Plain, Like(InitConfig)] = Field(default_factory=dict)
    optim: Annotated[Plain, Like(OptimConfig)] = Field(default_factory=dict)
    train: Annotated[Plain, Like(TrainConfig)] = Field(default_factory=dict)

    def settings(self) -> Plain:
        """The recipe's own settings, without what places it in the study."""
        return {name: value for name, value in self.plain().items() if name not in PLACED and value != {}}


def _source(data: Any) -> SourceConfig | None:
    return None if data is None else source_config(data)


LOOKING = ("recipes", "seeds", "data")
"""What an entry says beside its probe's own settings."""


class ProbeEntry(Config):
    """One probe of a study: at which recipes and seeds it looks (not set: all), and on which data (not set: the runs' own)."""

    probe: Annotated[SerializeAsAny[ProbeConfig], BeforeValidator(probe_config)]
    recipes: tuple[str, ...] | None = None
    seeds: Seeds | None = None
    data: Annotated[SerializeAsAny[SourceConfig] | None, BeforeValidator(_source)] = None

    @classmethod
    def of(cls, table: object) -> object:
        """`{name, recipes, seeds, data, ...settings}` as it stands in TOML."""
        if not is_table(table) or "probe" in table:
            return table
        settings = dict(table)
        placed = {name: settings.pop(name) for name in LOOKING if name in settings}
        return {"probe": settings, **placed}

    @staticmethod
    def of_file(table: Mapping[str, Any]) -> Plain:
        """An entry as people write it: a study's own copy of its file keeps the probe's settings apart, under `probe`."""
        own = table.get("probe")
        return {**(own if is_table(own) else {}), **{name: value for name, value in table.items() if name != "probe"}}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Plain:
        """An editor sees an entry as people write it, or as a study's own copy has it."""
        copied = handler(schema)
        looking = {name: copied["properties"][name] for name in LOOKING}
        return {"title": cls.__name__, "anyOf": [*_written(looking, handler), copied]}


def _written(looking: Plain, handler: GetJsonSchemaHandler) -> Iterator[Plain]:
    """The JSON schema of each probe's entry as people write it: its settings, with where it looks among them."""
    for probe in PROBES:
        own = handler.resolve_ref_schema(schema_within(PROBES.config(probe), handler))
        yield deepcopy({**own, "properties": {**own["properties"], **looking}, "required": ["name"]})


def _as_file(schema: Plain) -> None:
    """A study's file without a name has its own, and a budget may say again whatever the file says."""
    schema["required"].remove("name")
    again = {name: deepcopy(value) for name, value in schema["properties"].items() if name not in ("name", "budgets")}
    schema["properties"]["budgets"]["additionalProperties"] = {
        "type": "object",
        "properties": again,
        "additionalProperties": False,
    }


class Study(Config):
    """A study as it is written."""

    model_config = ConfigDict(json_schema_extra=_as_file)

    name: str = Field(min_length=1)
    question: str
    promise: str = Field(default="", description="time, machine, n, and what it shows")
    seeds: Seeds = (0,)
    base: Annotated[Plain, Like(Recipe)] = Field(default_factory=dict)
    over: Annotated[Plain, Like(Recipe, rare=True)] = Field(
        default_factory=dict, description="settings laid over every recipe, whatever it extends"
    )
    claims: tuple[str, ...] = Field(default=(), description="what is to be decided: A > B in PROBE, margin M")
    recipes: dict[str, RecipeEntry] = Field(min_length=1)
    tune: Tune | None = Field(default=None, description="how many trials on val every recipe gets before it is compared")
    budgets: dict[str, Plain] = Field(default_factory=dict, description="what --budget NAME lays over the study")
    probes: tuple[Annotated[ProbeEntry, BeforeValidator(ProbeEntry.of)], ...] = ()

    @model_validator(mode="after")
    def _seeds_in_one_place(self) -> Self:
        for part in ("base", "over"):
            if "seed" in getattr(self, part):
                raise RequestError(
                    f"{part} sets a seed, and the seeds of a study are its own.",
                    "seeds of the study, or of a recipe",
                    f'seeds = [{getattr(self, part)["seed"]}], or --set "seeds=[{getattr(self, part)["seed"]}]"',
                )
        return self

    @classmethod
    def load(cls, name: str, settings: Sequence[str] = (), budget: str | None = None) -> Self:
        """A shipped study by its name, or a file, at one of its budgets, with `--set` settings laid over it."""
        path = find_study(name)
        values: Plain = {"name": path.stem, **read_toml(path)}
        if "model" in values:
            do = f"priorscope train {shlex.quote(str(path))}"
            raise RequestError(f"{path} is a recipe.", "a study: a question, recipes and probes", do)
        if budget is not None:
            values = at_budget(values, budget)
        for setting in settings:
            values = assign_study(values, setting)
        return cls.parse(values, f"{name} with --set {' '.join(settings)}" if settings else name)


def at_budget(values: Plain, budget: str) -> Plain:
    """A study with one of its budgets laid over it; its name says which, so that a folder of its own is found for it."""
    budgets: Any = values.get("budgets", {})
    if budget == FULL or not is_table(budgets):
        return values
    if not budgets:
        raise RequestError(
            f"{values['name']} came with --budget {budget}, and has no budgets.",
            "the study as it is written",
            "leave out --budget",
        )
    if budget not in budgets:
        raise unknown_name("budget of this study", budget, (*budgets, FULL))
    less: Any = budgets[budget]
    if not is_table(less):
        return values
    whole: Plain = {**merge(values, less), "name": f"{values['name']}-{budget}"}
    whole |= _both(values, less, ("base", "over"))
    if is_table(recipes := values.get("recipes")) and is_table(fewer := less.get("recipes")):
        whole["recipes"] |= _both(recipes, fewer, fewer)
    return whole


def _both(below: Plain, above: Plain, names: Iterable[str]) -> Plain:
    """The tables of these names that both have, one laid over the other."""
    return {name: laid_over(low, up) for name in names if is_table(low := below.get(name)) and is_table(up := above.get(name))}


def shipped_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    found = Path(str(files("priorscope") / "studies")).glob("*.toml")
    return {path.stem: path for path in sorted(found)}


def find_study(name: str) -> Path:
    """The file of a study: a path that exists, or a shipped one."""
    if name.endswith(".toml") or "/" in name:
        return at_home(name)
    if name not in shipped_studies():
        raise lies_here("study", name) or unknown_name("study", name, shipped_studies(), "priorscope study list")
    return shipped_studies()[name]


def assign_study(values: Plain, setting: str) -> Plain:
    """One `--set`.

    `probes.accuracy.k=3` finds the probe by its name, everything else is a dotted key (`base.train.epochs=2`).
    """
    match = re.fullmatch(r"\s*probes\.(\w+)\.([^=]+=.*)", setting, re.DOTALL)
    if not match:
        recipe, recipes = re.match(r"\s*recipes\.([^.=\s]+)\.", setting), values.get("recipes", {})
        if recipe and is_table(recipes) and recipe[1] not in recipes:
            raise unknown_name("recipe of this study", recipe[1], recipes, "priorscope study NAME --plan")
        return assign(values, setting)
    name, rest = match.groups()
    written: Any = values.get("probes", [])
    if not isinstance(written, list) or not all(map(is_table, cast("list[object]", written))):
        return values  # which is refused as it is
    probes = [ProbeEntry.of_file(table) for table in cast("list[Plain]", written)]
    names = [str(table.get("name")) for table in probes]
    if name not in names:
        raise unknown_name("probe of this study", name, names, "priorscope study NAME --plan")
    return {**values, "probes": [assign(table, rest) if table.get("name") == name else table for table in probes]}
