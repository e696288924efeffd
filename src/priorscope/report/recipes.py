"""Recipes side by side: every setting in which those compared differ, and which of these confound their architectures.

Two families are compared fairly in a setting where some recipe of each has the same: a learning rate that is a grid in both
confounds nothing, one that each has for itself does. What was counted (parameters, images seen, arithmetic) confounds where the
nearest two recipes differ by more than `ALIKE`. Settings of the network are the architecture, except those in `BESIDE`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from priorscope.core.config import Plain, is_table
from priorscope.core.wording import amount_said, listed
from priorscope.report.records import Reading, RunRecord, by_recipe
from priorscope.report.settings import settings_of
from priorscope.report.verdict import Finding
from priorscope.report.words import augmentation_said

T = TypeVar("T")

ALIKE = 1.5
"""Counts whose ratio is at most this are taken for alike: tiny networks of two families never match exactly."""
BESIDE = ("dropout", "drop_path", "input_size", "permute")
"""Settings that networks have, and that are not what sets an architecture apart: regularisation, and what it is shown."""
NONE = ("0", "0.0", "none", "not set", "[]", "None")
"""How a setting is written that is off: a family that has no dropout has that of one whose dropout is 0."""
AUGMENT = "data.augment"
LONG = 60
"""Characters of a setting that are shown where these tell the recipes apart; the whole stands in the recipe."""


@dataclass(frozen=True)
class Setting:
    """One thing in which recipes differ: its value in each, as text and to sort by, and which families it sets apart."""

    name: str
    values: tuple[str, ...]
    order: tuple[float | str, ...]
    confounds: tuple[tuple[str, str], ...]
    pairs: int
    """How many pairs of families there are, of which `confounds` names those that the setting sets apart."""
    tuned: bool = False
    """Whether trials chose the setting, as many for each recipe."""

    @property
    def verdict(self) -> str:
        """What the setting means for the comparison of architectures."""
        if self.tuned:
            return "chosen by trials on val"
        if not self.pairs:
            return ""
        if not self.confounds:
            return "no confound"
        if len(self.confounds) == self.pairs:
            return "confounds all families" if self.pairs > 1 else "confounds"
        if odd := _odd(self.confounds):
            return f"confounds {odd}"
        return f"confounds {len(self.confounds)} of {self.pairs} pairs"


@dataclass(frozen=True)
class SideBySide:
    """The recipes that are compared, what differs between them, and what is the same in all."""

    recipes: tuple[tuple[str, str], ...]
    """(name, family) of each."""
    settings: tuple[Setting, ...]
    same: tuple[tuple[str, str], ...]

    @property
    def confounding(self) -> tuple[Setting, ...]:
        """What confounds some comparison of families."""
        return tuple(setting for setting in self.settings if setting.confounds)

    def said(self) -> str:
        """What the differences mean for the comparison of architectures, in a sentence."""
        families = len({family for _, family in self.recipes})
        differ = f"{len(self.settings)} thing{'s' * (len(self.settings) != 1)} beside the model"
        if families < 2:
            return f"They differ in {differ}; all are of one family, so nothing confounds a comparison of architectures."
        if not self.confounding:
            return (
                f"They differ in {differ}, in which some recipes of any two families are alike (counts: within a factor of "
                f"{ALIKE:g}): nothing confounds their comparison."
            )
        names = listed([setting.name for setting in self.confounding])
        return f"What differs between families beside the architecture, and may explain what sets them apart: {names}."


def side_by_side(reading: Reading, found: Sequence[Finding]) -> SideBySide | None:
    """The recipes that findings compare; None where there is one, or where nothing differs."""
    runs = first_runs(compared_runs(reading, found))
    if len(runs) < 2:
        return None
    counted = [setting for name, count in COUNTED.items() if (setting := _counted(name, count, list(runs.values())))]
    asked = {name: settings(run.recipe) for name, run in runs.items()}
    tables = {name: {key: value for key, value in own.items() if not _is_architecture(key)} for name, own in asked.items()}
    keys = list(dict.fromkeys(key for table in tables.values() for key in table))
    asked_for = [_asked(key, tables, runs, tuned=key in reading.tuned) for key in keys]
    differing = (*counted, *(setting for setting in asked_for if setting))
    differing = tuple(sorted(differing, key=lambda setting: -len(setting.confounds)))
    first = next(iter(tables.values()))
    same = [(key, first.get(key, "not set")) for key, setting in zip(keys, asked_for, strict=True) if not setting]
    return SideBySide(tuple((name, run.family) for name, run in runs.items()), differing, tuple(same)) if differing else None


def compared_runs(reading: Reading, found: Sequence[Finding]) -> list[RunRecord]:
    """The runs of which something was asked: not those that others only begin with, or are compared with inside a probe."""
    asked = {arm.label for finding in found for arm in finding.arms}
    return [run for run in reading.runs if run.recipe_name in asked]


def first_runs(runs: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Each recipe's run of its first seed: what a seed alone changes, such as a world drawn from it, sets no recipes apart."""
    return {name: of[0] for name, of in by_recipe(runs).items()}


