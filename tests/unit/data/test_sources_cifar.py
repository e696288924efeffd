"""CIFAR's pickles: what numpy writes is read, whatever else a pickle may ask for is not."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from priorscope.core.errors import WorkError
from priorscope.data.sources.cifar_files import read_pickle, read_pickles, read_records

DATA = np.random.default_rng(0).integers(0, 256, (6, 3072), np.uint8)


def stored(tmp_path: Path, value: Any, protocol: int = 2) -> Path:
    file = tmp_path / "batch"
    file.write_bytes(pickle.dumps(value, protocol=protocol))
    return file


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_numpy_of_today_is_read(tmp_path: Path, protocol: int) -> None:
    table = read_pickle(stored(tmp_path, {"data": DATA, "labels": [1, 2, 3], "names": ["a", b"b"]}, protocol))
    np.testing.assert_array_equal(table["data"], DATA)
    assert (table["labels"], table["names"]) == ([1, 2, 3], ["a", "b"])


def test_fortran_order_and_numbers_are_read(tmp_path: Path) -> None:
    table = read_pickle(stored(tmp_path, {"data": np.asfortranarray(DATA), "labels": np.arange(6)}))
    np.testing.assert_array_equal(table["data"], DATA)
    np.testing.assert_array_equal(table["labels"], np.arange(6))


def test_pixels_are_red_green_blue_planes(tmp_path: Path) -> None:
    pictures, labels = read_pickles([stored(tmp_path, {b"data": DATA, b"labels": [3] * 6})], "labels")
    assert labels.tolist() == [3] * 6
    assert pictures[4, 2, 7].tolist() == [DATA[4, 1024 * channel + 2 * 32 + 7] for channel in range(3)]


HERE = Path(tempfile.gettempdir(), f"priorscope-was-here-{os.getpid()}")


class Runs:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {HERE}",)


class Evaluates:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1 + 1",)


@pytest.mark.parametrize("hostile", [Runs(), Evaluates(), np.float64, Path("a"), {1}.__class__])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_asks_for_anything_else_is_refused(tmp_path: Path, hostile: Any, protocol: int) -> None:
    with pytest.raises(WorkError, match=r"it asks for [\w.]+, which may run code"):
        read_pickle(stored(tmp_path, {"data": hostile}, protocol))
    assert not HERE.exists()


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="is not read"):
        read_pickle(stored(tmp_path, {"data": np.array([{}, {}], object)}))


HUGE = (
    b"\x80\x02}(X\x04\x00\x00\x00datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\x00\x00\x00\x00tU\x01btR"
    b"(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x03abctbu."
)


def test_an_array_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(HUGE)
    with pytest.raises(WorkError, match="an array's shape and length disagree"):
        read_pickle(tmp_path / "batch")


@pytest.mark.parametrize("cut", [0, 1, 10, 100, 5000])
def test_a_cut_pickle_is_refused(tmp_path: Path, cut: int) -> None:
    file = stored(tmp_path, {"data": DATA})
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(WorkError, match="is not read"):
        read_pickle(file)


def test_random_damage_gives_an_error_or_a_table(tmp_path: Path) -> None:
    whole = pickle.dumps({"data": DATA[:1, :64], "labels": [1]}, protocol=2)
    random = np.random.default_rng(1)
    for _ in range(300):
        content = bytearray(whole)
        for place in random.integers(0, len(content), random.integers(1, 6)):
            content[place] = random.integers(256)
        (tmp_path / "batch").write_bytes(content)
        try:
            assert isinstance(read_pickle(tmp_path / "batch"), dict)
        except WorkError:
            continue


@pytest.mark.parametrize(
    "table",
    [{}, {"data": DATA}, {"data": DATA, "labels": [1]}, {"data": DATA[:, :9], "labels": [1] * 6}, {"data": 1, "labels": []}],
)
def test_a_table_without_a_batch_is_refused(tmp_path: Path, table: Any) -> None:
    with pytest.raises(WorkError, match="holds no CIFAR batch"):
        read_pickles([stored(tmp_path, table)], "labels")


@pytest.mark.parametrize("size", [0, 1, 3072, 3074])
def test_a_binary_file_of_half_records_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "batch").write_bytes(bytes(size))
    with pytest.raises(WorkError, match=r"is damaged: it has [\d,]+ bytes"):
        read_records([tmp_path / "batch"], labels=1)
