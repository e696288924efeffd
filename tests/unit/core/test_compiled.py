"""Compiled code that is kept on the disk, and what makes it be compiled again."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

import priorscope
from priorscope.core import compiled

HELPER = """
from priorscope.core.compiled import njit

@njit()
def helper(x):
    return x + {added}
"""
NUMBER = "NUMBER = {number}"
CALLER = """
from numba import types
from priorscope.core.compiled import cfunc, njit
from kernels.helper import helper
from kernels.number import NUMBER

@njit(types.int64(types.int64))
def caller(x):
    return helper(x) + NUMBER

@cfunc(types.int64(types.int64))
def called(x):
    return helper(x) + NUMBER
"""
ASK = """
import ctypes
from kernels.caller import caller, called
of_c = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(called.address)
print(caller(0), of_c(0), sum(caller.stats.cache_hits.values()), caller.stats.cache_path)
"""


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "helper.py").write_text(HELPER.format(added=1))
    (folder / "number.py").write_text(NUMBER.format(number=10))
    (folder / "caller.py").write_text(CALLER)
    return folder


def _asked(kernels: Path, **environment: str) -> tuple[int, int, int, str]:
    """What a fresh process computes by both functions, how often it found code on the disk, and where."""
    named = os.environ | {"PRIORSCOPE_CACHE": str(kernels.parent / "cache"), "NUMBA_CACHE_DIR": ""} | environment
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=kernels.parent, env=named, text=True, capture_output=True, check=True
    )
    by_python, by_c, found, place = done.stdout.split(maxsplit=3)
    return int(by_python), int(by_c), int(found), place.strip()


def test_code_is_found_again_until_a_file_beside_it_changes(kernels):
    assert _asked(kernels)[:3] == (11, 11, 0)
    assert _asked(kernels)[:3] == (11, 11, 1)
    (kernels / "helper.py").write_text(HELPER.format(added=2))
    assert _asked(kernels)[:3] == (12, 12, 0)
    (kernels / "number.py").write_text(NUMBER.format(number=20))
    assert _asked(kernels)[:3] == (22, 22, 0)


def test_code_lies_in_the_cache_folder_or_where_numba_is_told_to_keep_it(kernels, tmp_path):
    assert _asked(kernels)[3].startswith(str(tmp_path / "cache" / "compiled"))
    assert _asked(kernels, NUMBA_CACHE_DIR=str(tmp_path / "elsewhere"))[3].startswith(str(tmp_path / "elsewhere"))
    assert not list(kernels.rglob("*.nbi"))


def test_a_user_without_a_home_has_code_compiled_each_time(monkeypatch):
    for name in ("XDG_CACHE_HOME", "PRIORSCOPE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    assert compiled._place("", "stamp") is None


def test_where_nothing_can_be_kept_code_is_compiled_each_time(kernels, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    for _ in range(2):
        assert _asked(kernels)[:3] == (11, 11, 0)


def test_loops_take_nothing_from_other_folders_of_the_package():
    """Nor do the modules beside them whose numbers and helpers go into their code."""
    package = Path(priorscope.__file__).parent
    with_loops = {file for file in package.rglob("*.py") if "from priorscope.core.compiled import" in file.read_text()}
    rooms = {file.parent for file in with_loops if file.parent.name == "kernels"}
    assert {room.parent.name for room in rooms} == {"data", "models"}
    for file in with_loops.union(*(room.glob("*.py") for room in rooms)):
        room = ".".join(file.relative_to(package.parent).parent.parts)
        nodes = [*ast.walk(ast.parse(file.read_text()))]
        taken = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        taken |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        ours = {name for name in taken - {"priorscope.core.compiled"} if name.startswith("priorscope")}
        assert not [name for name in ours if name.rpartition(".")[0] != room], file
