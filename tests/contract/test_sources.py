"""The battery that every data source passes, on small copies of the official layouts that a loopback server serves."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from priorscope import data
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.data.split import carve_val

Expected = dict[str, tuple[np.ndarray, list[int]]]
"""What each published part must come back as: pictures (N, H, W, 3) and labels."""

Maker = Callable[[Path, Path], tuple[Any, Expected]]
"""Writes a small official layout. Given (folder that is served, data folder); returns (what to open, what must come out)."""


def pictures(seed: int, count: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def planes(images: np.ndarray) -> np.ndarray:
    """Red plane, green plane, blue plane: how CIFAR stores a picture."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


# ---- CIFAR ----


def cifar10_parts() -> Expected:
    train, test = pictures(0, 100, 32), pictures(1, 20, 32)
    return {"train": (train, [i % 10 for i in range(100)]), "test": (test, [(3 * i) % 10 for i in range(20)])}


def cifar10_binary(served: Path, _: Path) -> tuple[Any, Expected]:
    parts = cifar10_parts()

    def records(images: np.ndarray, labels: list[int]) -> bytes:
        return np.concatenate([np.array(labels, np.uint8)[:, None], planes(images)], 1).tobytes()

    train, labels = parts["train"]
    files = {f"data_batch_{k + 1}.bin": records(train[20 * k : 20 * k + 20], labels[20 * k : 20 * k + 20]) for k in range(5)}
    files["test_batch.bin"] = records(*parts["test"])
    packed = {f"cifar-10-batches-bin/{name}": content for name, content in files.items()}
    (served / "cifar-10-binary.tar.gz").write_bytes(tar_of(packed, "w:gz"))
    return "cifar10", parts


def python2(value: Any) -> bytes:
    """A pickle as Python 2 and its numpy wrote it, opcode by opcode: protocol 2, byte strings, `numpy.core`."""

    def put(item: Any) -> bytes:
        if item is None:
            return b"N"
        if item is False:
            return b"\x89"
        if isinstance(item, int):
            return b"J" + struct.pack("<i", item)
        if isinstance(item, bytes):
            return (b"U" + bytes([len(item)]) if len(item) < 256 else b"T" + struct.pack("<i", len(item))) + item
        if isinstance(item, tuple):
            return b"(" + b"".join(put(part) for part in item) + b"t"
        if isinstance(item, list):
            return b"](" + b"".join(put(part) for part in item) + b"e"
        if isinstance(item, dict):
            return b"}(" + b"".join(put(key) + put(part) for key, part in item.items()) + b"u"
        if isinstance(item, np.dtype):
            return b"cnumpy\ndtype\n" + put((b"u1", 0, 1)) + b"R" + put((3, b"|", None, None, None, -1, -1, 0)) + b"b"
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + put((0,)) + put(b"b") + b"tR"
        state = b"(" + put(1) + put(item.shape) + put(item.dtype) + put(False) + put(item.tobytes()) + b"t"
        return made + state + b"b"

    return b"\x80\x02" + put(value) + b"."


def cifar10_python(served: Path, _: Path) -> tuple[Any, Expected]:
    parts = cifar10_parts()

    def batch(images: np.ndarray, labels: list[int]) -> bytes:
        return python2({b"batch_label": b"one", b"labels": labels, b"data": planes(images), b"filenames": [b"a.png"]})

    train, labels = parts["train"]
    files = {f"data_batch_{k + 1}": batch(train[20 * k : 20 * k + 20], labels[20 * k : 20 * k + 20]) for k in range(5)}
    files["test_batch"] = batch(*parts["test"])
    packed = {f"cifar-10-batches-py/{name}": content for name, content in files.items()}
    archive = served / "cifar-10-python.tar.gz"
    archive.write_bytes(tar_of(packed, "w:gz"))
    return archive, parts


FINE = tuple(f"fine{number:02}" for number in range(100))


def cifar100_parts() -> Expected:
    return {"train": (pictures(2, 200, 32), [i % 100 for i in range(200)]), "test": (pictures(3, 100, 32), list(range(100)))}


