from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from priorscope.core.errors import WorkError
from priorscope.data import memory
from priorscope.data.beton import Beton
from priorscope.data.beton.fields import ImageField
from priorscope.data.loader import Loader
from priorscope.data.memory import InPlace, in_place
from priorscope.data.order import Shuffle
from priorscope.data.rendering import Buffers
from priorscope.data.split import ArrayPixels, ChosenPixels, Split
from priorscope.data.store import read_split, write_split


def resident_file_pages() -> int:
    """Bytes of mapped files that this process holds in memory, among them files that lie in memory themselves."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    held = [int(line[1]) * 1024 for line in lines if line and line[0] in ("RssFile:", "RssShmem:")]
    return sum(held) if held else pytest.skip("the system does not tell")


def grown(path: Path, count: int, side: int) -> int:
    """How much of a mapped store is in memory at most, beyond what was before, while an epoch runs through it."""
    mapped = np.memmap(path, np.uint8, "r", shape=(count, side, side, 3))
    split = Split("test", "train", ArrayPixels(mapped), np.zeros(count, np.int64), ("a",))
    loader = Loader(split, batch_size=32, shuffle="chunks", augment="flip")
    before, most, seen = resident_file_pages(), 0, 0
    for batch in loader:
        seen += len(batch.labels)
        most = max(most, resident_file_pages() - before)
    assert seen == count
    return most


def test_a_store_larger_than_the_windows_streams_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With windows of 4 MiB an epoch over 96 MiB holds three of them, and what the system maps around what is touched."""
    from priorscope.data import order

    side, count = 64, (96 << 20) // (64 * 64 * 3)
    path = tmp_path / "store.bin"
    np.full(count * side * side * 3, 7, np.uint8).tofile(path)
    for module in (memory, order):
        monkeypatch.setattr(module, "CHUNKS", 4)
    assert grown(path, count, side) < 40 << 20
    monkeypatch.setattr(memory.ReadAhead, "enter", lambda *_: None)
    assert grown(path, count, side) > 88 << 20  # what it would take without letting go: the test can fail


@pytest.mark.parametrize(("shuffle", "advised"), [(False, True), ("chunks", True), (True, False)])
def test_only_an_order_in_pieces_is_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: Shuffle, advised: bool
) -> None:
    """Pictures in any order lie in nearly every chunk: asking for those of each window would ask for the store many times."""
    mapped = np.memmap(tmp_path / "store", np.uint8, "w+", shape=(8, 16, 16, 3))
    asked: list[int] = []
    monkeypatch.setattr(memory.ReadAhead, "_advise", lambda _self, index, _advice: asked.append(len(index)))
    split = Split("test", "train", ArrayPixels(mapped), np.zeros(8, np.int64), ("a",))
    assert len(list(Loader(split, batch_size=4, shuffle=shuffle))) == 2
    assert bool(asked) == advised


def test_a_store_of_encoded_pictures_that_is_cut_short_is_named_also_where_some_are_chosen(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    whole = Split("test", "train", ArrayPixels(pictures), np.zeros(64, np.int64), ("a",))
    write_split(whole, tmp_path / "a.beton", images=ImageField("jpg", quality=90))
    split = read_split(Beton.open(tmp_path / "a.beton"), source="test", name="train")
    loader = Loader(split.choose(np.arange(32)), batch_size=16)
    assert len(list(loader)) == 2
    os.truncate(tmp_path / "a.beton", 4096)
    with pytest.raises(WorkError, match=r"was cut short while it was read: 4,096 of [\d,]+ bytes are left"):
        next(iter(loader))


def test_pictures_are_found_where_they_lie() -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 4, 6, 3), dtype=np.uint8)
    wide = np.zeros((20, 100), np.uint8)
    wide[:, :72] = array.reshape(20, 72)
    spaced = np.lib.stride_tricks.as_strided(wide, (20, 4, 6, 3), (100, 18, 3, 1))
    turned = np.asfortranarray(array)
    chosen = np.array([7, 3, 3])
    for source in (array, spaced, turned):
        store = in_place(ChosenPixels(ChosenPixels(ArrayPixels(source), np.arange(19, -1, -1)), chosen))
        assert isinstance(store, InPlace)
        out = np.empty((2, 4, 6, 3), np.uint8)
        store.gather(np.array([0, 2]), out)
        assert np.array_equal(out, array[[12, 16]])
    assert np.shares_memory(in_place(ArrayPixels(spaced)).flat, wide)  # type: ignore[union-attr]


def test_memory_is_used_again_only_when_nobody_holds_it() -> None:
    buffers = Buffers()
    first = buffers.take((4, 3, 8, 8))
    at = first.data_ptr()
    view = first[1]
    del first
    second = buffers.take((4, 3, 8, 8))
    assert second.data_ptr() != at, "a view still shows it"
    array = view.numpy()
    del view
    third = buffers.take((4, 3, 8, 8))
    assert third.data_ptr() != at, "an array still shows it"
    del array
    smaller = buffers.take((2, 3, 8, 8))
    assert smaller.data_ptr() == at
    assert smaller.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_store_cut_short_between_two_batches_is_named_before_the_system_ends_the_process(
    tmp_path: Path, shuffle: bool
) -> None:
    """Touching a page of a map whose file has lost it is a bus error, which no program survives."""
    count, side = 4096, 32
    path = tmp_path / "store"
    np.zeros(count * side * side * 3, np.uint8).tofile(path)
    mapped = np.memmap(path, np.uint8, "r", shape=(count, side, side, 3))
    split = Split("test", "train", ArrayPixels(mapped), np.zeros(count, np.int64), ("a",))
    loader = Loader(split, batch_size=1024, shuffle=shuffle)
    assert len(list(loader)) == 4
    os.truncate(path, 4096)
    with pytest.raises(WorkError) as caught:
        next(iter(loader))
    assert caught.value.came == (
        "The file of the pictures was cut short while it was read: 4,096 of 12,582,912 bytes are left."
    )
