"""Pictures in, batches out: sources, splits, augmentation and the loader.

A source is one file in `sources/` and one line in `SOURCES`. Its module has `<Name>Config` and `open_source(config) -> Source`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope.core.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from priorscope.data.sources import SourceConfig
    from priorscope.data.split import Source

SOURCES = Listing(
    "data source",
    "priorscope data list",
    {
        "cifar10": "priorscope.data.sources.cifar10",
        "parquet": "priorscope.data.sources.parquet",
        "shapetex": "priorscope.data.sources.shapetex",
    },
)


def source_config(source: str | Path | Mapping[str, Any] | SourceConfig) -> SourceConfig:
    """The checked config of a source: from its name, a path, or a table with `name` and the source's own settings."""
    from priorscope.data.sources import SourceConfig

    if isinstance(source, SourceConfig):
        return source
    table = named(source) if isinstance(source, str | Path) else dict(source)
    name = str(table.get("name", ""))
    config = SOURCES.config(name).parse(table, f"data source {name}")
    assert isinstance(config, SourceConfig)
    return config


def named(source: str | Path) -> dict[str, Any]:
    """The table that a name or a path is short for."""
    text = str(source)
    if text in SOURCES:
        return {"name": text}
    if text.startswith("hf://") or text.endswith(".parquet"):
        return {"name": "parquet", "path": text}
    path = Path(text).expanduser()
    if path.is_dir() and next(path.rglob("*.parquet"), None) is not None:
        return {"name": "parquet", "path": text}
    return {"name": text}


def open(source: str | Path | Mapping[str, Any] | SourceConfig) -> Source:
    """Opens a source by its name, by a path, by a table of its settings, or by its config; its pictures come decoded."""
    from priorscope.data.cache import ReadySource

    config = source_config(source)
    return ReadySource(SOURCES.load(config.name).open_source(config))
