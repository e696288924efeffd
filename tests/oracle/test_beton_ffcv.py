"""FFCV itself reads what we write, and we read what it writes. Slow: FFCV compiles for every test (2 minutes in all)."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("ffcv", reason="ffcv is not installed: it needs a compiler, OpenCV and libjpeg-turbo to build")
    import cv2
    import ffcv.fields as theirs
    from ffcv.fields.decoders import BytesDecoder, IntDecoder, NDArrayDecoder, SimpleRGBImageDecoder
    from ffcv.libffcv import imdecode
    from ffcv.loader import Loader, OrderOption
    from ffcv.reader import Reader
    from ffcv.writer import DatasetWriter

from priorscope.data import beton as ours

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _compiled_code_is_freed() -> Iterator[None]:
    """FFCV's compiled loaders complain when numba frees them: here, where it is ignored, not at the session's end."""
    yield
    gc.collect()


N = 1500
"""Raw images of 32 x 32 fill two of FFCV's smallest pages."""


def picture(index: int, height: int = 32, width: int = 32) -> np.ndarray:
    """A smooth picture, which JPEG keeps, with a little noise, which raw must keep."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    wave = 127 + 90 * np.sin(x / 9 + index)[..., None] * np.cos(y / 11 + np.arange(3)[:, None, None]).transpose(1, 2, 0)
    return (wave + rng.integers(0, 12, (height, width, 3))).astype(np.uint8)


class Samples:
    """A data set as FFCV wants it."""

    def __init__(self, n: int, uniform: bool = True) -> None:
        self.n = n
        self.uniform = uniform

    def __len__(self) -> int:
        return self.n

    def shape(self, index: int) -> tuple[int, int]:
        return (32, 32) if self.uniform else (24 + index % 50, 40 + index % 31)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        i = int(index)
        return (
            picture(i, *self.shape(i)),
            i % 10 - 3,
            i / 7,
            np.arange(6, dtype=np.int16).reshape(2, 3) * i,
            np.frombuffer(bytes([i % 251]) * (i % 40 + 1), np.uint8),
            {"index": i, "name": "bänk"},
        )


def their_fields(**image: Any) -> dict[str, Any]:
    return {
        "image": theirs.RGBImageField(**image),
        "label": theirs.IntField(),
        "weight": theirs.FloatField(),
        "array": theirs.NDArrayField(np.dtype("<i2"), (2, 3)),
        "bytes": theirs.BytesField(),
        "json": theirs.JSONField(),
    }


def our_fields(**image: Any) -> dict[str, ours.Field]:
    return {
        "image": ours.ImageField(**image),
        "label": ours.IntField(),
        "weight": ours.FloatField(),
        "array": ours.ArrayField(np.dtype("<i2"), (2, 3)),
        "bytes": ours.BytesField(),
        "json": ours.JSONField(),
    }


def everything_equal(beton: ours.Beton, samples: Samples) -> None:
    for index in range(len(samples)):
        sample = samples[index]
        assert beton.value("label", index) == sample[1]
        assert beton.value("weight", index) == sample[2]
        np.testing.assert_array_equal(beton.value("array", index), sample[3])
        assert beton.value("bytes", index) == sample[4].tobytes()
        assert beton.value("json", index) == sample[5]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("uniform", [True, False])
def test_we_read_raw_files_of_ffcv(tmp_path: Path, workers: int, uniform: bool) -> None:
    samples = Samples(N, uniform)
    path = tmp_path / "theirs.beton"
    DatasetWriter(str(path), their_fields(), page_size=1 << 21, num_workers=workers).from_indexed_dataset(samples, chunksize=37)
    beton = ours.Beton.open(path)
    assert len(beton) == N
    assert beton.layout.page_size == 1 << 21
    everything_equal(beton, samples)
    for index in range(N):
        np.testing.assert_array_equal(beton.read(index), samples[index][0])
    chosen = np.random.default_rng(0).permutation(N)[:200]
    if uniform:
        np.testing.assert_array_equal(beton.gather(chosen), np.stack([samples[i][0] for i in chosen]))


def test_we_read_jpeg_files_of_ffcv_with_the_pixels_of_opencv(tmp_path: Path) -> None:
    samples = Samples(60, uniform=False)
    path = tmp_path / "theirs.beton"
    DatasetWriter(str(path), their_fields(write_mode="jpg"), num_workers=2).from_indexed_dataset(samples, chunksize=7)
    beton = ours.Beton.open(path)
    assert beton.fields["image"] == ours.ImageField("jpg")
    everything_equal(beton, samples)
    for index in range(60):
        content = cv2.imencode(".jpg", samples[index][0][..., ::-1], [int(cv2.IMWRITE_JPEG_QUALITY), 90])[1].tobytes()
        assert beton.encoded(index) == content
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(beton.read(index).astype(int) - decoded).max() <= 1


def test_smart_files_of_ffcv_hold_both_kinds(tmp_path: Path) -> None:
    samples = Samples(60, uniform=False)
    path = tmp_path / "theirs.beton"
    writer = DatasetWriter(str(path), their_fields(write_mode="smart", smart_threshold=9000), num_workers=1)
    writer.from_indexed_dataset(samples, chunksize=7)
    beton = ours.Beton.open(path)
    assert beton.fields["image"] == ours.ImageField("mixed")
    ours.write(tmp_path / "ours.beton", our_fields(mode="smart", smart_threshold=9000), (samples[i] for i in range(60)), 60)
    modes = ours.Beton.open(tmp_path / "ours.beton").layout.samples["f0"]["mode"]
    np.testing.assert_array_equal(beton.layout.samples["f0"]["mode"], modes)
    assert 0 < modes.sum() < 60


def test_ffcv_stores_smart_without_a_threshold_raw(tmp_path: Path) -> None:
    """The trap that we refuse to repeat."""
    path = tmp_path / "theirs.beton"
    writer = DatasetWriter(str(path), their_fields(write_mode="smart"), num_workers=1)
    writer.from_indexed_dataset(Samples(20, uniform=False), chunksize=7)
    assert ours.Beton.open(path).fields["image"] == ours.ImageField("raw")


def load(path: Path, pipelines: dict[str, Any], n: int, **options: Any) -> list[tuple[np.ndarray, ...]]:
    loader = Loader(str(path), batch_size=7, num_workers=1, drop_last=False, pipelines=pipelines, **options)
    rows = [tuple(np.array(part) for part in sample) for batch in loader for sample in zip(*batch, strict=True)]
    assert len(rows) == n
    return rows


PIPELINES = {
    "image": [SimpleRGBImageDecoder()],
    "label": [IntDecoder()],
    "weight": None,
    "array": [NDArrayDecoder()],
    "bytes": None,
    "json": None,
}


@pytest.mark.parametrize("os_cache", [True, False])
@pytest.mark.parametrize(
    ("order", "paged"), [(OrderOption.SEQUENTIAL, False), (OrderOption.QUASI_RANDOM, False), (OrderOption.QUASI_RANDOM, True)]
)
def test_ffcv_reads_our_raw_files(
    tmp_path: Path, os_cache: bool, order: OrderOption, paged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one page, and as the many pages that a file beyond 2 GiB has."""
    if paged:
        monkeypatch.setattr(ours.writer, "MOST_READ", (1 << 21) - 4096)
        monkeypatch.setattr(ours.writer, "PAGE", 1 << 21)
    samples = Samples(N)
    path = tmp_path / "ours.beton"
    ours.write(path, our_fields(), (samples[i] for i in range(N)), N, workers=2)
    assert (Reader(str(path)).page_size == 1 << 21) == paged
    seen = set()
    for image, label, array in load(path, PIPELINES, N, os_cache=os_cache, order=order):
        index = int(array[0, 1])
        seen.add(index)
        np.testing.assert_array_equal(image, samples[index][0])
        assert label[0] == samples[index][1]
        np.testing.assert_array_equal(array, samples[index][3])
    assert len(seen) == N


