"""Epochs as lines of a run's log, and back."""

from __future__ import annotations

import json

import pytest

from priorscope.core.epoch import Epoch, Score, read_history, write_history
from priorscope.core.errors import WorkError

LINE = {
    "epoch": 1,
    "step": 90,
    "lr": 0.012,
    "train_loss": 1.5,
    "val": {"loss": 1.25, "accuracy": 0.5, "n": 40},
    "train": {"loss": 1.0, "accuracy": 0.75, "n": 8},
    "shape-only": {"loss": 2.0, "accuracy": 0.125, "n": 16},
    "images": 45000,
    "flops": 16443336960000,
    "macs": 8221668480000,
    "measured": {"img_per_s": 646.392, "data_wait_share": 0.0023, "gemm_share": 0.2544},
    "seconds": 69.617,
}
MOVED = {"robust": {"eps": 0.03, "n": 40, "fgsm": 0.5, "pgd": 0.25, "overfitted": True}, "parts": 2}
"""What a line of adversarial training has, whose batches were split."""


@pytest.mark.parametrize("line", [LINE, {**LINE, **MOVED}, {**LINE, "measured": {**LINE["measured"], "joules": 3.5}}])
def test_a_line_comes_back_as_it_was_written(line, tmp_path):
    epoch = Epoch.parse(line)
    assert epoch.plain() == line
    write_history(tmp_path, [epoch, epoch.replace(epoch=2)])
    assert [json.loads(text) for text in (tmp_path / "steps.jsonl").read_text().splitlines()] == [line, {**line, "epoch": 2}]
    assert read_history(tmp_path) == [epoch, epoch.replace(epoch=2)]


def test_every_tracked_split_has_its_score_by_its_name():
    scores = Epoch.parse(LINE).scores
    assert scores == {"val": Score(1.25, 0.5, 40), "train": Score(1.0, 0.75, 8), "shape-only": Score(2.0, 0.125, 16)}


def test_what_a_later_version_added_is_ignored():
    later = {**LINE, "temperature": 3.0, "layers": {"norm": [1, 2]}, "robust": {**MOVED["robust"], "later": 1}}
    assert Epoch.parse(later).plain() == {**LINE, "robust": MOVED["robust"]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"val": None}, "val = None was refused"),
        ({"val": 0.5}, "val = 0.5 was refused"),
        ({"lr": "much"}, "lr = 'much' was refused"),
        ({"train": {"loss": 1.0, "accuracy": "most", "n": 8}}, "train.accuracy = 'most' was refused"),
    ],
)
def test_a_line_that_is_no_epoch_is_damage_at_its_place(changes, told, tmp_path):
    lines = [LINE, {**LINE, "epoch": 2, **changes}]
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(WorkError) as caught:
        read_history(tmp_path)
    assert caught.value.came == f"{tmp_path / 'steps.jsonl'} is damaged: line 2 is not an epoch of a run. {told}."


def test_a_line_without_its_score_on_val_is_damage(tmp_path):
    (tmp_path / "steps.jsonl").write_text(json.dumps({name: value for name, value in LINE.items() if name != "val"}))
    with pytest.raises(WorkError, match=r"line 1 is not an epoch of a run\. 'val' is missing"):
        read_history(tmp_path)
