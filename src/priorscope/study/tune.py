"""Equal tuning budgets, as they are written: how many trials every recipe gets, over which settings, and what they try.

A comparison of recipes is one of what each can do only where all were tuned alike. `[tune]` gives every recipe of a study the
same number of trials. They are drawn from streams named by the setting, so that all recipes try the same points of their
ranges and more trials begin with the fewer; or they are a whole grid, in order. They are judged on val alone. The best one's
settings are then trained with every seed of the recipe and looked at; trials have a seed of their own, so that no run that
was chosen for its luck is compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from priorscope.core.config import Config, Plain, is_table
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.recipe import HELD, laid_over

DIGITS = 4
"""To how many digits drawn numbers are rounded: recipes are read by people."""


class Spread(Config):
    """A range that trials draw from: evenly, or evenly in the logarithm; whole numbers where both ends are whole."""

    log: tuple[int | float, int | float] | None = None
    uniform: tuple[int | float, int | float] | None = None

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if (self.log is None) == (self.uniform is None):
            raise RequestError("A range says both or neither of log and uniform.", "one of them", "{log = [1e-4, 1e-2]}")
        low, high = self.ends
        if not low < high or (self.log is not None and low <= 0):
            raise RequestError(
                f"{[low, high]} is no range.",
                "a lower end, then a higher one" + (", both above 0" if self.log else ""),
                "{log = [1e-4, 1e-2]}",
            )
        return self

    @property
    def ends(self) -> tuple[int | float, int | float]:
        """The lowest and the highest value."""
        return cast("tuple[int | float, int | float]", self.log or self.uniform)

    def at(self, share: float) -> int | float:
        """The value below which a share of the range lies."""
        low, high = self.ends
        if isinstance(low, int) and isinstance(high, int):
            low, high = low - 0.5, high + 0.5  # every whole number has the same part of a uniform range
            return min(max(round(self._between(max(low, 0.5) if self.log else low, high, share)), self.ends[0]), self.ends[1])
        return float(f"{self._between(low, high, share):.{DIGITS}g}")

    def _between(self, low: float, high: float, share: float) -> float:
        if self.log is not None:
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return low + share * (high - low)


def dotted(table: Plain) -> Plain:
    """Nested tables as dotted names: `over.optim.lr = {log = [1e-4, 1e-2]}` is TOML for a table in a table."""
    found: Plain = {}
    for name, value in table.items():
        if is_table(value) and not set(value) & set(Spread.model_fields):
            found |= {f"{name}.{rest}": one for rest, one in dotted(value).items()}
        else:
            found[name] = value
    return found


def _dotted(value: object) -> object:
    return dotted(value) if is_table(value) else value


Over = Annotated[dict[str, Spread | Annotated[tuple[Any, ...], Field(min_length=1)]], BeforeValidator(_dotted)]
"""Settings by their dotted names, and what is tried of each: a range, or a list."""


def _nested(schema: Plain) -> None:
    """Dotted names may be written as tables in tables: see `dotted`."""
    schema["additionalProperties"]["anyOf"].append(
        {"type": "object", "propertyNames": {"not": {"enum": [*Spread.model_fields]}}}
    )


class RecipeTune(Config):
    """What sets the tuning of one recipe apart: ranges of its own, or another recipe whose choice it takes over."""

    over: Over = Field(default_factory=dict, json_schema_extra=_nested)
    like: str | None = Field(default=None, description="take over what the trials of this recipe chose")
    off: bool = Field(default=False, description="take the recipe as it is written")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: object) -> object:
        """`tune = false` and `tune = "NAME"`."""
        if values is False:
            return {"off": True}
        return {"like": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((bool(self.over), self.like is not None, self.off)) > 1:
            raise RequestError(
                "A recipe's tune says more than one of over, like and off.", "one of them", 'tune = "NAME", or tune = false'
            )
        return self


class Tune(Config):
    """How every recipe of a study is tuned."""

    trials: int | None = Field(default=None, ge=2, description="how many, for every recipe; not set: the whole grid, in order")
    over: Over = Field(default_factory=dict, json_schema_extra=_nested)
    epochs: int | None = Field(default=None, ge=1, description="length of a trial; not set: the recipe's own")
    seed: int = Field(
        default=1000, ge=0, description="the seed of the draws and of the trials' runs; not one of the study's own"
    )

    @model_validator(mode="before")
    @classmethod
    def _val_chooses(cls, values: object) -> object:
        if is_table(values) and "split" in values:
            raise RequestError(
                f"[tune] came with split = {values['split']!r}.",
                "trials judged on val: the test split chooses nothing",
                "remove split",
            )
        return values

    def ranges(self, own: RecipeTune | None) -> Over:
        """What is tried of one recipe's settings: the study's ranges, its own in their place."""
        return {**self.over, **(own.over if own else {})}

    def tried(self, over: Over, where: str) -> list[Plain]:
        """The settings of every trial, as dotted names and values; `where` names the recipe in an error."""
        held = next((name for name in over for kept in HELD if changes(name, over[name], kept)), None)
        if held is not None:
            raise RequestError(
                f"The trials of {where} change {held!r}.",
                "trials of one length and seed, on the same data, that look at val alone",
                "tune other settings; a grid compares data and lengths",
            )
        if not over:
            raise RequestError(f"Nothing says what the trials of {where} try.", "[tune.over]", 'over = {"optim.lr" = [...]}')
        choices = {name: values for name, values in over.items() if isinstance(values, tuple)}
        if len(choices) == len(over):
            return self._of_grid(choices, where)
        if self.trials is None:
            raise RequestError(
                f"The trials of {where} draw from a range, and nothing says how many.", "a number", "[tune] trials = 8"
            )
        drawn = {name: stream(self.seed, "tune", name).random(self.trials) for name in over}
        return [{name: _at(values, drawn[name][i]) for name, values in over.items()} for i in range(self.trials)]

    def _of_grid(self, choices: Mapping[str, tuple[Any, ...]], where: str) -> list[Plain]:
        """All combinations in order, or as many as are asked for, drawn together so that none is repeated."""
        whole = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
        if self.trials is None or self.trials == len(whole):
            if len(whole) < 2:
                raise RequestError(f"The trials of {where} have nothing to choose from.", "two trials or more", "list values")
            return whole
        if self.trials > len(whole):
            raise RequestError(
                f"{self.trials} trials were asked of {where}, whose lists have {len(whole)} combinations.",
                f"at most {len(whole)} trials",
                "longer lists, or ranges: {log = [1e-4, 1e-2]}",
            )
        return [whole[i] for i in stream(self.seed, "tune", *choices).permutation(len(whole))[: self.trials]]


def _at(values: Spread | tuple[Any, ...], share: float) -> Any:
    return values.at(share) if isinstance(values, Spread) else values[int(share * len(values))]


def changes(name: str, values: object, kept: str) -> bool:
    """Whether trying values of `name` changes the setting `kept`: it is that one, lies below it, or is a table around it."""
    if name == kept or name.startswith(f"{kept}."):
        return True
    if not kept.startswith(f"{name}.") or not isinstance(values, tuple):
        return False
    below = kept.removeprefix(f"{name}.")
    tables = (dotted(value) for value in values if is_table(value))
    return any(key == below or key.startswith(f"{below}.") for table in tables for key in table)


def nested(settings: Mapping[str, Any]) -> Plain:
    """Dotted names as tables within tables, a later one laid over an earlier."""
    found: Plain = {}
    for name, value in settings.items():
        table: Any = value
        for part in reversed(name.split(".")):
            table = {part: table}
        found = laid_over(found, table)
    return found
