"""What a `.beton` file cannot say of itself: `NAME.beton.json` beside it.

The format holds no class names, no statistics, no name of its split and no checksums. The manifest does; without one a file
opens as its own only split.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from priorscope.core.config import Config
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import read_json, write_json

LEAST_PAGE = 1 << 20
MOST_PAGES = 4096
"""Pages are as small as keeps their list short: 1 MiB up to 4 GiB of file, 64 MiB at 256 GiB."""


def _plain_name(name: str) -> str:
    if Path(name).name != name or "\\" in name or name in ("", ".", ".."):
        raise ValueError("the name of a file in the same folder")
    return name


class About(Config):
    """What the writer is told of a file.

    `siblings` maps the names of the source's other splits to files in the same folder; `caveats` are what a reader of numbers
    must know about the pictures.
    """

    classes: tuple[str, ...] = ()
    split: str = "all"
    siblings: dict[str, Annotated[str, AfterValidator(_plain_name)]] = Field(default_factory=dict[str, str])
    source: str = ""
    origin: str = ""
    caveats: tuple[str, ...] = ()


class Manifest(About):
    """What is known of a file: what the writer was told, and what it found while it wrote.

    `statistics` are of the images as they were given, each pixel counting once. `pages` are the SHA-256 of every `page_bytes`
    of the file in turn, so that damage has a place; `sha256` is that of the whole, as `sha256sum` prints it.
    """

    format: Literal["beton 2"] = "beton 2"
    count: PositiveInt
    image_size: tuple[int, int] | None = None
    statistics: Statistics | None = None
    codec: str | None = None
    bytes: PositiveInt
    page_bytes: PositiveInt
    pages: tuple[str, ...]
    sha256: str


def manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def is_finished(path: Path) -> bool:
    """Whether a file and its manifest are there. The manifest comes last: a killed writer may leave none."""
    return path.is_file() and manifest_path(path).is_file()


def read_manifest(path: Path) -> Manifest | None:
    """The manifest beside a file, or None where there is none."""
    beside = manifest_path(path)
    if not beside.exists():
        return None
    mend = f"fetch it again, or delete {beside} to open the file without class names"
    try:
        return Manifest.parse(read_json(beside, mend), beside.name)
    except (RequestError, RecursionError) as error:
        reason = error.came if isinstance(error, RequestError) else "It is nested too deeply."
        raise WorkError(
            f"{beside} is damaged. {reason}",
            "a manifest as it was written",
            mend,
        ) from None


def write_manifest(path: Path, manifest: Manifest) -> None:
    write_json(manifest_path(path), manifest.plain())


def page_bytes(size: int) -> int:
    """The bytes of a page of the manifest, for a file of `size` bytes."""
    page = LEAST_PAGE
    while page * MOST_PAGES < size:
        page *= 2
    return page


def digests(path: Path, page: int) -> tuple[tuple[str, ...], str]:
    """SHA-256 of every page in turn, and of the whole. Read, not mapped: a file larger than the memory must not fill it."""
    whole = hashlib.sha256()
    pages: list[str] = []
    with path.open("rb", buffering=0) as file:
        while content := file.read(page):
            whole.update(content)
            pages.append(hashlib.sha256(content).hexdigest())
    return tuple(pages), whole.hexdigest()
