"""Whether what a study asks of its data and devices is there: else its steps would fail after hours of training.

Sources are opened where that is quick, as a probe or a training will open them; no picture is read, and torch is not
imported. A source that is not on this machine is for `priorscope.study.lacking` to name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.wording import counted
from priorscope.data import open_published
from priorscope.data.hub import is_on_hub
from priorscope.data.sources import SourceConfig
from priorscope.data.split import Source, no_such_split
from priorscope.study.plan import Plan
from priorscope.study.steps import Step, TrainStep

UNOPENED = ("dataset", "imagenet", "imagenet21k", "imagenet_real")
"""Sources that are not opened: a user's own code, which may do anything, and archives or folders of millions of files."""
LISTED = ("beton", "folder")
"""Sources that know how many pictures they have without reading any; the built-in world's settings say it."""


def check_askable(plan: Plan) -> None:
    """Refuses splits and subsets that a source does not have, and a precision that a device does not have."""
    opened: dict[str, Source | None] = {}
    refused = [(step.id, error) for step in plan.steps for error in _refusals(step, opened)]
    if refused:
        first, error = refused[0]
        alike = len({step for step, other in refused if other.came == error.came})
        more = f" and {counted(alike - 1, 'more step')}" if alike > 1 else ""
        raise RequestError(f"{first!r}{more} cannot be done: {error.came}", error.wanted, error.do)


def _refusals(step: Step, opened: dict[str, Source | None]) -> Iterator[RequestError]:
    if not isinstance(step, TrainStep):
        split = getattr(step.probe, "split", None)
        yield from _of_splits(step.source, () if split is None else (split,), opened)
        return
    recipe = step.cell.recipe
    yield from _of_splits(recipe.data.source, dict.fromkeys(("train", "val", *recipe.train.track)), opened)
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


def _of_splits(config: SourceConfig, names: Collection[str], opened: dict[str, Source | None]) -> Iterator[RequestError]:
    source = _opened(config, opened) if names else None
    if source is not None:
        known = source.splits()
        missing = (name for name in names if name.partition("@")[0] not in known)  # conflict@0.2 is conflict at a salience
        yield from (no_such_split(source.name, name, known) for name in missing)


def _length(config: SourceConfig, opened: dict[str, Source | None]) -> int | None:
    """How many pictures there are to learn from, where that is known without reading them."""
    if config.name == "shapetex":
        return int(config.plain()["train"])
    source = _opened(config, opened) if config.name in LISTED else None
    if source is None:
        return None
    with suppress(PriorscopeError):
        return len(source.split("train"))


def _opened(config: SourceConfig, opened: dict[str, Source | None]) -> Source | None:
    """A source, opened once; None where that would take long, fetch something, or cannot be done here."""
    key = config.toml()
    if key not in opened:
        opened[key] = None
        if config.name not in UNOPENED and not is_on_hub(config):
            with suppress(PriorscopeError):  # the step says what is wrong with it, and a plan what is not here
                opened[key] = open_published(config)
    return opened[key]
