"""A run as plain data: what it learns from, what learns, how, and from where.

A recipe composes its owners' configs: the source's, the family's, the optimiser's, the loop's. It goes to TOML and back
unchanged, and its key changes when, and only when, something changes that can change a number. A file may say what sets it
apart from another, `extends = "cifar10-cnn"`; a recipe itself is always complete.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, SerializeAsAny, WithJsonSchema, model_validator

from priorscope.core.config import Config, Plain, assign, is_table, merge, read_toml
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.folder import at_home
from priorscope.core.schema import nothing_required
from priorscope.data import source_config
from priorscope.data.augment import Augment, augment_config
from priorscope.data.sources import SourceConfig
from priorscope.models import FamilyConfig, beside_name, family_config
from priorscope.train.adversarial import AdversarialConfig
from priorscope.train.config import TrainConfig
from priorscope.train.defaults import OwnDefaults
from priorscope.train.optim import OptimConfig

HELD = ("seed", "data.source", "data.subset", "init", "train.epochs", "train.steps", "train.flops", "train.track")
"""What a run learns from, for how long and what is looked at on the way: runs that differ in it are not tuned by it."""


READ_UNTRAINED = ("data.source", "train.epochs", "train.device", "train.threads", "train.precision", "train.track")
"""The settings of data and training that are read where nothing is trained."""


class DataConfig(Config):
    """What a run learns from."""

    model_config = ConfigDict(json_schema_extra=nothing_required)

    source: Annotated[SerializeAsAny[SourceConfig], BeforeValidator(partial(source_config, at="data.source"))] = Field(
        description="a source's name, a path, or a table with a source's settings: see Data"
    )
    subset: int | None = Field(default=None, ge=1, description="a class-balanced, nested part of train of this size")
    shuffle: Annotated[
        Literal["chunks"] | None,
        BeforeValidator(lambda value: None if value is True else value),  # what is done anyway: one spelling, one key
        WithJsonSchema({"enum": [True, "chunks"]}),
    ] = Field(
        default=None,
        description="chunks: an order nearly as random in which a store larger than memory is read in long pieces;"
        " not set, or true: any order of all pictures",
    )
    augment: Annotated[Augment, BeforeValidator(partial(augment_config, at="data.augment"))] = Field(
        default_factory=lambda: augment_config("none"),
        validate_default=True,
        description="a preset's name, or a table of operations: see Augmentation",
    )


class InitConfig(Config):
    """Where the weights begin: fresh, from a run's folder, from another recipe of the same study, or as published."""

    kind: Literal["scratch", "run", "recipe", "published", "timm"] = Field(
        default="scratch", description="where the weights come from; the setting of that name says which"
    )
    run: str | None = Field(default=None, description="kind = run: the folder of the run whose weights it begins with")
    step: int | None = Field(
        default=None, ge=1, description="kind = run: its snapshot after this many steps; not set: the weights that it kept"
    )
    published: str | None = Field(default=None, description="kind = published: a file of weights, named as published")
    recipe: str | None = Field(
        default=None, description="kind = recipe: the recipe of the same study whose weights it begins with"
    )
    timm: str | None = Field(
        default=None, description="kind = timm: timm's name of published weights, for its network or one of ours like it"
    )
    head: Literal["new"] | None = Field(
        default=None, description="new: always a fresh head; not set: one only where the old head was for other classes"
    )


def _as_file(schema: Plain) -> None:
    """A recipe's file may have other names, and may leave out what it has from the recipe that it extends."""
    schema["properties"]["extends"] = {"type": "string", "description": "the recipe, or file, that this one is laid over"}
    schema["properties"]["aliases"] = {"type": "array", "items": {"type": "string"}, "description": "its other names"}
    nothing_required(schema)


