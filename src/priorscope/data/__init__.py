"""Pictures in, batches out: sources, splits, augmentation and the loader.

A source is one file in `sources/` and one line in `SOURCES`. Its module has `<Name>Config` and `open_source(config) -> Source`.
"""

from __future__ import annotations

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
        "shapetex": "priorscope.data.sources.shapetex",
    },
)


def source_config(source: str | Mapping[str, Any] | SourceConfig) -> SourceConfig:
    """The checked config of a source, from its name or from a table with `name` and the source's own settings."""
    from priorscope.data.sources import SourceConfig

    if isinstance(source, SourceConfig):
        return source
    table = {"name": source} if isinstance(source, str) else dict(source)
    name = str(table.get("name", ""))
    config = SOURCES.config(name).parse(table, f"data source {name}")
    assert isinstance(config, SourceConfig)
    return config


def open(source: str | Mapping[str, Any] | SourceConfig) -> Source:
    """Opens a source by its name, by a table of its settings, or by its config."""
    config = source_config(source)
    return SOURCES.load(config.name).open_source(config)
