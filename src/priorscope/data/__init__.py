"""Pictures in, batches out: sources, splits, augmentation and the loader.

A source is one file in `sources/` and one line in its list, `SOURCES`. Its module has `<Name>Config` and
`open_source(config) -> Source`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope.core.config import assign, is_table
from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home
from priorscope.data.sources import SOURCES, SourceConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from priorscope.data.beton import verify
    from priorscope.data.conversion import convert
    from priorscope.data.describe import all_sources, info
    from priorscope.data.download import get
    from priorscope.data.loader import Batch, Loader
    from priorscope.data.split import Source

__all__ = [
    "SOURCES",
    "Batch",
    "Loader",
    "all_sources",
    "convert",
    "get",
    "info",
    "open",
    "open_published",
    "source_config",
    "verify",
]

_WHERE = {
    "Batch": "loader",
    "Loader": "loader",
    "convert": "conversion",
    "get": "download",
    "info": "describe",
    "all_sources": "describe",
    "verify": "beton",
}
"""Public names that are loaded when they are first used: the loader brings torch, which takes seconds."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


OFFICIAL = {
    "cifar-10-batches-bin": "cifar10",
    "cifar-10-batches-py": "cifar10",
    "cifar-10-binary": "cifar10",
    "cifar-10-python": "cifar10",
    "cifar-100-binary": "cifar100",
    "cifar-100-python": "cifar100",
    "fall11_whole": "imagenet21k",
    "stl10_binary": "stl10",
    "tiny-imagenet-200": "tiny_imagenet",
    "winter21_whole": "imagenet21k",
}
"""Folders and archives that are a source's official layout, and would be misread as a plain folder of images."""

READABLE = "a store (.beton), a parquet file, a folder of images"
"""What a path may lead to."""


def source_config(source: str | Path | Mapping[str, Any] | SourceConfig, *, at: str = "") -> SourceConfig:
    """The checked config of a source: from its name, a path, or a table with `name` and the source's own settings.

    `at` is the dotted key under which it is typed.
    """
    if isinstance(source, SourceConfig):
        return source
    table = named(source) if isinstance(source, str | Path) else SOURCES.table(source)
    name = str(table.get("name", ""))
    if name and name not in SOURCES:  # a path or an address, beside settings
        table = {**table, **named(name)}
        name = str(table["name"])
    config = SOURCES.config(name).parse(table, f"data source {name}", at)
    assert isinstance(config, SourceConfig)
    return config


def named(source: str | Path) -> dict[str, Any]:
    """The table that a name or a path is short for."""
    from priorscope.data.locate import kind_of

    text = str(source)
    if text in SOURCES:
        return {"name": text}
    if text.startswith("{"):  # a table, written as in a recipe
        table = assign({}, f"source={text}")["source"]
        if is_table(table):
            return table
        raise RequestError(
            f"{text} is no table of settings.",
            "TOML, with its quotes: most shells take those away that are not quoted themselves",
            """'{name = "folder", path = "pictures"}'""",
        )
    path = at_home(text)
    official = OFFICIAL.get(path.name.partition(".")[0])
    if official is not None and path.exists():
        return {"name": official, "path": text}
    if text.startswith("hf://") or path.suffix == ".parquet":
        return {"name": "parquet", "path": text}
    if path.suffix == ".beton":
        return {"name": "beton", "path": text}
    if path.is_dir():
        return {"name": kind_of(path), "path": text}
    if path.is_file():
        own = "priorscope data convert --from PKG.MOD:FACTORY DST.beton"
        raise RequestError(
            f"{text} is a file of no kind that is known here.",
            f"{READABLE}, or hf://owner/name",
            f"check the path, or make a store with your own code: {own}",
        )
    if "/" in text or text.startswith((".", "~")):
        raise RequestError(
            f"There is no file or folder {text!r}.", f"{READABLE}, hf://owner/name, or a source's name", "check the path"
        )
    return {"name": text}


def read_from(config: SourceConfig) -> SourceConfig:
    """What a source is read from: a store of its own name in the data folder (`data convert`) stands for one as it comes.

    With `res` it does so if its pictures have that size.
    """
    from priorscope.data.folders import stand_in

    asked = config.model_dump(exclude_defaults=True, exclude={"name"})
    res = asked.pop("res", None)
    store = None if asked else stand_in(config.name)
    return source_config(store) if store is not None and (res is None or _side_of(store) == res) else config


def known_side(source: SourceConfig) -> int | None:
    """The side of a source's pictures as far as its settings, or the manifest of the store that it is read from, tell it."""
    config = read_from(source)
    return _side_of(at_home(str(getattr(config, "path", "")))) if config.name == "beton" else config.side


def _side_of(store: Path) -> int | None:
    """The side of a store's pictures, as far as its manifest says that they are square."""
    from priorscope.data.beton.manifest import read_manifest

    manifest = read_manifest(store)
    height, width = (manifest and manifest.image_size) or (0, 1)
    return height if height == width else None


def open_published(source: str | Path | Mapping[str, Any] | SourceConfig) -> Source:
    """Opens a source with its pictures as they were published: encoded where they are encoded."""
    return open_config(read_from(source_config(source)))


def open_config(config: SourceConfig) -> Source:
    """Opens exactly what a config names, at the size and with as many pictures of train held back as it asks for."""
    from priorscope.data.sources import PartsConfig, SizedConfig

    source = SOURCES.load(config.name).open_source(config)
    if isinstance(config, SizedConfig) and config.res is not None:
        source = source.at_size(config.res)
    return source.holding_back(config.val) if isinstance(config, PartsConfig) and config.val is not None else source


def open(source: str | Path | Mapping[str, Any] | SourceConfig) -> Source:
    """Opens a source by its name, by a path, by a table of its settings, or by its config; its pictures come decoded."""
    from priorscope.data.cache import ReadySource

    return ReadySource(open_published(source))
