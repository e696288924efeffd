"""Compares a `.beton` file with its manifest and says which samples damage has reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from priorscope.core.errors import PriorscopeError, WorkError
from priorscope.core.folder import at_home
from priorscope.data.beton.fields import Bytes
from priorscope.data.beton.layout import Layout, read_layout
from priorscope.data.beton.manifest import digests, manifest_path, read_manifest
from priorscope.data.beton.reader import Beton, mapped

NAMED = 4
"""Damaged pages that an error describes; the rest are counted."""


@dataclass(frozen=True)
class Verification:
    """A file that was found whole. Without a manifest (`pages` None) only its structure was checked, not its pixels."""

    path: Path
    samples: int
    bytes: int
    pages: int | None


def verify(path: str | Path) -> Verification:
    """Checks every byte of a file against its manifest, or refuses with the damaged pages and the samples on them."""
    place = at_home(path)
    flat = mapped(place)
    manifest = read_manifest(place)
    if manifest is None:
        return Verification(place, len(Beton.open(place)), len(flat), None)
    if len(flat) != manifest.bytes:
        raise WorkError(
            f"{place} has {len(flat)} bytes, its manifest says {manifest.bytes}.",
            "the file that was written",
            "write or fetch it again",
        )
    pages, whole = digests(place, manifest.page_bytes)
    damaged = [k for k, found in enumerate(pages) if manifest.pages[k : k + 1] != (found,)]
    if damaged and whole != manifest.sha256:
        raise _damage(place, flat, manifest.page_bytes, damaged, len(pages))
    if damaged or whole != manifest.sha256 or len(pages) != len(manifest.pages):
        raise WorkError(
            f"{manifest_path(place)} is damaged: its checksums contradict each other.",
            "a manifest as it was written",
            "fetch the manifest again",
        )
    return Verification(place, len(Beton.open(place)), len(flat), len(pages))


def _damage(path: Path, flat: Bytes, page: int, damaged: list[int], of: int) -> WorkError:
    try:
        layout, broken = read_layout(path, flat), ""
    except PriorscopeError as error:
        layout, broken = None, " " + error.came
    lines = [
        f"page {k} (bytes {k * page} to {min((k + 1) * page, len(flat))}): "
        + ("unknown" if layout is None else contents(layout, len(flat), k * page, (k + 1) * page))
        for k in damaged[:NAMED]
    ]
    more = [f"and {len(damaged) - NAMED} more"] if len(damaged) > NAMED else []
    return WorkError(
        f"{path} has changed since it was written: {len(damaged)} of {of} pages differ.{broken}\n  "
        + "\n  ".join(lines + more),
        "the bytes that its manifest describes",
        "write or fetch the file again",
    )


def contents(layout: Layout, size: int, start: int, stop: int) -> str:
    """What stands in a range of bytes, in words."""
    count, row = len(layout.samples), layout.samples.dtype.itemsize
    rows_at = layout.data_start - count * row
    held: list[str] = []
    if start < rows_at:
        held.append("the header")
    if start < layout.data_start and stop > rows_at:
        first, last = max(start - rows_at, 0) // row, (min(stop, layout.data_start) - 1 - rows_at) // row
        held.append(f"the table's rows of samples {first} to {last}")
    inside = np.zeros(count, np.bool_)
    for regions in layout.regions.values():
        inside |= (regions.start < stop) & (regions.start + regions.size > start)
    found = np.flatnonzero(inside)
    if len(found):
        whole = found[-1] - found[0] + 1 == len(found)
        held.append(f"samples {found[0]} to {found[-1]}" if whole else f"{len(found)} samples from {found[0]} to {found[-1]}")
    if stop > layout.table_start and start < size:
        held.append("the allocation table")
    return ", ".join(held) or "nothing but filling"
