"""The store: bytes laid out by hand, round trips, canonical files, manifests, damage, and what is left after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from priorscope.core.errors import PriorscopeError, RequestError, WorkError
from priorscope.data.beton import (
    About,
    ArrayField,
    Beton,
    BetonPixels,
    BytesField,
    Field,
    FloatField,
    ImageField,
    IntField,
    JSONField,
    manifest_path,
    part,
    verify,
    write,
    writer,
)
from priorscope.data.beton.fields import encode_jpeg, jpeg_size
from priorscope.data.decode import BrokenImageError

PAGE = 1 << 21


def pictures(n: int, height: int = 8, width: int = 6) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def descriptor(type_id: int, name: bytes, arguments: bytes = b"") -> bytes:
    return struct.pack("<B16s1024s", type_id, name, arguments)


def by_hand(
    *,
    version: int = 2,
    page: int = PAGE,
    count: int = 2,
    table_at: int | None = None,
    rows: bytes | None = None,
    table: bytes | None = None,
    names: tuple[bytes, bytes] = (b"image", b"label"),
    kinds: tuple[int, int] = (2, 1),
    data: bytes = bytes(range(36)),
) -> bytes:
    """A file of two 3 x 2 raw images and their labels (7 and -1), assembled byte by byte from docs/beton.md."""
    descriptors = descriptor(kinds[0], names[0]) + descriptor(kinds[1], names[1])
    start = 24 + 2 * 1041
    data_at = start + 2 * 24
    if rows is None:
        rows = b"".join(
            struct.pack("<BHHQ3xq", 1, 2, 3, data_at + 18 * i, label)  # mode, width, height, pointer, padding, label
            for i, label in enumerate((7, -1))
        )
    if table is None:
        table = struct.pack("<QQQ", 1, data_at + 18, 18) + struct.pack("<QQQ", 0, data_at, 18)  # in any order
    header = struct.pack("<HHIQQ", version, 2, page, count, data_at + len(data) if table_at is None else table_at)
    return header + descriptors + rows + data + table


def opened(tmp_path: Path, content: bytes) -> Beton:
    (tmp_path / "hand.beton").write_bytes(content)
    return Beton.open(tmp_path / "hand.beton")


def test_a_file_assembled_by_hand_is_read(tmp_path: Path) -> None:
    beton = opened(tmp_path, by_hand())
    assert len(beton) == 2
    assert beton.fields == {"image": ImageField(), "label": IntField()}
    assert beton.size == (3, 2)
    assert beton.manifest is None
    np.testing.assert_array_equal(beton.column("label"), [7, -1])
    np.testing.assert_array_equal(beton.read(1), np.arange(18, 36).reshape(3, 2, 3))
    np.testing.assert_array_equal(beton.images, np.arange(36).reshape(2, 3, 2, 3))
    assert beton.encoded(0) == bytes(range(18))
    assert beton.value("label", 1) == -1


def test_a_file_that_we_write_is_the_one_assembled_by_hand_but_for_filling(tmp_path: Path) -> None:
    images = np.arange(36, dtype=np.uint8).reshape(2, 3, 2, 3)
    path = tmp_path / "a.beton"
    write(path, {"image": ImageField(), "label": IntField()}, [(images[0], 7), (images[1], -1)], 2)
    content = path.read_bytes()
    assert struct.unpack_from("<HHIQQ", content) == (2, 2, PAGE, 2, 4096 + 40)
    assert content[24 : 24 + 2 * 1041] == descriptor(2, b"image") + descriptor(1, b"label")
    rows = struct.pack("<BHHQ3xq", 1, 2, 3, 4096, 7) + struct.pack("<BHHQ3xq", 1, 2, 3, 4096 + 18, -1)
    assert content[2106 : 2106 + 48] == rows
    assert content[2154:4096] == bytes(4096 - 2154)
    assert content[4096 : 4096 + 36] == bytes(range(36))
    assert content[4136:] == struct.pack("<QQQ", 0, 4096, 18) + struct.pack("<QQQ", 1, 4096 + 18, 18)


def samples_of_every_kind(n: int) -> list[tuple[Any, ...]]:
    images = pictures(n)
    return [
        (
            images[i],
            i - 3,
            i / 7,
            np.arange(6, dtype=np.int16).reshape(2, 3) * i,
            bytes([i]) * (i % 5),
            {"index": i, "name": "bänk"},
        )
        for i in range(n)
    ]


def every_field(image: ImageField | None = None) -> dict[str, Field]:
    return {
        "image": image or ImageField(),
        "label": IntField(),
        "weight": FloatField(),
        "array": ArrayField(np.dtype("<i2"), (2, 3)),
        "bytes": BytesField(),
        "json": JSONField(),
    }


@pytest.mark.parametrize("image", [ImageField(), ImageField("smart", smart_threshold=1000)], ids=["raw", "smart-all-raw"])
def test_every_kind_of_field_comes_back(tmp_path: Path, image: ImageField) -> None:
    samples = samples_of_every_kind(75)
    path = tmp_path / "all.beton"
    write(path, every_field(image), samples, 75, workers=2)
    beton = Beton.open(path)
    assert beton.fields == every_field()
    for index, sample in enumerate(samples):
        np.testing.assert_array_equal(beton.read(index), sample[0])
        np.testing.assert_array_equal(beton.value("array", index), sample[3])
        assert [beton.value(name, index) for name in ("label", "weight", "bytes", "json")] == [
            sample[1],
            sample[2],
            sample[4],
            sample[5],
        ]
    np.testing.assert_array_equal(beton.column("array"), np.stack([sample[3] for sample in samples]))
    np.testing.assert_array_equal(beton.column("weight"), [sample[2] for sample in samples])
    np.testing.assert_array_equal(beton.column("image"), np.stack([sample[0] for sample in samples]))
    assert beton.column("bytes") == [sample[4] for sample in samples]
    assert beton.column("json")[3] == {"index": 3, "name": "bänk"}
    # Bytes of different lengths stand between the images: there is no array of equal steps, but still one of windows.
    assert beton.images is None
    chosen = np.array([70, 2, 2])
    np.testing.assert_array_equal(beton.gather(chosen), np.stack([samples[i][0] for i in chosen]))


def test_images_of_one_size_are_one_read_only_array_over_the_map(tmp_path: Path) -> None:
    images = pictures(500)
    fields: dict[str, Field] = {"image": ImageField(), "real": ArrayField(np.dtype("<i4"), (5,))}
    path = tmp_path / "a.beton"
    write(path, fields, ((image, np.full(5, i, np.int32)) for i, image in enumerate(images)), 500)
    beton = Beton.open(path)
    assert beton.images is not None
    np.testing.assert_array_equal(beton.images, images)
    assert np.shares_memory(beton.images, beton.flat)
    assert not beton.images.flags.writeable
    assert beton.images.strides[0] == 8 * 6 * 3 + 20
    pixels = BetonPixels(beton)
    assert (pixels.size, len(pixels)) == ((8, 6), 500)
    np.testing.assert_array_equal(pixels.array, images)
    assert pixels.starts is not None
    at = int(pixels.starts[77])
    np.testing.assert_array_equal(pixels.flat[at : at + 144].reshape(8, 6, 3), images[77])


def test_jpegs_are_kept_as_files_and_decode_close_to_what_was_given(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :56]
    smooth = [np.stack([(x * 4 + i) % 255, y * 5, (x + y) * 2], -1).astype(np.uint8) for i in range(10)]
    path = tmp_path / "a.beton"
    manifest = write(path, {"image": ImageField("jpg", quality=95)}, ((image,) for image in smooth), 10, workers=3)
    beton = Beton.open(path)
    assert manifest.codec is not None
    assert manifest.codec.startswith("Pillow ")
    assert beton.fields["image"] == ImageField("jpg")
    assert beton.images is None
    assert beton.encoded(4) == encode_jpeg(smooth[4], 95)
    assert jpeg_size(beton.encoded(4)) == (40, 56)
    assert max(np.abs(beton.read(i).astype(int) - smooth[i]).mean() for i in range(10)) < 4
    np.testing.assert_array_equal(beton.gather([1, 0])[0], beton.read(1))


def test_smart_mode_is_decided_by_the_bytes_of_the_pixels(tmp_path: Path) -> None:
    sizes = [(8, 8), (20, 20), (9, 9), (30, 10)]
    path = tmp_path / "a.beton"
    write(path, {"image": ImageField("smart", smart_threshold=9 * 9 * 3)}, ((np.full((*s, 3), 9, np.uint8),) for s in sizes), 4)
    beton = Beton.open(path)
    assert beton.fields["image"] == ImageField("mixed")
    assert list(beton.layout.samples["f0"]["mode"]) == [1, 0, 1, 0]
    assert beton.size is None
    assert [beton.read(i).shape[:2] for i in range(4)] == sizes
    with pytest.raises(RequestError) as caught:
        beton.gather([0, 1])
    assert caught.value.came == "The images of a.beton were asked for as one array."


@pytest.mark.parametrize("mode", ["raw", "jpg"])
def test_the_bytes_do_not_depend_on_workers(tmp_path: Path, mode: Any) -> None:
    samples = samples_of_every_kind(200)
    found = set()
    for workers in (1, 2, 5):
        path = tmp_path / f"{workers}.beton"
        manifest = write(path, every_field(ImageField(mode)), iter(samples), 200, workers=workers)
        found.add((path.read_bytes(), repr(manifest)))
    assert len(found) == 1


def test_a_golden_file(tmp_path: Path) -> None:
    """The bytes of a raw file are the same for ever: a copy elsewhere, or one made again, has the same checksum."""
    samples = [(np.full((4, 4, 3), 40 * i, np.uint8), i, i / 2, {"i": i}) for i in range(5)]
    fields: dict[str, Field] = {"image": ImageField(), "label": IntField(), "weight": FloatField(), "json": JSONField()}
    write(tmp_path / "a.beton", fields, samples, 5)
    assert hashlib.sha256((tmp_path / "a.beton").read_bytes()).hexdigest()[:16] == "f093409e07c527c2"


def test_a_small_file_is_hardly_larger_than_its_pixels(tmp_path: Path) -> None:
    images = pictures(512, 32, 32)
    write(tmp_path / "a.beton", {"image": ImageField(), "label": IntField()}, ((image, 1) for image in images), 512)
    overhead = (tmp_path / "a.beton").stat().st_size - images.nbytes
    assert overhead < 24 + 2 * 1041 + 512 * (24 + 24) + 4096 + 8


class TestPages:
    """No sample may lie across a page: FFCV's reader, told not to use the system's cache, reads a page at a time."""

    def whole_pages(self, path: Path) -> tuple[Beton, int]:
        beton = Beton.open(path)
        page = beton.layout.page_size
        for regions in beton.layout.regions.values():
            assert ((regions.start // page) == ((regions.start + regions.size - 1) // page)).all()
        return beton, page

    def test_raw_images_that_fit_have_one_page_as_large_as_the_file(self, tmp_path: Path) -> None:
        images = pictures(1000, 32, 32)
        write(tmp_path / "a.beton", {"image": ImageField()}, ((image,) for image in images), 1000)
        beton, page = self.whole_pages(tmp_path / "a.beton")
        assert page == 1 << 22
        assert beton.images is not None

    def test_raw_images_that_do_not_fit_one_page_have_many(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "MOST_READ", PAGE - 4096)
        monkeypatch.setattr(writer, "PAGE", PAGE)
        images = pictures(1500, 32, 32)
        write(tmp_path / "a.beton", {"image": ImageField()}, ((image,) for image in images), 1500)
        beton, page = self.whole_pages(tmp_path / "a.beton")
        assert page == PAGE
        assert beton.images is None
        np.testing.assert_array_equal(beton.gather(range(1500)), images)

    def test_raw_images_that_grow_beyond_what_the_first_promised(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "MOST_READ", PAGE - 4096)
        monkeypatch.setattr(writer, "DENSE_PAGE", PAGE)
        sizes = [10, *range(64, 164)]
        images = [np.full((size, size, 3), size, np.uint8) for size in sizes]
        write(tmp_path / "a.beton", {"image": ImageField()}, ((image,) for image in images), 101)
        beton, page = self.whole_pages(tmp_path / "a.beton")
        assert page == PAGE
        assert all((beton.read(i) == size).all() and len(beton.read(i)) == size for i, size in enumerate(sizes))

    def test_a_sample_larger_than_a_page_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "PAGE", PAGE)
        with pytest.raises(WorkError) as caught:
            write(tmp_path / "a.beton", {"bytes": BytesField()}, [(b"a",), (bytes(PAGE + 1),)], 2)
        assert caught.value.came == "Sample 1 takes 2097153 bytes."
        assert list(tmp_path.iterdir()) == []


class TestManifest:
    def test_it_says_what_the_format_cannot(self, tmp_path: Path) -> None:
        images = pictures(90)
        path = tmp_path / "train.beton"
        about = About(classes=("cat", "dog"), split="train", siblings={"test": "test.beton"}, origin="drawn", source="pets")
        made = write(path, {"image": ImageField(), "label": IntField()}, ((image, 1) for image in images), 90, manifest=about)
        text = json.loads((tmp_path / "train.beton.json").read_text())
        assert text["classes"] == ["cat", "dog"]
        assert text["siblings"] == {"test": "test.beton"}
        assert text["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (text["count"], text["image_size"], text["bytes"]) == (90, [8, 6], path.stat().st_size)
        assert Beton.open(path).manifest == made
        unit = images.reshape(-1, 3) / 255
        assert made.statistics is not None
        np.testing.assert_allclose(made.statistics.mean, unit.mean(0), rtol=1e-12)
        np.testing.assert_allclose(made.statistics.std, unit.std(0), rtol=1e-9)

    def test_statistics_of_pictures_of_one_level_are_exact(self, tmp_path: Path) -> None:
        image = np.full((5, 7, 3), (0, 51, 255), np.uint8)
        made = write(tmp_path / "a.beton", {"image": ImageField()}, ((image,) for _ in range(77)), 77)
        assert made.statistics is not None
        assert (made.statistics.mean, made.statistics.std) == ((0.0, 0.2, 1.0), (0.0, 0.0, 0.0))

    def test_a_file_without_pictures_has_no_statistics(self, tmp_path: Path) -> None:
        made = write(tmp_path / "a.beton", {"label": IntField()}, [(1,), (2,)], 2)
        assert (made.statistics, made.image_size, made.codec) == (None, None, None)
        np.testing.assert_array_equal(Beton.open(tmp_path / "a.beton").column("label"), [1, 2])

    def test_one_of_another_file_is_refused(self, tmp_path: Path) -> None:
        for name, n in (("a", 3), ("b", 4)):
            write(tmp_path / f"{name}.beton", {"label": IntField()}, ((i,) for i in range(n)), n)
        manifest_path(tmp_path / "b.beton").replace(manifest_path(tmp_path / "a.beton"))
        with pytest.raises(WorkError) as caught:
            Beton.open(tmp_path / "a.beton")
        assert "a.beton.json is about 4 samples in" in caught.value.came

    @pytest.mark.parametrize(
        "text",
        ["", "{}", "[]", "[" * 100_000, '{"count": 3, "bytes": 0}', '{"siblings": {"test": "../../etc/passwd"}}', "\x00"],
        ids=["empty", "bare", "list", "deep", "zero", "escape", "binary"],
    )
    def test_a_damaged_one_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "a.beton"
        write(path, {"label": IntField()}, [(1,)], 1)
        manifest_path(path).write_text(text)
        for ask in (Beton.open, verify):
            with pytest.raises(WorkError) as caught:
                ask(path)
            assert "a.beton.json is damaged" in caught.value.came

    def test_a_sibling_must_be_beside_it(self) -> None:
        with pytest.raises(RequestError) as caught:
            About.parse({"siblings": {"test": "../test.beton"}})
        assert "the name of a file in the same folder" in caught.value.wanted


class TestVerify:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        images = pictures(1000, 40, 40)
        path = tmp_path / "a.beton"
        write(path, {"image": ImageField(), "label": IntField()}, ((image, 1) for image in images), 1000)
        return path

    def damaged(self, path: Path, at: int) -> str:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        with pytest.raises(WorkError) as caught:
            verify(path)
        return caught.value.came.replace(str(path), "a.beton")

    def test_a_whole_file_passes(self, path: Path) -> None:
        found = verify(path)
        assert (found.samples, found.pages) == (1000, 5)

    def test_without_a_manifest_only_the_structure_is_checked(self, path: Path) -> None:
        manifest_path(path).unlink()
        assert verify(path).pages is None

    def test_a_changed_pixel_has_a_place(self, path: Path) -> None:
        first = 24 + 2 * 1041 + 1000 * 24
        data = -(-first // 4096) * 4096
        lowest, highest = ((2 << 20) - data) // 4800, ((3 << 20) - 1 - data) // 4800
        assert self.damaged(path, (2 << 20) + 5) == (
            "a.beton has changed since it was written: 1 of 5 pages differ.\n"
            f"  page 2 (bytes 2097152 to 3145728): samples {lowest} to {highest}"
        )

    def test_a_changed_label_has_a_place(self, path: Path) -> None:
        said = self.damaged(path, 24 + 2 * 1041 + 24 * 500 + 16)
        assert "page 0 (bytes 0 to 1048576): the header, the table's rows of samples 0 to 999, samples 0 to " in said

    def test_damaged_structure_is_described_as_far_as_it_can_be(self, path: Path) -> None:
        said = self.damaged(path, 0)
        assert "a.beton is damaged: bytes 0-1 say format version 3." in said
        assert "page 0 (bytes 0 to 1048576): unknown" in said

    def test_a_cut_file(self, path: Path) -> None:
        size = path.stat().st_size
        os.truncate(path, size - 24)
        with pytest.raises(WorkError) as caught:
            verify(path)
        assert f"has {size - 24} bytes, its manifest says {size}." in caught.value.came

    def test_a_manifest_that_contradicts_itself(self, path: Path) -> None:
        content = json.loads(manifest_path(path).read_text())
        content["pages"][1] = content["pages"][0]
        manifest_path(path).write_text(json.dumps(content))
        with pytest.raises(WorkError) as caught:
            verify(path)
        assert "its checksums contradict each other" in caught.value.came


START = 24 + 2 * 1041
DATA = START + 48
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty."),
    "short": (by_hand()[:23], "is damaged: it has 23 bytes."),
    "version": (by_hand(version=3), "is damaged: bytes 0-1 say format version 3."),
    "unfinished": (by_hand(table_at=0), "is damaged: its header says that writing never finished (no allocation table)."),
    "page": (by_hand(page=3 << 20), "is damaged: bytes 4-7 say a page size of 3145728."),
    "none": (by_hand(count=0), "is damaged: bytes 8-15 say that it holds no samples."),
    "count": (
        by_hand(count=2**60),
        f"is damaged: the table of {2**60} samples should end at byte {START + 24 * 2**60}, "
        "and the allocation table begins at 2190.",
    ),
    "three": (
        by_hand(count=3),
        "is damaged: the allocation table has 48 bytes.",
    ),
    "table": (
        by_hand(table_at=2**63),
        f"is damaged: the allocation table should begin at byte {2**63}, and the file ends at 2238.",
    ),
    "cut": (by_hand()[:-1], "is damaged: the allocation table has 47 bytes."),
    "name": (by_hand(names=(b"", b"label")), "is damaged: field 0 is called b''."),
    "names": (by_hand(names=(b"a", b"a")), "is damaged: two fields are called 'a'."),
    "type": (by_hand(kinds=(9, 1)), "is damaged: field 'image' has the unknown type 9."),
    "custom": (
        by_hand(kinds=(255, 1)),
        "is damaged: field 'image' has a type of its author's own, whose layout stands in no file.",
    ),
    "pointer": (
        by_hand(rows=struct.pack("<BHHQ3xq", 1, 2, 3, DATA + 1, 0) + struct.pack("<BHHQ3xq", 1, 2, 3, DATA + 18, 0)),
        f"is damaged: 'image' of sample 0 points to byte {DATA + 1}, where no region of that sample begins.",
    ),
    "another": (
        by_hand(rows=struct.pack("<BHHQ3xq", 1, 2, 3, DATA + 18, 0) * 2),
        f"is damaged: 'image' of sample 0 points to byte {DATA + 18}, where no region of that sample begins.",
    ),
    "size": (
        by_hand(rows=struct.pack("<BHHQ3xq", 1, 65535, 65535, DATA, 0) + struct.pack("<BHHQ3xq", 1, 2, 3, DATA + 18, 0)),
        f"is damaged: 'image' of sample 0 should take {65535 * 65535 * 3} bytes, its region at byte {DATA} has 18.",
    ),
    "bomb": (
        by_hand(rows=struct.pack("<BHHQ3xq", 0, 65535, 65535, DATA, 0) + struct.pack("<BHHQ3xq", 1, 2, 3, DATA + 18, 0)),
        "is damaged: 'image' of sample 0 is a JPEG of 18 bytes, which cannot hold 65535 x 65535 pixels.",
    ),
    "flat": (
        by_hand(rows=struct.pack("<BHHQ3xq", 1, 0, 3, DATA, 0) + struct.pack("<BHHQ3xq", 1, 2, 3, DATA + 18, 0)),
        "is damaged: 'image' of sample 0 has 3 x 0 pixels.",
    ),
    "mode": (
        by_hand(rows=struct.pack("<BHHQ3xq", 2, 2, 3, DATA, 0) + struct.pack("<BHHQ3xq", 1, 2, 3, DATA + 18, 0)),
        "is damaged: 'image' of sample 0 is stored in mode 2, which is neither 0 (JPEG) nor 1 (raw).",
    ),
    "outside": (
        by_hand(table=struct.pack("<QQQQQQ", 0, DATA, 18, 1, 2**64 - 18, 18)),
        f"is damaged: region 1 begins at byte {2**64 - 18}, and the data are bytes {DATA} to {DATA + 36}.",
    ),
    "inside": (
        by_hand(table=struct.pack("<QQQQQQ", 0, START, 18, 1, DATA + 18, 18)),
        f"is damaged: region 0 begins at byte {START}, and the data are bytes {DATA} to {DATA + 36}.",
    ),
    "long": (
        by_hand(table=struct.pack("<QQQQQQ", 0, DATA, 18, 1, DATA + 18, 2**64 - 1)),
        f"is damaged: region 1 has {2**64 - 1} bytes from byte {DATA + 18}, and the data end at {DATA + 36}.",
    ),
    "overlap": (
        by_hand(table=struct.pack("<QQQQQQ", 0, DATA, 19, 1, DATA + 18, 18)),
        f"is damaged: the regions at bytes {DATA} and {DATA + 18} overlap.",
    ),
    "stranger": (
        by_hand(table=struct.pack("<QQQQQQ", 0, DATA, 18, 2, DATA + 18, 18)),
        "is damaged: region 1 belongs to sample 2, and there are 2.",
    ),
    "across": (
        by_hand(page=2),
        f"is damaged: region 0 (bytes {DATA + 18} to {DATA + 36}) lies across a boundary of its pages of 2 bytes.",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_with_what_is_wrong_and_where(tmp_path: Path, case: str) -> None:
    content, said = HOSTILE[case]
    with pytest.raises(WorkError) as caught:
        opened(tmp_path, content)
    assert caught.value.came == f"{tmp_path / 'hand.beton'} {said}"


def two_texts(rows: tuple[int, int, int, int], sizes: tuple[int, int]) -> bytes:
    """One sample of two byte fields: (pointer, size) twice, and the sizes of the regions behind each other."""
    data = START + 32
    header = struct.pack("<HHIQQ", 2, 2, PAGE, 1, data + sum(sizes))
    fields = descriptor(3, b"first") + descriptor(3, b"second")
    table = struct.pack("<QQQQQQ", 0, data, sizes[0], 0, data + sizes[0], sizes[1])
    return header + fields + struct.pack("<QQQQ", *rows) + b"x" * sum(sizes) + table


def test_two_values_may_not_share_a_region(tmp_path: Path) -> None:
    at = START + 32
    with pytest.raises(WorkError, match=f"two values share the region at byte {at}"):
        opened(tmp_path, two_texts((at, 4, at, 4), (4, 4)))


def test_a_region_that_nothing_points_to_is_refused(tmp_path: Path) -> None:
    at = START + 32
    with pytest.raises(WorkError, match=f"no sample points to the region at byte {at + 4}"):
        opened(tmp_path, two_texts((at, 4, at + 4, 0), (4, 4)))


def test_a_size_beyond_the_file_is_refused(tmp_path: Path) -> None:
    at = START + 32
    with pytest.raises(WorkError, match=f"'second' of sample 0 says {2**64 - 1} bytes, and the file has"):
        opened(tmp_path, two_texts((at, 4, at + 4, 2**64 - 1), (4, 4)))


def test_an_empty_value_of_ffcv_shares_its_place_with_the_next(tmp_path: Path) -> None:
    at = START + 32
    beton = opened(tmp_path, two_texts((at, 0, at, 4), (0, 4)))
    assert (beton.value("first", 0), beton.value("second", 0)) == (b"", b"xxxx")


def array_file(tmp_path: Path, shape: list[int], described: bytes) -> Path:
    """A file with one array field whose descriptor says what it likes."""
    path = tmp_path / "a.beton"
    write(path, {"array": ArrayField(np.dtype("<i4"), (2,))}, [(np.zeros(2, np.int32),)], 1)
    manifest_path(path).unlink()
    content = bytearray(path.read_bytes())
    arguments = struct.pack("<32QQ", *shape, *[0] * (32 - len(shape)), len(described)) + described
    content[24 + 17 : 24 + 1041] = arguments.ljust(1024, b"\0")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("shape", "described"),
    [
        ([2**62, 2**62], b'[["", "<i4"]]'),
        ([2**40], b'[["", "<i4"]]'),
        ([0], b'[["", "<i4"]]'),
        ([0, 2], b'[["", "<i4"]]'),
        ([2], b'[["", "|O"]]'),
        ([2], b'[["", "<i4"], ["", "<i4"]]'),
        ([2], b'[["", "<i3"]]'),
        ([2], b'[["", [["", "<i4"]]]]'),
        ([2], b"[" * 760),
        ([2], b"\xff\xfe"),
        ([2], b"7"),
        ([3], b'[["", "<i4"]]'),
    ],
)
def test_a_hostile_array_type_is_refused(tmp_path: Path, shape: list[int], described: bytes) -> None:
    with pytest.raises(WorkError, match=r"is damaged: .*'array'"):
        Beton.open(array_file(tmp_path, shape, described))


def test_an_array_field_as_ffcv_describes_it_is_read(tmp_path: Path) -> None:
    beton = Beton.open(array_file(tmp_path, [2], b'[["", "<i4"]]'))
    assert beton.fields["array"] == ArrayField(np.dtype("<i4"), (2,))
    np.testing.assert_array_equal(beton.value("array", 0), [0, 0])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda jpeg: b"\0\0" + jpeg[2:], "the region does not begin like a JPEG"),
        (lambda jpeg: jpeg.replace(b"\xff\xdb", b"\xff\xee"), "broken data stream when reading image file"),
        (
            lambda jpeg: jpeg.replace(b"\x00\x18\x00\x20", b"\xff\xff\xff\xff"),
            "the sample table says 24 x 32 pixels, the JPEG 65535 x 65535",
        ),
        (
            lambda jpeg: jpeg[:4].ljust(len(jpeg), b"\xff"),
            "it has no frame header",
        ),
    ],
)
def test_a_damaged_jpeg_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    path = tmp_path / "a.beton"
    rough = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)
    write(path, {"image": ImageField("jpg")}, ((image,) for image in rough), 3)
    beton = Beton.open(path)
    jpeg = beton.encoded(1)
    content = path.read_bytes()
    path.write_bytes(content.replace(jpeg, damage(jpeg)))
    manifest_path(path).unlink()
    beton = Beton.open(path)
    assert beton.read(0).shape == (24, 32, 3)
    at = int(beton.layout.regions["image"].start[1])
    with pytest.raises(BrokenImageError, match=said) as caught:
        beton.read(1)
    assert caught.value.came.startswith(f"The image 'image' of sample 1 of {path} (byte {at}) is broken: ")
    assert caught.value.do.startswith(f"priorscope data verify {path}, or leave out what is broken: priorscope data convert")


def test_damaged_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    write(path, {"json": JSONField()}, [({"a": 1},), ({"a": 2},)], 2)
    path.write_bytes(path.read_bytes().replace(b'{"a": 2}', b'{"a": 2['))
    beton = Beton.open(path)
    assert beton.value("json", 0) == {"a": 1}
    with pytest.raises(WorkError, match=r"'json' of sample 1 of .* cannot be decoded: Expecting"):
        beton.value("json", 1)


class TestRequests:
    def refused(
        self, tmp_path: Path, fields: dict[str, Field], samples: list[Any], n: int = 1, **options: Any
    ) -> PriorscopeError:
        with pytest.raises(PriorscopeError) as caught:
            write(tmp_path / options.pop("name", "a.beton"), fields, samples, n, **options)
        assert list(tmp_path.iterdir()) == []
        return caught.value

    def test_smart_mode_without_a_threshold(self) -> None:
        with pytest.raises(RequestError) as caught:
            ImageField("smart")
        assert str(caught.value) == (
            "An image field in smart mode came without a threshold.\n"
            "  wanted: the number of bytes above which an image becomes a JPEG (without one FFCV stores every image raw)\n"
            "  try:    ImageField('smart', smart_threshold=100_000), or ImageField('raw')"
        )

    def test_a_threshold_without_smart_mode(self) -> None:
        with pytest.raises(RequestError, match="An image field in raw mode came with a threshold of 5"):
            ImageField("raw", smart_threshold=5)

    def test_a_quality_that_is_none(self) -> None:
        with pytest.raises(RequestError, match="A JPEG quality of 0 was asked for"):
            ImageField("jpg", quality=0)

    @pytest.mark.parametrize(
        ("dtype", "shape"), [("O", (2,)), ("<f4", ()), ("<f4", (0, 2)), ("<M8[s]", (1,)), ("<f4", (1,) * 33)]
    )
    def test_arrays_that_the_format_cannot_hold(self, dtype: str, shape: tuple[int, ...]) -> None:
        with pytest.raises(RequestError, match="An array field of"):
            ArrayField(np.dtype(dtype), shape)

    def test_another_ending(self, tmp_path: Path) -> None:
        error = self.refused(tmp_path, {"label": IntField()}, [(1,)], name="a.bin")
        assert error.came == f"{tmp_path / 'a.bin'} does not end in .beton."

    def test_a_name_that_ffcv_would_cut(self, tmp_path: Path) -> None:
        error = self.refused(tmp_path, {"a_name_of_17_chars": IntField()}, [(1,)])
        assert error.came == "A field was called 'a_name_of_17_chars'."
        assert error.do == "shorten the name: FFCV would cut it"

    def test_mixed_mode(self, tmp_path: Path) -> None:
        assert "mode 'mixed'" in self.refused(tmp_path, {"image": ImageField("mixed")}, []).came

    def test_no_samples(self, tmp_path: Path) -> None:
        assert self.refused(tmp_path, {"label": IntField()}, [], 0).came == "0 samples were to be written by 1 workers."

    def test_no_fields(self, tmp_path: Path) -> None:
        assert "without fields" in self.refused(tmp_path, {}, [()]).came

    def test_too_few_samples(self, tmp_path: Path) -> None:
        assert self.refused(tmp_path, {"label": IntField()}, [(1,)] * 40, 41).came == "Only 40 samples came."

    def test_too_many_samples(self, tmp_path: Path) -> None:
        assert self.refused(tmp_path, {"label": IntField()}, [(1,)] * 40, 39).came == "More than 39 samples came."

    def test_a_sample_with_a_value_too_many(self, tmp_path: Path) -> None:
        assert self.refused(tmp_path, {"label": IntField()}, [(1,), (1, 2)], 2).came == "Sample 1 has 2 values."

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            (ImageField(), np.zeros((2, 2, 3), np.float32), "an image is uint8 (H, W, 3), float32 of shape (2, 2, 3) came"),
            (ImageField(), np.zeros((2, 2), np.uint8), "an image is uint8 (H, W, 3), uint8 of shape (2, 2) came"),
            (ImageField(), np.zeros((0, 2, 3), np.uint8), "an image has 1 to 65500 pixels a side, (0, 2) came"),
            (ImageField(), [1], "an image is a numpy array, list came"),
            (IntField(), 1.5, "1.5 is no whole number of 64 bits"),
            (IntField(), 2**63, "9223372036854775808 is no whole number of 64 bits"),
            (BytesField(), "text", "bytes are wanted, str came"),
            (JSONField(), float("nan"), "Out of range float values are not JSON compliant: nan"),
            (
                ArrayField(np.dtype("<f4"), (2,)),
                np.zeros(2),
                "float32 of shape (2,) is wanted, float64 of shape (2,) came",
            ),
        ],
    )
    def test_a_value_that_its_field_cannot_hold(self, tmp_path: Path, field: Field, value: Any, said: str) -> None:
        error = self.refused(tmp_path, {"x": field}, [(value,)])
        assert error.came.startswith(f"Sample 0 cannot be written: 'x': {said.split(': nan')[0]}")
        assert error.exit_status == 1

    def test_a_function_that_fails_is_named_and_nothing_hangs(self, tmp_path: Path) -> None:
        """A bad sample hung FFCV's writer until it was killed."""

        def sample(index: int) -> tuple[int]:
            if index == 33:
                raise OSError("cannot read img_33.png")
            return (index,)

        with pytest.raises(WorkError) as caught:
            write(tmp_path / "a.beton", {"label": IntField()}, [lambda i=i: sample(i) for i in range(500)], 500, workers=2)
        assert caught.value.came == "Sample 33 could not be made: OSError: cannot read img_33.png."
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="There is no file"):
            Beton.open(tmp_path / "none.beton")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="cannot be opened: Is a directory"):
            Beton.open(tmp_path)

    def test_names_and_places_that_are_not_there(self, tmp_path: Path) -> None:
        beton = opened(tmp_path, by_hand())
        with pytest.raises(RequestError) as caught:
            beton.column("lable")
        assert caught.value.came == "'lable' is not a field of hand.beton."
        with pytest.raises(RequestError, match=r"An image of hand\.beton was asked for from field 'label'"):
            beton.read(0, "label")
        for index in (2, -1):
            with pytest.raises(IndexError):
                beton.read(index)


