"""Schedules against closed forms, weight decay where it belongs, optimisers against plain float64 arithmetic."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import priorscope as ps
from priorscope.core.errors import RequestError
from priorscope.train.optim import OptimConfig, make_optimiser, parameter_groups
from priorscope.train.schedule import learning_rate
from priorscope.train.timm_optim import LEFT_OUT


def test_cosine_falls_from_the_full_rate_to_near_zero_and_never_reaches_it():
    config = OptimConfig(lr=0.1)
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[50] == pytest.approx(0.05)
    assert rates[99] == pytest.approx(0.05 * (1 + math.cos(math.pi * 0.99)))
    assert rates[99] > 0
    assert all(a > b for a, b in pairwise(rates))


def test_warm_up_rises_linearly_to_the_full_rate_and_is_part_of_the_run():
    config = OptimConfig(lr=1.0, warmup=2)
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert rates[:20] == pytest.approx([(i + 1) / 20 for i in range(20)])
    assert rates[20] == 1.0
    assert rates[60] == pytest.approx(0.5)


def test_constant_stays():
    assert {learning_rate(OptimConfig(lr=0.3, schedule="constant"), step, 10, 5) for step in range(10)} == {0.3}


def test_decay_reaches_matrices_and_spares_vectors_unless_asked():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decayed, spared = parameter_groups(model, OptimConfig(weight_decay=0.1))
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in spared["params"]] == [1, 1, 1, 1]
    (all_of_them,) = parameter_groups(model, OptimConfig(weight_decay=0.1, decay_norms_and_biases=True))
    assert len(all_of_them["params"]) == 6


def kinds(names: Iterable[str]) -> set[str]:
    """Names without the numbers of their blocks."""
    return {re.sub(r"\d+", "#", name) for name in names}


def spared(name: str) -> dict[str, nn.Parameter]:
    """What decay does not reach of a network."""
    model = ps.models.create(name, image_size=32, num_classes=10)
    decayed, _ = parameter_groups(model, OptimConfig())
    reached = {id(p) for p in decayed["params"]}
    return {name.removeprefix("network."): p for name, p in model.named_parameters() if id(p) not in reached}


@pytest.mark.parametrize(
    ("model", "tables"),
    [
        ("dial/local", {"embed.bias", "blocks.#.mlp.narrow.bias", "blocks.#.mlp.widen.bias"}),
        ("dial/attention", {"embed.positions"}),
        ("perceiver/tiny", {"latents"}),
        ("perceiver_io/tiny", {"latents", "queries"}),
        ("tnt/tiny", {"patch_tokens", "patch_pos_emb", "pixel_pos_emb"}),
    ],
)
def test_decay_spares_what_maps_nothing_though_it_is_a_table(model, tables):
    assert kinds(name for name, p in spared(model).items() if p.ndim > 1) == tables


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("vit/tiny", "vit_tiny_patch16_224"),
        ("swin/tiny", "swin_tiny_patch4_window7_224"),
        ("mixer/tiny", "mixer_s16_224"),
    ],
)
def test_decay_spares_what_timm_spares(ours, theirs):
    """The keys of these networks are timm's."""
    import timm
    from timm.optim import param_groups_weight_decay

    peer = timm.create_model(theirs, num_classes=10, img_size=32)
    listed = peer.no_weight_decay() if hasattr(peer, "no_weight_decay") else set()
    groups = param_groups_weight_decay(peer, no_weight_decay_list=listed)
    theirs_spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert kinds(spared(ours)) == kinds(name for name, p in peer.named_parameters() if id(p) in theirs_spared)


def test_weight_decay_really_arrives():
    """At a gradient of zero AdamW multiplies a weight by (1 - lr * decay), and SGD takes the decay for the gradient."""
    for name, steps in (("adamw", 3), ("sgd", 1)):
        layer = nn.Linear(4, 4, bias=False)
        before = layer.weight.detach().clone()
        optimiser = make_optimiser(layer, OptimConfig(name=name, lr=0.1, weight_decay=0.5, momentum=0.9))
        for _ in range(steps):
            layer.weight.grad = torch.zeros_like(layer.weight)
            optimiser.step()
        factor = (1 - 0.05) ** steps if name == "adamw" else 1 - 0.1 * 0.5 * 1.9  # Nesterov's first step counts 1 + momentum
        torch.testing.assert_close(layer.weight.detach(), before * factor)


