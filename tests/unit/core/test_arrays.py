"""Arrays in files: back as they were, and damage named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from priorscope.core.arrays import read_array, read_arrays, write_array, write_arrays
from priorscope.core.errors import WorkError
from priorscope.core.progress import kept_array


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "one.npy", values)
    back = read_array(tmp_path / "one.npy")
    assert back.dtype == values.dtype
    assert np.array_equal(back, values)
    write_arrays(tmp_path / "some.npz", {"b": values, "a": values[0]})
    assert np.array_equal(read_arrays(tmp_path / "some.npz", ["a"])["a"], values[0])


@pytest.mark.parametrize("name", ["one.npy", "some.npz"])
@pytest.mark.parametrize("left", [0, 100])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, name: str, left: int) -> None:
    path = tmp_path / name
    if path.suffix == ".npy":
        write_array(path, np.arange(100))
    else:
        write_arrays(path, {"a": np.arange(100)})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(WorkError) as failed:
        read_array(path) if path.suffix == ".npy" else read_arrays(path, ["a"])
    assert failed.value.came.startswith(f"{path} is damaged: ")
    assert failed.value.do == f"delete {path} and run the same command again"


def test_what_was_kept_is_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(3)

    for path in (tmp_path / "kept.npy", tmp_path / "kept.npy", None):
        assert kept_array(path, compute).tolist() == [0, 1, 2]
    assert len(calls) == 2


@pytest.mark.parametrize("read", [read_array, lambda path: read_arrays(path, ["a"])])
def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path, read) -> None:
    with pytest.raises(WorkError) as failed:
        read(tmp_path)
    assert failed.value.came == f"{tmp_path} cannot be read: Is a directory."
    assert failed.value.do == f"check {tmp_path} and its permissions"
