"""A study killed with -9 at random moments and run again ends like one that was left alone, byte for byte."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from priorscope.core.folder import TEMPORARY
from priorscope.report import MADE_FROM

KILLS = 20
ABLATION = Path(__file__).with_name("ablation.toml")
CELLS = 24


def lasting(out: Path) -> dict[str, bytes]:
    """Weights and results of a study, measured times aside."""
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("runs/*/weights.safetensors")}
    for place in ("runs/*/results/*/*", "joint/*/*"):
        found |= {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob(place)}
    found |= {name: (out / name).read_bytes() for name in ("results.json", "results.parquet", "results.csv")}
    for path in out.glob("runs/*/steps.jsonl"):
        rows = [{**json.loads(line), "seconds": 0, "measured": 0} for line in path.read_text().splitlines()]
        found[path.relative_to(out).as_posix()] = json.dumps(rows).encode()
    return found


def whole_files(out: Path) -> None:
    """No torn file stands under a final name."""
    for path in out.rglob("*"):
        if not path.is_file() or path.name.startswith(TEMPORARY):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            [json.loads(line) for line in path.read_text().splitlines()]
        elif path.suffix == ".safetensors":
            from safetensors.numpy import load

            load(path.read_bytes())
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")


def kill_at_random_moments(shell, study: str, kills: int, *more: str) -> None:
    """Runs a study into `whole` uninterrupted, and into `killed` with so many kills within its length, then to its end."""
    moments = random.Random(os.environ.get("PRIORSCOPE_KILL_SEED", "0"))
    began = time.monotonic()
    shell("study", study, "--out", "whole", *more)
    took = time.monotonic() - began
    for _ in range(kills):
        if (shell.folder / "killed" / MADE_FROM).exists():  # it came to its end: a kill would find nothing to cut
            assert lasting(shell.folder / "killed") == lasting(shell.folder / "whole")
            shutil.rmtree(shell.folder / "killed")
        process = shell.start("study", study, "--out", "killed", *more)
        time.sleep(moments.uniform(0, took))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        whole_files(shell.folder / "killed")
    shell("study", study, "--out", "killed", *more)


@pytest.mark.slow
def test_a_study_killed_at_twenty_random_moments_ends_the_same(shell):
    kill_at_random_moments(shell, "small.toml", KILLS)
    assert lasting(shell.folder / "killed") == lasting(shell.folder / "whole")


@pytest.mark.slow
def test_an_ablation_of_24_cells_killed_five_times_ends_the_same(shell):
    kill_at_random_moments(shell, str(ABLATION), 5, "--workers", "2")
    whole, killed = lasting(shell.folder / "whole"), lasting(shell.folder / "killed")
    assert sum(name.endswith("weights.safetensors") for name in whole) == CELLS
    assert sum(name.startswith("joint/") for name in whole) == 2  # transfer and its arrays
    assert killed == whole
