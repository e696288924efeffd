"""Probes: one question a module, a package where it takes more than one file.

What is asked, how it is scored and what it says stand in the module itself; `figures` beside it draws, and whatever needs torch
stands apart under its own name. `shared` holds what several look with.

A probe's module has three public names, `<Name>Config`, `measure_<name>` and the result class `<Name>`, and says which
`VERSION` its numbers have. `measure_<name>` takes a classifier, its evidence or a finished run, a source or one of its splits,
and its config, which `asks` makes of the settings that a caller names. A probe never trains: it reads what a study made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Literal, Protocol, TypeVar, cast

from priorscope.core.config import Plain
from priorscope.core.contracts import Result, stored_probe
from priorscope.core.epoch import Epoch
from priorscope.core.errors import RequestError
from priorscope.core.listing import Listing, Member, camel

if TYPE_CHECKING:
    from priorscope.core.environment import Environment
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier
    from priorscope.recipe import Recipe

PROBES = Listing(
    "probe",
    "priorscope probe list",
    {
        "accuracy": "priorscope.probes.accuracy",
        "activation": "priorscope.probes.activation",
        "calibration": "priorscope.probes.calibration",
        "corruptions": "priorscope.probes.corruptions",
        "cost": "priorscope.probes.cost",
        "cue_conflict": "priorscope.probes.cue_conflict",
        "inversion": "priorscope.probes.inversion",
        "fewshot": "priorscope.probes.fewshot",
        "generalisation": "priorscope.probes.generalisation",
        "invariance": "priorscope.probes.invariance",
        "robustness": "priorscope.probes.robustness",
        "scaling": "priorscope.probes.scaling",
        "similarity": "priorscope.probes.similarity",
        "texture_shape": "priorscope.probes.texture_shape",
        "transfer": "priorscope.probes.transfer",
        "tuning": "priorscope.probes.tuning",
    },
)


class ProbeConfig(Member):
    """Base of every probe's config: `name` is the probe's name in the list, its other fields are its own settings.

    What no user sets, and every asker must know of a probe, are its class variables.
    """

    listing: ClassVar[Listing] = PROBES

    per: ClassVar[Literal["run", "set"]] = "run"
    """With "set" the probe takes a table of subjects by name, and returns one result about all of them."""

    reads_runs: ClassVar[bool] = False
    """Whether the probe reads the recipe and log of a finished run too (`TrainedRun`), and not its evidence alone."""

    asks_networks: ClassVar[bool] = True
    """Whether the probe shows networks anything, and does not read alone how they were trained."""

    alone: ClassVar[bool] = False
    """Whether the probe measures time: a study runs nothing beside it, and its results belong to this machine."""

    def reads(self) -> tuple[str | Plain | Path, ...]:
        """What the probe reads besides the data that it asks on: sources as a recipe names them, and a user's own files."""
        return ()

    def companions(self, recipe: Recipe) -> dict[str, Recipe]:  # noqa: ARG002  most want none
        """The recipes, by name, whose runs the probe wants beside a run; `measure_<name>` is given those that there are."""
        return {}


C = TypeVar("C", bound=ProbeConfig)
R = TypeVar("R", bound=Result)


def asks(config: type[C]) -> Callable[[Callable[Concatenate[Any, Any, C, ...], R]], Callable[..., R]]:
    """Makes the config that a `measure_<probe>` takes of the settings that a caller names, read and checked as a recipe's are.

    `measure_robustness(model, split, attack="pgd", eps="8/255")` and `measure_robustness(model, split, config)` are the same.
    """

    def asking(measure: Callable[Concatenate[Any, Any, C, ...], R]) -> Callable[..., R]:
        subject, data, _, *beside = signature(measure).parameters.values()
        others = {one.name for one in (subject, data, *beside)}

        @wraps(measure)
        def measured(*given: Any, **named: Any) -> R:
            settings = {name: value for name, value in named.items() if name not in others}
            rest = {name: value for name, value in named.items() if name in others}
            if len(given) < 3 or settings:
                rest["asked"] = config.parse(settings, measure.__name__)
            if config.per == "set":
                _check_named(measure.__name__, given[0] if given else rest.get(subject.name))
            result = measure(*given, **rest)
            told = getattr(given[1] if len(given) > 1 else rest.get(data.name), "caveats", ())  # a source's; a split has none
            return result.model_copy(update={"caveats": tuple(dict.fromkeys((*result.caveats, *told)))}) if told else result

        fields = {name: field for name, field in config.model_fields.items() if name != "name"}
        named = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=field.get_default(call_default_factory=True))
            for name, field in fields.items()
        ]
        vars(measured)["__signature__"] = Signature([subject, data, *named, *beside])
        return measured

    return asking


