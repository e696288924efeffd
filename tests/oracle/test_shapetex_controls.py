"""The built-in world's controls, measured: no third cue, independent frames, a dial that turns, cues that can be learnt alone.

Every check on leaks is run on a planted leak as well, to show that it can fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.ndimage import rotate

from priorscope.core.stats import wilson
from priorscope.data.sources.shapetex import Draw, ShapetexConfig, draw, look, mean_radius, size
from priorscope.data.sources.shapetex_render import (
    FIELD,
    OUTLINES,
    REACH,
    TEXTURES,
    _sharp_outlines,
    fill_field,
    fill_tables,
    mask_field,
    outline_tables,
    render,
)

Array = NDArray[Any]
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
N = 4500
DIALS = (0.0, 0.5, 1.0)


def _summary(drawn: Draw) -> dict[str, Array]:
    """What a model without an eye for form could use: area, colours and luminance of the foreground and of the picture."""
    pictures = drawn.images().astype(np.float64)
    mask = mask_field(drawn.scenes, drawn.look).astype(np.float64)
    area = mask.sum((1, 2))
    inside = (pictures * mask[..., None]).sum((1, 2)) / area[:, None]
    outside = (pictures * (1 - mask)[..., None]).sum((1, 2)) / (mask.shape[1] ** 2 - area)[:, None]
    whole = pictures.mean((1, 2))
    columns = {"area": area, "foreground luminance": inside @ LUMINANCE, "picture luminance": whole @ LUMINANCE}
    for name, colour in (("foreground", inside), ("background", outside), ("picture", whole)):
        columns |= {f"{name} {channel}": colour[:, i] for i, channel in enumerate("rgb")}
    return columns


def _texture_energy(drawn: Draw) -> Array:
    """rms of what the texture adds to the picture's green channel, over what the closed form says: 1 where it is kept.

    It is the difference of two pictures of one scene, with and without texture; their sensor noise is the same.
    """
    with_it = drawn.images()[..., 1].astype(np.float64)
    without = render(drawn.scenes, replace(drawn.look, contrast=0.0))[..., 1]
    mask = mask_field(drawn.scenes, drawn.look).astype(np.float64)
    expected = (255 * drawn.look.contrast * drawn.scenes.tint[:, 1]) ** 2 * (mask**2).sum((1, 2))
    return np.sqrt(((with_it - without) ** 2).sum((1, 2)) / expected)


def _holm(p_values: list[float]) -> float:
    """The least Holm-adjusted p: the first step of Holm's procedure decides whether anything is rejected."""
    return min(1.0, min(p_values) * len(p_values))


def _least_p(columns: dict[str, Array], classes: Array) -> float:
    """Whether any column is distributed differently in any class: Kruskal-Wallis, and each class against the rest by KS."""
    p_values: list[float] = []
    for column in columns.values():
        groups = [column[classes == k] for k in range(10)]
        p_values.append(stats.kruskal(*groups).pvalue)
        p_values.extend(stats.ks_2samp(column[classes == k], column[classes != k]).pvalue for k in range(10))
    return _holm(p_values)


