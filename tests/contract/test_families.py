"""One battery for every family: what a probe, an attack or the training loop may rely on, whatever the architecture.

The families are found through their list, each by its preset "tiny"; every other preset runs under `-m slow`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.models.classifier import Classifier

SIDE = 32
CLASSES = 10
STATISTICS = Statistics(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
AXES = {"NC": 2, "NLC": 3, "NCL": 3, "NCHW": 4, "NHWC": 4}

TINY = [f"{family}/tiny" for family in models.FAMILIES if "tiny" in models.FAMILIES.load(family).PRESETS]
NAMES = [name if name in TINY else pytest.param(name, marks=pytest.mark.slow) for name in models.presets()]


def images(n: int, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def create(name: str, side: int = SIDE, **overrides: object) -> Classifier:
    """A model of a name; what would start from published weights starts at random, because no hub is asked here."""
    if name.startswith("timm/"):
        overrides["pretrained"] = False
    return models.create(name, image_size=side, num_classes=CLASSES, statistics=STATISTICS, **overrides)


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.fixture(params=NAMES, scope="module")
def model(request: pytest.FixtureRequest) -> Iterator[Classifier]:
    """A model that no test may leave changed. Its head is drawn afresh: one that starts at zero (Mixer) would hide the rest."""
    built = create(request.param).eval()
    built.replace_head(CLASSES, seed=1)
    state = copy.deepcopy(built.state_dict())
    yield built
    assert all(torch.equal(state[key], value) for key, value in built.state_dict().items())
    assert hooks(built) == 0


def test_modules_are_of_the_kinds_that_learn_well_in_bfloat16(model: Classifier) -> None:
    """The head too, which was replaced; `quicken`, `Linear`, `LayerNorm` and `Gelu` are easily forgotten."""
    torchs = [module for module in model.network.modules() if type(module) in (nn.Linear, nn.LayerNorm, nn.GELU)]
    assert [module for module in torchs if getattr(module, "weight", module) is not None] == []


def test_every_family_has_a_tiny_preset() -> None:
    assert {name.partition("/")[0] for name in TINY} == set(models.FAMILIES) - {"timm"}


def test_gives_finite_logits_one_a_class(model: Classifier) -> None:
    logits = model(images(3))
    assert logits.shape == (3, CLASSES)
    assert logits.isfinite().all()


def test_every_parameter_gets_a_gradient(model: Classifier) -> None:
    trained = copy.deepcopy(model).train()
    F.cross_entropy(trained(images(4)), torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.parameters())
    without = [name for name, p in trained.network.named_parameters() if p.grad is not None and not p.grad.any()]
    assert model.config is not None
    assert without == model.config.idle_parameters(SIDE)


def test_pixels_get_a_gradient(model: Classifier) -> None:
    x = images(2).requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.flatten(1).any(1).all()


def test_taps_are_what_they_say(model: Classifier) -> None:
    x = images(2)
    taps = model.taps()
    ends = {"head/in", "logits"} if model.name.startswith("timm/") else {"embed/out", "head/in", "logits"}
    assert ends <= set(taps)
    with torch.no_grad():
        logits, read = model.forward_with_taps(x, taps)
    assert list(read) == taps
    for address, value in read.items():
        layout = model.tap(address).layout
        if layout != "any":  # a network of timm's that is of no family here
            assert value.ndim == AXES[layout], (address, layout, value.shape)
            assert value.shape[0] == 2, address
        assert value.isfinite().all(), address
        if layout in ("NCHW", "NHWC"):
            height, width = value.shape[2:] if layout == "NCHW" else value.shape[1:3]
            assert height == width, address
    assert torch.equal(read["logits"], logits)
    assert torch.equal(read["head/in"], model.features(x))


def test_reading_changes_nothing(model: Classifier) -> None:
    x = images(2)
    with torch.no_grad():
        plain = model(x)
        logits, together = model.forward_with_taps(x, model.taps())
        assert torch.equal(plain, logits)
        for address in (model.taps()[0], model.taps()[-2]):
            assert torch.equal(model.activations(x, [address])[address], together[address])
    assert hooks(model) == 0


class _StoppedError(Exception):
    pass


def test_values_are_those_of_the_moment(model: Classifier) -> None:
    """A pass that is stopped at a tap holds what stood there before any later in-place operation."""
    x = images(2)
    taps = model.taps()
    with torch.no_grad():
        read = model.activations(x, taps)
        for address in taps[:: max(1, len(taps) // 12)]:
            assert torch.equal(_stopped_at(model, address, x), read[address]), address


def _stopped_at(model: Classifier, address: str, x: Tensor) -> Tensor:
    tap = model.tap(address)
    seen: list[Tensor] = []

    def stop(_module: nn.Module, inputs: tuple[Tensor, ...], *output: Any) -> None:
        (passed,) = output or (inputs,)
        seen.append((passed[tap.item] if isinstance(passed, tuple) else passed).clone())
        raise _StoppedError

    module = model.network.get_submodule(tap.module)
    handle = module.register_forward_hook(stop) if tap.at == "output" else module.register_forward_pre_hook(stop)
    try:
        with pytest.raises(_StoppedError):
            model(x)
    finally:
        handle.remove()
    return seen[0]


def test_taps_carry_gradients_to_the_pixels(model: Classifier) -> None:
    x = images(2).requires_grad_()
    model.activations(x, ["head/in"])["head/in"].square().sum().backward()
    assert x.grad is not None
    assert x.grad.any()


def test_logits_do_not_depend_on_the_batch(model: Classifier) -> None:
    x = images(6)
    with torch.no_grad():
        together = model(x)
        alone = torch.cat([model(image[None]) for image in x])
        turned = model(x.flip(0)).flip(0)
    scale = together.abs().max().clamp_min(1)
    assert ((together - alone).abs().max() / scale) < 1e-5
    assert ((together - turned).abs().max() / scale) < 1e-5


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_left_as_it_was(model: Classifier, training: bool) -> None:
    changed = copy.deepcopy(model).train(training)
    changed.activations(images(2), changed.taps()[:1])
    changed.features(images(2))
    assert all(module.training is training for module in changed.modules())


def test_hooks_go_even_when_the_pass_fails(model: Classifier) -> None:
    with pytest.raises(RequestError, match="The images came with shape"):
        model.activations(images(1, SIDE + 1), model.taps())
    assert hooks(model) == 0


def test_state_dict_round_trip(model: Classifier) -> None:
    x = images(2)
    assert model.config is not None
    other = models.create(model.config, image_size=SIDE, num_classes=CLASSES, statistics=STATISTICS, seed=1).eval()
    with torch.no_grad():
        assert not torch.equal(other(x), model(x))
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(x), model(x))


def test_weights_are_a_function_of_config_and_seed(model: Classifier) -> None:
    assert model.config is not None
    before = torch.random.get_rng_state()
    first, second, other = (
        models.create(model.config, image_size=SIDE, num_classes=CLASSES, seed=seed).state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], value) for key, value in second.items())
    assert any(not torch.equal(first[key], value) for key, value in other.items())


def test_replaced_head_gives_other_classes(model: Classifier) -> None:
    changed = copy.deepcopy(model)
    changed.replace_head(7, seed=3)
    assert changed(images(2)).shape == (2, 7)
    assert changed.num_classes == 7
    with torch.no_grad():
        assert torch.equal(changed.features(images(2)), model.features(images(2)))


def test_a_bfloat16_step_is_finite(model: Classifier) -> None:
    trained = copy.deepcopy(model).train()
    optimiser = torch.optim.AdamW(trained.parameters(), lr=1e-3)
    for step in range(2):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(trained(images(4, seed=step)).float(), torch.arange(4))
        loss.backward()
        optimiser.step()
        assert loss.isfinite()
    assert all(p.isfinite().all() for p in trained.parameters())


REFUSED = {
    "dial/tiny": (64, 96, 224),
    "dial/local": (224,),
    "dial/mixer": (64, 96, 224),
    "dial/mixer-flops": (224,),
    "dial/attention-flops": (96, 224),
    "dial/attention-unordered-flops": (96, 224),
}
"""The sides at which no whole width comes near the budget of a preset; every other family takes every side."""


@pytest.mark.parametrize("side", [32, 64, 96, 224])
@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_taken_or_refused_before_any_weight_is_made(name: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    original = nn.Parameter.__new__
    monkeypatch.setattr(nn.Parameter, "__new__", lambda *args, **kwargs: made.append(1) or original(*args, **kwargs))
    if side in REFUSED.get(name, ()):
        with pytest.raises(RequestError) as refused:
            create(name, side)
        assert made == []
        assert str(side) in refused.value.came
        return
    model = create(name, side).eval()
    assert made
    with torch.no_grad():
        assert model(images(1, side)).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_compiled_gives_the_same_numbers(name: str) -> None:
    model = create(name).eval()
    x = images(2)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model)(x), model(x), rtol=1e-4, atol=1e-5)
