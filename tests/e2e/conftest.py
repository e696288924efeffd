"""What end-to-end tests share: the command line in a process of its own, and a study that takes seconds."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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


@pytest.fixture(scope="module")
def hostile() -> str:
    """What a recipe of the planted study is called: a name that ends scripts and comments, if a page lets it."""
    return "<script>alert(1)<!--"


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The planted study that the unit tests use."""
    path = Path(__file__).parents[1] / "unit" / "report" / "fake_study.py"
    spec = importlib.util.spec_from_file_location("fake_study", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_study"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, fake: ModuleType, hostile: str) -> Path:
    """The page of the planted study."""
    study = fake.write_study(tmp_path_factory.mktemp("study"), {"mlp": 0.55, "cnn": 0.78})
    fake.write_run(study / "runs" / hostile, "vit", 0, {"accuracy": fake.accuracy(0.6, 7)})
    from priorscope.report import write_report

    return write_report([study], study / "report.html")