def _linear_model(columns: dict[str, Array], classes: Array) -> tuple[int, int]:
    """(right, asked) of multinomial logistic regression fitted on one half of the pictures and asked about the other."""
    x = np.stack(list(columns.values()), 1)
    x = np.concatenate([(x - x.mean(0)) / x.std(0), np.ones((len(x), 1))], 1)
    half = len(x) // 2
    target = np.eye(10)[classes[:half]]

    def loss(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(-1, 10)
        scores = x[:half] @ weights
        scores -= np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1, keepdims=True)) + scores.max(1, keepdims=True)
        slope = x[:half].T @ (np.exp(scores) - target) / half
        return float(-(scores * target).sum() / half + 1e-4 * (flat**2).sum()), slope.ravel() + 2e-4 * flat

    found = optimize.minimize(loss, np.zeros(x.shape[1] * 10), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    answers = (x[half:] @ found.x.reshape(-1, 10)).argmax(1)
    return int((answers == classes[half:]).sum()), len(x) - half


def _larger(drawn: Draw, which: Array, by: float) -> Draw:
    """A planted leak: some pictures' outlines are larger than the others'."""
    return replace(drawn, scenes=replace(drawn.scenes, radius=drawn.scenes.radius * np.where(which, by, 1)))


@pytest.mark.parametrize("dial", DIALS)
def test_area_colour_and_luminance_are_distributed_alike_for_all_shapes_and_textures(dial: float) -> None:
    drawn = draw(ShapetexConfig(seed=11, test=N), f"conflict@{dial}", np.arange(N))
    columns = _summary(drawn)
    assert _least_p(columns, drawn.shape) > 0.05
    assert _least_p(columns, drawn.fill) > 0.05


@pytest.mark.parametrize("dial", DIALS)
def test_every_texture_has_the_same_contrast_inside_every_outline(dial: float) -> None:
    """Equal within half a percent: contrasts are bounded together rather than found not to differ."""
    drawn = draw(ShapetexConfig(seed=11, test=N), f"conflict@{dial}", np.arange(N))
    energy = _texture_energy(drawn)
    strong = np.abs(drawn.scenes.tint[:, 1]) > 0.7  # rounding to grey levels adds energy to the faintest
    for classes in (drawn.shape, drawn.fill):
        means = [energy[strong & (classes == k)].mean() for k in range(10)]
        np.testing.assert_allclose(means, 1, atol=0.005)


def test_the_test_of_distributions_finds_a_planted_leak() -> None:
    drawn = draw(ShapetexConfig(seed=11, test=N), "conflict", np.arange(N))
    leaking = _larger(drawn, drawn.shape == 3, 1.03)
    assert _least_p({"area": _summary(leaking)["area"]}, drawn.shape) < 1e-4


@pytest.mark.parametrize("dial", DIALS)
def test_a_linear_model_on_area_colour_and_luminance_is_at_chance(dial: float) -> None:
    drawn = draw(ShapetexConfig(seed=12, test=N), f"conflict@{dial}", np.arange(N))
    columns = _summary(drawn)
    for classes in (drawn.shape, drawn.fill):
        between = wilson(*_linear_model(columns, classes))
        assert between.low <= 0.1 <= between.high


def test_the_linear_model_finds_a_planted_leak() -> None:
    drawn = draw(ShapetexConfig(seed=12, test=N), "conflict", np.arange(N))
    leaking = _summary(_larger(drawn, drawn.shape < 5, 1.05))
    assert wilson(*_linear_model(leaking, drawn.shape)).low > 0.1


def test_outlines_have_equal_areas_and_the_reach_of_their_closed_forms() -> None:
    areas = outline_tables(0.1, 256).mean((1, 2)) * 4 * FIELD**2
    np.testing.assert_allclose(areas, np.pi, rtol=1e-4)
    # Furthest corner from the centroid, for outlines of area pi.
    expected = {
        "disc": 1,
        "ring": (1 - 0.56**2) ** -0.5,
        "square": np.sqrt(np.pi / 2),
        "triangle": np.sqrt(4 * np.pi / (3 * np.sqrt(3))),
        "star": np.sqrt(np.pi / (5 * 0.42 * np.sin(np.pi / 5))),
        "cross": np.sqrt(np.pi / (8 * 0.34 - 4 * 0.34**2)) * np.hypot(1, 0.34),
        "bar": np.sqrt(np.pi / (4 * 0.38)) * np.hypot(1, 0.38),
        "ell": np.sqrt(np.pi / 3) * np.hypot(7 / 6, 5 / 6),
        "hourglass": np.sqrt(np.pi / 1.84) * np.hypot(1, 0.8),
    }
    samples = 512
    axis = (np.arange(samples) + 0.5) * (2 * FIELD / samples) - FIELD
    away = np.hypot(axis[:, None], axis)
    reach = [away[sharp].max() for sharp in _sharp_outlines(samples)]
    for name, measured in zip(OUTLINES, reach, strict=False):
        if name in expected:
            assert measured == pytest.approx(expected[name], abs=0.025), name
    assert max(reach) <= REACH


def test_outlines_keep_their_area_on_the_pixels_wherever_they_are() -> None:
    for dial in DIALS:
        drawn = draw(ShapetexConfig(seed=13, test=N), f"conflict@{dial}", np.arange(1800))
        share = mask_field(drawn.scenes, drawn.look).mean((1, 2)) / (np.pi * drawn.scenes.radius**2)
        assert share.std() < 0.002
        means = [share[drawn.shape == k].mean() for k in range(10)]
        np.testing.assert_allclose(means, 1, atol=5e-4)


def test_every_fill_has_the_histogram_of_a_sine_wave() -> None:
    tiles = np.sort(fill_tables().reshape(-1, 256 * 256).astype(np.float64), axis=1)
    sine = np.sqrt(2) * np.sin(np.pi * ((np.arange(256**2) + 0.5) / 256**2 - 0.5))
    np.testing.assert_allclose(tiles.mean(1), 0, atol=1e-3)
    np.testing.assert_allclose(tiles.std(1), 1, atol=1e-2)
    assert np.abs(tiles - sine).mean() < 0.02


def test_the_fill_s_frame_does_not_turn_with_the_outline() -> None:
    drawn = draw(ShapetexConfig(seed=14), "conflict", np.arange(90))
    turned = replace(drawn.scenes, turn=drawn.scenes.turn + 1.0)
    np.testing.assert_array_equal(fill_field(turned, drawn.look), fill_field(drawn.scenes, drawn.look))
    assert (mask_field(turned, drawn.look) != mask_field(drawn.scenes, drawn.look)).any()
    assert (render(turned, drawn.look) != drawn.images()).any()


def test_turns_places_and_sizes_are_drawn_without_regard_to_each_other_and_to_the_class() -> None:
    scenes = draw(ShapetexConfig(seed=15, train=9000), "train", np.arange(9000)).scenes
    bound = 4.5 / np.sqrt(9000)
    for times in (1, 2, 3, 4):
        for sign in (1, -1):
            assert abs(np.exp(1j * times * (scenes.turn + sign * scenes.fill_turn)).mean()) < bound
        assert abs(np.exp(1j * times * scenes.turn).mean()) < bound
        assert abs(np.exp(1j * times * scenes.fill_turn).mean()) < bound
    assert abs(np.corrcoef(scenes.turn, scenes.radius)[0, 1]) < bound
    columns = {
        "turn": scenes.turn,
        "fill turn": scenes.fill_turn,
        "x": scenes.place[:, 0],
        "y": scenes.place[:, 1],
        "radius": scenes.radius,
        "fill scale": scenes.fill_scale,
    }
    assert _least_p(columns, scenes.outline) > 0.05


def test_the_dial_turns_texture_up_and_the_outline_down() -> None:
    texture, edge, soft, area = [], [], [], []
    dials = np.linspace(0, 1, 9)
    for dial in dials:
        config = ShapetexConfig(seed=16, salience=float(dial))
        filled = draw(config, "texture-alone", np.arange(200))
        texture.append(np.sqrt(filled.images().astype(float).var((1, 2)).mean()) / 255)
        bare = draw(config, "shape-alone", np.arange(200))
        pictures, mask = bare.images() / 255, mask_field(bare.scenes, bare.look)
        core, ground = mask > 0.95, mask < 0.002
        steps = [p[c].mean(0) - p[g].mean(0) for p, c, g in zip(pictures, core, ground, strict=True) if c.sum() > 12]
        edge.append(np.sqrt(np.mean(np.square(steps))))
        soft.append(((mask > 0.1) & (mask < 0.9)).sum() / (mask >= 0.5).sum())
        area.append(mask.mean())
    assert (np.diff(texture) > 0).all()
    assert (np.diff(edge) < 0).all()
    assert (np.diff(soft) > 0).all()
    assert (np.diff(area) < 0).all()
    np.testing.assert_allclose(texture, [np.hypot(look(32, s).contrast, 2.5 / 255) for s in dials], rtol=0.03)
    np.testing.assert_allclose(edge, [look(32, s).edge for s in dials], rtol=0.04)
    # The mean of the squared radius: radii are uniform within 10 % of their mean.
    np.testing.assert_allclose(area, [np.pi * mean_radius(s) ** 2 * (1 + 0.01 / 3) for s in dials], rtol=0.02)


def test_no_two_textures_and_no_two_shapes_look_alike() -> None:
    """Each is nearest to itself among the others, whatever its turn and place, by a wide margin."""
    tiles = fill_tables()[: len(TEXTURES)]
    power = np.abs(np.fft.fft2(tiles))[:, :24, :24] ** 2
    power = np.sqrt(power / power.sum((1, 2), keepdims=True)).reshape(len(tiles), -1)
    alike = power @ power.T - np.eye(len(tiles))
    assert alike.max() < 0.75
    shapes = outline_tables(0.1, 256)[: len(OUTLINES), ::4, ::4]
    for one in range(len(shapes)):
        for other in range(one):
            assert _overlap(shapes[one], shapes[other]) < 0.93


def _overlap(one: Array, other: Array) -> float:
    """The greatest intersection over union of two outlines with one centre, over turns by 10 degrees."""
    within = one > 0.5
    turned = [rotate(other, degrees, reshape=False, order=1) > 0.5 for degrees in range(0, 360, 10)]
    return max(float((within & it).sum() / (within | it).sum()) for it in turned)


@pytest.mark.slow
@pytest.mark.parametrize("cue", ["shape", "texture"])
def test_a_cnn_learns_each_cue_alone(cue: str) -> None:
    """From 10,000 pictures at the default salience, on held-out outlines or fills, >= 95 %."""
    accuracy = _learn(cue, _small_cnn(), epochs=8)
    print(f"\nCNN, {cue} alone: {accuracy:.3f}")
    assert accuracy >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("cue", ["shape", "texture"])
def test_an_mlp_learns_something_of_each_cue_alone(cue: str) -> None:
    """The cues are harder for a network without locality, and not out of its reach."""
    accuracy = _learn(cue, _small_mlp(), epochs=20, rate=0.001)
    print(f"\nMLP, {cue} alone: {accuracy:.3f}")
    assert wilson(round(accuracy * 2000), 2000).low > 0.1


def _learn(cue: str, network: Any, epochs: int, rate: float = 0.004) -> float:
    """Test accuracy of a network trained on one cue with AdamW, one-cycle schedule, batch 128, no augmentation."""
    import torch
    from torch.nn.functional import cross_entropy

    config = ShapetexConfig(cue=cue)  # pyright: ignore[reportArgumentType]

    def pictures(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = draw(config, split, np.arange(size(config, split)))
        pixels = torch.from_numpy(drawn.images()).permute(0, 3, 1, 2).float().div(255).sub(0.5).mul(4)
        return pixels.contiguous(memory_format=torch.channels_last), torch.from_numpy(drawn.labels)

    x, y = pictures("train")
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * (len(x) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.2)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x), generator=order).split(128)[: len(x) // 128]:
            optimiser.zero_grad()
            cross_entropy(network(x[chosen]), y[chosen]).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    x, y = pictures("test")
    with torch.inference_mode():
        return float((network(x).argmax(1) == y).float().mean())


def _small_cnn() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    widths, strides = (3, 16, 32, 48, 64, 64, 96), (1, 2, 1, 2, 1, 2)
    blocks: list[nn.Module] = []
    for before, after, stride in zip(widths, widths[1:], strides, strict=False):
        blocks += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)]
    return nn.Sequential(*blocks, *head).to(memory_format=torch.channels_last)


def _small_mlp() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
