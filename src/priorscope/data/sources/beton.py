"""`.beton` files: ours, whose manifests name the split and its siblings, and FFCV's, which hold nothing but samples.

A file with a manifest offers its split and its siblings; one without is its own only split. A folder of files without manifests
(`train.beton`, `val.beton`) is read like any published data set: their names say the parts, and val is carved where it is
missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.errors import RequestError, WorkError
from priorscope.data.parts import Part, PublishedSource, part_named, split_within, usual_order
from priorscope.data.sources import SourceConfig
from priorscope.data.split import Split

if TYPE_CHECKING:
    from priorscope.data.beton.reader import Beton


class BetonConfig(SourceConfig):
    """A file or a folder. `split` names the split of a file without a manifest, `label` its field of labels."""

    name: str = "beton"
    path: str
    split: str | None = None
    label: str | None = None


def open_source(config: BetonConfig) -> PublishedSource:
    """Opens a file with its siblings, or a folder of files."""
    from priorscope.data.beton.reader import Beton

    path = Path(config.path).expanduser()
    if path.is_dir():
        return _folder(path, config)
    opened = Beton.open(path)
    if opened.manifest is not None and config.split is not None:
        raise RequestError(
            f"{path.name} came with split = {config.split!r}, and its manifest calls it {opened.manifest.split!r}.",
            "a name for the split of a file without a manifest",
            "remove split",
        )
    if opened.manifest is None:
        name = config.split or part_named(path.stem) or split_within(path.stem) or "all"
        return _source({name: path}, config, opened, carve=False)
    files = {opened.manifest.split: path} | {name: path.parent / file for name, file in opened.manifest.siblings.items()}
    return _source({name: files[name] for name in sorted(files, key=usual_order)}, config, opened, carve=False)


def _folder(folder: Path, config: BetonConfig) -> PublishedSource:
    from priorscope.data.beton.reader import Beton

    files = sorted(folder.glob("*.beton"))
    if not files:
        raise RequestError(f"{folder} holds no .beton file.", "*.beton", "check the path")
    if config.split is not None:
        raise RequestError(
            f"{folder} came with split = {config.split!r}, and the names of its files say its splits.",
            "a name for the split of one file",
            "remove split",
        )
    opened = Beton.open(files[0])
    if opened.manifest is not None and opened.manifest.siblings:
        beside = [file.name for file in files[1:] if file.name not in opened.manifest.siblings.values()]
        if beside:
            raise RequestError(
                f"{folder} holds {files[0].name} with its splits, and {beside[0]} beside them.",
                "the files of one data set",
                f"name one of those you mean: {files[0]}",
            )
        return open_source(config.replace(path=str(files[0])))
    named: dict[str, Path] = {}
    for file in files:
        part = part_named(file.stem) or split_within(file.stem) or file.stem
        if part in named:
            raise RequestError(
                f"{folder} holds two files for {part}: {named[part].name} and {file.name}.",
                "one file a part",
                f"name the one you mean: {file}",
            )
        named[part] = file
    return _source(named, config, opened, carve=True, classes=_numbers(named.values(), config))


def _numbers(files: Iterable[Path], config: BetonConfig) -> tuple[str, ...] | None:
    """The classes of files whose manifests name none: one a number, as many as the largest label of all wants."""
    from priorscope.data.beton.reader import Beton

    if any((manifest := Beton.open(file).manifest) and manifest.classes for file in files):
        return None
    return max((_read(file, config).classes for file in files), key=len)


def _source(
    files: dict[str, Path], config: BetonConfig, opened: Beton, *, carve: bool, classes: tuple[str, ...] | None = None
) -> PublishedSource:
    """The splits of several files, each opened when it is asked for; `classes` are those of all where none has its own."""
    manifest = opened.manifest
    return PublishedSource(
        (manifest.source if manifest else "") or opened.path.stem,
        classes or _read(opened.path, config).classes,
        {name: partial(_part, file, config, classes) for name, file in files.items()},
        origin=(manifest.origin if manifest else "") or str(opened.path),
        caveats=manifest.caveats if manifest else (),
        carve=carve,
    )


def _part(file: Path, config: BetonConfig, classes: tuple[str, ...] | None) -> Part:
    split = _read(file, config)
    own = classes or split.classes
    return Part(split.pixels, split.labels, split.columns, own, split.known_statistics, split.known_fingerprint)


def _read(file: Path, config: BetonConfig) -> Split:
    from priorscope.data.beton.reader import Beton
    from priorscope.data.store import read_split

    if not file.is_file():
        raise WorkError(
            f"{file} is missing, which a manifest names as a sibling.",
            "all files of a conversion in one folder",
            "convert again",
        )
    return read_split(Beton.open(file), source=config.name, name="all", label=config.label)
