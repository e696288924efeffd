from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from priorscope.core.errors import RequestError
from priorscope.data.augment import PRESETS, Augment, augment_config
from priorscope.data.augment.cpu import CpuRenderer
from priorscope.data.augment.device import carried_out, mixed
from priorscope.data.augment.program import BatchPart, Drawing, Program
from priorscope.data.augment.sheet import NAME_WIDTH, operations, operations_table, sheet
from priorscope.data.kernels import codes
from priorscope.data.split import ArrayPixels, Split

MANY = 20_000


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """Noise and smooth pictures, of which equalize, autocontrast and solarize make something."""
    g = np.random.default_rng(0)
    y, x = np.mgrid[:24, :24] / 24
    smooth = 127 + 100 * np.sin(g.uniform(2, 9, (60, 1, 1, 3)) * x[..., None] + g.uniform(2, 9, (60, 1, 1, 3)) * y[..., None])
    return np.concatenate([smooth, g.integers(0, 256, (60, 24, 24, 3))]).astype(np.uint8)


def rendered(pictures: NDArray[np.uint8], augment: Any, epoch: int = 0, seed: int = 3) -> NDArray[np.float32]:
    side = pictures.shape[1]
    config = augment_config(augment)
    drawing = Drawing(config, seed, config.size or side)
    out = np.empty((len(pictures), 3, drawing.side, drawing.side), np.float32)
    index = np.arange(len(pictures))
    partners = index ^ 1 if drawing.plan.mixes else None
    CpuRenderer(ArrayPixels(pictures), None, drawing).render(BatchPart(epoch, 0, index, partners), out)
    return out


def drawn(augment: Any, count: int = MANY, side: int = 32, seed: int = 0) -> Program:
    drawing = Drawing(augment_config(augment), seed, side)
    return drawing.program(0, np.arange(count), np.full((count, 2), side))


def test_presets_are_plain_data_and_come_back_from_toml_equal() -> None:
    for name, preset in PRESETS.items():
        assert augment_config(tomllib.loads(preset.toml())) == preset, name
        assert augment_config(name) is preset
    assert augment_config(None) == augment_config("none") == Augment()


def test_only_what_draws_other_numbers_than_before_has_another_version() -> None:
    version = {name: augment_config(preset).version for name, preset in PRESETS.items()}
    assert set(version.values()) == {1}
    for ops in (["flip", "erase"], [{"op": "choose", "k": 1, "ops": ["erase"]}]):
        assert augment_config({"ops": ops}).version == 3


def test_configs_need_neither_torch_nor_numba() -> None:
    code = "import sys, priorscope.data.augment; print([m for m in ('torch', 'numba', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("augment", "text"),
    [
        ("flop", "'flop' is not a preset of augmentation."),
        ({"ops": ["flop"]}, "'flop' is not a picture operation."),
        ({"ops": [{"op": "resized-crop", "scal": [0.1, 1]}]}, "scale = ... (did you mean that?)"),
        ({"ops": [{"op": "resized-crop", "scale": [0.5, 0.2]}]}, "scale: two numbers, 1e-06 <= low <= high <= 1"),
        ({"ops": [{"op": "flip", "p": 1.5}]}, "p = 1.5 was refused in augmentation 'flip'"),
        ({"ops": [{"op": "choose", "k": [3, 2], "ops": ["flip"]}]}, "k: a number of operations, or two, low <= high"),
        ({"ops": [{"op": "choose", "ops": ["mixup"]}]}, "was refused in augmentation 'choose'"),
        ({"ops": ["permute", "permute"]}, "at most one permute"),
        ({"ops": [{"op": "permute", "p": 0.5}]}, "p: 1, since the order is the same for every picture"),
        ({"filling": "edge"}, "fill = ... (did you mean that?)"),
    ],
)
def test_wrong_augmentations_are_refused(augment: Any, text: str) -> None:
    with pytest.raises(RequestError) as refused:
        augment_config(augment)
    assert text in str(refused.value)


def test_a_flip_happens_as_often_as_it_says() -> None:
    for p in (0.2, 0.5):
        flipped = drawn({"ops": [{"op": "flip", "p": p}]}).warps[:, 0] == -1
        assert flipped.mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / MANY))