def _check_named(measure: str, subjects: object) -> None:
    """Refuses one network where several are compared: they are told apart by their names."""
    if not isinstance(subjects, Mapping):
        raise RequestError(
            f"{measure} compares networks, and was given {type(subjects).__name__} without a name.",
            "a table of networks by their names",
            f'{measure}({{"mine": model}}, data)',
        )


def probe_config(probe: str | dict[str, Any] | ProbeConfig) -> ProbeConfig:
    """The checked config of a probe, from its name or from a table with `name` and its settings."""
    if isinstance(probe, ProbeConfig):
        return probe
    table = PROBES.table(probe)
    name = str(table.get("name", ""))
    config = PROBES.config(name).parse(table, f"probe {name}")
    if not isinstance(config, ProbeConfig):
        raise TypeError(f"{type(config).__name__} is not a ProbeConfig")
    return config


def result_class(probe: str) -> type[Result]:
    """The class of a probe's results."""
    return getattr(PROBES.load(probe), camel(probe))


def measure_of(probe: str) -> Callable[..., Result]:
    """The function that measures: `measure_<probe>` of the probe's module."""
    return getattr(PROBES.load(probe), f"measure_{probe}")


def load_result(path: Path) -> Result:
    """Reads a stored result back, as an object of its probe's result class."""
    return result_class(stored_probe(path)).load(path)


class TrainedRun(Protocol):
    """A finished run, as far as a probe may look at it: how it was trained, its log, and what the network says."""

    @property
    def name(self) -> str: ...

    @property
    def recipe(self) -> Recipe: ...

    @property
    def history(self) -> list[Epoch]: ...

    @property
    def environment(self) -> Environment: ...

    @property
    def evidence(self) -> Evidence: ...


def run_of(subject: object) -> TrainedRun | None:
    """The subject where it is a finished run; None of a network and of its evidence, which have no recipe."""
    return cast("TrainedRun", subject) if hasattr(subject, "recipe") else None


def evidence_of(subject: Classifier | Evidence | TrainedRun) -> Evidence:
    """Evidence of a model, a run's own, or evidence itself."""
    from priorscope.evidence import Evidence

    if isinstance(subject, Evidence):
        return subject
    if (run := run_of(subject)) is not None:
        return run.evidence
    from priorscope.models.classifier import Classifier

    if not isinstance(subject, Classifier):
        path = isinstance(subject, str | Path)
        raise RequestError(
            f"A {type(subject).__name__} came in place of a network.",
            "a classifier, a run or evidence",
            f"ps.load({str(subject)!r})" if path else "ps.wrap(network, image_size=..., classes=...)",
        )
    return Evidence(subject)


def the_split(data: Source | Split, name: str) -> Split:
    """The split that a probe looks at: the one given, or the one of that name of the source given."""
    from priorscope.data.split import Split

    return data if isinstance(data, Split) else data.split(name)


def labelled_split(data: Source | Split, name: str, *judged: Evidence) -> Split:
    """The split on whose labels networks are judged; refuses a network that was trained on another list of classes."""
    chosen = the_split(data, name)
    for one in judged:
        one.check_classes(chosen)
    return chosen


def the_source(probe: str, data: Source | Split) -> Source:
    """The source that a probe of several splits needs."""
    from priorscope.data.split import Split

    if isinstance(data, Split):
        raise RequestError(
            f"{probe} looks at several splits and was given one, {data.source}/{data.name}.",
            "a source",
            "give it ps.data.open(NAME)",
        )
    return data


def check_trained(probe: str, subjects: Mapping[str, object]) -> None:
    """Refuses subjects that do not say how they were trained."""
    for name, subject in subjects.items():
        if run_of(subject) is None:
            raise RequestError(f"{name} does not say how it was trained.", "finished runs", f"priorscope probe {probe} runs/*")


def check_apart(probe: str, split: str) -> None:
    """Refuses to score a readout on the pictures from which it learns."""
    if split == "train":
        raise RequestError(
            f"{probe} learns a readout from train and was asked to score it there.", "another split", 'split = "test"'
        )


def __getattr__(name: str) -> Any:
    """`ps.probes.measure_robustness`, `ps.probes.Robustness` and `RobustnessConfig`, imported when they are asked for."""
    for probe in PROBES:
        if name == f"measure_{probe}":
            return measure_of(probe)
        if name in (camel(probe), f"{camel(probe)}Config"):
            return getattr(PROBES.load(probe), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(f"measure_{probe}" for probe in PROBES)])
