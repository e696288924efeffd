"""Whether what a study asks of its data, networks and devices can be had: else its steps would fail after hours of training.

Sources are opened where that is quick, as a probe or a training will open them; no picture is read, and torch is not
imported. A source that is not on this machine is for `priorscope.study.lacking` to name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from priorscope.core.errors import PriorscopeError, RequestError, WorkError
from priorscope.core.wording import counted
from priorscope.data import known_side, open_published
from priorscope.data.hub import is_on_hub
from priorscope.data.parts import HoldingBackError
from priorscope.data.sources import PartsConfig, SourceConfig
from priorscope.data.split import Source, no_such_split
from priorscope.recipe import Recipe
from priorscope.study.plan import Plan
from priorscope.study.steps import Step, TrainStep

UNOPENED = ("dataset", "imagenet", "imagenet21k", "imagenet_real")
"""Sources that are not opened: a user's own code, which may do anything, and archives or folders of millions of files."""
LISTED = ("beton", "folder")
"""Sources that know how many pictures they have without reading any; the built-in world's settings say it."""

Opened = dict[str, Source | RequestError | None]
"""Sources by their settings: opened, or what they refuse; None where they are not opened."""


def check_askable(plan: Plan) -> None:
    """Refuses what a source or a device does not have, and networks that cannot be built for the pictures of their source."""
    opened: Opened = {}
    refused = [(step.id, error) for step in plan.steps for error in _refusals(step, opened)]
    if refused:
        first, error = refused[0]
        alike = len({step for step, other in refused if other.came == error.came})
        more = f" and {counted(alike - 1, 'more step')}" if alike > 1 else ""
        raise RequestError(f"{first!r}{more} cannot be done: {error.came}", error.wanted, error.do)


def _refusals(step: Step, opened: Opened) -> Iterator[RequestError]:
    if not isinstance(step, TrainStep):
        split = getattr(step.probe, "split", None)
        yield from _of_splits(step.source, () if split is None else (split,), opened)
        return
    recipe = step.cell.recipe
    yield from _of_splits(recipe.data.source, dict.fromkeys(("train", "val", *recipe.train.track)), opened)
    yield from _of_network(recipe, opened)
    length = None if recipe.data.subset is None else _length(recipe.data.source, opened)
    if length is not None and recipe.data.subset is not None and recipe.data.subset > length:
        yield RequestError(
            f"data.subset = {recipe.data.subset} came with {length} training pictures.",
            f"1 to {length}",
            "a smaller data.subset",
        )
    if recipe.train.precision == "tf32" and recipe.train.device in ("cpu", "mps"):
        yield RequestError(
            f"train.precision = 'tf32' came with the device {recipe.train.device}, which has no such products.",
            "a CUDA device, or another precision",
            'train.precision = "fp32"',
        )


def _of_splits(config: SourceConfig, names: Collection[str], opened: Opened) -> Iterator[RequestError]:
    source = _opened(config, opened) if names else None
    if isinstance(source, RequestError):
        yield source
    elif source is not None:
        known = source.splits()
        missing = (name for name in names if name.partition("@")[0] not in known)  # conflict@0.2 is conflict at a salience
        yield from (no_such_split(source.name, name, known) for name in missing)


def _of_network(recipe: Recipe, opened: Opened) -> Iterator[RequestError]:
    """What a network refuses of the pictures' side, where that, or the side to which it resizes them, is known."""
    source = _opened(recipe.data.source, opened)
    classes = None if source is None or isinstance(source, RequestError) else len(source.classes)
    try:
        side = known_side(recipe.data.source) or recipe.model.input_size
        if side is not None:
            recipe.model.check(side, classes)
    except RequestError as error:
        yield error
    except WorkError:
        return  # of a damaged store, which the step says


def _length(config: SourceConfig, opened: Opened) -> int | None:
    """How many pictures there are to learn from, where that is known without reading them."""
    if config.name == "shapetex":
        return int(config.plain()["train"])
    source = _opened(config, opened) if config.name in LISTED else None
    if source is None or isinstance(source, RequestError):
        return None
    with suppress(PriorscopeError):
        return len(source.split("train"))


def _opened(config: SourceConfig, opened: Opened) -> Source | RequestError | None:
    """A source, opened once; None where that would take long, fetch something, or cannot be done here."""
    key = config.toml()
    if key not in opened:
        opened[key] = None if config.name in UNOPENED or is_on_hub(config) else _open(config)
    return opened[key]


def _open(config: SourceConfig) -> Source | RequestError | None:
    """A source, or what it says against as many pictures of train held back as are asked for."""
    source: Source | None = None
    try:
        source = open_published(config)
        if config.name in LISTED and isinstance(config, PartsConfig) and config.val is not None:
            source.split("val")
    except HoldingBackError as error:
        return error
    except PriorscopeError:
        return source  # the step says what is wrong with it, and a plan what is not here
    return source
