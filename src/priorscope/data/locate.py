"""Where on this machine a published data set is: in its own words, or in the tables of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home
from priorscope.data.download import Published
from priorscope.data.folders import DATA_VARIABLE, data_folder
from priorscope.data.imagenet_layout import imagenet_in
from priorscope.data.unpack import unpacked


def kind_of(folder: Path) -> str:
    """The source that reads a folder, judged by the first names on the way down: a folder of images may hold millions."""
    at = folder
    for _ in range(4):
        inside = sorted(entry for entry in at.iterdir() if not entry.name.startswith("."))
        found = {entry.suffix for entry in inside}
        if ".beton" in found:
            return "beton"
        if ".parquet" in found:
            return "parquet"
        below = next((entry for entry in inside if entry.is_dir()), None)
        if below is None:
            break
        at = below
    return imagenet_in(folder) or "folder"


def home(name: str, path: str | None) -> Path:
    """Where a named source's files are: the path asked for, else its folder in the data folder, with _ or - in its name."""
    if path is not None:
        return at_home(path)
    folders = [data_folder() / spelling for spelling in (name, name.replace("_", "-"))]
    return next((folder for folder in folders if folder.exists()), folders[0])


def layout(root: Path, published: Sequence[Published]) -> tuple[Published, Path] | None:
    """The official layout that is at a place: the place itself, a folder in it, or an archive that holds it."""
    for one in published:
        if one.folder is None:
            continue
        if root.is_dir() and root.name == one.folder:
            return one, root
        if (root / one.folder).is_dir():
            return one, root / one.folder
        archive = root if root.name == one.file else root / one.file
        if archive.is_file():
            return one, archive
    return None


def official(root: Path, published: Sequence[Published]) -> tuple[Published, Path] | None:
    """The official layout that is at a place, as unpacked folder."""
    found = layout(root, published)
    if found is None or found[1].is_dir():
        return found
    one, archive = found
    return one, unpacked(archive) / str(one.folder)


def missing(title: str, root: Path, wanted: str, do: str) -> RequestError:
    """The error for a data set that is not on this machine."""
    return RequestError(f"There is no {title} in {root}.", wanted, f"{do}, or set {DATA_VARIABLE} or path")


def required(folder: Path, names: Sequence[str]) -> list[Path]:
    """Files of an official layout, refused where one is missing."""
    files = [folder / name for name in names]
    for file in files:
        if not file.is_file():
            raise RequestError(f"{folder} has no file {file.name}.", ", ".join(names), "download and unpack the archive again")
    return files
