"""What a study means: its recipes, its runs, its steps, which of them are done, and why the others are not.

A study is TOML. `base` is what all recipes share; a recipe is laid over it, or over another recipe that it `extends`; a
`grid` makes one cell for every combination of its values; every cell is run once a seed. Probes look at every finished run,
or at those of the recipes named.

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

A step's key is a hash of everything it is a function of; a step is done when its result stands under its key. Nothing here
imports torch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, WithJsonSchema

from priorscope import run as runs
from priorscope.core import folder
from priorscope.core.config import NAMED, Config, Plain, assign, content_key, merge, read_toml
from priorscope.core.errors import PriorscopeError, RequestError, unknown_name
from priorscope.probes import PROBES, ProbeConfig, probe_config
from priorscope.recipe import Recipe

Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class RecipeEntry(Config):
    """One recipe of a study: settings laid over `base`, or over the recipe that it extends."""

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


class ProbeEntry(Config):
    """One probe of a study, and which recipes' runs it looks at (not set: all)."""

    probe: Annotated[SerializeAsAny[ProbeConfig], BeforeValidator(probe_config)]
    recipes: tuple[str, ...] | None = None

    @classmethod
    def of(cls, table: object) -> object:
        """`{name, recipes, ...settings}` as it stands in TOML."""
        if not isinstance(table, Mapping) or "probe" in table:
            return table
        settings = {name: value for name, value in table.items() if name != "recipes"}
        return {"probe": settings, **({"recipes": table["recipes"]} if "recipes" in table else {})}


class Study(Config):
    """A study as it is written."""

    name: str = Field(min_length=1)
    question: str
    promise: str = Field(default="", description="time, machine, n, and what it shows")
    seeds: Seeds = (0,)
    base: Plain = Field(default_factory=dict)
    recipes: dict[str, RecipeEntry] = Field(min_length=1)
    probes: tuple[Annotated[ProbeEntry, BeforeValidator(ProbeEntry.of), WithJsonSchema(NAMED)], ...] = ()

    @classmethod
    def load(cls, name: str, settings: Sequence[str] = ()) -> Self:
        """A shipped study by its name, or a file, with `--set` settings laid over it."""
        path = find_study(name)
        values: Plain = {"name": path.stem, **read_toml(path)}
        for setting in settings:
            values = assign_study(values, setting)
        return cls.parse(values, str(name))


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
    """A recipe's settings laid over those that it extends, down to the base."""
    if name not in study.recipes:
        raise unknown_name("recipe of this study", name, study.recipes, f"see [recipes] of {study.name}")
    if name in seen:
        raise RequestError(
            f"The recipe {name!r} extends itself: {' -> '.join((*seen, name))}.", "a chain that ends", "extend another recipe"
        )
    entry = study.recipes[name]
    below = study.base if entry.extends is None else _settings(study, entry.extends, (*seen, name))
    own = entry.settings()
    return merge(_spelt_out(below), _spelt_out(own))


def _spelt_out(settings: Plain) -> Plain:
    """Settings with `model = "x"` and `source = "x"` written as tables, so that tables can be laid over them."""
    data = settings.get("data")
    if isinstance(data, dict) and isinstance(data.get("source"), str):
        settings = {**settings, "data": {**data, "source": {"name": data["source"]}}}
    if isinstance(settings.get("model"), str):
        settings = {**settings, "model": {"name": settings["model"]}}
    return settings


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


@dataclass(frozen=True)
class TrainStep:
    """Carry out a recipe."""

    cell: Cell
    out: Path
    made_from: Plain
    init: Path | None
    needs: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"train {self.cell.run}"

    @property
    def threads(self) -> int:
        return self.cell.recipe.train.threads

    @cached_property
    def key(self) -> str:
        return content_key(self.made_from)

    def missing(self) -> str | None:
        """Why it is to be done; None when it is done."""
        if not (self.out / runs.MADE_FROM).exists():
            return "not begun"
        before = _read(self.out / runs.MADE_FROM)
        if before != self.made_from:
            return f"changed: {difference(before, self.made_from)}"
        if not (self.out / runs.ENVIRONMENT).exists():
            return "not finished"
        return None if (self.out / runs.WEIGHTS).exists() else "its weights are gone"


@dataclass(frozen=True)
class ProbeStep:
    """Look at one run with one probe."""

    cell: Cell
    run: Path
    probe: ProbeConfig
    made_from: Plain
    alone: Mapping[str, Path]
    needs: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.probe.name} of {self.cell.run}" + (
            f" ({self.key[:6]})" if self.probe != probe_config(self.probe.name) else ""
        )

    @property
    def threads(self) -> int:
        return self.cell.recipe.train.threads

    @cached_property
    def key(self) -> str:
        return content_key(self.made_from)

    @property
    def out(self) -> Path:
        return self.run / runs.RESULTS / self.probe.name / f"{self.key}.json"

    def missing(self) -> str | None:
        """Why it is to be done; None when it is done."""
        if not self.out.exists():
            others = sorted(self.out.parent.glob("*.json"))
            before = _read(others[0]).get("about", {}).get("made_from") if others else None
            return f"changed: {difference(before, self.made_from)}" if before else "not measured"
        stored = _read(self.out)
        if stored.get("about", {}).get("made_from") != self.made_from:
            return "its result is damaged"
        return "its arrays are gone" if stored.get("arrays") and not self.out.with_suffix(".npz").exists() else None