def recipe_differences(runs: Sequence[RunRecord]) -> dict[str, dict[str, str]]:
    """Setting -> {recipe: value} for the settings, beside architecture and seed, that are not the same in all recipes."""
    asked = {name: settings(run.recipe) for name, run in first_runs(runs).items()}
    keys = sorted({key for own in asked.values() for key in own if not _is_architecture(key)})
    told = {key: {name: own.get(key, "not set") for name, own in asked.items()} for key in keys}
    return {key: values for key, values in told.items() if len(set(_compared(values.values()))) > 1}


# What was counted, and what was asked for -----------------------------------------------------------------------------------


COUNTED: Mapping[str, Callable[[RunRecord], float | None]] = {
    "parameters": lambda run: run.parameters,
    "training images seen": lambda run: run.environment.images_seen if run.environment else None,
    "training arithmetic (FLOPs)": lambda run: (run.environment and run.environment.flops) or None,
    "epochs run": lambda run: float(len(run.history)) or None,
}
"""What a run says of its size and of how long it was trained."""


def _counted(name: str, count: Callable[[RunRecord], float | None], runs: Sequence[RunRecord]) -> Setting | None:
    """A count by its values in all recipes; None where some recipe lacks it, or all have the same."""
    values = [count(run) for run in runs]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or len(set(known)) < 2:
        return None

    def apart(one: float, other: float) -> bool:
        small, large = sorted((one, other))
        return small <= 0 or large > ALIKE * small

    pairs, confounds = _families_apart(known, [run.family for run in runs], apart)
    return Setting(name, tuple(amount_said(value) for value in known), tuple(known), confounds, pairs)


def settings(recipe: Plain) -> dict[str, str]:
    """What a recipe asks for by dotted keys, without its seed; what happens to its pictures in words."""
    flattened = settings_of({name: value for name, value in recipe.items() if name != "seed"})
    data = recipe.get("data")
    augment = data.get("augment") if is_table(data) else None
    if not is_table(augment) or not isinstance(ops := augment.get("ops"), list):
        return flattened
    named = {AUGMENT + ".ops": AUGMENT}
    return {named.get(key, key): value for key, value in flattened.items()} | {AUGMENT: augmentation_said(ops)}


def _is_architecture(key: str) -> bool:
    part, _, setting = key.partition(".")
    return part == "model" and setting.partition(".")[0] not in BESIDE


def _compared(values: Iterable[str]) -> list[str]:
    """Values of a setting as they are compared: one that is off equals one that is not there."""
    return ["none" if value in NONE else value for value in values]


def _asked(key: str, tables: Mapping[str, Mapping[str, str]], runs: Mapping[str, RunRecord], *, tuned: bool) -> Setting | None:
    """A setting by its values in all recipes; None where these are the same."""
    values = [table.get(key, "not set") for table in tables.values()]
    compared = _compared(values)
    if len(set(compared)) < 2:
        return None
    pairs, confounds = _families_apart(compared, [run.family for run in runs.values()], lambda one, other: one != other)
    short = tuple(map(_short, values))
    shown = short if len(set(short)) == len(set(values)) else tuple(values)
    order = tuple(map(_sortable, values))
    return Setting(key, shown, order, () if tuned else confounds, pairs, tuned)


def _families_apart(
    values: Sequence[T], families: Sequence[str], apart: Callable[[T, T], bool]
) -> tuple[int, tuple[tuple[str, str], ...]]:
    """How many pairs of families there are, and those of which no two recipes are alike."""
    of = {family: [v for v, f in zip(values, families, strict=True) if f == family] for family in dict.fromkeys(families)}
    pairs = list(itertools.combinations(of, 2))
    return len(pairs), tuple(
        (one, other) for one, other in pairs if all(apart(a, b) for a, b in itertools.product(of[one], of[other]))
    )


def _odd(pairs: Sequence[tuple[str, str]]) -> str:
    """The family that all these pairs share, if one does: it alone is set apart."""
    shared = set(pairs[0]).intersection(*pairs[1:])
    if len(shared) == 2:
        return " against ".join(pairs[0])
    return f"{next(iter(shared))} against {len(pairs)} others" if shared else ""


def _short(value: str) -> str:
    return value if len(value) <= LONG else f"{value[: LONG - 1]}…"


def _sortable(value: str) -> float | str:
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value
