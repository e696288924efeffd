"""Where pixels come from: one file a source."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from priorscope.core.listing import Listing, Member


class SourceConfig(Member):
    """Base of every source's config: `name` is the source's name in the list, the rest are the source's own settings."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def listing(cls) -> Listing:
        """The sources."""
        from priorscope.data import SOURCES

        return SOURCES

    @classmethod
    def names(cls, member: str) -> tuple[list[str], str | None]:
        """A source's name; what is no source's name is a path or an address, which leads to any."""
        return [member], f"^(?!({'|'.join(cls.listing())})$)"

    SIDE: ClassVar[int | None] = None
    """The side of its pictures, where they were published at one."""

    @property
    def side(self) -> int | None:
        """The side of its pictures, in pixels, where that is known without opening any."""
        return getattr(self, "res", None) or self.SIDE


class SizedConfig(SourceConfig):
    """Base of the configs of sources whose pictures can be had at another size."""

    res: Annotated[int, Field(ge=1)] | None = None
    """The side, in pixels, of the central squares that pictures are read as; not set: as they are."""


class PartsConfig(SizedConfig):
    """Base of the configs of sources that publish parts."""

    val: Annotated[int, Field(ge=1)] | None = None
    """How many pictures of train are held back as val, where no val is published; not set: a tenth, at most 10,000."""
