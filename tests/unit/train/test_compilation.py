"""Whether compiling pays, decided by planted times; and that a compiled run is cut and resumed to the bit."""

from __future__ import annotations

import copy

import pytest
import torch

import priorscope as ps
from priorscope.core.folder import cache_folder
from priorscope.data.loader import Batch
from priorscope.fitting import attempt
from priorscope.train import compilation
from priorscope.train.adversarial import AdversarialConfig
from priorscope.train.compilation import pays
from priorscope.train.config import TrainConfig
from priorscope.train.finetune import FinetuneConfig

BATCH = Batch(torch.linspace(0, 1, 4 * 3 * 64).view(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), torch.arange(4))


class Clock:
    """Stands still but where somebody lets time pass."""

    now = 0.0

    def perf_counter(self):
        return self.now


class Slow(torch.nn.Module):
    """A network whose eager pass takes 20 ms."""

    def __init__(self, model, clock):
        super().__init__()
        self.model, self.config, self.name, self._clock = model, model.config, model.name, clock

    def __deepcopy__(self, memo):
        return Slow(copy.deepcopy(self.model, memo), self._clock)

    def forward(self, images):
        self._clock.now += 0.02
        return self.model(images)

    def planted(self, compiling, taking):
        """A compiler that takes so long, and makes passes that take so long."""

        def compile(network):
            calls = []

            def forward(images):
                self._clock.now += taking if calls else compiling
                calls.append(1)
                return network.model(images)

            return forward

        return compile


@pytest.fixture
def model(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path))
    clock = Clock()
    monkeypatch.setattr(compilation, "time", clock)
    return Slow(ps.models.create("mlp/tiny", image_size=8, num_classes=3, width=8, blocks=1), clock)


@pytest.mark.parametrize(
    ("compiling", "taking", "steps", "gains"),
    [
        (5.0, 0.01, 1000, True),  # 10 s saved for 5
        (5.0, 0.01, 400, False),  # 4 s saved for 5
        (5.0, 0.019, 100_000, False),  # a gain of a twentieth may be noise
        (0.0, 0.05, 1000, False),
    ],
)
def test_compiling_pays_where_it_saves_more_than_it_takes(model, compiling, taking, steps, gains):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert pays(model, BATCH, TrainConfig(), steps, model.planted(compiling, taking)) is gains
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_machine_chooses_alike_the_next_time(model):
    assert pays(model, BATCH, TrainConfig(), 1000, model.planted(0.0, 0.0))
    assert pays(model, BATCH, TrainConfig(), 1000, lambda _: pytest.fail("it was measured again"))
    (kept,) = (cache_folder() / "compile").glob("*.json")
    kept.write_text("{")
    assert not pays(model, BATCH, TrainConfig(), 1000, model.planted(0.0, 0.05))


def test_a_machine_without_a_compiler_goes_on_without_one(model):
    def compile(_model):
        def forward(_images):
            raise RuntimeError("no g++ here")

        return forward

    assert not pays(model, BATCH, TrainConfig(), 1000, compile)


class CutError(Exception):
    """Stands for a kill."""


def test_a_resumed_run_goes_on_as_it_was_chosen_whatever_the_cache_says(tiny, tmp_path, monkeypatch):
    """Under auto the choice is asked for once, of the first batch and all steps, and then stands in the checkpoint."""
    asked = []

    def chosen(_model, batch, config, steps):
        asked.append((len(batch.images), config.compile, steps))
        return False

    monkeypatch.setattr(compilation, "pays", chosen)
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    recipe = tiny.replace(train={**tiny.train.plain(), "compile": "auto"})
    left = [4]

    def watch(_status):
        left[0] -= 1
        if left[0] == 0:
            raise CutError

    with pytest.raises(CutError):
        ps.fit(recipe, tmp_path / "a", watch=watch)
    run = ps.fit(recipe, tmp_path / "a")
    assert asked == [(32, "auto", 6)]
    assert run.environment.compiled is False
    ps.fit(tiny, tmp_path / "b")
    assert len(asked) == 1
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (tmp_path / "b" / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_a_compiled_run_is_close_to_an_eager_one_and_resumes_to_the_bit(tiny, tmp_path, monkeypatch):
    recipe = tiny.replace(
        train={**tiny.train.plain(), "compile": "always", "precision": "fp32"},
        model={"name": "mlp/tiny", "width": 16, "blocks": 1, "dropout": 0.2},
    )
    whole = ps.fit(recipe, tmp_path / "a")
    assert whole.environment.compiled
    monkeypatch.setattr(attempt, "SAVE_EVERY_SECONDS", 0.0)
    left = [4]

    def watch(_status):
        left[0] -= 1
        if left[0] == 0:
            raise CutError

    with pytest.raises(CutError):
        ps.fit(recipe, tmp_path / "b", watch=watch)
    torch._dynamo.reset()
    ps.fit(recipe, tmp_path / "b")
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (tmp_path / "b" / "weights.safetensors").read_bytes()
    changed = tiny.replace(train={**tiny.train.plain(), "compile": "always", "precision": "fp32"})
    plain = tiny.replace(train={**tiny.train.plain(), "precision": "fp32"})
    eager, fused = ps.fit(plain, tmp_path / "c"), ps.fit(changed, tmp_path / "d")
    assert fused.history[-1].train_loss == pytest.approx(eager.history[-1].train_loss, rel=1e-4)


def test_steps_against_an_attack_are_measured_by_themselves(model):
    assert pays(model, BATCH, TrainConfig(), 1000, model.planted(0.0, 0.0))
    against = TrainConfig(adversarial=AdversarialConfig(eps=0.01))
    assert compilation._key(model, BATCH, TrainConfig(), 1000) != compilation._key(model, BATCH, against, 1000)
    head = TrainConfig(finetune=FinetuneConfig(mode="head"))
    assert compilation._key(model, BATCH, TrainConfig(), 1000) != compilation._key(model, BATCH, head, 1000)
