"""What the layers hand to each other: channel statistics, metrics and results.

A probe returns a `Result`: frozen, typed, stored as JSON (its arrays beside it as NPZ), and read back without the model, torch
or a GPU. A result says its value with n, interval and caveats, lists its numbers as tidy `Metric` rows, and draws itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, GetPydanticSchema, ValidationError, model_validator
from pydantic_core import core_schema

from priorscope.core.arrays import read_arrays, write_arrays
from priorscope.core.aspects import AspectName
from priorscope.core.comparison import (
    Comparison,
    Difference,
    compare,
    paired_bootstrap,
    paired_proportions,
)
from priorscope.core.config import Config, Plain, is_table
from priorscope.core.errors import RequestError, WorkError, first_line
from priorscope.core.folder import at_home, read_json, write_json
from priorscope.core.stats import Interval
from priorscope.core.variance import is_proportion

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.core.notebook import Shown

Array = Annotated[
    NDArray[Any],
    GetPydanticSchema(lambda _source, _handler: core_schema.is_instance_schema(np.ndarray)),
]
"""A numpy array as a field of a result: it goes to the NPZ file beside the JSON."""

METRIC_COLUMNS = ("metric", "setting", "value", "interval", "n", "unit")
"""What a table of metrics says in each column."""


class Statistics(Config):
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Metric(Config):
    """One number of a result as a tidy row: what was measured, where, and how sure it is."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    unit: str
    setting: str = ""
    split: str = ""
    timed: bool = False
    """Whether it was taken with a clock: it is another number each time, and comparisons leave it out."""

    @classmethod
    def of(
        cls, metric: str, value: float, interval: Interval | None, n: int, unit: str, *, setting: str = "", split: str = ""
    ) -> Self:
        """A row with its interval's ends, where there is one."""
        low, high = (interval.low, interval.high) if interval else (None, None)
        return cls(metric=metric, value=value, low=low, high=high, n=n, unit=unit, setting=setting, split=split)


def as_text(metrics: Sequence[Metric]) -> list[tuple[str, ...]]:
    """Metrics as words, column by column."""
    rows: list[tuple[str, ...]] = []
    for m in metrics:
        between = "" if m.low is None or m.high is None else f"[{m.low:.4g}, {m.high:.4g}]"
        rows.append((m.metric, m.setting, f"{m.value:.4g}", between, str(m.n), m.unit))
    return rows


class Subject(Config):
    """What a result is about: a run of a study, or a model from elsewhere."""

    name: str
    family: str
    recipe: str = ""
    seed: int = 0


class About(Config):
    """What a reader needs to know beside a result: whom and what it is about, how it was measured, and how it is made again."""

    model_config = ConfigDict(extra="ignore")

    subjects: tuple[Subject, ...] = ()
    data: str = ""
    """The name of the source that was looked at."""
    split: str = ""
    command: str = ""
    """What makes the result again."""
    config: Plain = Field(default_factory=dict)
    """The probe with its settings."""
    protocol: str = ""
    made_from: Plain = Field(default_factory=dict)
    """Everything that the result is a function of; nothing where it is about a network from elsewhere."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, stored: Any) -> Any:
        if not is_table(stored) or "subject" not in stored:
            return stored
        rest = {name: value for name, value in stored.items() if name != "subject"}
        return {"subjects": [stored["subject"]], **rest}

    @classmethod
    def read(cls, path: Path) -> Self:
        """What stands beside a stored result."""
        try:
            return cls.parse(read_stored(path).get("about") or {})
        except RequestError as error:
            raise torn_result(path, error.came.rstrip(".")) from None

    def plain(self) -> Plain:
        """Plain data as it is stored: a single subject as `subject`, and nothing that is not known."""
        known = {name: value for name, value in super().plain().items() if value}
        subjects = known.pop("subjects", [])
        return {**({"subject": subjects[0]} if len(subjects) == 1 else {"subjects": subjects} if subjects else {}), **known}

    @property
    def source(self) -> Plain:
        """The settings of the source that was looked at, where the result says so."""
        found = self.made_from.get("data")
        return found if is_table(found) else {}

    @property
    def version(self) -> int:
        """The version of the probe that measured; 0 where it is not known."""
        return int(self.made_from.get("version") or 0)


class Matrix(Config):
    """Numbers of names against names, as a table: `cells` line by line, None where there is none."""

    title: str
    corner: str
    """What the lines are, and what the columns."""
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Metric | None, ...], ...]


class Standing(Config):
    """How far a result's number can be leant on, beyond what its interval says."""

    ground: str = ""
    """In a few words what it stands on, an audit's verdict or the level of chance; often nothing."""
    trust: Literal["believed", "doubted", "not believed"] = "believed"
    """Whether it can decide a claim: not where it is known to be a bound only, or its instrument to be blind.

    Of a number that is doubted a page states the ground as a reason against what it says, and not as one for it.
    """
    leads: bool = True
    """Whether it may stand among a report's first sentences: not where it lacks what its name promises."""
    beyond: bool = False
    """Whether it is only known to be larger than `value`: nothing that was tried was large enough."""
    chance: float = 0.0
    """The p-value under chance alone; 0 where the probe has no level of chance, and its number always counts as beyond it."""

    @property
    def believed(self) -> bool:
        """Whether it can decide a claim."""
        return self.trust != "not believed"


