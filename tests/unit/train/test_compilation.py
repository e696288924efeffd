"""Whether compiling pays, decided by planted times; and that a compiled run is cut and resumed to the bit."""

from __future__ import annotations

import time

import pytest
import torch

import priorscope as ps
from priorscope import fitting
from priorscope.data.loader import Batch
from priorscope.data.places import cache_folder
from priorscope.train.compilation import pays
from priorscope.train.config import TrainConfig

BATCH = Batch(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), torch.arange(4))


class Slow(torch.nn.Module):
    """A network whose eager pass takes 20 ms more than it need."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.name = model, model.config, model.name

    def forward(self, images):
        time.sleep(0.02)
        return self.model(images)


def planted(compiling, taking):
    """A compiler that takes so long, and makes passes that take so long more."""

    def compile(model):
        calls = []

        def forward(images):
            time.sleep(taking if calls else compiling)
            calls.append(1)
            return model.model(images)

        return forward

    return compile


@pytest.fixture
def model(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path))
    return Slow(ps.models.create("mlp/tiny", image_size=8, num_classes=3, width=8, blocks=1))


@pytest.mark.parametrize(
    ("compiling", "taking", "steps", "gains"),
    [(0.05, 0.0, 1000, True), (0.05, 0.0, 1, False), (0.05, 0.02, 100_000, False), (0.0, 0.05, 1000, False)],
)
def test_compiling_pays_where_it_saves_more_than_it_takes(model, compiling, taking, steps, gains):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert pays(model, BATCH, TrainConfig(), steps, planted(compiling, taking)) is gains
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_machine_chooses_alike_the_next_time(model):
    assert pays(model, BATCH, TrainConfig(), 1000, planted(0.0, 0.0))
    assert pays(model, BATCH, TrainConfig(), 1000, lambda _: pytest.fail("it was measured again"))
    (kept,) = (cache_folder() / "compile").glob("*.json")
    kept.write_text("{")
    assert not pays(model, BATCH, TrainConfig(), 1000, planted(0.0, 0.05))


def test_a_machine_without_a_compiler_goes_on_without_one(model):
    def compile(_model):
        def forward(_images):
            raise RuntimeError("no g++ here")

        return forward

    assert not pays(model, BATCH, TrainConfig(), 1000, compile)


class CutError(Exception):
    """Stands for a kill."""


@pytest.mark.slow
def test_a_compiled_run_is_close_to_an_eager_one_and_resumes_to_the_bit(tiny, tmp_path, monkeypatch):
    recipe = tiny.replace(
        train={**tiny.train.plain(), "compile": "always", "precision": "fp32"},
        model={"name": "mlp/tiny", "width": 16, "blocks": 1, "dropout": 0.2},
    )
    whole = ps.fit(recipe, tmp_path / "a")
    assert whole.environment["compiled"]
    monkeypatch.setattr(fitting, "SAVE_EVERY_SECONDS", 0.0)
    left = [4]

    def report(_status):
        left[0] -= 1
        if left[0] == 0:
            raise CutError

    with pytest.raises(CutError):
        ps.fit(recipe, tmp_path / "b", report=report)
    torch._dynamo.reset()
    ps.fit(recipe, tmp_path / "b")
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (tmp_path / "b" / "weights.safetensors").read_bytes()
    plain = changed = tiny.replace(train={**tiny.train.plain(), "compile": "always", "precision": "fp32"})
    plain = tiny.replace(train={**tiny.train.plain(), "precision": "fp32"})
    eager, fused = ps.fit(plain, tmp_path / "c"), ps.fit(changed, tmp_path / "d")
    assert fused.history[-1]["train_loss"] == pytest.approx(eager.history[-1]["train_loss"], rel=1e-4)