Step = TrainStep | ProbeStep


@dataclass(frozen=True)
class Plan:
    """A study's steps in an order in which they can be done, and why each that is not done is to be done."""

    study: Study
    out: Path
    steps: tuple[Step, ...]
    missing: Mapping[str, str]

    def to_do(self) -> list[Step]:
        """The steps that are not done."""
        return [step for step in self.steps if step.id in self.missing]


def make_plan(study: Study, out: Path) -> Plan:
    """Works out the steps of a study and looks at what stands in its folder."""
    found = cells(study)
    trains = _train_steps(found, out)
    steps: list[Step] = [*trains.values(), *_probe_steps(study, found, trains)]
    missing: dict[str, str] = {}
    for step in steps:
        why = step.missing()
        if why is None:
            redone = next((need for need in step.needs if need in missing), None)
            why = f"after {redone}" if redone else None
        if why is not None:
            missing[step.id] = why
    return Plan(study, out, tuple(steps), missing)


def _train_steps(found: Sequence[Cell], out: Path) -> dict[str, TrainStep]:
    """One step a run, a recipe that begins with another after that one."""
    by_name = {cell.run: cell for cell in found}
    done: dict[str, TrainStep] = {}

    def add(cell: Cell, waiting: tuple[str, ...]) -> TrainStep:
        if cell.run in waiting:
            raise RequestError(
                f"{' -> '.join((*waiting, cell.run))} begin with each other.", "a first one", "change one init.recipe"
            )
        if cell.run not in done:
            earlier = None
            if cell.recipe.init.recipe is not None:
                before = f"{cell.recipe.init.recipe}-s{cell.seed}"
                if before not in by_name:
                    raise RequestError(
                        f"{cell.run} begins with the recipe {cell.recipe.init.recipe!r}, which has a grid.",
                        "a recipe with one cell",
                        "name a recipe without a grid",
                    )
                earlier = add(by_name[before], (*waiting, cell.run))
            done[cell.run] = TrainStep(
                cell,
                out / "runs" / cell.run,
                runs.inputs(cell.recipe, earlier.key if earlier else None),
                earlier.out if earlier else None,
                (earlier.id,) if earlier else (),
            )
        return done[cell.run]

    for cell in found:
        add(cell, ())
    return done


def _probe_steps(study: Study, found: Sequence[Cell], trains: Mapping[str, TrainStep]) -> Iterator[ProbeStep]:
    by_recipe = {content_key(cell.recipe.plain()): cell.run for cell in found}
    for entry in study.probes:
        if PROBES.load(entry.probe.name).PER != "run":
            raise RequestError(
                f"{entry.probe.name!r} is about several runs together.",
                "probes of single runs in a study",
                f"remove it, and after the study: priorscope probe {entry.probe.name} OUT/runs/A OUT/runs/B",
            )
        for name in entry.recipes or ():
            if name not in study.recipes:
                raise unknown_name("recipe of this study", name, study.recipes, f"see [recipes] of {study.name}")
        for cell in found:
            if entry.recipes is None or cell.recipe_name in entry.recipes:
                yield _probe_step(entry.probe, cell, trains, by_recipe)


def _probe_step(probe: ProbeConfig, cell: Cell, trains: Mapping[str, TrainStep], by_recipe: Mapping[str, str]) -> ProbeStep:
    module = PROBES.load(probe.name)
    train = trains[cell.run]
    alone: dict[str, TrainStep] = {}
    for cue, source in (module.companions(cell.recipe.data.source) if hasattr(module, "companions") else {}).items():
        twin = cell.recipe.replace(data={**cell.recipe.data.plain(), "source": source.plain()})
        name = by_recipe.get(content_key(twin.plain()))
        if name is not None:
            alone[cue] = trains[name]
    made_from = {
        "probe": probe.plain(),
        "version": module.VERSION,
        "weights": train.key,
        "data": cell.recipe.data.source.plain(),
        "alone": {cue: step.key for cue, step in sorted(alone.items())},
    }
    needs = (train.id, *(step.id for step in alone.values()))
    return ProbeStep(cell, train.out, probe, made_from, {cue: step.out for cue, step in alone.items()}, needs)


def difference(before: Any, now: Any, path: str = "") -> str:
    """The first settings that differ between two tables, in words."""
    found = list(_differences(before, now, path))
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}):
            yield from _differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif before != now:
        yield f"{path} {before} -> {now}"


def _read(path: Path) -> Plain:
    """A stored table; a damaged one reads as empty, so that its step is done again."""
    try:
        return folder.read_json(path)
    except PriorscopeError:
        return {}
