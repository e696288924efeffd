"""Places of an activation: every order of axes, and the one in the middle."""

from __future__ import annotations

import pytest
import torch

from priorscope.core.errors import RequestError
from priorscope.models.places import by_place, middle


def test_places_and_channels_of_every_layout() -> None:
    whole = torch.arange(2 * 4 * 5.0).view(2, 4, 5)  # pictures, places, channels
    assert torch.equal(by_place(whole, "NLC"), whole)
    assert torch.equal(by_place(whole.transpose(1, 2), "NCL"), whole)
    assert torch.equal(by_place(whole.view(2, 2, 2, 5), "NHWC"), whole)
    assert torch.equal(by_place(whole.transpose(1, 2).reshape(2, 5, 2, 2), "NCHW"), whole)
    assert torch.equal(by_place(whole.transpose(1, 2).reshape(2, 5, 2, 2), "any"), whole)
    assert by_place(whole[:, 0], "any").shape == (2, 1, 5)
    with pytest.raises(RequestError, match="no known places and channels"):
        by_place(torch.zeros(2, 1, 1, 1, 1), "any")


def test_the_middle() -> None:
    """Of a square map, of a map behind a class token, and of tokens that make no square."""
    assert [middle(places) for places in (1, 16, 25)] == [0, 10, 12]
    assert [middle(places) for places in (17, 65)] == [11, 37]
    assert [middle(places) for places in (2, 7)] == [1, 3]
