"""Epochs on their way to trackers."""

from __future__ import annotations

import sys

import pytest

from priorscope.core.errors import RequestError
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.train.exporters import Exporters, numbers

FIRST = planted_epoch(0.25, step=3, train_loss=2.5)


def test_numbers_go_by_their_paths():
    line = {"epoch": 1, "train_loss": 2.5, "val": {"loss": 2.0, "n": 40}, "name": "text", "flag": True}
    assert numbers(line) == {"epoch": 1.0, "train_loss": 2.5, "val/loss": 2.0, "val/n": 40.0}


def test_an_unknown_tracker_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(RequestError, match="'tensorbord' is not a tracker"):
        Exporters(["tensorbord"], tmp_path, {}, [])


def test_a_tracker_that_is_not_installed_is_named_with_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(RequestError) as caught:
        Exporters(["tensorboard"], tmp_path, {}, [])
    assert caught.value.do == "uv sync --extra tensorboard"


def test_tensorboard_gets_every_number_once_even_where_a_run_was_cut(tmp_path):
    """Two epochs, a kill after the second, which is taken again with another value: the reader sees the last one alone."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = Exporters(["tensorboard"], tmp_path, {"seed": 0}, [])
    first.epoch(FIRST)
    first.epoch(FIRST.replace(epoch=2, step=6, train_loss=9.0))
    first.close()
    second = Exporters(["tensorboard"], tmp_path, {"seed": 0}, [FIRST])
    second.epoch(FIRST.replace(epoch=2, step=6, train_loss=1.5))
    second.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [(3, 2.5), (6, 1.5)]
    assert [(event.step, event.value) for event in events.Scalars("val/accuracy")] == [(3, 0.25), (6, 0.25)]


def test_tensorboard_gets_the_epochs_from_before_it_was_asked_for(tmp_path):
    """A run made longer has the shorter one's epochs, and no events; so has one that goes on with a tracker."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    later = FIRST.replace(epoch=2, step=6)
    for history, new in (([FIRST], later), ([FIRST, later], FIRST.replace(epoch=3, step=9))):
        exporters = Exporters(["tensorboard"], tmp_path, {"seed": 0}, history)
        exporters.epoch(new)
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

        def epoch(self, epoch):
            closed.append((self.name, epoch.step))

        def close(self):
            closed.append(self.name)
            if self.name == "b":
                raise OSError("full")

    exporters = Exporters([], tmp_path, {}, [])
    monkeypatch.setattr(exporters, "_all", [One("a"), One("b"), One("c")])
    exporters.epoch(FIRST)
    with pytest.raises(OSError, match="full"):
        exporters.close()
    assert closed == [("a", 3), ("b", 3), ("c", 3), "c", "b", "a"]