def cifar100_binary(served: Path, _: Path) -> tuple[Any, Expected]:
    parts = cifar100_parts()
    packed = {"cifar-100-binary/fine_label_names.txt": "\n".join(FINE).encode() + b"\n"}
    for name, (images, labels) in parts.items():
        both = np.stack([np.array(labels) // 5, labels], 1).astype(np.uint8)
        packed[f"cifar-100-binary/{name}.bin"] = np.concatenate([both, planes(images)], 1).tobytes()
    (served / "cifar-100-binary.tar.gz").write_bytes(tar_of(packed, "w:gz"))
    return "cifar100", parts


def cifar100_python(served: Path, _: Path) -> tuple[Any, Expected]:
    parts = cifar100_parts()
    packed = {"cifar-100-python/meta": python2({b"fine_label_names": [name.encode() for name in FINE]})}
    for name, (images, labels) in parts.items():
        table = {b"data": planes(images), b"fine_labels": labels, b"coarse_labels": [label // 5 for label in labels]}
        packed[f"cifar-100-python/{name}"] = python2(table)
    archive = served / "cifar-100-python.tar.gz"
    archive.write_bytes(tar_of(packed, "w:gz"))
    return archive, parts


# ---- STL-10, Tiny ImageNet ----


def stl10(served: Path, _: Path) -> tuple[Any, Expected]:
    parts: Expected = {
        "train": (pictures(4, 20, 96), [i % 10 for i in range(20)]),
        "test": (pictures(5, 10, 96), list(range(10))),
        "unlabeled": (pictures(6, 4, 96), [0] * 4),
    }
    packed: dict[str, bytes] = {}
    for name, (images, labels) in parts.items():
        packed[f"stl10_binary/{name}_X.bin"] = images.transpose(0, 3, 2, 1).tobytes()  # channel, column, row
        if name != "unlabeled":
            packed[f"stl10_binary/{name}_y.bin"] = np.array([label + 1 for label in labels], np.uint8).tobytes()
    (served / "stl10_binary.tar.gz").write_bytes(tar_of(packed, "w:gz"))
    return "stl10", parts


def tiny_imagenet(served: Path, _: Path) -> tuple[Any, Expected]:
    wnids = ["n03", "n01", "n02"]  # the file's order is not the sorted one
    ordered = sorted(wnids)
    train, val = pictures(7, 36, 64), pictures(8, 6, 64)
    files = {"wnids.txt": "\n".join(wnids).encode(), "words.txt": b"n01\tfish\n"}
    for index, picture in enumerate(train):
        wnid, number = ordered[index // 12], index % 12  # 12 a class, so that 10 follows 9 and not 1
        files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = png(picture)
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"boxes"
    order = [4, 0, 5, 2, 1, 3]
    files["val/val_annotations.txt"] = "".join(f"val_{k}.JPEG\t{ordered[k % 3]}\t0\t0\t62\t62\n" for k in order).encode()
    files |= {f"val/images/val_{k}.JPEG": png(val[k]) for k in range(6)}
    files["test/images/test_0.JPEG"] = png(val[0])
    with zipfile.ZipFile(served / "tiny-imagenet-200.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return "tiny_imagenet", {"train": (train, [i // 12 for i in range(36)]), "val": (val[order], [k % 3 for k in order])}


# ---- ImageNet ----

WNIDS = ("n01", "n02", "n03")


def imagenet_parts() -> Expected:
    return {"train": (pictures(9, 30, 24), [i // 10 for i in range(30)]), "val": (pictures(10, 6, 24), [2, 0, 1, 1, 0, 2])}


def imagenet(_: Path, folder: Path) -> tuple[Any, Expected]:
    """As published: an archive of archives, validation pictures side by side, and the development kit."""
    from scipy.io import savemat

    parts = imagenet_parts()
    train, _labels = parts["train"]
    root = folder / "imagenet"
    root.mkdir()
    archives = {
        f"{wnid}.tar": tar_of({f"{wnid}_{k}.JPEG": png(train[10 * c + k]) for k in range(10)}) for c, wnid in enumerate(WNIDS)
    }
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_of(archives))
    val, labels = parts["val"]
    (root / "ILSVRC2012_img_val.tar").write_bytes(
        tar_of({f"ILSVRC2012_val_{k + 1:08d}.JPEG": png(picture) for k, picture in reversed(list(enumerate(val)))})
    )
    identities = {"n01": 2, "n02": 3, "n03": 1}  # the kit numbers classes in an order of its own
    synsets = np.array(
        [(identities[wnid], wnid, "words") for wnid in WNIDS], [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O")]
    )
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    truth = "".join(f"{identities[WNIDS[label]]}\n" for label in labels).encode()
    kit = {"data/meta.mat": meta.getvalue(), "data/ILSVRC2012_validation_ground_truth.txt": truth}
    packed = {f"ILSVRC2012_devkit_t12/{name}": content for name, content in kit.items()}
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar_of(packed, "w:gz"))
    return "imagenet", parts


def imagenet_folders(_: Path, folder: Path) -> tuple[Any, Expected]:
    """As users keep it: a folder a class for train, an archive a class for val."""
    parts = imagenet_parts()
    root = folder / "mine"
    (root / "val").mkdir(parents=True)
    for (index, picture), label in zip(enumerate(parts["train"][0]), parts["train"][1], strict=True):
        (root / "train" / WNIDS[label]).mkdir(parents=True, exist_ok=True)
        (root / "train" / WNIDS[label] / f"{WNIDS[label]}_{index % 10}.JPEG").write_bytes(png(picture))
    val, labels = parts["val"]
    order = sorted(range(6), key=lambda k: (labels[k], k))
    for label, wnid in enumerate(WNIDS):
        own = {f"ILSVRC2012_val_{k + 1:08d}.JPEG": png(val[k]) for k in order if labels[k] == label}
        (root / "val" / f"{wnid}.tar").write_bytes(tar_of(own))
    return {"name": "imagenet", "path": str(root)}, {"train": parts["train"], "val": (val[order], [labels[k] for k in order])}


def imagenet_real(served: Path, folder: Path) -> tuple[Any, Expected]:
    _, parts = imagenet(served, folder)
    (served / "real.json").write_text(json.dumps([[2], [0, 1], [1], [], [0], [2, 1]]))
    return "imagenet_real", parts


def imagenet21k(_: Path, folder: Path) -> tuple[Any, Expected]:
    images = pictures(11, 44, 16)
    root = folder / "imagenet21k"
    root.mkdir()
    archives = {
        "n07.tar": tar_of({f"n07_{k:02}.JPEG": png(images[k]) for k in range(20)}),
        "n05.tar": tar_of({f"n05_{k:02}.JPEG": png(images[20 + k]) for k in range(20)}),
        "n06.tar": tar_of({f"n06_{k:02}.JPEG": png(images[40 + k]) for k in range(4)}),  # too few: left out
    }
    (root / "fall11_whole.tar").write_bytes(tar_of(archives))
    return {"name": "imagenet21k", "min_per_class": 10, "val_per_class": 2}, {}


# ---- Others ----


def folder(_: Path, home: Path) -> tuple[Any, Expected]:
    parts: Expected = {
        "train": (pictures(12, 40, 20), [i // 20 for i in range(40)]),
        "test": (pictures(13, 4, 20), [0, 0, 1, 1]),
    }
    for part, spelling in (("train", "training"), ("test", "test")):
        for index, (picture, label) in enumerate(zip(*parts[part], strict=True)):
            below = home / "pets" / spelling / ("cat", "dog")[label]
            below.mkdir(parents=True, exist_ok=True)
            (below / f"{index:03}.png").write_bytes(png(picture))
            (below / ".DS_Store").write_bytes(b"")
            (below / "notes.txt").write_bytes(b"")
    return home / "pets", parts


def parquet(_: Path, home: Path) -> tuple[Any, Expected]:
    parts: Expected = {
        "train": (pictures(14, 40, 20), [i % 4 for i in range(40)]),
        "test": (pictures(15, 8, 20), [0, 1, 2, 3] * 2),
    }
    root = home / "table" / "data"
    root.mkdir(parents=True)
    images, labels = parts["train"]
    write_table(root / "train-00000-of-00002.parquet", images[:25], labels[:25])
    write_table(root / "train-00001-of-00002.parquet", images[25:], labels[25:])
    write_table(root / "test-00000-of-00001.parquet", *parts["test"])
    return root.parent, parts


def write_table(file: Path, images: np.ndarray, labels: list[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": png(picture), "path": f"{index}.png"} for index, picture in enumerate(images)]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b", "c", "d"]}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    pq.write_table(pa.table({"image": cells, "label": labels}, schema=schema), file, row_group_size=7)


def cue_conflict(_: Path, home: Path) -> tuple[Any, Expected]:
    images = pictures(16, 3, 32)
    for picture, name in zip(images, ("bear/bear1-cat2.png", "cat/cat1-cat3.png", "truck/truck10-oven2.png"), strict=True):
        file = home / "cue-conflict" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(picture))
    return "cue_conflict", {"test": (images, [1, 7, 15])}


def beton(_: Path, home: Path) -> tuple[Any, Expected]:
    what, parts = folder(_, home)
    data.convert(what, home / "pets.beton", workers=1)
    return home / "pets.beton", {"test": parts["test"]}


MADE = pictures(17, 40, 12)


class Made:
    """A torch-style dataset of PIL images."""

    classes = ("a", "b")

    def __len__(self) -> int:
        return len(MADE)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if not 0 <= index < len(MADE):
            raise IndexError(index)
        return Image.fromarray(MADE[index]), index % 2


def dataset(_: Path, __: Path) -> tuple[Any, Expected]:
    module = type(sys)("made_for_this_test")
    module.made = lambda: {"train": Made()}
    sys.modules[module.__name__] = module
    return {"name": "dataset", "factory": f"{module.__name__}:made"}, {"train": (MADE, [i % 2 for i in range(40)])}


def shapetex(_: Path, __: Path) -> tuple[Any, Expected]:
    return {"name": "shapetex", "train": 90, "val": 20, "test": 90}, {}


MAKERS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        beton, cifar10_binary, cifar10_python, cifar100_binary, cifar100_python, cue_conflict, dataset, folder, imagenet,
        imagenet21k, imagenet_folders, imagenet_real, parquet, shapetex, stl10, tiny_imagenet,
    )
}  # fmt: skip


# ---- The loopback server ----


@pytest.fixture
def served(tmp_path: Path, loopback: Callable[..., str]) -> tuple[Path, str]:
    """(a folder, the address at which its files can be had, from any byte on)."""
    folder = tmp_path / "served"
    folder.mkdir()

    def answer(path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        content = (folder / path.lstrip("/")).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        if asked is None:
            return 200, {}, content
        start = int(asked[1])
        return 206, {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, content[start:]

    return folder, loopback(answer)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and a cache of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("PRIORSCOPE_DATA", str(folder))
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    return folder


def publish(name: str, folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Points a source's addresses to the loopback server, with the hashes of the small archives. False where it has none."""
    module = data.SOURCES.load(name)
    files = getattr(module, "PUBLISHED", ())
    small = []
    for one in files:
        content = (folder / one.file).read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        small.append(replace(one, url=f"{address}/{one.file}", digest=digest, size=len(content)))
    monkeypatch.setattr(module, "PUBLISHED", tuple(small), raising=False)
    return bool(small)


@pytest.fixture(params=sorted(MAKERS))
def opened(
    request: pytest.FixtureRequest, served: tuple[Path, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Expected]:
    """(what to open, what must come out), after `get` where the source can be downloaded."""
    what, expected = MAKERS[request.param](served[0], home)
    if isinstance(what, str) and publish(what, *served, monkeypatch):
        data.get(what)
    return what, expected


# ---- The battery ----


def test_every_source_is_tested() -> None:
    named = {re.sub(r"_(binary|python|folders)$", "", name) for name in MAKERS}
    assert named == set(data.SOURCES)


def test_published_parts_come_back(opened: tuple[Any, Expected]) -> None:
    what, expected = opened
    check_parts(data.open(what), expected)


def test_pictures_come_back_at_half_their_size_where_that_is_asked(opened: tuple[Any, Expected]) -> None:
    """Each pixel is then the mean of four. What is scaled is one array, so that no epoch scales it anew."""
    what, expected = opened
    table = data.source_config(what).plain()
    if "res" not in data.SOURCES.config(table["name"]).model_fields:
        assert table["name"] == "shapetex", "its pictures are drawn, at a size that is a setting of its own"
        return
    for part, (images, labels) in expected.items():
        count, side = images.shape[:2]
        halved = np.rint(images.reshape(count, side // 2, 2, side // 2, 2, 3).mean((2, 4))).astype(np.uint8)
        source = data.open({**table, "res": side // 2})
        check_parts(source, {part: (halved, labels)}, within=1)
        assert source.split(source.splits()[0]).pixels.array is not None
        check_parts(data.open({**table, "res": side}), {part: (images, labels)})


def check_parts(source: Any, expected: Expected, within: int = 0) -> None:
    """That a source's splits are the expected parts, pixels within so many levels."""
    for part, (images, labels) in expected.items():
        if part == "train":
            both = [source.split(name) for name in ("train", "val")]
            for split, chosen in zip(both, carve_val(np.array(labels, np.int64)), strict=True):
                assert split.labels.tolist() == [labels[index] for index in chosen]
                np.testing.assert_allclose(split.pixels.array.astype(int), images[chosen], rtol=0, atol=within)
        else:
            split = source.split("test" if part == "val" else part)
            assert split.labels.tolist() == labels
            came = np.stack([split[index][0] for index in range(len(split))]).astype(int)
            np.testing.assert_allclose(came, images, rtol=0, atol=within)


def test_splits_are_whole(opened: tuple[Any, Expected]) -> None:
    source = data.open(opened[0])
    assert source.name
    assert len(set(source.classes)) == len(source.classes)
    for name in source.splits():
        split = source.split(name)
        assert (split.name, split.source) == (name, source.name)
        assert name == "unlabeled" or split.classes == source.classes
        picture, label = split[len(split) - 1]
        assert picture.dtype == np.uint8
        assert picture.shape == (split.image_size, split.image_size, 3)
        assert 0 <= label < len(split.classes)
        assert all(len(column) == len(split) for column in split.columns.values())


def test_opening_again_gives_the_same_data(opened: tuple[Any, Expected]) -> None:
    first, again = data.open(opened[0]), data.open(opened[0])
    assert first.splits() == again.splits()
    for name in first.splits():
        assert first.split(name).fingerprint == again.split(name).fingerprint
        assert first.split(name).statistics == again.split(name).statistics


def test_an_unknown_split_is_refused_with_the_known_ones(opened: tuple[Any, Expected]) -> None:
    source = data.open(opened[0])
    with pytest.raises(RequestError, match="'tset' is not a split of") as refused:
        source.split("tset")
    assert all(name in refused.value.wanted for name in source.splits())


def test_conversion_keeps_every_picture_label_and_column(opened: tuple[Any, Expected], tmp_path: Path) -> None:
    source = data.open(opened[0])
    conversion = data.convert(opened[0], tmp_path / "out" / "store.beton", workers=2)
    store = data.open(tmp_path / "out" / "store.beton")
    assert store.name == source.name
    assert set(store.splits()) == set(source.splits()) - {"unlabeled"}
    assert store.splits()[0] == source.splits()[0]
    assert {file.split for file in conversion.files} == set(store.splits())
    for file in conversion.files:
        assert data.verify(file.path).samples == file.count
        assert store.split(file.split).fingerprint == source.split(file.split).fingerprint
        assert store.split(file.split).classes == source.split(file.split).classes


def test_a_mistyped_setting_is_refused(opened: tuple[Any, Expected]) -> None:
    table = data.source_config(opened[0]).plain() | {"spilt": 1}
    with pytest.raises(RequestError, match="'spilt' is not a setting in data source"):
        data.open(table)


@pytest.mark.parametrize(
    ("typed", "came"),
    [
        ("./nope", "There is no file or folder './nope'."),
        ("no/folder", "There is no file or folder 'no/folder'."),
        ("~no-such-user", "There is no file or folder '~no-such-user'."),
        ("~no-such-user/x.beton", "There is no file '~no-such-user/x.beton'."),
        ("notes.txt", "notes.txt is a file of no kind that is known here."),
        ("shapetx", "'shapetx' is not a data source."),
        (3, "3 does not name a data source."),
    ],
)
def test_a_path_to_nothing_is_no_mistyped_name(typed: Any, came: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").touch()
    with pytest.raises(RequestError) as caught:
        data.open(typed)
    assert caught.value.came == came


@pytest.mark.parametrize("name", sorted(name for name in data.SOURCES))
def test_what_is_not_there_is_refused_with_what_to_do(name: str, home: Path) -> None:
    needs = {"path": str(home / "nothing")} if name in ("folder", "parquet", "beton") else {}
    needs |= {"factory": "no.such.module:f"} if name == "dataset" else {}
    if name == "shapetex":
        pytest.skip("drawn from a seed")
    with pytest.raises(RequestError) as refused:
        data.open({"name": name, **needs})
    assert refused.value.do
    if needs == {} and getattr(data.SOURCES.load(name), "PUBLISHED", ()):
        assert f"priorscope data get {name}" in refused.value.do


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["imagenet", "imagenet21k", "cue_conflict"])
def test_what_cannot_be_downloaded_says_how_to_get_it(name: str) -> None:
    with pytest.raises(RequestError, match="has no files that anybody may download") as refused:
        data.get(name)
    assert "PRIORSCOPE_DATA" in refused.value.do


def test_what_is_drawn_needs_no_download() -> None:
    with pytest.raises(RequestError, match="shapetex has no files") as refused:
        data.get("shapetex")
    assert "needs no download" in refused.value.do


def test_listing_and_configs_need_neither_torch_nor_pyarrow() -> None:
    code = (
        "import sys, priorscope.data as d\n"
        "[d.SOURCES.config(name) for name in d.SOURCES]; d.all_sources()\n"
        "print(sorted({'torch', 'pyarrow', 'numba', 'PIL', 'scipy.io'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_source_says_what_it_is() -> None:
    for one in data.all_sources():
        assert 20 < len(one.about) < 400, one.name


def test_real_labels_are_rows_of_the_right_pictures(served: tuple[Path, str], home: Path) -> None:
    imagenet_real(served[0], home)
    table = {"name": "imagenet_real", "real": str(served[0] / "real.json")}
    assert data.open(table).split("test").columns["real"].tolist() == [[2, -1], [0, 1], [1, -1], [-1, -1], [0, -1], [2, 1]]


def test_imagenet21k_leaves_small_classes_out_and_holds_some_of_each_out(served: tuple[Path, str], home: Path) -> None:
    what, _ = imagenet21k(served[0], home)
    source = data.open(what)
    assert source.classes == ("n05", "n07")
    sizes = {name: np.bincount(source.split(name).labels).tolist() for name in source.splits()}
    assert sizes == {"train": [16, 16], "val": [2, 2], "test": [2, 2]}
    found = [set[bytes](), set[bytes]()]
    for split in map(source.split, source.splits()):
        for picture, label in zip(split.pixels.array, split.labels.tolist(), strict=True):
            found[label].add(picture.tobytes())
    made = pictures(11, 44, 16)  # the archive holds n07 first
    assert found == [{picture.tobytes() for picture in made[20:40]}, {picture.tobytes() for picture in made[:20]}]


def test_a_store_stands_for_a_source_at_the_size_of_its_pictures(served: tuple[Path, str], home: Path) -> None:
    asked, _ = folder(served[0], home)
    data.convert(asked, home / "imagenet21k.beton", res=8, workers=1)
    for settings, name in (
        ({}, "beton"),
        ({"res": 8}, "beton"),
        ({"res": 16}, "imagenet21k"),
        ({"val_per_class": 9}, "imagenet21k"),
    ):
        assert data.read_from(data.source_config({"name": "imagenet21k", **settings})).name == name
    (home / "imagenet21k.beton.json").unlink()
    assert data.read_from(data.source_config({"name": "imagenet21k", "res": 8})).name == "imagenet21k"


def test_cifar100_has_coarse_labels(served: tuple[Path, str], home: Path) -> None:
    for maker in (cifar100_binary, cifar100_python):
        maker(served[0], home)
        file = served[0] / f"cifar-100-{maker.__name__.removeprefix('cifar100_')}.tar.gz"
        split = data.open(file).split("test")
        assert split.classes == FINE
        assert split.columns["coarse"].tolist() == [label // 5 for label in range(100)]


def test_errors_of_sources_are_of_the_house() -> None:
    with pytest.raises(PriorscopeError, match="'cifar' is not a data source"):
        data.open("cifar")


def test_the_list_says_what_is_here(served: tuple[Path, str], home: Path) -> None:
    here = lambda: {one.name for one in data.all_sources() if one.here}  # noqa: E731
    assert here() == {"shapetex"}
    imagenet21k(served[0], home)
    (home / "cifar10.beton").write_bytes(b"")
    assert here() == {"shapetex", "imagenet21k", "cifar10"}
