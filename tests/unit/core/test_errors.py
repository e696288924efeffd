"""What libraries' errors are cut down to."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch

from priorscope.core.errors import first_line, unknown_name


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("No space left.\nmore"), "No space left"),
        (MemoryError(), "no further message"),
        (RuntimeError("\n  torn \n"), "torn"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_an_error_is_told_in_one_line(error, said):
    assert first_line(error) == said


def test_nobody_is_advised_to_open_a_file_unchecked():
    """Both libraries say how, in the first line of what they say of a file that they cannot read."""
    torn = b"\xc5 nothing that either of them wrote" * 20
    with pytest.raises(pickle.UnpicklingError, match="weights_only") as by_torch:
        torch.load(io.BytesIO(torn), weights_only=True)
    with pytest.raises(ValueError, match="allow_pickle") as by_numpy:
        np.load(io.BytesIO(torn), allow_pickle=False)
    assert first_line(by_torch.value) == "Unsupported operand 197"
    assert first_line(by_numpy.value) == "no further message"


def test_a_name_of_what_there_is_none_of_is_refused():
    assert unknown_name("plane", "x", []).came == "'x' is not a plane: there is none."


@pytest.mark.parametrize(
    ("name", "listing", "do"),
    [
        ("plane-3", "", "'plane-13' (did you mean that?)"),
        ("?", "", "'plane-00', for example"),
        ("plane-3", "ls", "'plane-13' (did you mean that?), or list all with: ls"),
        ("?", "ls", "list all with: ls"),
    ],
)
def test_an_unknown_name_says_where_all_are_listed_or_names_them(name, listing, do):
    refused = unknown_name("plane", name, [f"plane-{i:02}" for i in range(15)], listing)
    assert refused.do == do
    assert refused.wanted.endswith("plane-11, ... (15 in all)" if listing else "plane-13, plane-14")
