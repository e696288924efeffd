"""Every operation against torchvision's: the same parameters in, the same pixels out, within the levels stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import RandomErasing, v2
from torchvision.transforms.v2 import functional as tv

from priorscope.data.augment import Augment
from priorscope.data.augment.cpu import CpuRenderer
from priorscope.data.augment.program import Drawing
from priorscope.data.kernels import codes
from priorscope.data.split import ArrayPixels

COUNT, SIDE = 48, 32


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """Smooth pictures with noise on half of them: edges, flat parts and full-range levels."""
    g = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = g.uniform(-6, 6, (COUNT, 1, 1, 3, 2))
    smooth = 127.5 + 100 * np.sin(waves[..., 0] * x[None, :, :, None] + waves[..., 1] * y[None, :, :, None])
    smooth[COUNT // 2 :] += g.normal(0, 30, (COUNT - COUNT // 2, SIDE, SIDE, 3))
    return smooth.clip(0, 255).round().astype(np.uint8)


def ours(pictures: NDArray[np.uint8], **augment: Any) -> tuple[torch.Tensor, Any]:
    """(levels 0 to 255 as float NCHW, the program that was drawn)."""
    drawing = Drawing(Augment.parse(augment), seed=1, side=augment.get("size", SIDE))
    index = np.arange(len(pictures))
    out = np.empty((len(pictures), 3, drawing.side, drawing.side), np.float32)
    CpuRenderer(ArrayPixels(pictures), None, drawing).unmixed(0, index, out)
    sizes = np.tile(pictures.shape[1:3], (len(pictures), 1)).astype(np.int64)
    return torch.from_numpy(out * 255), drawing.program(0, index, sizes)


def tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def assert_levels(got: torch.Tensor, wanted: torch.Tensor, levels: float) -> None:
    worst = (got - wanted.float()).abs().max().item()
    assert worst <= levels + 1e-3, f"differs by {worst} grey levels"


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_flip_equals_torchvision(pictures: NDArray[np.uint8], axis: str) -> None:
    got, _ = ours(pictures, ops=[{"op": "flip", "p": 1, "axis": axis}])
    wanted = (tv.horizontal_flip if axis == "horizontal" else tv.vertical_flip)(tensor(pictures))
    assert_levels(got, wanted, 1e-4)


@pytest.mark.parametrize(("fill", "mode"), [((0.0, 0.0, 0.0), "constant"), ("edge", "edge"), ("reflect", "reflect")])
def test_pad_crop_equals_torchvision(pictures: NDArray[np.uint8], fill: Any, mode: str) -> None:
    got, program = ours(pictures, ops=["pad-crop"], fill=fill)
    padded = tv.pad(tensor(pictures), [4, 4], padding_mode=mode)
    for i in range(COUNT):
        left, top = int(program.warps[i, 2]) + 4, int(program.warps[i, 5]) + 4
        assert_levels(got[i], tv.crop(padded[i], top, left, SIDE, SIDE), 1e-4)


@pytest.mark.parametrize("size", [16, 32, 48])
def test_resized_crop_equals_torchvision_without_its_antialiasing(pictures: NDArray[np.uint8], size: int) -> None:
    """Bilinear takes two taps an axis, as in OpenCV; torchvision's default also smooths where it shrinks: that is `area`."""
    got, program = ours(pictures, ops=["resized-crop"], size=size)
    for i in range(COUNT):
        left, top, right, bottom = (int(v) for v in program.warps[i, 6:])
        wanted = tv.resized_crop(
            tensor(pictures)[i].float(), top, left, bottom - top, right - left, [size, size], antialias=False
        )
        assert_levels(got[i], wanted, 0.01)


def test_resized_crop_by_area_equals_adaptive_pooling_where_windows_divide(pictures: NDArray[np.uint8]) -> None:
    got, _ = ours(pictures, size=8, interpolation="area")
    assert_levels(got, torch.nn.functional.interpolate(tensor(pictures).float(), 8, mode="area"), 0.01)
    got, _ = ours(pictures, size=64, interpolation="area")
    assert_levels(got, tensor(pictures).repeat_interleave(2, 2).repeat_interleave(2, 3), 1e-3)


def test_centre_crop_equals_torchvision(pictures: NDArray[np.uint8]) -> None:
    got, _ = ours(pictures, ops=[{"op": "centre-crop", "share": 0.75}], size=24)
    assert_levels(got, tv.center_crop(tensor(pictures), [24, 24]), 1e-4)


