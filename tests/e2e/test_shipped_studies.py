"""Every shipped study runs at its smallest budget: each step done, a page written, nothing left for a second time."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from priorscope.study.lacking import lacking
from priorscope.study.plan import make_plan
from priorscope.study.study import Study, shipped_studies


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_runs_at_its_smallest_budget(name, shell, tmp_path):
    needed = lacking(make_plan(Study.load(name, budget="smoke"), tmp_path / "none"))
    if needed:
        pytest.skip(needed[0])
    steps = json.loads(shell("study", name, "--budget", "smoke", "--plan", "--json"))["steps"]
    told = json.loads(shell("study", name, "--budget", "smoke", "--json"))
    assert told["steps_done"] == len(steps)
    assert (shell.folder / told["report"]).stat().st_size > 100_000
    assert json.loads(shell("study", name, "--budget", "smoke", "--json"))["steps_done"] == 0


def colours_as_cifar100(path: Path) -> Path:
    """CIFAR-100's archive with a colour for each class: 20 pictures a class to learn from, 2 to be asked about."""
    rng = np.random.default_rng(0)
    colours = np.stack(np.meshgrid(*(np.linspace(20, 235, side) for side in (5, 5, 4))), -1).reshape(100, 3)

    def rows(each: int) -> bytes:
        fine = np.tile(np.arange(100), each)
        pixels = colours[fine][:, :, None] + rng.normal(0, 6, (len(fine), 3, 1024))
        labels = np.stack([fine // 5, fine], 1)
        return np.concatenate([labels, pixels.clip(0, 255).round().reshape(len(fine), -1)], 1).astype(np.uint8).tobytes()

    names = "".join(f"colour{k:02}\n" for k in range(100)).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("fine_label_names.txt", names), ("train.bin", rows(20)), ("test.bin", rows(2))):
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.slow
def test_robust_or_masked_runs_on_the_archive_of_cifar100(shell, tmp_path):
    archive = colours_as_cifar100(tmp_path / "cifar-100-binary.tar.gz")
    data = f'over.data.source={{name = "cifar100", path = "{archive}"}}'
    settings = ("--budget", "smoke", "--set", data, "--set", "over.train.epochs=12")
    steps = json.loads(shell("study", "robust-or-masked", *settings, "--plan", "--json"))["steps"]
    told = json.loads(shell("study", "robust-or-masked", *settings, "--json"))
    assert told["steps_done"] == len(steps)
    assert "cifar100" in (shell.folder / told["report"]).read_text(encoding="utf-8")