def test_pad_crop_shifts_uniformly_and_in_each_direction_alone() -> None:
    warps = drawn({"ops": ["pad-crop"]}).warps
    counts = np.zeros((9, 9))
    np.add.at(counts, (warps[:, 2].astype(int) + 4, warps[:, 5].astype(int) + 4), 1)
    expected = MANY / 81
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 138  # the 99.99 % point of chi-square with 80 degrees of freedom


def test_resized_crop_draws_areas_and_ratios_as_stated() -> None:
    """Where a window always fits (small areas), the area is uniform and the logarithm of the ratio too."""
    warps = drawn({"ops": [{"op": "resized-crop", "scale": [0.1, 0.5]}]}, side=512).warps
    width, height = warps[:, 8] - warps[:, 6], warps[:, 9] - warps[:, 7]
    area, ratio = width * height / 512**2, np.log(width / height)
    assert area.mean() == pytest.approx(0.3, abs=0.005)
    assert area.std() == pytest.approx(0.4 / np.sqrt(12), abs=0.005)
    assert ratio.std() == pytest.approx(2 * np.log(4 / 3) / np.sqrt(12), abs=0.005)
    assert abs(np.corrcoef(area, ratio)[0, 1]) < 0.03
    left = warps[:, 6] / (512 - width)
    assert left.mean() == pytest.approx(0.5, abs=0.01)
    assert left.std() == pytest.approx(1 / np.sqrt(12), abs=0.01)


def test_a_window_that_never_fits_falls_back_to_the_centre() -> None:
    warps = drawn({"ops": [{"op": "resized-crop", "scale": [1, 1], "ratio": [3, 3]}]}, count=10).warps
    assert np.array_equal(warps[:, 6:], np.tile([0, 10, 32, 21], (10, 1)))  # 32 / 3, rounded, is 11 rows


def test_choose_draws_k_and_its_operations_uniformly() -> None:
    menu = {"op": "choose", "k": [1, 4], "ops": [{"op": name, "p": 1} for name in ("invert", "grayscale", "equalize")]}
    colours = drawn({"ops": [menu]}).colours[:, :, 0]
    lengths = np.bincount((colours > 0).sum(1), minlength=5)
    assert lengths[0] == 0
    assert np.abs(lengths[1:] / MANY - 0.25).max() < 0.015
    shares = (
        np.array([(colours == code).sum() for code in (codes.INVERT, codes.SATURATION, codes.EQUALIZE)]) / (colours > 0).sum()
    )
    assert np.abs(shares - 1 / 3).max() < 0.015