def test_ffcv_reads_every_field_of_ours(tmp_path: Path) -> None:
    n = 100
    samples = Samples(n, uniform=False)
    path = tmp_path / "ours.beton"
    ours.write(path, our_fields(), (samples[i] for i in range(n)), n, workers=2)
    reader = Reader(str(path))
    assert reader.field_names == list(our_fields())
    assert reader.num_samples == n
    assert reader.handlers["array"].shape == (2, 3)
    assert reader.handlers["array"].dtype == np.dtype("<i2")
    np.testing.assert_array_equal(reader.metadata["f2"], [samples[i][2] for i in range(n)])
    only = dict.fromkeys(our_fields()) | {"bytes": [BytesDecoder()], "json": [BytesDecoder()]}
    for index, (content, document) in enumerate(load(path, only, n)):
        wanted = samples[index][4]
        np.testing.assert_array_equal(content[: len(wanted)], wanted)
        assert theirs.JSONField.unpack(document) == samples[index][5]


def test_ffcv_reads_our_jpeg_files(tmp_path: Path) -> None:
    """FFCV gets our JPEG whole. It decodes with libjpeg-turbo's fast transform; Pillow and OpenCV with the exact one."""
    samples = Samples(50)
    path = tmp_path / "ours.beton"
    ours.write(path, our_fields(mode="jpg", quality=95), (samples[i] for i in range(50)), 50, workers=2)
    beton = ours.Beton.open(path)
    for index, (image, label, _) in enumerate(load(path, PIPELINES, 50)):
        content = np.frombuffer(beton.encoded(index), np.uint8)
        fast = np.zeros((32, 32, 3), np.uint8)
        imdecode(content, fast, 32, 32, 32, 32, 0, 0, 1, 1, False, False)
        np.testing.assert_array_equal(image, fast)
        assert label[0] == samples[index][1]
        exact = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(beton.read(index).astype(int) - exact).max() <= 1
        assert np.abs(fast.astype(int) - exact).mean() < 2


