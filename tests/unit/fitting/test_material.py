"""What a run learns from: tables that random order would read over and over are named before the first step."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from priorscope.doctor.normalisation import largest_difference
from priorscope.fitting.material import Material, first_model
from priorscope.recipe import Recipe
from priorscope.train.distributed import ALONE, Ranks

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def on_tables(tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe that learns from 64 pictures in a table."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    images = []
    for picture in np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    pq.write_table(pa.table({"image": pa.array(images, STRUCT), "label": [0, 1] * 32}), tmp_path / "train.parquet")
    return tiny.replace(data={"source": {"name": "parquet", "path": str(tmp_path / "train.parquet"), "res": 8}})


@pytest.mark.parametrize(("decoded", "kept", "warned"), [(1, 1, True), (1, 1 << 30, False), (1 << 30, 1, False)])
def test_tables_beyond_both_limits_are_warned_of(
    on_tables: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    decoded: int,
    kept: int,
    warned: bool,
) -> None:
    monkeypatch.setattr("priorscope.data.cache.MOST_BYTES", decoded)
    monkeypatch.setattr("priorscope.data.table.KEPT_BYTES", kept)
    assert len(Material.of(on_tables, ALONE, "cpu").data) == 58
    table = tmp_path / "train.parquet"
    said = (
        f"{table} is too large to be decoded or kept in memory: in random order, a whole row group of its tables is read for"
        " nearly every picture. Convert it once, and train on what is written: priorscope data convert"
        f" {table} NEW.beton --res 8\n"
    )
    assert capsys.readouterr().err == (said if warned else "")
    Material.of(on_tables, Ranks(rank=1, size=2), "cpu")
    assert capsys.readouterr().err == "", "the first rank speaks for all"


def test_training_in_chunks_sees_each_picture_once_in_windows_of_whole_chunks(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 4 neighbours, 2 of them to a window: each batch of 8 is two whole chunks; otherwise any 8 pictures."""
    monkeypatch.setattr("priorscope.data.memory.CHUNK_BYTES", 4 * 32 * 32 * 3)
    monkeypatch.setattr("priorscope.data.order.CHUNKS", 2)
    tiny = tiny.replace(train={**tiny.train.plain(), "batch_size": 8})
    orders: list[list[set[int]]] = []
    for shuffle in ("chunks", True):
        whole = Material.of(tiny.replace(data={**tiny.data.plain(), "shuffle": shuffle}), ALONE, "cpu").loader
        orders.append([set(batch.index.tolist()) for batch in whole.epoch(1)])
        assert sorted(set.union(*orders[-1])) == list(range(96))
    assert all(len(seen) == 8 and len({index // 4 for index in seen}) == 2 for seen in orders[0])
    assert not any(len({index // 4 for index in seen}) == 2 for seen in orders[1])


def test_a_channel_of_one_value_is_learnt_from(tiny: Recipe, tmp_path: Path) -> None:
    """Red and green of a microscope, say: its deviation is 0, by which nothing can be divided."""
    for label in ("a", "b"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(8):
            pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8) * np.array([1, 1, 0], np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{i}.png")
    recipe = tiny.replace(data={"source": {"name": "folder", "path": str(tmp_path / "pets")}})
    data = Material.of(recipe, ALONE, "cpu").data
    assert data.statistics.std[2] == 0
    model = first_model(recipe, data, None)
    prepared = model.prepare(torch.zeros(1, 3, 8, 8))
    assert prepared[0, 2].unique().tolist() == [0.0]
    assert model.statistics is not None
    assert largest_difference(model.statistics, data.statistics) == 0
