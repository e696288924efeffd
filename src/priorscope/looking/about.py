"""What a reader needs to know beside a result: whom and what it is about, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from priorscope.core.config import Plain, inline_toml
from priorscope.core.contracts import About, Subject
from priorscope.core.errors import RequestError
from priorscope.data import source_config
from priorscope.probes import ProbeConfig, probe_config
from priorscope.recipe import Recipe

if TYPE_CHECKING:
    from priorscope.data.sources import SourceConfig


def subject_of(run: str, recipe_name: str, recipe: Recipe) -> Subject:
    """The subject of a result about one run."""
    return Subject(name=run, family=recipe.model.family, recipe=recipe_name, seed=recipe.seed)


def about(
    probe: ProbeConfig,
    subjects: Sequence[tuple[Subject, tuple[str, ...]]],
    data: SourceConfig,
    made_from: Plain,
    *,
    other_data: bool,
    device: str | None = None,
) -> About:
    """What stands beside a result before it is measured; each subject comes with what names it in a command.

    `other_data` says that the data is not what the subjects learnt from. `device` is named where the result hangs on it.
    """
    plain = probe_config(probe.name)
    given = {name: value for name, value in probe.plain().items() if value != plain.plain().get(name)}
    settings = [f"--set {shlex.quote(f'{name}={_typed(value)}')}" for name, value in given.items()]
    if other_data:
        settings.append(f"--data {shlex.quote(_typed_source(data))}")
    if device is not None:
        settings.append(f"--device {device}")
    return About(
        subjects=tuple(subject for subject, _ in subjects),
        data=data.name,
        split=getattr(probe, "split", ""),
        command=" ".join(["priorscope", "probe", probe.name, *(shlex.join(typed) for _, typed in subjects), *settings]),
        config=probe.plain(),
        made_from=made_from,
    )


def _typed_source(source: SourceConfig) -> str:
    """A source as people type it: its name or its path where that says it all, else a table."""
    short = (source.name, str(source.plain().get("path", "")))
    return next((text for text in short if text and _means(text) == source), inline_toml(source.plain()))


def _means(text: str) -> SourceConfig | None:
    try:
        return source_config(text)
    except RequestError:
        return None


def _typed(value: Any) -> str:
    """A setting as people type it: a word without quotes."""
    return value if isinstance(value, str) and value.isidentifier() else inline_toml(value)