def test_empty_bytes_do_not_hide_their_neighbours_from_ffcv(tmp_path: Path) -> None:
    """FFCV finds a region by where it begins: an empty one of its own making takes the place, and the length, of the next."""
    n = 40
    path = tmp_path / "ours.beton"
    fields: dict[str, ours.Field] = {"bytes": ours.BytesField(), "image": ours.ImageField(), "label": ours.IntField()}
    samples = [(b"" if i % 2 else b"ab", picture(i), i) for i in range(n)]
    ours.write(path, fields, samples, n)
    pipelines = {"bytes": [BytesDecoder()], "image": [SimpleRGBImageDecoder()], "label": [IntDecoder()]}
    for index, (_, image, label) in enumerate(load(path, pipelines, n)):
        assert label[0] == index
        np.testing.assert_array_equal(image, samples[index][1])


def test_our_file_is_a_fifteenth_of_theirs(tmp_path: Path) -> None:
    samples = [(picture(i), i) for i in range(512)]
    pair = {"image": theirs.RGBImageField(), "label": theirs.IntField()}
    DatasetWriter(str(tmp_path / "theirs.beton"), pair, num_workers=2).from_indexed_dataset(samples)
    ours.write(tmp_path / "ours.beton", {"image": ours.ImageField(), "label": ours.IntField()}, samples, 512)
    pixels = 512 * 32 * 32 * 3
    assert (tmp_path / "ours.beton").stat().st_size < 1.02 * pixels
    assert (tmp_path / "theirs.beton").stat().st_size > 15 * pixels


def test_a_jpeg_is_the_one_that_opencv_would_write() -> None:
    """The same codec, tables and colour sampling: sizes agree but for the header, pixels but for rounding."""
    image = picture(3, 96, 128)
    mine = ours.ImageField("jpg").encode(image)[1]
    other = cv2.imencode(".jpg", image[..., ::-1], [int(cv2.IMWRITE_JPEG_QUALITY), 90])[1].tobytes()
    assert mine is not None
    assert abs(len(mine) - len(other)) < 32
    decoded = cv2.imdecode(np.frombuffer(bytes(mine), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - cv2.imdecode(np.frombuffer(other, np.uint8), cv2.IMREAD_COLOR)).max() <= 1