class Result(Config):
    """Base of what every probe returns.

    A subclass adds its own fields and says its sentence (`headline`), its rows (`metrics`) and its figures (`draw`). Its
    class variables say what a reader needs to place the number: the question that the probe answers, what `value` is
    called, which way is better, and how many seeds a sentence about a family needs.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    probe: ClassVar[str]
    question: ClassVar[str]
    measure: ClassVar[str]
    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    seeds_needed: ClassVar[int] = 3
    exact: ClassVar[bool] = False
    """Whether the number is counted and not sampled: it needs no interval, and two of them differ or do not."""
    leaning: ClassVar[tuple[str, str] | None] = None
    """What a network does whose value is higher, and whose is lower, where "higher" alone would say nothing to a reader."""
    best: ClassVar[str | None] = None
    """What the network does whose value is the best of many, where "the highest" alone would say nothing to a reader."""
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """The least and the greatest value that there can be: no interval reaches beyond them."""
    sampled: ClassVar[str] = "images"
    """What `n` counts."""
    difference_unit: ClassVar[str | None] = None
    """The unit in which `paired` and `side_by_side` compare two results, where it is not the value's own."""
    biased: ClassVar[bool] = False
    """Whether its estimator has a bias that averaging over seeds does not take away, as a calibration error has.

    The mean over seeds then gets no interval, and families are compared by `compared`.
    """
    aspect: ClassVar[AspectName | None] = None
    """The aspect of a network's fingerprint that the result tells, if any."""
    untold: ClassVar[str] = "not measured"
    """Why a result tells no `trait`."""

    value: float
    interval: Interval | None
    n: int
    unit: str
    caveats: tuple[str, ...] = ()

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        raise TypeError(f"{type(self).__name__} does not say its headline")

    def protocol(self) -> str:
        """How it was measured, in one sentence: what stands under every number."""
        raise TypeError(f"{type(self).__name__} does not say its protocol")

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        raise TypeError(f"{type(self).__name__} does not list its metrics")

    def matrices(self) -> list[Matrix]:
        """A result about several networks as tables of names against names, as a paper prints them; none for one network."""
        return []

    def trait(self) -> Metric | None:
        """The number that tells the result's `aspect`: `value`, unless a subclass means another; None where it is missing."""
        return Metric.of(self.measure, self.value, self.interval, self.n, self.unit)

    def standing(self) -> Standing:
        """How far the number can be leant on, beyond what its interval says."""
        return Standing()

    def per_image(self) -> NDArray[Any] | None:
        """One score an image whose mean is `value`, in the split's order; None where `value` is no such mean.

        It is what intervals over seeds x images and paired tests are made from.
        """
        return None

    def compared(self) -> tuple[float, Interval | None] | None:
        """The number and interval that families without scores an image are compared by; None where they are not compared."""
        return None if self.difference_unit else (self.value, self.interval)

    @classmethod
    def bounded(cls, interval: Interval) -> Interval:
        """An interval around values of this kind, cut to the `bounds` between which they lie."""
        low, high = cls.bounds
        return interval.replace(low=min(max(interval.low, low), high), high=max(min(interval.high, high), low))

    @classmethod
    def side_by_side(cls, results: Sequence[Any]) -> NDArray[Any] | None:
        """What networks are compared by: (results, images), or (results, draws, images) of shared draws; None where none are.

        All results that are given looked at the same images, in the same order.
        """
        own = [result.per_image() for result in results]
        if any(score is None or score.size < 2 or len(score) != len(own[0]) for score in own):
            return None
        return np.stack(own)

    @classmethod
    def difference_of_values(cls, some: Sequence[Any], others: Sequence[Any], level: float) -> Difference | None:  # noqa: ARG003
        """First minus second in the unit of `value`, over images and seeds, where networks are compared in another unit.

        A claim whose margin is in that unit is decided by it; None where there is no such test.
        """
        return None

    @classmethod
    def which_count(cls, results: Sequence[Any]) -> NDArray[Any] | None:  # noqa: ARG003
        """Which scores of `side_by_side` count, where `value` is a share of a part of the images; None where all do."""
        return None

    def paired(self, other: Any, level: float = 0.95) -> Difference | None:
        """This minus the other, two checkpoints asked about the same images; None where they allow no test."""
        first, second = self.per_image(), other.per_image()
        if first is None or second is None or first.shape != second.shape:
            return None
        if is_proportion(first) and is_proportion(second):
            return paired_proportions(first, second, level)
        return paired_bootstrap(first, second, seed=0, level=level)

    def against(self, other: Any, level: float = 0.95) -> Comparison:
        """What a test says of this beside another checkpoint's result about the same images."""
        difference = self.paired(other, level)
        if difference is None:
            raise RequestError(
                f"No test compares these two results of {self.probe}.",
                "two results about the same images, of one probe that compares networks image by image",
                "measure both with the same settings, on one source",
            )
        return compare(difference)

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Any]]) -> list[Figure]:  # noqa: ARG003
        """The figures of one or many results side by side, most important first."""
        raise TypeError(f"{cls.__name__} does not draw itself")

    def charts(self) -> list[Figure]:
        """The figures of this result alone."""
        return self.draw([(Subject(name="this model", family="other"), self)])

    def chart(self) -> Figure:
        """The result's most important picture."""
        return self.charts()[0]

    def table(self) -> str:
        """The metrics as an aligned text table, for a terminal or a notebook."""
        rows = [METRIC_COLUMNS, *as_text(self.metrics())]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _shown(self) -> Shown:
        from priorscope.core.notebook import Shown

        notes = (self.protocol(), *(f"But: {caveat}" for caveat in self.caveats))
        text = "\n".join((self.headline(), self.table(), *notes))
        return Shown(self.headline(), METRIC_COLUMNS, as_text(self.metrics()), notes, text, next(iter(self.charts()), None))

    def _repr_html_(self) -> str:
        """What a notebook shows that knows HTML alone: the answer, the numbers and the most important picture."""
        return self._shown().html()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What a notebook chooses from: HTML, the interactive chart, the picture, text."""
        return self._shown().mimebundle()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields that are arrays."""
        return {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), np.ndarray)}

    def save(self, path: Path | str, about: About | None = None) -> Path:
        """Writes `path` (JSON) and, where the result has arrays, `path` with the ending .npz; both atomically, arrays first.

        A page tells by `about` which results stand beside each other, and keeps it with the numbers.
        """
        path = at_home(path).with_suffix(".json")
        arrays = self.arrays()
        if arrays:
            write_arrays(path.with_suffix(".npz"), arrays)
        values = self.model_dump(mode="json", exclude=set(arrays), exclude_none=True)
        told = about.plain() if about else {}
        write_json(path, {"probe": self.probe, "about": told, "arrays": sorted(arrays), "result": values})
        return path

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads back what `save` wrote, or says what is torn."""
        path = at_home(path)
        stored = read_stored(path)
        if stored.get("probe") != cls.probe:
            raise RequestError(
                f"{path} holds a result of {stored.get('probe')!r}.", f"one of {cls.probe!r}", "load it as what it is"
            )
        try:
            values: Plain = {"interval": None, **stored["result"]}
            if stored["arrays"]:
                values |= read_arrays(path.with_suffix(".npz"), stored["arrays"])
            return cls.model_validate(values)
        except (WorkError, ValueError, TypeError, KeyError, ValidationError) as error:
            raise torn_result(path, first_line(error)) from None


def draw(results: Mapping[str, Result]) -> list[Figure]:
    """The figures of several networks' results of one probe side by side, by the networks' names, most important first."""
    from priorscope.core.palette import STYLES

    probes = {result.probe for result in results.values()}
    if len(probes) != 1:
        raise RequestError(
            f"Results of {' and '.join(sorted(probes)) or 'no probe'} came to be drawn side by side.",
            "results of one probe, by the names of their networks",
            'ps.draw({"mlp": one, "cnn": other})',
        )
    families = {name: name if name in STYLES else "other" for name in results}
    pairs = [(Subject(name=name, family=families[name]), result) for name, result in results.items()]
    return type(pairs[0][1]).draw(pairs)


def read_stored(path: Path) -> Plain:
    """The table of a stored result."""
    return read_json(path, _mend(path))


def torn_result(path: Path, what: str) -> WorkError:
    """The error for a stored result that cannot be read."""
    return WorkError(f"The result {path} is damaged: {what}.", "a result as it was written", _mend(path))


def _mend(path: Path) -> str:
    return f"delete {path} and ask the probe, or run the study, again"


def stored_probe(path: Path) -> str:
    """The name of the probe whose result a file holds."""
    try:
        return str(read_stored(path)["probe"])
    except KeyError:
        raise torn_result(path, "it does not name its probe") from None
