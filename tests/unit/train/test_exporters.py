"""Rows on their way to trackers."""

from __future__ import annotations

import sys

import pytest

from priorscope.core.errors import RequestError
from priorscope.train.exporters import Exporters, numbers

ROW = {"epoch": 1, "step": 3, "train_loss": 2.5, "lr": 0.1, "val": {"loss": 2.0, "accuracy": 0.25, "n": 40}}


def test_a_row_s_numbers_go_by_their_paths():
    assert numbers({**ROW, "name": "text", "flag": True}) == {
        "epoch": 1.0,
        "step": 3.0,
        "train_loss": 2.5,
        "lr": 0.1,
        "val/loss": 2.0,
        "val/accuracy": 0.25,
        "val/n": 40.0,
    }


def test_an_unknown_tracker_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(RequestError, match="'tensorbord' is not a tracker"):
        Exporters(["tensorbord"], tmp_path, {}, [])


def test_a_tracker_that_is_not_installed_is_named_with_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(RequestError) as caught:
        Exporters(["tensorboard"], tmp_path, {}, [])
    assert caught.value.do == "uv sync --extra tensorboard"


def test_tensorboard_gets_every_number_once_even_where_a_run_was_cut(tmp_path):
    """Two rows, a kill after the second, which is taken again with another value: the reader sees the last one alone."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    later = {**ROW, "epoch": 2, "step": 6}
    first = Exporters(["tensorboard"], tmp_path, {"seed": 0}, [])
    first.row(ROW)
    first.row({**later, "train_loss": 9.0})
    first.close()
    second = Exporters(["tensorboard"], tmp_path, {"seed": 0}, [ROW])
    second.row({**later, "train_loss": 1.5})
    second.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [(3, 2.5), (6, 1.5)]
    assert [(event.step, event.value) for event in events.Scalars("val/accuracy")] == [(3, 0.25), (6, 0.25)]


def test_tensorboard_gets_the_rows_from_before_it_was_asked_for(tmp_path):
    """A run made longer has the shorter one's rows, and no events; so has one that goes on with a tracker."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    later = {**ROW, "epoch": 2, "step": 6}
    for rows, new in (([ROW], later), ([ROW, later], {**ROW, "epoch": 3, "step": 9})):
        exporters = Exporters(["tensorboard"], tmp_path, {"seed": 0}, rows)
        exporters.row(new)
        exporters.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [3, 6, 9]
    (recipe,) = events.Tensors("recipe/text_summary")
    assert b"seed = 0" in recipe.tensor_proto.string_val[0]


def test_every_exporter_is_closed_even_where_one_fails(tmp_path, monkeypatch):
    closed = []

    class One:
        def __init__(self, name):
            self.name = name

        def row(self, row):
            closed.append((self.name, row["step"]))

        def close(self):
            closed.append(self.name)
            if self.name == "b":
                raise OSError("full")

    exporters = Exporters([], tmp_path, {}, [])
    monkeypatch.setattr(exporters, "_all", [One("a"), One("b"), One("c")])
    exporters.row(ROW)
    with pytest.raises(OSError, match="full"):
        exporters.close()
    assert closed == [("a", 3), ("b", 3), ("c", 3), "c", "b", "a"]
