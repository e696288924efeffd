"""Whether a user's own files, of pictures or weights, are what they were: cheap enough to ask whenever a study is planned."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from priorscope.core.errors import PriorscopeError
from priorscope.core.folder import at_home
from priorscope.data import SOURCES, read_from
from priorscope.data.folders import walk
from priorscope.data.sources import SourceConfig

OWN = ("folder", "beton", "parquet")
"""The sources whose files people change; published ones are checked when they are fetched."""

WHOLE = 64 << 20
"""Files of up to this many bytes together are hashed whole."""

PAGE, PAGES, MANY = 4 << 10, 256, 1000
"""Beyond `WHOLE`, `PAGES` evenly spread pages of `PAGE` bytes stand for a file; beyond `MANY` files, names and sizes do."""


def data_stamp(source: SourceConfig) -> str | None:
    """What tells the data that a source's name and settings stand for here from others; None where nothing is there.

    A user's own files, among them a store that stands for a published source, by their contents. Tables of a published source,
    of which there are copies with other pixels, by names and sizes. Its authors' files count as one, whatever they lie in: a
    run that learnt from their archive on one machine is the same on another that holds it unpacked.
    """
    from priorscope.data.locate import home, layout
    from priorscope.data.sources.parquet import holds_tables

    if read_from(source).name in OWN:
        return files_stamp(source)
    root = home(source.name, getattr(source, "path", None))
    if "path" not in type(source).model_fields or not root.exists():
        return None
    module = SOURCES.load(source.name)
    if layout(root, getattr(module, "LAYOUTS", getattr(module, "PUBLISHED", ()))) or not holds_tables(root):
        return "published"
    tables = [file for file in _below(root) if file.name.endswith(".parquet")] if root.is_dir() else [root]
    sizes = [f"{table.relative_to(root)}\0{table.stat().st_size}\0" for table in tables]
    return hashlib.sha256("".join(sizes).encode(errors="surrogateescape")).hexdigest()[:16]


def files_stamp(own: SourceConfig | Path) -> str | None:
    """A hash of the files of a user's own source, or at a path; None for other sources, and where nothing is there."""
    if not isinstance(own, Path):
        read = read_from(own)
        return files_stamp(Path(str(getattr(read, "path", "")))) if read.name in OWN else None
    root = at_home(own)
    if not root.exists():
        return None
    files = [path for path in _below(root) if not path.name.startswith(".")] if root.is_dir() else _store(root)
    sizes = [path.stat().st_size for path in files]
    digest, whole = hashlib.sha256(), sum(sizes)
    for path, size in zip(files, sizes, strict=True):
        digest.update(f"{path.relative_to(root.parent)}\0{size}\0".encode(errors="surrogateescape"))
        if whole <= WHOLE or (len(files) <= MANY and size <= PAGE * PAGES):  # a manifest, say
            digest.update(path.read_bytes())
        elif len(files) <= MANY:
            with path.open("rb") as file:
                for number in range(PAGES):
                    file.seek(number * (size - PAGE) // (PAGES - 1))
                    digest.update(file.read(PAGE))
    return digest.hexdigest()[:16]


def _below(folder: Path) -> list[Path]:
    """All files below a folder, sorted by path."""
    return sorted(path for at, _, files in walk(folder) for name in files if (path := Path(at, name)).is_file())


def _store(file: Path) -> list[Path]:
    """A file with its manifest, and the siblings that this names with theirs: what is opened where the file is named."""
    from priorscope.data.beton.manifest import manifest_path, read_manifest

    parts = {file}
    if manifest_path(file).is_file():
        with suppress(PriorscopeError):  # a damaged manifest names none; who opens the file is told
            manifest = read_manifest(file)
            parts |= {file.with_name(sibling) for sibling in (manifest.siblings.values() if manifest else ())}
    return sorted(path for part in parts for path in (part, manifest_path(part)) if path.is_file())


def weights_stamp(path: Path | str) -> str | None:
    """A hash of a file of weights, or of all in its folder; None where it is not at hand.

    Weights of one network are of one size, whatever they have learnt, so that their content is read: once, until they are
    written anew.
    """
    root = at_home(path)
    files = [root] if root.is_file() else sorted(one for one in root.glob("*") if one.is_file())
    return _content(tuple((one, one.stat().st_size, one.stat().st_mtime_ns) for one in files)) if files else None


@cache
def _content(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
