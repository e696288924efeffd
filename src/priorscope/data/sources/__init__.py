"""Where pixels come from: one file a source."""

from __future__ import annotations

from priorscope.core.config import Config


class SourceConfig(Config):
    """Base of every source's config: `name` is the source's name in the list, the rest are the source's own settings."""

    name: str