def test_adamw_is_the_published_update():
    """Loshchilov and Hutter 2019, algorithm 2, in float64."""
    config = OptimConfig(lr=0.01, weight_decay=0.1, momentum=0.8, beta2=0.95)
    layer = nn.Linear(3, 2, bias=False)
    w = layer.weight.detach().double().numpy().copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    optimiser = make_optimiser(layer, config)
    random = np.random.default_rng(0)
    for t in range(1, 6):
        g = random.standard_normal(w.shape)
        layer.weight.grad = torch.from_numpy(g).float()
        optimiser.step()
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        w = w - 0.01 * 0.1 * w
        w = w - 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
    np.testing.assert_allclose(layer.weight.detach().numpy(), w, rtol=2e-5)


def moved(config, steps=5):
    """A layer's weights before, the float64 gradients it was given, and its weights after."""
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.3, -0.2, 0.5], [-0.1, 0.4, 0.2]]))
    before = layer.weight.detach().double().numpy().copy()
    optimiser = make_optimiser(layer, config)
    random = np.random.default_rng(0)
    gradients = [random.standard_normal(before.shape) for _ in range(steps)]
    for gradient in gradients:
        layer.weight.grad = torch.from_numpy(gradient).float()
        optimiser.step()
    return before, gradients, layer.weight.detach().numpy()


