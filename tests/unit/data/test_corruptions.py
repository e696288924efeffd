"""Corruptions: what each does by definition, how strong it is, and what it is a function of."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.data.corruptions import EXTRA, KINDS, MAIN, blur, corrupt, corrupted, digital, fields, group_of, noise, weather
from priorscope.data.corruptions.liquid import canny, equalised
from priorscope.data.loader import Loader
from priorscope.data.split import ArrayPixels, Split

MODULES = (noise, blur, weather, digital)


def pictures(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Smooth colourful pictures with some structure at every scale."""
    rng = np.random.default_rng(seed)
    fields_ = sum(
        np.kron(rng.normal(size=(n, side // cell, side // cell, 3)), np.ones((1, cell, cell, 1))) for cell in (16, 4, 2)
    )
    low, high = fields_.min(), fields_.max()
    return ((fields_ - low) / (high - low) * 255).astype(np.uint8)


SMALL, LARGE = pictures(12, 32), pictures(1, 96)


def of(kind: str, severity: int, which: np.ndarray = SMALL, seed: int = 0) -> np.ndarray:
    return corrupt(which, kind, severity, seed=seed, index=np.arange(len(which)))


def psnr(kind: str, severity: int, which: np.ndarray) -> float:
    return float(-10 * np.log10(((of(kind, severity, which) - which.astype(np.float64)) ** 2).mean() / 255**2))


def truncated(x: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(x, 0, 1) * 255 + 1e-6).astype(np.uint8)


def test_there_are_nineteen_kinds_fifteen_of_which_count() -> None:
    assert len(KINDS) == len(set(KINDS)) == 19
    assert sum(len(group) for group in MAIN.values()) == 15
    assert set(KINDS) == {kind for module in MODULES for kind in module.CONSTANTS}
    assert [group_of(kind) for kind in ("fog", "pixelate", "spatter")] == ["weather", "digital", "extra"]
    assert EXTRA == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    for module in MODULES:
        assert all(len(table) == 2 and all(len(sizes) == 5 for sizes in table) for table in module.CONSTANTS.values())


@pytest.mark.parametrize("which", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("kind", KINDS)
def test_keeps_shape_and_type_and_does_something(kind: str, which: np.ndarray) -> None:
    before = which.copy()
    after = of(kind, 4, which)
    assert after.shape == which.shape
    assert after.dtype == np.uint8
    assert not np.array_equal(after, which)
    np.testing.assert_array_equal(which, before)


RISING = (*MAIN["noise"], "defocus_blur", "fog", "brightness", "contrast", "jpeg_compression", "speckle_noise", "gaussian_blur")


@pytest.mark.parametrize("which", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("kind", RISING)
def test_every_severity_is_farther_from_the_picture(kind: str, which: np.ndarray) -> None:
    """Where one published constant rises with severity; the others mix several, or depend on how boxes and pixels align."""
    values = [psnr(kind, severity, which) for severity in (1, 2, 3, 4, 5)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[4] + 1


@pytest.mark.parametrize("kind", ["glass_blur", "motion_blur", "zoom_blur", "snow", "frost", "spatter", "pixelate"])
def test_the_last_severity_is_farther_than_the_first(kind: str) -> None:
    assert psnr(kind, 5, SMALL) < psnr(kind, 1, SMALL)


FIXED = ("defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "saturate", "pixelate", "jpeg_compression")
"""What draws nothing."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_depends_on_seed_and_index_alone(kind: str) -> None:
    together = of(kind, 3)
    for i in (0, 7):
        alone = corrupt(SMALL[i : i + 1], kind, 3, index=[i])[0]
        np.testing.assert_array_equal(alone, together[i])
    drawn = not np.array_equal(of(kind, 3, seed=1), together)
    assert drawn == (kind not in FIXED)


def test_noise_is_its_formula() -> None:
    x = SMALL / 255
    own = [stream(0, "corruption", "gaussian_noise", i).standard_normal((32, 32, 3)) for i in range(12)]
    np.testing.assert_array_equal(of("gaussian_noise", 3), truncated(x + 0.08 * np.stack(own)))
    own = [stream(0, "corruption", "speckle_noise", i).standard_normal((32, 32, 3)) for i in range(12)]
    np.testing.assert_array_equal(of("speckle_noise", 5), truncated(x + 0.2 * x * np.stack(own)))


def test_noise_has_the_moments_of_its_definition() -> None:
    grey = np.full((8, 96, 96, 3), 128, np.uint8)
    mean = 128 / 255
    photons = of("shot_noise", 5, grey)
    expected = [math.exp(-3 * mean) * (3 * mean) ** k / math.factorial(k) for k in range(3)]
    for k, chance in enumerate(expected):  # of 0, 1 and 2 photons; 3 and more are white
        assert (photons == 85 * k).mean() == pytest.approx(chance, abs=0.005)
    assert (photons == 255).mean() == pytest.approx(1 - sum(expected), abs=0.005)
    hit = of("impulse_noise", 5, grey)
    assert (hit != 128).mean() == pytest.approx(0.27, abs=0.005)
    assert (hit == 255).sum() / (hit != 128).sum() == pytest.approx(0.5, abs=0.02)
    assert (of("gaussian_noise", 1, grey) / 255).std() == pytest.approx(0.08, rel=0.02)


def test_brightness_contrast_and_saturation_are_their_formulas() -> None:
    x = SMALL / 255
    value = x.max(3, keepdims=True)
    np.testing.assert_array_equal(
        of("brightness", 5), truncated(np.where(value > 0, x / np.maximum(value, 1e-9), 1) * np.minimum(value + 0.3, 1))
    )
    mean = x.mean((1, 2), keepdims=True)
    np.testing.assert_array_equal(of("contrast", 4), truncated((x - mean) * 0.3 + mean))
    grey = of("saturate", 2) / 255
    assert np.abs(grey.max(3) - value[..., 0]).max() <= 1 / 255  # the value stays
    spread = (x.max(3) - x.min(3)) * 0.1
    assert np.abs((grey.max(3) - grey.min(3)) - spread).max() <= 1.01 / 255


def test_what_is_added_to_the_saturation_of_grey_is_red() -> None:
    grey = np.full((1, 8, 8, 3), 200, np.uint8)
    assert of("saturate", 5, grey)[0, 0, 0].tolist() == [200, 160, 160]


def test_jpeg_is_the_codec_and_pixelate_its_boxes() -> None:
    for severity, quality in ((1, 80), (5, 40)):
        file = io.BytesIO()
        Image.fromarray(SMALL[0]).save(file, "JPEG", quality=quality)
        np.testing.assert_array_equal(of("jpeg_compression", severity)[0], np.asarray(Image.open(file)))
    blocks = pictures(1, 96)
    small = blocks.reshape(1, 24, 4, 24, 4, 3).mean((2, 4))  # severity 5: a quarter of 96 is 24
    np.testing.assert_allclose(of("pixelate", 5, blocks)[:, ::4, ::4], small, atol=1.01)  # the codec rounds twice
    assert len(np.unique(of("pixelate", 5, blocks)[0, :4, :4].reshape(-1, 3), axis=0)) == 1


def test_blurs_leave_a_flat_picture_and_spread_a_point() -> None:
    flat = np.full((1, 32, 32, 3), 90, np.uint8)
    for kind in (*MAIN["blur"], "gaussian_blur"):
        np.testing.assert_array_equal(of(kind, 5, flat), flat)
    point = np.zeros((1, 32, 32, 3), np.uint8)
    point[0, 16, 16] = 255
    assert of("defocus_blur", 5, point)[0, 15:18, 15:18, 0].tolist() == [[28] * 3] * 3  # radius 1.5: 255 / 9, cut off
    sigma = 1.0
    tap = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
    expected = truncated(np.outer(tap, tap) / tap.sum() ** 2)
    np.testing.assert_array_equal(of("gaussian_blur", 5, point)[0, 12:21, 12:21, 0], expected)


def test_motion_is_half_a_gaussian_along_the_angle() -> None:
    point = np.zeros((1, 32, 32, 1), np.uint8)
    point[0, 16, 16] = 255
    kernel = np.exp(-0.5 * (np.arange(7) / 2) ** 2)
    expected = np.floor(255 * kernel / kernel.sum() + 0.5)
    across = fields.smeared(point, 3, 2, np.array([0.0]))[0, 16, 10:17, 0]
    np.testing.assert_array_equal(across, expected[::-1])
    down = fields.smeared(point, 3, 2, np.array([90.0]))[0, 10:17, 16, 0]
    np.testing.assert_array_equal(down, expected[::-1])


def test_zoom_is_scipys() -> None:
    from scipy import ndimage

    x = SMALL[0] / 255
    side, factor = 32, 1.17
    inner = int(np.ceil(side / factor))
    first = (side - inner) // 2
    whole = ndimage.zoom(x[first : first + inner, first : first + inner], (factor, factor, 1), order=1)
    trim = (len(whole) - side) // 2
    np.testing.assert_allclose(fields.zoomed(x[None], factor)[0], whole[trim : trim + side, trim : trim + side], atol=1e-12)


def test_clouds_reach_from_0_to_1_and_get_rougher_as_they_decay_less() -> None:
    def clouds(decay: float) -> np.ndarray:
        return fields.plasma([stream(0, i) for i in range(20)], 32, decay)

    assert clouds(2.0).shape == (20, 32, 32)
    assert clouds(2.0).min((1, 2)).tolist() == [0.0] * 20
    assert clouds(2.0).max((1, 2)).tolist() == [1.0] * 20

    def rough(decay: float) -> float:
        field = clouds(decay)
        return float(np.abs(np.diff(field, axis=1)).mean() / field.std())

    assert rough(3.0) < rough(2.0) < rough(1.5)


def test_fog_keeps_the_brightest_value() -> None:
    white = np.full((2, 32, 32, 3), 255, np.uint8)
    after = of("fog", 5, white)
    assert after.max() == 255  # where the cloud is densest
    assert after.min() == int(255 / 2.5)  # where it is not: 1 / (1 + 1.5)


def test_an_elastic_map_without_displacement_is_affine() -> None:
    """Severity 1 of small pictures moves three corners and nothing else: a linear ramp stays linear inside."""
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None, None] * 4 + 60, (1, 32, 32, 3)).copy()
    moved = of("elastic_transform", 1, ramp)[0, 8:24, 8:24, 0].astype(int)
    assert np.abs(np.diff(moved, 2, axis=0)).max() <= 1
    assert np.abs(np.diff(moved, 2, axis=1)).max() <= 1


def test_an_elastic_map_displaces_every_pixel_by_smoothed_noise() -> None:
    """With its corners still: against SciPy's interpolation of the same draws."""
    side, strength, sigma = 16, 0.4, 0.08
    pictures = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)

    def draws() -> list[np.random.Generator]:
        return [np.random.default_rng(seed) for seed in (3, 4)]

    moved = digital.elastic_transform(pictures, (strength, sigma, 0.0), draws())
    streams = draws()
    fields.uniform(streams, (3, 2))
    shifts = 2 * fields.uniform(streams, (2, side, side)) - 1
    for picture, (across, down), after in zip(pictures, shifts, moved, strict=True):
        at = np.mgrid[:side, :side].astype(float)
        for axis, field in enumerate((down, across)):
            at[axis] += strength * side * ndimage.gaussian_filter(field, sigma * side, mode="reflect", truncate=3.0)
        wanted = [ndimage.map_coordinates(picture[..., c].astype(float), at, order=1, mode="reflect") for c in range(3)]
        assert np.abs(np.stack(wanted, -1) - after).max() <= 1
    assert np.abs(moved.astype(int) - pictures).mean() > 10


def test_edges_are_found_where_they_are_and_equalising_flattens() -> None:
    square = np.zeros((16, 16), np.uint8)
    square[4:12, 4:12] = 200
    edges = canny(square)
    assert edges[3:13, 3:13].sum() == edges.sum() > 20
    assert not edges[6:10, 6:10].any()
    assert not canny(np.full((8, 8), 77, np.uint8)).any()
    assert equalised(np.array([[10, 10], [20, 30]], np.uint8)).tolist() == [[0, 0], [128, 255]]
    assert equalised(np.full((2, 2), 9, np.uint8)).tolist() == [[9, 9], [9, 9]]


LABELS = np.arange(12, dtype=np.int64) % 3
SPLIT = Split("made", "test", ArrayPixels(SMALL), LABELS, ("a", "b", "c"))


def test_a_corrupted_split_is_a_split_with_a_fingerprint_of_its_own() -> None:
    fog, again, harder = (corrupted(SPLIT, "fog", s) for s in (2, 2, 3))
    assert fog.name == "test, fog 2"
    assert fog.fingerprint == again.fingerprint
    assert len({SPLIT.fingerprint, fog.fingerprint, harder.fingerprint, corrupted(SPLIT, "fog", 2, seed=1).fingerprint}) == 4
    batch = next(iter(Loader(fog, batch_size=12)))
    np.testing.assert_array_equal((batch.images.permute(0, 2, 3, 1).numpy() * 255).round(), of("fog", 2))


def test_a_part_of_a_split_keeps_its_streams() -> None:
    chosen = np.array([3, 9])
    part = corrupted(SPLIT.choose(chosen), "gaussian_noise", 3, index=chosen)
    np.testing.assert_array_equal(part.pixels.array, of("gaussian_noise", 3)[chosen])


def test_pictures_too_many_to_keep_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("priorscope.data.corruptions.MOST_BYTES", 100)
    lazy = corrupted(SPLIT, "snow", 4)
    assert lazy.pixels.array is None
    some = SPLIT.choose(np.arange(6))
    assert corrupted(some, "snow", 4).pixels.array is None
    assert "array" not in vars(some.pixels), "nor are the pictures behind them copied"
    np.testing.assert_array_equal(lazy[5][0], of("snow", 4)[5])


@pytest.mark.parametrize(
    ("kind", "severity", "text"),
    [
        ("fogg", 1, "'fogg' is not a kind of corruption.\n  wanted: one of: brightness"),
        ("fog", 6, "Severity 6 was asked for.\n  wanted: 1, 2, 3, 4 or 5\n  try:    severity = 3"),
    ],
)
def test_what_there_is_not_is_refused(kind: str, severity: int, text: str) -> None:
    with pytest.raises(RequestError) as error:
        corrupted(SPLIT, kind, severity)
    assert str(error.value).startswith(text)
