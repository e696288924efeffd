"""Where pixels come from: one file a source."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from priorscope.core.listing import Listing, Member

SOURCES = Listing(
    "data source",
    "priorscope data list",
    {
        "beton": "priorscope.data.sources.beton",
        "cifar10": "priorscope.data.sources.cifar10",
        "cifar100": "priorscope.data.sources.cifar100",
        "cue_conflict": "priorscope.data.sources.cue_conflict",
        "dataset": "priorscope.data.sources.dataset",
        "folder": "priorscope.data.sources.folder",
        "imagenet": "priorscope.data.sources.imagenet",
        "imagenet21k": "priorscope.data.sources.imagenet21k",
        "imagenet_real": "priorscope.data.sources.imagenet_real",
        "parquet": "priorscope.data.sources.parquet",
        "shapetex": "priorscope.data.sources.shapetex",
        "stl10": "priorscope.data.sources.stl10",
        "tiny_imagenet": "priorscope.data.sources.tiny_imagenet",
    },
)


class SourceConfig(Member):
    """Base of every source's config: `name` is the source's name in the list, the rest are the source's own settings."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    listing: ClassVar[Listing] = SOURCES

    SIDE: ClassVar[int | None] = None
    """The side of its pictures, where they were published at one."""

    @classmethod
    def names(cls, member: str) -> tuple[list[str], str | None]:
        """A source's name; what is no source's name is a path or an address, which leads to any."""
        return [member], f"^(?!({'|'.join(cls.listing)})$)"

    @property
    def side(self) -> int | None:
        """The side of its pictures, in pixels, where that is known without opening any."""
        return self.SIDE


class SizedConfig(SourceConfig):
    """Base of the configs of sources whose pictures can be had at another size."""

    res: Annotated[int, Field(ge=1)] | None = None
    """The side, in pixels, of the central squares that pictures are read as; not set: as they are."""

    @property
    def side(self) -> int | None:
        """The side that pictures are read at, or were published at."""
        return self.res or self.SIDE


class PartsConfig(SizedConfig):
    """Base of the configs of sources that publish parts."""

    val: Annotated[int, Field(ge=1)] | None = None
    """How many pictures of train are held back as val, where no val is published; not set: a tenth, at most 10,000."""
