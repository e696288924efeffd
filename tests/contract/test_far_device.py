"""Training and looking on a device that is not the processor; no GPU is needed.

A device of our own, which torch takes for a GPU's like: no operation takes tensors of it and of the processor together, and
none of ours finds its processor loops there. It computes what the processor computes, so numbers are compared.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from priorscope.models import FAMILIES

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `far.cpp` compiles to."""
    if shutil.which("c++") is None or sys.platform != "linux":
        pytest.skip("no C++ compiler for a device of our own")
    made, of_torch = tmp_path_factory.mktemp("far") / "far.so", Path(torch.__file__).parent
    include = [f"-I{of_torch / 'include'}", f"-I{of_torch / 'include/torch/csrc/api/include'}"]
    link = [f"-L{of_torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    command = ["c++", "-O0", "-w", "-shared", "-fPIC", "-std=c++20", *include, str(HERE / "far.cpp"), "-o", str(made), *link]
    subprocess.run(command, check=True, capture_output=True)
    return made


def asked(library: Path, *families: str) -> list[str]:
    command = [sys.executable, str(HERE / "far_device.py"), str(library), *families]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_network_is_trained_and_looked_at_on_another_device_as_on_the_processor(library):
    assert asked(library, "vit") == []


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("timm", "vit")])
def test_every_family_is(library, family):
    assert asked(library, family) == []