class TestInterrupted:
    FIELDS: ClassVar[dict[str, Field]] = {"image": ImageField(), "label": IntField(), "json": JSONField()}

    def samples(
        self, images: np.ndarray, called: list[int], stop: int | None = None
    ) -> Iterator[Callable[[], tuple[Any, ...]]]:
        def sample(index: int) -> tuple[Any, ...]:
            called.append(index)
            return images[index], index, {"i": index}

        for index in range(len(images)):
            if index == stop:
                raise KeyboardInterrupt
            yield lambda index=index: sample(index)

    def test_a_resumed_file_is_the_uninterrupted_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(part, "NOTE_EVERY", 100_000)
        images = pictures(2000, 16, 16)
        whole = write(tmp_path / "whole.beton", self.FIELDS, self.samples(images, []), 2000)
        path = tmp_path / "cut.beton"
        for stop in (700, 1500):
            with pytest.raises(KeyboardInterrupt):
                write(path, self.FIELDS, self.samples(images, [], stop), 2000, resume="pictures")
            assert not path.exists()
        called: list[int] = []
        found = write(path, self.FIELDS, self.samples(images, called), 2000, workers=2, resume="pictures")
        assert found == whole
        assert path.read_bytes() == (tmp_path / "whole.beton").read_bytes()
        assert 1100 < min(called) < 1500
        names = {file.name for file in tmp_path.iterdir()}
        assert names == {"cut.beton", "cut.beton.json", "whole.beton", "whole.beton.json"}

    @pytest.mark.parametrize("stopped", [False, True], ids=["finished", "stopped before a note of its own"])
    def test_notes_of_another_writer_are_not_followed(
        self, stopped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor, once another has written over the part, those of the first: it begins anew."""
        monkeypatch.setattr(part, "NOTE_EVERY", 100_000)
        images, others = pictures(1000, 16, 16), pictures(1001, 16, 16)[:1000]
        path = tmp_path / "a.beton"
        with pytest.raises(KeyboardInterrupt):
            write(path, self.FIELDS, self.samples(images, [], 900), 1000, resume="pictures")
        if not stopped:
            write(path, self.FIELDS, self.samples(others, []), 1000, resume="other pictures")
            np.testing.assert_array_equal(Beton.open(path).gather(range(1000)), others)
            return
        monkeypatch.setattr(part, "NOTE_EVERY", 1 << 30)
        with pytest.raises(KeyboardInterrupt):
            write(path, self.FIELDS, self.samples(others, [], 950), 1000, resume="other pictures")
        write(path, self.FIELDS, self.samples(images, []), 1000, resume="pictures")
        np.testing.assert_array_equal(Beton.open(path).gather(range(1000)), images)

    def test_without_resume_nothing_is_left(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "a.beton", self.FIELDS, self.samples(pictures(500), [], 300), 500)
        assert list(tmp_path.iterdir()) == []

    def test_an_older_file_stands_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "a.beton"
        old = write(path, self.FIELDS, self.samples(pictures(20), []), 20)
        with pytest.raises(KeyboardInterrupt):
            write(path, self.FIELDS, self.samples(pictures(500), [], 300), 500)
        assert Beton.open(path).manifest == old
        write(path, self.FIELDS, self.samples(pictures(500), []), 500)
        assert len(Beton.open(path)) == 500
        assert verify(path).samples == 500

    def test_two_writers_of_one_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.beton"
        with part.StoredPart(path, None), pytest.raises(RequestError) as caught:
            write(path, self.FIELDS, self.samples(pictures(5), []), 5)
        assert caught.value.came == f"{path} is being written by another process."

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RequestError, match=r"Cannot write .*: a file stands where a folder is wanted"):
            write(tmp_path / "file" / "a.beton", {"label": IntField()}, [(1,)], 1)

    @pytest.mark.slow
    def test_a_killed_process_leaves_nothing_under_the_final_name_and_is_resumed(self, tmp_path: Path) -> None:
        script = tmp_path / "write.py"
        script.write_text(
            "import sys, time, numpy as np\n"
            "from priorscope.data.beton import ImageField, IntField, part, write\n"
            "part.NOTE_EVERY = 50_000\n"
            "pace = float(sys.argv[2])\n"
            "def sample(i):\n"
            "    time.sleep(pace)\n"
            "    print(i, flush=True)\n"
            "    return np.full((16, 16, 3), i % 256, np.uint8), i\n"
            "fields = {'image': ImageField(), 'label': IntField()}\n"
            "samples = ((lambda i=i: sample(i)) for i in range(600))\n"
            "write(sys.argv[1], fields, samples, 600, resume='same')\n"
        )
        path = tmp_path / "a.beton"
        process = subprocess.Popen([sys.executable, str(script), str(path), "0.002"], stdout=subprocess.PIPE)
        deadline = time.monotonic() + 60
        notes = tmp_path / "a.beton.part.notes"
        while not (notes.exists() and json.loads(notes.read_text())["done"] >= 128) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not path.exists()
        done = json.loads(notes.read_text())["done"]
        again = subprocess.run([sys.executable, str(script), str(path), "0"], capture_output=True, check=True, timeout=60)
        assert again.stdout.split()[0] == str(done).encode()
        write(
            tmp_path / "b.beton",
            {"image": ImageField(), "label": IntField()},
            ((np.full((16, 16, 3), i % 256, np.uint8), i) for i in range(600)),
            600,
        )
        assert path.read_bytes() == (tmp_path / "b.beton").read_bytes()
        assert verify(path).samples == 600
