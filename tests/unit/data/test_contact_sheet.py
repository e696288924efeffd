"""The contact sheet: which picture stands where."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.core.errors import RequestError
from priorscope.data.contact_sheet import contact_sheet
from priorscope.data.split import ArrayPixels, Split


def _flat(labels: list[int], other: list[int]) -> Split:
    """Pictures of 2 x 2 pixels; picture i is all of grey level i + 1."""
    pixels = np.repeat(np.arange(1, len(labels) + 1, dtype=np.uint8), 12).reshape(-1, 2, 2, 3)
    return Split("made", "test", ArrayPixels(pixels), np.array(labels), ("a", "b"), {"other": np.array(other)})


SPLIT = _flat([0, 1, 1, 0, 0], [1, -1, 0, 1, 0])


def _levels(sheet: np.ndarray, zoom: int = 1) -> list[list[int]]:
    """The grey level of each cell of 4 x 4 pixels, of which the outermost are dark."""
    assert (sheet[:: 4 * zoom] == 0).all()
    return sheet[zoom :: 4 * zoom, zoom :: 4 * zoom, 0].tolist()


def test_rows_are_labels_and_hold_their_first_pictures() -> None:
    assert _levels(contact_sheet(SPLIT, wide=3)) == [[1, 4, 5], [2, 3, 0]]


def test_with_columns_a_cell_holds_the_first_picture_of_the_pair() -> None:
    assert _levels(contact_sheet(SPLIT, columns="other")) == [[5, 1], [3, 0]]


def test_zoom_repeats_pixels() -> None:
    sheet = contact_sheet(SPLIT, wide=3, zoom=3)
    assert sheet.shape == (24, 36, 3)
    assert sheet.dtype == np.uint8
    assert _levels(sheet, 3) == [[1, 4, 5], [2, 3, 0]]


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(RequestError) as error:
        contact_sheet(SPLIT, "texture")
    assert str(error.value) == (
        "made/test has no column 'texture'.\n  wanted: one of: labels, other\n  try:    lay out by labels"
    )


def test_a_column_without_values_is_refused() -> None:
    with pytest.raises(RequestError, match="has no picture with a value"):
        contact_sheet(_flat([0, 1], [-1, -1]), "other")