class Recipe(Config):
    """One run, completely."""

    model_config = ConfigDict(json_schema_extra=_as_file)

    data: DataConfig
    model: Annotated[SerializeAsAny[FamilyConfig], BeforeValidator(partial(family_config, at="model"))] = Field(
        description="a model's name, or a table of its name and the settings that differ: see Models"
    )
    init: InitConfig = InitConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    seed: int = Field(default=0, ge=0, description="the seed of weights, order, augmentation and dropout")

    @classmethod
    def load(cls, path: Path | str, settings: Sequence[str] = ()) -> Self:
        """Reads a TOML file or a shipped recipe, laid over the recipe that it `extends`, `--set` settings laid over both."""
        return cls.of(read_recipe(find_recipe(path) if isinstance(path, str) else at_home(path)), settings, str(path))

    @classmethod
    def of(cls, values: dict[str, Any], settings: Sequence[str] = (), where: str = "the recipe") -> Self:
        """Checks plain data, laid over the shipped recipe that it `extends`, `--set` settings laid over both."""
        if isinstance(settings, str):
            raise RequestError(f"The settings came as one text, {settings!r}.", "a list of settings", f"[{settings!r}]")
        values = completed(values)
        values = assign(_without_named(values, assign({}, *settings)), *settings)
        return cls.parse(values, f"{where} with --set {' '.join(settings)}" if settings else where)

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        """Refuses what would be ignored or contradict itself."""
        self._check_init()
        self._check_model()
        if any(op.op == "permute" for op in self.data.augment.ops):
            raise RequestError(
                "data.augment permutes the pixels, which would hold in training alone: val and every probe show them in order.",
                "a permutation that belongs to the network",
                "model.permute = {}",
            )
        if not self.train.trains:
            self._check_untrained()
        if self.train.precision == "fp16" and self.optim.sam is not None:
            raise RequestError(
                "optim.sam came with train.precision = 'fp16'.",
                "gradients of their own size, which sharpness-aware steps measure",
                'train.precision = "bf16"',
            )
        return self

    def _check_init(self) -> None:
        """Refuses weights to begin with that are not named, or named twice."""
        init = self.init
        given = [name for name in ("run", "recipe", "published", "timm") if getattr(init, name) is not None]
        if given != ([] if init.kind == "scratch" else [init.kind]):
            raise RequestError(
                f"init.kind = {init.kind!r} came with {', '.join(given) or 'nothing'}.",
                "scratch alone, or exactly the setting of that kind's name",
                'init = {kind = "run", run = "runs/a"}',
            )
        if init.step is not None and init.kind != "run":
            raise RequestError(
                f"init.step came with init.kind = {init.kind!r}.", "the run that kept the snapshot", 'init.kind = "run"'
            )
        if init.head is not None and (init.kind == "scratch" or not self.train.trains):
            came = f"init.kind = {init.kind!r}" if init.kind == "scratch" else "train.epochs = 0"
            raise RequestError(
                f"init.head = 'new' came with {came}.",
                "weights to begin with, and training for the new head",
                "remove init.head",
            )
        if init.kind != "scratch" and getattr(self.model, "pretrained", False):
            raise RequestError(
                f"model.pretrained = true came with init.kind = {init.kind!r}: two sets of weights to begin with.",
                "one of them",
                "model.pretrained = false",
            )

    def _check_model(self) -> None:
        """Refuses dropout that a frozen body does not draw."""
        frozen = self.train.finetune is not None and self.train.finetune.mode == "head"
        if frozen and self.model.rates:
            rates = " and ".join(f"model.{name} = {rate:g}" for name, rate in self.model.rates.items())
            raise RequestError(
                f"{rates} came with train.finetune.mode = 'head'.",
                "none: the frozen body is in evaluation mode, in which nothing drops",
                f"--set model.{next(iter(self.model.rates))}=0",
            )

    def _check_untrained(self) -> None:
        """Refuses to train nothing but published weights, and settings that nothing reads where nothing is trained."""
        if self.init.kind not in ("published", "timm") and not getattr(self.model, "pretrained", False):
            raise RequestError(
                "train.epochs = 0 trains nothing.",
                "one or more, or published weights: init.published, init.timm or model.pretrained",
                "train.epochs = 10",
            )
        usual = {
            "optim": {**OptimConfig(name=self.optim.name).plain(), "name": OptimConfig().name},
            "train": TrainConfig().plain(),
            "data": {"augment": augment_config("none").plain()},
        }
        own = {table: getattr(self, table).plain() for table in usual}
        unread = [
            f"{table}.{name}"
            for table, settings in own.items()
            for name, value in settings.items()
            if f"{table}.{name}" not in READ_UNTRAINED and value != usual[table].get(name)
        ]
        if unread:
            them = "it" if len(unread) == 1 else "them"
            raise RequestError(
                f"{', '.join(unread)} came with train.epochs = 0, and nothing would read {them}.",
                "a published network as it is, or one that is trained",
                f"leave {them} out, or train.epochs = 10",
            )


def read_recipe(path: Path, seen: tuple[Path, ...] = ()) -> Plain:
    """The settings of a file, complete: laid over those of the recipe that it extends, without its aliases."""
    chain = (*seen, path.resolve())
    if chain[-1] in seen:
        raise RequestError(
            f"The recipe {path.stem!r} extends itself: {' -> '.join(file.stem for file in chain)}.",
            "a chain that ends",
            "extend another recipe",
        )
    values = read_toml(path)
    if "recipes" in values:
        raise _is_study(str(path))
    values = completed(values, path.parent, chain)
    return {name: value for name, value in values.items() if name != "aliases"}