@pytest.mark.parametrize("degrees", [17.0, -40.0, 90.0, 133.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_rotation_equals_torchvision(pictures: NDArray[np.uint8], degrees: float, interpolation: str) -> None:
    got, _ = ours(pictures, ops=[{"op": "rotate", "degrees": [degrees, degrees]}], interpolation=interpolation)
    mode = v2.InterpolationMode(interpolation)
    wanted = tv.rotate(tensor(pictures).float(), degrees, mode)
    differs = ((got - wanted).abs() > 0.1).float().mean().item()
    # Nearest: a pixel whose source lies within 1e-5 of the border of two goes either way, torchvision reckoning in float32.
    assert differs <= (0.002 if interpolation == "nearest" and degrees != 90 else 0.0)


def test_affine_equals_torchvision(pictures: NDArray[np.uint8]) -> None:
    values = {"degrees": 11.0, "scale": 1.15, "shear": -9.0}
    got, _ = ours(pictures, ops=[{"op": "affine", **{name: [v, v] for name, v in values.items()}}])
    wanted = tv.affine(
        tensor(pictures).float(),
        angle=11.0,
        translate=[0, 0],
        scale=1.15,
        shear=[-9.0, 0.0],
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    assert_levels(got, wanted, 0.1)


def test_affine_shifts_by_what_was_drawn(pictures: NDArray[np.uint8]) -> None:
    got, program = ours(pictures, ops=[{"op": "affine", "translate": [0.2, 0.2]}])
    shifts = -program.warps[:, [2, 5]]
    assert np.abs(shifts).max() == 6  # 0.2 x 32, rounded
    for i in range(COUNT):
        dx, dy = (int(v) for v in shifts[i])
        wanted = tv.affine(tensor(pictures)[i].float(), 0.0, [dx, dy], 1.0, [0.0, 0.0])
        assert_levels(got[i], wanted, 1e-3)


COLOURS = [
    ({"op": "grayscale", "p": 1}, lambda x: tv.rgb_to_grayscale(x, 3), 1),
    ({"op": "equalize", "p": 1}, tv.equalize, 0.01),
    ({"op": "autocontrast", "p": 1}, tv.autocontrast, 1),
    ({"op": "sharpness", "p": 1, "factor": 2}, lambda x: tv.adjust_sharpness(x, 2), 1),
    ({"op": "sharpness", "p": 1, "factor": 0.3}, lambda x: tv.adjust_sharpness(x, 0.3), 1),
    ({"op": "posterize", "p": 1, "bits": 3}, lambda x: tv.posterize(x, 3), 0.01),
    ({"op": "solarize", "p": 1, "threshold": 128 / 255}, lambda x: tv.solarize(x, 128), 0.01),
    ({"op": "invert", "p": 1}, tv.invert, 0.01),
]


@pytest.mark.parametrize(("op", "theirs", "levels"), COLOURS, ids=lambda value: value["op"] if isinstance(value, dict) else "")
def test_colour_equals_torchvision(pictures: NDArray[np.uint8], op: dict[str, Any], theirs: Any, levels: float) -> None:
    got, _ = ours(pictures, ops=[op])
    assert_levels(got, theirs(tensor(pictures)), levels)


JITTERS = {
    "brightness": (codes.BRIGHTNESS, tv.adjust_brightness, 1),
    "contrast": (codes.CONTRAST, tv.adjust_contrast, 2),
    "saturation": (codes.SATURATION, tv.adjust_saturation, 2),
    "hue": (codes.HUE, tv.adjust_hue, 2),
}


@pytest.mark.parametrize("kind", JITTERS)
def test_jitter_equals_torchvision(pictures: NDArray[np.uint8], kind: str) -> None:
    """torchvision cuts off where we round: one level, and one more where its grey is cut off first."""
    code, theirs, levels = JITTERS[kind]
    got, program = ours(pictures, ops=[{"op": "jitter", kind: 0.45}])
    assert (program.colours[:, 0, 0] == code).all()
    assert np.ptp(program.colours[:, 0, 1]) > 0.7
    for i in range(COUNT):
        assert_levels(got[i], theirs(tensor(pictures)[i], float(program.colours[i, 0, 1])), levels)


def test_a_chain_of_colours_equals_torchvision(pictures: NDArray[np.uint8]) -> None:
    """The one-table shortcut against five operations one after the other; all are exact on bytes."""
    ops = [{"op": name, "p": 1} for name in ("equalize", "solarize", "posterize", "equalize", "invert")]
    got, _ = ours(pictures, ops=ops)
    wanted = tv.invert(tv.equalize(tv.posterize(tv.solarize(tv.equalize(tensor(pictures)), 127.5), 4)))
    assert_levels(got, wanted, 0.01)


def test_erasing_draws_the_rectangles_that_torchvision_would(pictures: NDArray[np.uint8]) -> None:
    got, program = ours(pictures, ops=[{"op": "erase", "p": 1, "fill": [1, 0, 0]}])
    for i in range(COUNT):
        left, top, right, bottom = (int(v) for v in program.boxes[i, 0, :4])
        fill = torch.tensor([255.0, 0, 0])[:, None, None]
        wanted = tv.erase(tensor(pictures)[i].float(), top, left, bottom - top, right - left, fill)
        assert_levels(got[i], wanted, 1e-3)
        area = (right - left) * (bottom - top) / SIDE**2
        assert 0.02 - 0.01 <= area <= 0.33 + 0.03  # the scale, with whole pixels


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_erasing_takes_its_ratio_as_torchvision_does(pictures: NDArray[np.uint8], ratio: float) -> None:
    """Height to width: a tenth of 32 x 32 at a ratio of 4 is 20 high and 5 wide."""
    _, program = ours(pictures, ops=[{"op": "erase", "p": 1, "scale": [0.1, 0.1], "ratio": [ratio, ratio]}])
    _, _, height, width, _ = RandomErasing.get_params(tensor(pictures)[0], (0.1, 0.1), (ratio, ratio), [0.0])
    boxes = program.boxes[:, 0]
    assert set(boxes[:, 3] - boxes[:, 1]) == {height}
    assert set(boxes[:, 2] - boxes[:, 0]) == {width}


def test_erasing_never_takes_the_whole_height_as_torchvision_does_not(pictures: NDArray[np.uint8]) -> None:
    """Of rectangles 30 to 34 pixels high those of 32 and more are drawn again."""
    asked = {"scale": (0.3, 0.33), "ratio": (2.9, 3.4)}
    _, program = ours(pictures, ops=[{"op": "erase", "p": 1, **asked}])
    theirs = {RandomErasing.get_params(tensor(pictures)[0], *asked.values(), [0.0])[2] for _ in range(200)} - {SIDE}
    heights = program.boxes[:, 0, 3] - program.boxes[:, 0, 1]
    assert set(heights[heights > 0]) == theirs == {30, 31}


def _their_space(kind: str) -> dict[str, tuple[Any, bool]]:
    return (v2.RandAugment if kind == "randaugment" else v2.TrivialAugmentWide)()._AUGMENTATION_SPACE


@pytest.mark.parametrize("kind", ["randaugment", "trivialaugment"])
def test_random_menus_hold_torchvisions_operations(kind: str) -> None:
    """As many choices, and the same range of magnitudes, for each operation of torchvision's own table."""
    op: dict[str, Any] = {"op": kind, "n": 1, "magnitude": 30} if kind == "randaugment" else {"op": kind}
    drawing = Drawing(Augment.parse({"ops": [op]}), seed=0, side=SIDE)
    rows = drawing.plan.table[1:]
    space = _their_space(kind)
    assert len(rows) == len(space)
    names = {
        "ShearX": codes.SHEAR_X,
        "Rotate": codes.ROTATE,
        "Contrast": codes.CONTRAST,
        "Sharpness": codes.SHARPNESS,
        "Posterize": codes.POSTERIZE,
        "Solarize": codes.SOLARIZE,
    }
    for name, code in names.items():
        row = rows[rows[:, 0] == code][0]
        values, signed = space[name]
        magnitudes = values(31, SIDE, SIDE)
        unit = 255 if name == "Solarize" else 1
        assert row[4] == pytest.approx(unit * float(magnitudes[-1]), abs=0.01), name
        assert bool(row[5]) == signed, name
        if kind == "trivialaugment":
            assert row[3] == pytest.approx(unit * float(magnitudes[0]), abs=0.01), name


@pytest.mark.parametrize(("code", "name"), [(codes.SHEAR_X, "ShearX"), (codes.SHEAR_Y, "ShearY")])
def test_shear_of_the_menus_equals_torchvision(pictures: NDArray[np.uint8], code: int, name: str) -> None:
    op = {"op": "trivialaugment"}
    drawing = Drawing(Augment.parse({"ops": [op]}), seed=0, side=SIDE)
    index = np.arange(4000)
    program = drawing.program(0, index, np.full((4000, 2), SIDE))
    off = program.warps[:, 1] if code == codes.SHEAR_X else program.warps[:, 3]
    on = (off != 0) & (program.warps[:, 0] == 1) & (program.warps[:, 4] == 1)
    magnitude = float(off[on][0])
    theirs = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)
    x = tensor(pictures).float()
    wanted = theirs._apply_image_or_video_transform(x, name, magnitude, v2.InterpolationMode.BILINEAR, theirs._fill)
    from priorscope.data.kernels.warp import render

    out = np.empty((COUNT, 3, SIDE, SIDE), np.float32)
    offsets = np.arange(COUNT) * SIDE * SIDE * 3
    warps = np.tile(program.warps[on][0], (COUNT, 1))
    render(pictures.reshape(-1), offsets, np.full((COUNT, 2), SIDE), warps, 0, 0, np.zeros(3, np.float32), out)
    assert_levels(torch.from_numpy(out * 255), wanted, 0.1)
