"""Same seed, same pixels: whatever the batch size, threads, ranks and place of resuming, a picture is the same in an epoch."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priorscope.data.augment import PRESETS
from priorscope.data.loader import Batch, Loader
from priorscope.data.split import ArrayPixels, Split

COUNT = 101
PURE = sorted(PRESETS)
"""Presets that draw nothing once a batch: all of them."""


@cache
def split() -> Split:
    g = np.random.default_rng(0)
    pixels = g.integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)
    return Split("test", "train", ArrayPixels(pixels), np.arange(COUNT) % 7, tuple("abcdefg"), {"shape": np.arange(COUNT) % 3})


def by_index(batches: Iterable[Batch]) -> dict[int, bytes]:
    """Everything that a batch says of each picture."""
    seen: dict[int, bytes] = {}
    for batch in batches:
        for i, index in enumerate(batch.index.tolist()):
            assert index not in seen, "seen twice"
            parts = [batch.images[i].to(torch.float32), batch.labels[i], batch.columns["shape"][i]]
            parts += [] if batch.targets is None else [batch.targets[i]]
            seen[index] = b"".join(np.ascontiguousarray(part.numpy()).tobytes() for part in parts)
    return seen


@cache
def reference(preset: str, shuffle: Any, epoch: int) -> dict[int, bytes]:
    return by_index(Loader(split(), batch_size=32, augment=preset, seed=5, shuffle=shuffle, threads=1).epoch(epoch))


@settings(max_examples=60)
@given(
    preset=st.sampled_from(PURE),
    batch_size=st.sampled_from([1, 7, 64, 101, 512]),
    threads=st.integers(1, 4),
    ranks=st.integers(1, 3),
    shuffle=st.sampled_from([True, False, "chunks"]),
    epoch=st.integers(0, 2),
)
def test_pixels_do_not_depend_on_batch_size_threads_or_ranks(
    preset: str, batch_size: int, threads: int, ranks: int, shuffle: Any, epoch: int
) -> None:
    seen: dict[int, bytes] = {}
    for rank in range(ranks):
        loader = Loader(
            split(),
            batch_size=batch_size,
            augment=preset,
            seed=5,
            shuffle=shuffle,
            threads=threads,
            rank=rank,
            ranks=ranks,
        )
        part = by_index(loader.epoch(epoch))
        assert not part.keys() & seen.keys(), "two ranks saw one picture"
        seen |= part
    assert seen == reference(preset, shuffle, epoch)


@settings(max_examples=30)
@given(
    preset=st.sampled_from(PURE),
    start=st.integers(0, 5),
    epoch=st.integers(0, 3),
    size=st.integers(17, 25),
    dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
)
def test_an_epoch_taken_up_again_goes_on_as_it_would_have(preset: str, start: int, epoch: int, size: int, dtype: str) -> None:
    whole = list(Loader(split(), batch_size=size, augment=preset, shuffle=True, dtype=dtype).epoch(epoch))
    resumed = Loader(split(), batch_size=size, augment=preset, shuffle=True, dtype=dtype)
    rest = list(resumed.epoch(epoch, start))
    assert len(rest) == max(len(whole) - start, 0)
    for step, batch in enumerate(rest, start):
        again = resumed.batch(epoch, step)
        for one in (whole[step], again):
            assert torch.equal(one.index, batch.index)
            assert torch.equal(one.images, batch.images)
            assert one.images.dtype == batch.images.dtype == getattr(torch, dtype)


@settings(max_examples=20)
@given(batch_size=st.integers(1, 150), ranks=st.integers(1, 4))
def test_evaluation_sees_every_picture_once_and_ranks_have_equally_many_batches(batch_size: int, ranks: int) -> None:
    loaders = [Loader(split(), batch_size=batch_size, rank=rank, ranks=ranks) for rank in range(ranks)]
    batches = [list(loader.epoch(0)) for loader in loaders]
    assert {len(each) for each in batches} == {len(loaders[0])}
    seen = sorted(int(i) for each in batches for batch in each for i in batch.index)
    assert seen == list(range(COUNT))


@given(st.integers(1, 2000), st.integers(0, 3), st.integers(1, 40))
def test_chunked_order_is_a_permutation_that_changes_with_the_epoch(count: int, epoch: int, chunk: int) -> None:
    from priorscope.data.order import epoch_order

    order = epoch_order(count, 0, epoch, "chunks", chunk)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, epoch_order(count, 0, epoch, "chunks", chunk))
    if count > 20:
        assert not np.array_equal(order, epoch_order(count, 0, epoch + 1, "chunks", chunk))