def completed(values: Plain, folder: Path = Path(), seen: tuple[Path, ...] = ()) -> Plain:
    """Settings laid over those of the recipe that they extend: a shipped one, or a file in the folder."""
    if "extends" not in values:
        return values
    own, below = dict(values), str(values["extends"])
    del own["extends"]
    path = folder / at_home(below) if below.endswith(".toml") else find_recipe(below)
    return laid_over(read_recipe(path, seen), own)


def laid_over(below: Plain, above: Plain) -> Plain:
    """Settings with others laid over them, table by table; `model = "x"` and `source = "x"` count as tables with that name.

    Another source, or another kind of init, replaces the one below: they share no settings. Another model starts again from its
    name, with what was set beside the name of the one below.
    """
    above = _spelt_out(above)
    below = _without_named(_spelt_out(below), above)
    if _other(below.get("init"), above.get("init"), "kind"):
        below = {name: value for name, value in below.items() if name != "init"}
    if _other(_source_of(below), _source_of(above), "name"):
        below = {**below, "data": {name: value for name, value in below["data"].items() if name != "source"}}
    return merge(below, above)


def _without_named(below: Plain, above: Plain) -> Plain:
    """Settings without what the names in them filled in, if those above name something else.

    Another model keeps what was set beside the name below and suits it. Another optimiser, or another way to move pictures
    against the network, has its own defaults.
    """
    below = _without_defaults(below, above, "optim", OptimConfig)
    train, over = below.get("train"), above.get("train")
    if is_table(train) and is_table(over):
        below = {**below, "train": _without_defaults(train, over, "adversarial", AdversarialConfig)}
    model: Any = below.get("model")
    named: Any = above.get("model")
    if _other(model, named, "name") and "name" in model:
        return {**below, "model": beside_name(model, str(named["name"]))}
    return below


def _without_defaults(below: Plain, above: Plain, name: str, config: type[OwnDefaults]) -> Plain:
    """Settings whose table of that name has no defaults left, if those above choose differently there."""
    if not _other(below.get(name), above.get(name), config.CHOICE):
        return below
    return {**below, name: config.without_defaults(below[name])}


def _other(below: Any, above: Any, said: str) -> bool:
    """Whether the upper of two tables says that it is another thing than the lower."""
    return is_table(below) and is_table(above) and said in above and above[said] != below.get(said)


def _source_of(settings: Plain) -> Any:
    data = settings.get("data")
    return data.get("source") if is_table(data) else None


def _spelt_out(settings: Plain) -> Plain:
    data = settings.get("data")
    if is_table(data) and isinstance(data.get("source"), str):
        settings = {**settings, "data": {**data, "source": {"name": data["source"]}}}
    if isinstance(settings.get("model"), str):
        settings = {**settings, "model": {"name": settings["model"]}}
    return settings


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name: ours, then those of earlier studies, in folders of their names."""
    root = Path(str(files("priorscope") / "studies" / "recipes"))
    found = sorted(root.rglob("*.toml"), key=lambda path: (path.parent != root, path.parent, path.stem))
    return {path.stem: path for path in found}


def recipe_aliases() -> dict[str, str]:
    """The names that runs had with those who trained them first, and the shipped recipe of each."""
    return {alias: name for name, path in shipped_recipes().items() for alias in read_toml(path).get("aliases", ())}


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or a shipped one by its name or an alias."""
    if name.endswith(".toml") or "/" in name:
        return at_home(name)
    shipped = shipped_recipes()
    found = shipped.get(name) or shipped.get(recipe_aliases().get(name, ""))
    if found is None and (files("priorscope") / "studies" / f"{name}.toml").is_file():
        raise _is_study(name)
    if found is None:
        raise lies_here("recipe", name) or unknown_name("recipe", name, shipped, "priorscope recipes list")
    return found


def _is_study(name: str) -> RequestError:
    return RequestError(
        f"{name} is a study.", "a recipe: data, a model and how it is trained", f"priorscope study {shlex.quote(name)}"
    )


def lies_here(kind: str, name: str) -> RequestError | None:
    """The error for a name that is no shipped recipe's or study's, but that of a file or a run in the current folder."""
    for path in (Path(f"{name}.toml"), Path(name) / f"{kind}.toml", Path(name)):
        if path.is_file():
            return RequestError(
                f"No {kind} that is shipped is called {name!r}, and {path} lies here.",
                "the file's path, with / or .toml in it",
                shlex.quote(str(path) if path.suffix == ".toml" else f"./{path}"),
            )
    return None
