"""What end-to-end tests share: the command line in a process of its own, and a study that takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = """
question = "Which cue?"
seeds = [0]
[base.data]
source = {name = "shapetex", train = 120, val = 40, test = 90}
[base.train]
epochs = 2
batch_size = 40
[recipes.mlp]
model = {name = "mlp/tiny", width = 16, blocks = 1}
[recipes.cnn]
model = "cnn/tiny"
[[probes]]
name = "accuracy"
[[probes]]
name = "cue_conflict"
salience = [0, 0.5, 1]
recipes = ["mlp"]
[[probes]]
name = "transfer"
images = 20
"""


class Shell:
    """Types commands in a folder of its own, with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PRIORSCOPE_CACHE": str(folder / "cache"), "COLUMNS": "100"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "priorscope.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, status: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate()
        assert process.returncode == status, f"{arguments}: status {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return out + err


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "small.toml").write_text(SMALL)
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in whose folder the small study has run once, into `out`."""
    folder = tmp_path_factory.mktemp("studied")
    (folder / "small.toml").write_text(SMALL)
    shell = Shell(folder)
    shell("study", "small.toml", "--out", "out")
    return shell