def test_jitter_draws_its_order() -> None:
    colours = drawn({"ops": [{"op": "jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}]}).colours
    orders, counts = np.unique(colours[:, :, 0], axis=0, return_counts=True)
    assert len(orders) == 24
    assert np.abs(counts / MANY - 1 / 24).max() < 0.008
    hue = colours[..., 1][colours[..., 0] == codes.HUE]
    assert (np.abs(hue) <= 0.1).all()
    assert hue.std() == pytest.approx(0.2 / np.sqrt(12), abs=0.002)


def test_operations_that_follow_do_not_move_the_draws_of_those_before() -> None:
    one = drawn({"ops": ["resized-crop", "flip"]}, count=100)
    two = drawn({"ops": ["resized-crop", "flip", "randaugment", "erase"]}, count=100)
    three = drawn({"ops": ["resized-crop", "flip", "jitter", "cutout"]}, count=100)
    assert np.array_equal(one.warps, three.warps)
    same = (two.warps[:, 1] == 0) & (two.warps[:, 3] == 0) & (two.warps[:, 0] == one.warps[:, 0])
    assert same.sum() > 20


def test_epochs_seeds_and_pictures_draw_apart(pictures: NDArray[np.uint8]) -> None:
    same = np.repeat(pictures[:1], 50, 0)
    first = rendered(same, "rrc")
    assert len(np.unique(first.reshape(50, -1), axis=0)) > 45
    assert not np.array_equal(first, rendered(same, "rrc", epoch=1))
    assert not np.array_equal(first, rendered(same, "rrc", seed=4))
    assert np.array_equal(first, rendered(same, "rrc"))


def test_geometric_operations_are_one_warp(pictures: NDArray[np.uint8]) -> None:
    """Turning by 90 degrees four times, and mirroring twice, lose nothing: nothing was sampled in between."""
    quarter = {"op": "rotate", "degrees": [90, 90]}
    untouched = rendered(pictures, "none")
    assert np.abs(rendered(pictures, {"ops": [quarter] * 4}) - untouched).max() < 1e-5
    assert np.array_equal(rendered(pictures, {"ops": [{"op": "flip", "p": 1}] * 2}), untouched)
    once = rendered(pictures, {"ops": [quarter]})
    assert np.abs(once - np.rot90(untouched, 1, (2, 3))).max() < 1e-5


def test_order_among_geometric_operations_holds(pictures: NDArray[np.uint8]) -> None:
    quarter, flip = {"op": "rotate", "degrees": [90, 90]}, {"op": "flip", "p": 1}
    untouched = rendered(pictures, "none")
    one = rendered(pictures, {"ops": [quarter, flip]})
    two = rendered(pictures, {"ops": [flip, quarter]})
    assert np.abs(one - np.rot90(untouched, 1, (2, 3))[..., ::-1]).max() < 1e-5
    assert np.abs(two - np.rot90(untouched[..., ::-1], 1, (2, 3))).max() < 1e-5


def test_values_stay_within_0_and_1(pictures: NDArray[np.uint8]) -> None:
    white = np.full((300, 24, 24, 3), 255, np.uint8)
    for name, of in (
        ("randaugment", pictures),
        ("perceiver-crop", pictures),
        ("rrc", white),
        ("rrc-area", white),
        ("mixup", white),
    ):
        out = rendered(of, name)
        assert out.min() >= 0
        assert out.max() <= 1


def test_cutout_fills_a_square_that_may_stick_out() -> None:
    white = np.full((4000, 24, 24, 3), 255, np.uint8)
    out = rendered(white, {"ops": [{"op": "cutout", "size": 8, "fill": [0, 0.5, 1]}]})
    hole = (out[:, 0] == 0).sum((1, 2))
    assert hole.max() == 64
    assert hole.min() == 16  # a corner: a centre at (0, 0) leaves a quarter inside
    assert np.array_equal(np.unique(out[:, 1]), np.float32([0.5, 1]))
    assert (out[:, 2] == 1).all()


def test_noise_fills_uniformly_and_differently_each_time() -> None:
    grey = np.full((200, 24, 24, 3), 128, np.uint8)
    out = rendered(grey, {"ops": [{"op": "erase", "p": 1, "scale": [0.2, 0.3], "fill": "noise"}]})
    noise = out[np.abs(out - 128 / 255) > 1e-6]
    assert noise.mean() == pytest.approx(0.5, abs=0.005)
    assert noise.std() == pytest.approx(1 / np.sqrt(12), abs=0.005)
    assert len(np.unique(noise)) > 0.99 * len(noise)


def test_permutation_is_fixed_and_after_everything_else(pictures: NDArray[np.uint8]) -> None:
    permuted = rendered(pictures, {"ops": ["permute", "flip", "jitter", "cutmix"]}).reshape(len(pictures), 3, -1)
    order = Drawing(augment_config({"ops": ["permute"]}), 99, 24).order
    assert sorted(order.tolist()) == list(range(24 * 24))
    assert not np.array_equal(order, np.arange(24 * 24))
    # An operation that never happens holds the permutation's place in the list.
    shifted = rendered(pictures, {"ops": [{"op": "flip", "p": 0}, "flip", "jitter", "cutmix"]})
    assert np.array_equal(permuted, shifted.reshape(len(pictures), 3, -1)[:, :, order])


@pytest.mark.parametrize(("alpha", "std"), [(1.0, np.sqrt(1 / 12)), (0.2, np.sqrt(1 / (4 * 1.4))), (4.0, np.sqrt(1 / (4 * 9)))])
def test_lambda_is_beta_distributed(alpha: float, std: float) -> None:
    """The variance of Beta(a, a) is 1 / (4 (2 a + 1))."""
    drawing = Drawing(augment_config({"ops": [{"op": "mixup", "alpha": alpha}]}), 0, 8)
    index = np.arange(MANY)
    share = drawing.mixes(BatchPart(0, 0, index, index ^ 1))[:, 0]
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert share.std() == pytest.approx(std, rel=0.02)


def test_the_first_mixing_that_strikes_is_the_only_one() -> None:
    drawing = Drawing(augment_config({"ops": [{"op": "mixup", "p": 0.3, "alpha": 1}, {"op": "cutmix", "p": 0.5}]}), 0, 8)
    index = np.arange(MANY)
    mixes = drawing.mixes(BatchPart(0, 0, index, index ^ 1))
    pasted = mixes[:, 3] > mixes[:, 1]
    blended = (mixes[:, 0] < 1) & ~pasted & (mixes[:, 0] > 0)
    assert blended.mean() == pytest.approx(0.3, abs=0.02)
    assert 0.25 < pasted.mean() <= 0.35


DEVICE_AUGMENTS: dict[str, Any] = {
    **PRESETS,
    "erase": {"ops": ["resized-crop", {"op": "erase", "fill": "noise"}, {"op": "cutout", "fill": [1, 0, 0.5]}]},
    "edge": {"ops": [{"op": "choose", "k": 3, "ops": ["affine", "pad-crop", "rotate", "resized-crop"]}], "fill": "edge"},
    "reflect": {"ops": [{"op": "affine", "degrees": [-90, 90], "scale": [0.4, 2]}, "pad-crop"], "fill": "reflect"},
    "area": {"ops": ["resized-crop", "rotate"], "interpolation": "area", "size": 9},
    "nearest": {"ops": ["flip", "pad-crop"], "interpolation": "nearest"},
    "grown": {"ops": ["flip"], "size": 40, "interpolation": "area"},
    "all": {"ops": ["resized-crop", "grayscale", "posterize", "solarize", "invert", "sharpness", "mixup", "permute"]},
}


@pytest.mark.parametrize("name", DEVICE_AUGMENTS)
def test_a_device_renders_what_the_threads_do(pictures: NDArray[np.uint8], name: str) -> None:
    """Within 1 level; where rounding falls the other way, operations with steps (equalize, solarize) may make more of it."""
    config = augment_config(DEVICE_AUGMENTS[name])
    drawing = Drawing(config, 3, config.size or 24)
    index = np.arange(len(pictures))
    program = drawing.program(0, index, np.full((len(index), 2), 24))
    images = carried_out(torch.from_numpy(pictures), program, drawing, index)
    part = BatchPart(0, 0, index, index ^ 1 if drawing.plan.mixes else None)
    got = mixed(images, index ^ 1, drawing.mixes(part) if part.partners is not None else None, drawing.order)
    differs = np.abs(got.numpy() - rendered(pictures, config)) * 255
    assert (differs > 1.01).mean() < 1e-3
    if not drawing.plan.colours:
        assert differs.max() < 0.01


def test_the_page_lists_every_operation_as_it_is() -> None:
    """`python scripts/augmentation_page.py` writes the table anew."""
    page = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text(encoding="utf-8")
    assert operations_table() in page
    for preset in PRESETS:
        assert f"`{preset}`" in page, preset


def test_a_sheet_shows_every_augmentation_with_the_picture_it_began_with() -> None:
    array = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    split = Split("test", "train", ArrayPixels(array), np.arange(8) % 2, ("a", "b"))
    page = np.asarray(sheet(split, {"none": PRESETS["none"], "inverted": operations()["invert"]}, wide=2))
    assert page.shape == (2 * 18, NAME_WIDTH + 3 * 18, 3)
    cells = [[page[r * 18 : r * 18 + 16, NAME_WIDTH + c * 18 : NAME_WIDTH + c * 18 + 16] for c in range(3)] for r in range(2)]
    assert all(np.array_equal(cell, array[0]) for cell in cells[0])
    assert np.array_equal(cells[1][0], array[2])
    assert all(np.array_equal(cell, 255 - array[2]) for cell in cells[1][1:])
