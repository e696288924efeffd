"""What the doctor's tests share: a run that is well, and copies of it to make ill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from priorscope import run as runs
from priorscope.core import layout
from priorscope.fitting import fit
from priorscope.recipe import Recipe

WELL = {
    "data": {"source": {"name": "shapetex", "train": 400, "val": 100, "test": 90}},
    "model": {"name": "mlp/tiny", "width": 64},
    "train": {"epochs": 4, "batch_size": 50, "track": ["val"]},
    "optim": {"lr": 0.003, "warmup": 1},
}


@pytest.fixture(scope="session")
def well(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with nothing wrong."""
    folder = tmp_path_factory.mktemp("doctor") / "well"
    fit(Recipe.of(WELL), folder)
    return folder


Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


def unchanged(_rows: list[dict[str, Any]], _environment: dict[str, Any]) -> None:
    """A copy as it was."""


@pytest.fixture
def ill(well: Path, tmp_path: Path) -> Callable[..., runs.Run]:
    """A copy of the run under another name, its rows and its environment changed."""

    def make(change: Change = unchanged, name: str = "ill", recipe: Recipe | None = None) -> runs.Run:
        folder = tmp_path / "runs" / name
        shutil.copytree(well, folder)
        rows = [json.loads(line) for line in (folder / layout.STEPS).read_text().splitlines()]
        environment = json.loads((folder / layout.ENVIRONMENT).read_text())
        change(rows, environment)
        (folder / layout.STEPS).write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / layout.ENVIRONMENT).write_text(json.dumps(environment))
        if recipe is not None:
            (folder / layout.RECIPE).write_text(recipe.toml())
        return runs.load(folder)

    return make
