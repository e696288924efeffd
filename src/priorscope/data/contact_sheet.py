"""A contact sheet: many pictures of a split on one, to look at before a number is trusted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from priorscope.core.errors import RequestError
from priorscope.core.folder import write_bytes
from priorscope.data.split import Bytes, Ints, Split

GAP = 1
"""Dark pixels on every side of a picture."""


def contact_sheet(split: Split, rows: str = "labels", columns: str | None = None, *, wide: int = 10, zoom: int = 1) -> Bytes:
    """The split's pictures as one, uint8 (H, W, 3): a row for every value of `rows`, "labels" or one of the split's columns.

    With `columns`, each cell shows the first picture that has both values and stays dark where there is none: rows="shape",
    columns="texture" lays out every pair of a conflict split. Without, a row shows its first `wide` pictures in their order.
    `zoom` repeats pixels. Pictures without a value (-1) are left out.
    """
    down = _values(split, rows)
    if columns is None:
        chosen = [_padded(np.flatnonzero(down == value)[:wide], wide) for value in _present(down)]
    else:
        across = _values(split, columns)
        pairs = [[np.flatnonzero((down == v) & (across == w))[:1] for w in _present(across)] for v in _present(down)]
        chosen = [np.concatenate([_padded(found, 1) for found in row]) for row in pairs]
    if not chosen or not len(chosen[0]):
        raise RequestError(
            f"{split.source}/{split.name} has no picture with a value of {rows!r} and {columns!r}.",
            "columns in which some values are 0 or more",
            "lay out by labels",
        )
    sheet = np.concatenate([np.concatenate([_cell(split, int(index)) for index in row], axis=1) for row in chosen])
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _values(split: Split, name: str) -> Ints:
    if name == "labels":
        return split.labels
    if name not in split.columns:
        known = ", ".join(["labels", *split.columns])
        raise RequestError(f"{split.source}/{split.name} has no column {name!r}.", f"one of: {known}", "lay out by labels")
    return split.columns[name]


def _present(values: Ints) -> Ints:
    found = np.unique(values)
    return found[found >= 0]


def _padded(found: Ints, count: int) -> Ints:
    """Exactly `count` indices, -1 where there is no picture."""
    return np.concatenate([found, np.full(count - len(found), -1, np.int64)])


def _cell(split: Split, index: int) -> Bytes:
    size = split.image_size
    picture = np.zeros((size, size, 3), np.uint8) if index < 0 else split.pixels.read(index)
    return np.pad(picture, ((GAP, GAP), (GAP, GAP), (0, 0)))


def check_sheet_name(path: Path) -> None:
    """Refuses a name that says another format than the one a contact sheet is written in."""
    if path.suffix.lower() != ".png":
        came = f"A contact sheet was to be written to {path}."
        other = path / "sheet.png" if path.name in ("", "..") or path.is_dir() else path.with_suffix(".png")
        raise RequestError(came, "a name that ends in .png", str(other))


def save_contact_sheet(split: Split, path: Path) -> None:
    """Writes a contact sheet of ten pictures a class as PNG, enlarged so that a side has at least 64 pixels."""
    from PIL import Image

    check_sheet_name(path)
    sheet = contact_sheet(split, zoom=max(1, 64 // split.image_size))
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
