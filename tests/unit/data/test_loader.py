from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from priorscope.core.errors import RequestError
from priorscope.data.augment.program import BatchPart, Drawing
from priorscope.data.loader import Loader
from priorscope.data.memory import in_place
from priorscope.data.rendering import OnDevice
from priorscope.data.split import ArrayPixels, Split


def make_split(count: int = 40, side: int = 8, pixels: Any = None) -> Split:
    if pixels is None:
        pixels = ArrayPixels(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    return Split("test", "train", pixels, np.arange(count) % 4, tuple("abcd"), {"texture": np.arange(count) % 2})


def test_a_batch_holds_the_pictures_their_labels_and_where_they_stand() -> None:
    split = make_split()
    batch = Loader(split, batch_size=16).batch(0, 1)
    array = split.pixels.array
    assert array is not None
    assert batch.index.tolist() == list(range(16, 32))
    assert batch.labels.tolist() == [i % 4 for i in range(16, 32)]
    assert batch.columns["texture"].tolist() == [i % 2 for i in range(16, 32)]
    assert batch.targets is None
    wanted = torch.from_numpy(array[16:32]).permute(0, 3, 1, 2).float() / 255
    assert torch.allclose(batch.images, wanted, atol=1e-7)
    assert batch.images.is_contiguous()


def test_the_last_batch_is_kept_or_dropped_as_asked() -> None:
    assert [len(b.labels) for b in Loader(make_split(), batch_size=16).epoch(0)] == [16, 16, 8]
    assert [len(b.labels) for b in Loader(make_split(), batch_size=16, partial="drop").epoch(0)] == [16, 16]


def test_successive_iterations_are_successive_epochs() -> None:
    loader = Loader(make_split(), batch_size=40, shuffle=True)
    first, second = (next(iter(loader)).index for _ in range(2))
    assert torch.equal(first, loader.batch(0, 0).index)
    assert torch.equal(second, loader.batch(1, 0).index)
    assert not torch.equal(first, second)


def test_another_seed_gives_another_order_and_other_pixels() -> None:
    one, two = (Loader(make_split(), batch_size=40, augment="rrc", seed=seed).batch(0, 0) for seed in (0, 1))
    assert not torch.equal(one.images, two.images)
    one, two = (Loader(make_split(), batch_size=40, shuffle=True, seed=seed).batch(0, 0) for seed in (0, 1))
    assert not torch.equal(one.index, two.index)


def test_a_batch_that_is_held_is_never_written_to() -> None:
    loader = Loader(make_split(400), batch_size=8, shuffle=True, augment="flip")
    kept, copies = [], []
    for batch in loader:
        view = batch.images[2:3, 1]  # a view keeps the memory as well as the batch does
        kept.append(view)
        copies.append(view.clone())
        del batch
    assert all(torch.equal(view, copy) for view, copy in zip(kept, copies, strict=True))


def test_memory_of_batches_that_are_gone_is_used_again() -> None:
    loader = Loader(make_split(400), batch_size=8)
    places = {batch.images.data_ptr() for batch in loader}
    assert len(places) <= 5  # fifty batches: one held, two ahead, one begun


def test_an_array_made_from_a_batch_keeps_its_memory() -> None:
    loader = Loader(make_split(80), batch_size=8)
    first = next(iter(loader)).images.numpy()
    copy = first.copy()
    for _ in loader.epoch(0):
        pass
    assert np.array_equal(first, copy)


def test_pictures_of_a_chosen_split_are_read_in_place_and_named_by_their_own_place() -> None:
    whole = make_split(40)
    chosen = np.array([31, 2, 17, 5])
    batch = Loader(whole.choose(chosen), batch_size=4).batch(0, 0)
    assert batch.index.tolist() == [0, 1, 2, 3]
    assert torch.equal(batch.images, Loader(whole, batch_size=40).batch(0, 0).images[chosen])


class EncodedPixels:
    """Pictures that are decoded one by one, of sizes that differ."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        g = np.random.default_rng(1)
        self.pictures = [g.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]

    size = None
    array = None

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, index: int) -> NDArray[np.uint8]:
        if index == 5:
            raise OSError("picture 5 is torn")
        return self.pictures[index]


def test_pictures_of_different_sizes_come_out_as_central_squares_of_one() -> None:
    split = make_split(4, pixels=EncodedPixels([(8, 12), (16, 8), (8, 8), (20, 30)]))
    images = Loader(split, batch_size=4, augment={"size": 8}).batch(0, 0).images
    pictures = split.pixels.pictures  # type: ignore[attr-defined]
    assert torch.allclose(images[0] * 255, torch.from_numpy(pictures[0][:, 2:10]).permute(2, 0, 1).float(), atol=1e-3)
    assert torch.allclose(images[1] * 255, torch.from_numpy(pictures[1][4:12]).permute(2, 0, 1).float(), atol=1e-3)
    assert torch.allclose(images[2] * 255, torch.from_numpy(pictures[2]).permute(2, 0, 1).float(), atol=1e-3)


def test_pictures_of_different_sizes_need_a_size() -> None:
    with pytest.raises(RequestError, match="square pictures of one size"):
        Loader(make_split(2, pixels=EncodedPixels([(8, 12), (16, 8)])), batch_size=2)


def test_a_picture_that_cannot_be_read_stops_the_epoch_with_its_error() -> None:
    loader = Loader(make_split(8, pixels=EncodedPixels([(8, 8)] * 8)), batch_size=4, augment={"size": 8}, threads=2)
    epoch = loader.epoch(0)
    next(epoch)
    with pytest.raises(OSError, match="picture 5 is torn"):
        next(epoch)


def test_an_epoch_that_is_left_early_leaves_no_work_behind() -> None:
    """The second batch is at its first picture when the epoch is left; those that were to follow it are not rendered."""
    pixels = EncodedPixels([(8, 8)] * 5)
    pixels.pictures *= 80
    read, seen, left = pixels.read, [], threading.Event()

    def waiting(index: int) -> NDArray[np.uint8]:
        seen.append(index)
        assert len(seen) <= 8 or left.wait(60)
        return read(0)

    pixels.read = waiting  # type: ignore[method-assign]
    loader = Loader(make_split(400, pixels=pixels), batch_size=8, augment={"size": 8}, threads=1)
    epoch = loader.epoch(0)
    next(epoch)
    epoch.close()  # type: ignore[attr-defined]
    left.set()
    loader._pool.submit(lambda: None).result(60)  # its one thread does it after all that it still has to do
    assert len(seen) <= 16, "what had begun ends, and no more does"
    assert [len(b.labels) for b in loader.epoch(0)] == [8] * 50


def test_mixing_gives_soft_targets_that_say_what_is_in_the_picture() -> None:
    """Pictures of one flat level per class: the mean of a mixed picture tells the shares that its targets state."""
    levels = np.array([0, 80, 160, 240], np.uint8)
    labels = np.arange(40) % 4
    pixels = np.broadcast_to(levels[labels][:, None, None, None], (40, 8, 8, 3)).copy()
    split = Split("test", "train", ArrayPixels(pixels), labels, tuple("abcd"))
    for op in ("mixup", "cutmix"):
        for per in ("picture", "batch"):
            batch = Loader(split, batch_size=40, shuffle=True, augment={"ops": [{"op": op, "alpha": 0.7, "per": per}]}).batch(
                0, 0
            )
            assert batch.targets is not None
            assert torch.allclose(batch.targets.sum(1), torch.ones(40), atol=1e-6)
            own = batch.targets[torch.arange(40), batch.labels]
            assert ((own > 0.01) & (own < 0.99)).any()
            stated = (batch.targets * torch.from_numpy(levels.astype(np.float32))).sum(1)
            assert torch.allclose(batch.images.mean((1, 2, 3)) * 255, stated, atol=0.01)
            mixed = own[(own < 0.999) & (own > 0)]
            assert (len(mixed.unique()) > 5) == (per == "picture")


def test_a_picture_mixed_with_one_of_its_own_class_is_whole() -> None:
    split = Split("test", "train", ArrayPixels(np.zeros((4, 8, 8, 3), np.uint8)), np.array([0, 0, 1, 2]), tuple("abc"))
    targets = Loader(split, batch_size=4, augment={"ops": ["mixup"]}).batch(0, 0).targets
    assert targets is not None
    assert targets[:2].tolist() == [[1, 0, 0]] * 2
    assert (targets[2:, 0] == 0).all()
    assert torch.allclose(targets.sum(1), torch.ones(4))


def test_no_threads_are_left_when_a_loader_goes() -> None:
    others = set(threading.enumerate())
    loader = Loader(make_split(), batch_size=8, threads=3)
    list(loader)
    own = [thread for thread in threading.enumerate() if thread not in others and thread.name.startswith("loader")]
    assert own
    del loader
    for thread in own:
        thread.join(20)
    assert not any(thread.is_alive() for thread in own)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"batch_size": 0}, "batch_size = 0 was asked for."),
        (
            {"batch_size": 50, "partial": "drop"},
            "A batch of 50 was asked for, without a smaller last one, and there are 40 pictures",
        ),
        ({"rank": 2, "ranks": 2}, "rank 2 of 2 was asked for."),
        ({"threads": 0}, "threads = 0 was asked for."),
        ({"dtype": "float61"}, "'float16' (did you mean that?)"),
        ({"partial": "skip"}, "partial = 'skip' was asked for."),
        ({"shuffle": "chunk"}, "shuffle = 'chunk' was asked for."),
        ({"augment": "flip-crops"}, "'flip-crop' (did you mean that?)"),
    ],
)
def test_wrong_requests_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError) as refused:
        Loader(make_split(), **{"batch_size": 8, **settings})
    assert text in str(refused.value)


def test_a_mapped_store_gives_the_same_batches_as_memory(tmp_path: Path) -> None:
    split = make_split(3000, 16)
    array = split.pixels.array
    assert array is not None
    path = tmp_path / "pixels.bin"
    array.tofile(path)
    mapped = np.memmap(path, np.uint8, "r", shape=array.shape)
    stored = Split("test", "train", ArrayPixels(mapped), split.labels, split.classes)
    for one, two in zip(
        Loader(split, batch_size=512, shuffle="chunks", augment="rrc").epoch(1),
        Loader(stored, batch_size=512, shuffle="chunks", augment="rrc").epoch(1),
        strict=True,
    ):
        assert torch.equal(one.images, two.images)


@pytest.mark.parametrize(("rank", "ranks"), [(1, 2), (0, 1)])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("augment", ["rrc", "cutmix", "permuted", "perceiver"])
def test_rendering_on_a_device_follows_the_same_order_and_partners(augment: str, resident: bool, rank: int, ranks: int) -> None:
    """The device's path, carried out by torch on the CPU: the same pictures as the threads' within a level."""
    split = make_split(41, 12)
    settings: dict[str, Any] = {"batch_size": 9, "augment": augment, "shuffle": True, "rank": rank, "ranks": ranks}
    loader = Loader(split, **settings)
    store = in_place(split.pixels)
    assert store is not None
    drawing = Drawing(loader.augment, 0, 12)
    with ThreadPoolExecutor(1) as pool:
        device = OnDevice(store, drawing, pool, torch.float16, torch.device("cpu"), resident)
        for step in range(len(loader)):
            batch = loader.batch(2, step)
            order = loader.order(2)
            places = np.arange(step * 9, min(step * 9 + 9, 41))[rank::ranks]
            partners = order[np.where((places ^ 1) < 41, places ^ 1, places - 1)] if drawing.plan.mixes else None
            images = device.start(BatchPart(2, step, order[places], partners)).result()
            assert images.dtype == torch.float16
            differs = (images.float() - batch.images).abs() * 255
            assert (differs > 1.2).float().mean() < 2e-3
