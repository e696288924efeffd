"""What unit tests share: a tiny recipe on the built-in world, and `in_process`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from priorscope.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))

TINY = {
    "data": {"source": {"name": "shapetex", "train": 96, "val": 40, "test": 90}},
    "model": {"name": "mlp/tiny", "width": 16, "blocks": 1},
    "train": {"epochs": 2, "batch_size": 32, "track": ["train", "val"]},
    "optim": {"lr": 0.003},
}


@pytest.fixture
def tiny() -> Recipe:
    """Two epochs of three steps: a fraction of a second."""
    return Recipe.of(TINY)