def test_lion_is_the_published_update():
    """Chen et al. 2023, algorithm 2, in float64."""
    config = OptimConfig(name="lion", lr=0.01, weight_decay=0.1)
    assert (config.momentum, config.beta2) == (0.9, 0.99)
    w, gradients, after = moved(config)
    m = np.zeros_like(w)
    for g in gradients:
        w = w * (1 - 0.01 * 0.1)
        w = w - 0.01 * np.sign(0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g
    np.testing.assert_allclose(after, w, rtol=2e-5)


def test_lion_skips_what_has_no_gradient():
    layer = nn.Linear(3, 2)
    before = layer.bias.detach().clone()
    optimiser = make_optimiser(layer, OptimConfig(name="lion", decay_norms_and_biases=True))
    layer.weight.grad = torch.ones_like(layer.weight)
    optimiser.step()
    assert torch.equal(layer.bias, before)


def test_adam_adds_its_decay_to_the_gradient():
    """Kingma and Ba 2015, algorithm 1, on g + decay * w, in float64."""
    w, gradients, after = moved(OptimConfig(name="adam", lr=0.01, weight_decay=0.1))
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        g = g + 0.1 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(after, w, rtol=2e-5)


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_looks_ahead_or_not(nesterov):
    w, gradients, after = moved(OptimConfig(name="sgd", lr=0.01, weight_decay=0.1, nesterov=nesterov))
    m = np.zeros_like(w)
    for g in gradients:
        g = g + 0.1 * w
        m = 0.9 * m + g
        w = w - 0.01 * (g + 0.9 * m if nesterov else m)
    np.testing.assert_allclose(after, w, rtol=2e-5)


def test_lamb_is_the_published_update_and_clips_nothing_unasked():
    """You et al. 2020, algorithm 2, in float64; some gradients' norm is above 1, where timm's default would clip."""
    w, gradients, after = moved(OptimConfig(name="lamb", lr=0.01, weight_decay=0.1))
    m, v = np.zeros_like(w), np.zeros_like(w)
    assert max(np.linalg.norm(g) for g in gradients) > 2
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + 0.1 * w
        w = w - 0.01 * np.linalg.norm(w) / np.linalg.norm(r) * r
    np.testing.assert_allclose(after, w, rtol=5e-5)


def test_lamb_adapts_a_map_without_decay_too_and_no_bias():
    """A step of lr times the norm of the weights, where Adam's moves each weight by lr; a bias moves as Adam's."""
    layer = nn.Linear(24, 16)
    with torch.no_grad():
        layer.weight.fill_(0.5)
        layer.bias.fill_(0.5)
    layer.weight.grad, layer.bias.grad = torch.ones_like(layer.weight), torch.ones_like(layer.bias)
    make_optimiser(layer, OptimConfig(name="lamb", lr=0.01, weight_decay=0.0)).step()
    torch.testing.assert_close(layer.weight.detach(), torch.full((16, 24), 0.5 - 0.01 * 0.5))
    torch.testing.assert_close(layer.bias.detach(), torch.full((16,), 0.5 - 0.01))


def test_muon_makes_a_matrix_s_update_orthogonal_at_the_size_of_adamw_s():
    """After the iteration every singular value of the update is near 1; the scale is 0.2 sqrt(longer side)."""
    layer = nn.Linear(24, 16, bias=False)
    before = layer.weight.detach().clone()
    optimiser = make_optimiser(layer, OptimConfig(name="muon", lr=0.01, weight_decay=0.0))
    layer.weight.grad = torch.randn(16, 24, generator=torch.Generator().manual_seed(0)) * 1e3
    optimiser.step()
    sizes = torch.linalg.svdvals((before - layer.weight.detach()) / (0.01 * 0.2 * 24**0.5))
    assert 0.6 < float(sizes.min()) <= float(sizes.max()) < 1.3


def test_muon_takes_the_matrices_inside_and_adamw_the_rest():
    model = ps.models.create("mlp/tiny", image_size=8, num_classes=3, width=8, blocks=1)
    muon, adamw = make_optimiser(model, OptimConfig(name="muon", weight_decay=0.1)).parts
    inside = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in inside}
    assert names == {f"network.{name}.weight" for name in ("linear_in", "blocks.0.block.0", "blocks.0.block.2")}
    assert {group["weight_decay"] for group in muon.param_groups} == {0.1}
    rest = {id(p): group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
    assert len(rest) + len(inside) == len(list(model.parameters()))
    assert rest[id(model.head.weight)] == 0.1
    assert rest[id(model.head.bias)] == 0.0


@pytest.mark.parametrize("model", ["perceiver_io/tiny", "swin/tiny", "tnt/tiny", "dial/attention"])
def test_muon_makes_no_table_orthogonal(model):
    network = ps.models.create(model, image_size=32, num_classes=10)
    muon, _ = make_optimiser(network, OptimConfig(name="muon")).parts
    inside = {id(p) for group in muon.param_groups for p in group["params"]}
    assert all(name.endswith("weight") for name, p in network.named_parameters() if id(p) in inside)


def test_muon_is_refused_where_torch_has_none(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(RequestError, match="has no Muon") as caught:
        make_optimiser(nn.Linear(2, 2), OptimConfig(name="muon"))
    assert caught.value.wanted == "torch 2.9 or later"


def test_linear_falls_in_a_straight_line():
    config = OptimConfig(lr=1.0, schedule="linear", warmup=2)
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert rates[20:] == pytest.approx([1 - i / 80 for i in range(80)])
    assert rates[99] > 0


def test_wsd_warms_up_stays_and_falls():
    config = OptimConfig(lr=1.0, schedule="wsd", warmup=1, decay_share=0.4)
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert set(rates[10:61]) == {1.0}
    assert rates[60:] == pytest.approx([1 - i / 40 for i in range(40)])
    assert learning_rate(OptimConfig(lr=1.0, schedule="wsd"), 90, 100, 10) == pytest.approx(0.5)


def test_wsd_gives_way_to_a_warm_up_that_overlaps_with_its_fall():
    config = OptimConfig(lr=1.0, schedule="wsd", warmup=8, decay_share=1.0)
    rates = [learning_rate(config, step, 100, 10) for step in range(100)]
    assert rates[79] == rates[80] == 1.0
    assert rates[80:] == pytest.approx([1 - i / 20 for i in range(20)])


@pytest.mark.parametrize(
    ("settings", "came"),
    [
        ({"name": "sgd", "beta2": 0.9}, "optim.beta2 came with SGD."),
        ({"name": "adamw", "nesterov": True}, "optim.nesterov came with adamw."),
        ({"name": "sgd", "momentum": 0, "nesterov": True}, "optim.nesterov came with momentum = 0."),
        ({"decay_share": 0.2}, "optim.decay_share came with the schedule cosine."),
    ],
)
def test_what_would_be_ignored_is_refused(settings, came):
    with pytest.raises(RequestError) as caught:
        OptimConfig.parse(settings)
    assert caught.value.came == came


def test_timm_s_optimisers_take_what_is_set_and_keep_their_own_defaults():
    layer = nn.Linear(3, 2)
    plain = make_optimiser(layer, OptimConfig(name="timm/lion", weight_decay=0.3)).param_groups
    assert [(group["betas"], group["weight_decay"]) for group in plain] == [((0.9, 0.99), 0.3), ((0.9, 0.99), 0.0)]
    assert make_optimiser(layer, OptimConfig(name="timm/lion", beta2=0.5)).param_groups[0]["betas"] == (0.9, 0.5)
    assert make_optimiser(layer, OptimConfig(name="timm/lion", momentum=0.5)).param_groups[0]["betas"] == (0.5, 0.99)
    assert make_optimiser(layer, OptimConfig(name="timm/lars", momentum=0.5)).param_groups[0]["momentum"] == 0.5


def test_our_lion_and_timm_s_move_alike():
    ours = moved(OptimConfig(name="lion", lr=0.01, weight_decay=0.1))[2]
    np.testing.assert_allclose(ours, moved(OptimConfig(name="timm/lion", lr=0.01, weight_decay=0.1))[2], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "came"),
    [
        ({"name": "timm/adoptt"}, "'adoptt' is not a timm optimiser."),
        ({"name": "timm/fusedadam"}, "'fusedadam' is not a timm optimiser."),
        ({"name": "timm/adan", "beta2": 0.9}, "optim.beta2 came with timm/adan."),
        ({"name": "timm/adagrad", "momentum": 0.9}, "optim.momentum came with timm/adagrad."),
    ],
)
def test_what_timm_has_not_is_refused(settings, came):
    with pytest.raises(RequestError) as caught:
        make_optimiser(nn.Linear(2, 2), OptimConfig.parse(settings))
    assert caught.value.came == came


@pytest.mark.slow
def test_every_optimiser_of_timm_goes_on_from_its_state_to_the_bit():
    from timm.optim import list_optimizers

    names = list_optimizers(exclude_filters=list(LEFT_OUT))
    assert len(names) > 60
    for name in names:
        config = OptimConfig(name=f"timm/{name}", weight_decay=0.1)
        assert torch.equal(six_steps(config, cut=False), six_steps(config, cut=True)), name


@pytest.mark.slow
def test_what_is_set_reaches_every_optimiser_of_timm_or_is_refused():
    from timm.optim import list_optimizers

    reached = 0
    for name in list_optimizers(exclude_filters=list(LEFT_OUT)):
        for setting, value in (("momentum", 0.8125), ("beta2", 0.9375)):
            config = OptimConfig.parse({"name": f"timm/{name}", setting: value})
            try:
                group = make_optimiser(nn.Linear(2, 2), config).param_groups[0]
            except RequestError:
                continue
            assert str(value) in str([group.get(key) for key in ("betas", "momentum")]), name
            reached += 1
    assert reached > 80


def six_steps(config, cut):
    """A layer's weights after six steps, the state written and read after three of them where it is cut."""
    layer = nn.Linear(4, 3)
    nn.init.constant_(layer.weight, 0.2)
    nn.init.constant_(layer.bias, 0.1)
    optimiser = make_optimiser(layer, config)
    for step in range(6):
        if cut and step == 3:
            file = io.BytesIO()
            torch.save(optimiser.state_dict(), file)
            file.seek(0)
            optimiser = make_optimiser(layer, config)
            optimiser.load_state_dict(torch.load(file, weights_only=True))
        torch.manual_seed(step)
        for p in layer.parameters():
            p.grad = torch.randn_like(p)
        optimiser.step()
    return layer.weight.detach()


def test_what_is_not_set_is_the_optimiser_s_own():
    assert OptimConfig(name="lion", beta2=None).betas == (0.9, 0.99)
    assert OptimConfig(name="muon", momentum=None).betas == (0.95, 0.999)
    assert OptimConfig(name="sgd", beta2=None) == OptimConfig(name="sgd")
    assert OptimConfig().replace(name="lion") == OptimConfig(name="lion")
    assert OptimConfig(momentum=0.8).replace(name="lion").betas == (0.8, 0.99)
    assert OptimConfig().replace(name="timm/lion").momentum is None
    with pytest.raises(RequestError, match="lr = None was refused"):
        OptimConfig.parse({"lr": None})


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "muon", "timm/adopt"])
def test_own_defaults_survive_the_way_through_toml(name):
    config = OptimConfig(name=name)
    assert OptimConfig.parse(config.plain()) == config


@pytest.mark.parametrize(
    ("settings", "named"), [({"lr": 0}, "lr"), ({"lrr": 1}, "lr ="), ({"name": "adamv"}, "adamw"), ({"clip": -1}, "clip")]
)
def test_what_cannot_be_is_refused(settings, named):
    with pytest.raises(RequestError, match=named):
        OptimConfig.parse(settings)
