"""What users name to be looked at, and what they are told where it does not fit the data."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from priorscope import data, models
from priorscope.core.errors import RequestError, WorkError
from priorscope.looking.look import On, look
from priorscope.looking.networks import network, own_network
from priorscope.probes import probe_config

OWN = """
import torch
from torch import nn

class Wordy(nn.Module):
    def forward(self, x):
        return {"logits": x.flatten(1)[:, :10]}

def wordy():
    return Wordy()

def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10))

def seven():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))

def two():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
"""


@pytest.mark.parametrize(
    ("factory", "came", "do"),
    [
        ("wordy", "Wordy returns a dict.", "return the logits alone"),
        ("large", "Sequential fails on images of shape (2, 3, 32, 32)", "data of the size that it takes (--data)"),
        ("seven", "The network gives (2, 7) for 2 images.", "data with 7 classes (--data)"),
    ],
)
def test_a_network_of_ones_own_that_does_not_fit(
    factory: str, came: str, do: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_misfits.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    source = data.open({"name": "shapetex", "train": 20, "val": 10, "test": 10})
    with pytest.raises(RequestError) as refused:
        own_network(f"own_misfits:{factory}", None, source)
    assert refused.value.came.startswith(came)
    assert refused.value.do.startswith(do)


def test_a_network_of_ones_own_is_asked_about_data_without_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_two.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8)).save(tmp_path / "pets" / name / f"{i}.png")
    on = On.named(str(tmp_path / "pets"))
    assert on.source.splits() == ("train", "val")
    one = own_network("own_two:two", None, on.source)
    (looked,) = look(probe_config({"name": "accuracy", "split": "val"}), [one], on)
    assert looked.result.n == 2


def test_weights_of_timms_that_cannot_be_had_can_be_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise WorkError("They could not be had.", "a hub", "pretrained = false")

    monkeypatch.setattr(models, "create", offline)
    source = data.open({"name": "shapetex", "train": 20, "val": 10, "test": 10})
    with pytest.raises(WorkError) as failed:
        network("timm/resnet10t", source)
    assert failed.value.came == "They could not be had."
    assert failed.value.do.endswith("--model package.module:function --weights FILE")
