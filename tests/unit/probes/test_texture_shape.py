"""Texture and shape: planted networks, what is counted, and what is drawn."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import priorscope as ps
from priorscope.core import progress
from priorscope.core.blocks import at_once
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError
from priorscope.data import open as open_source
from priorscope.data.split import ArrayPixels, Split
from priorscope.probes import load_result, texture_shape
from priorscope.probes.texture_shape import TextureShape, TextureShapeConfig, measure_texture_shape
from priorscope.probes.texture_shape.figures import difference

SIDE = 16


class ByColour(nn.Module):
    """Class 0 for red, 1 for green, 2 for blue: by the mean of each channel."""

    def forward(self, x):
        return x.mean((2, 3))


class ByPlace(nn.Module):
    """Class by the third of the picture that is brightest."""

    def forward(self, x):
        return torch.stack([part.mean((1, 2, 3)) for part in x.split((5, 6, 5), dim=3)], 1)


def wrapped(network: nn.Module):
    return ps.wrap(network, image_size=SIDE, classes=3)


@pytest.fixture(scope="module")
def coloured() -> Split:
    """Sixty pictures: class k is bright in channel k, in the k-th third, and dark elsewhere."""
    labels = np.arange(60) % 3
    pictures = np.random.default_rng(0).integers(0, 40, (60, SIDE, SIDE, 3), np.uint8)
    for row, label in enumerate(labels):
        pictures[row, :, slice(*((0, 5), (5, 11), (11, 16))[label]), label] = 220
    return Split("made", "test", ArrayPixels(pictures), labels, ("red", "green", "blue"))


def accuracy(result: TextureShape, label: str) -> float:
    return float(result.right[[one.label() for one in result.conditions].index(label)].mean())


def test_a_decider_by_colour_loses_gray_and_keeps_a_shuffle(coloured):
    result = measure_texture_shape(wrapped(ByColour()), coloured, transforms=["grayscale", "shuffle", "histogram"])
    assert result.clean.mean() == 1
    assert accuracy(result, "shuffle 2") == accuracy(result, "shuffle 8") == 1
    assert accuracy(result, "grayscale") == 0  # three equal logits are no answer
    assert accuracy(result, "histogram") == 0  # the colours are the donor's, and so is the answer
    assert result.borrowed[[one.transform for one in result.conditions].index("histogram")].all()


def test_a_decider_by_place_keeps_gray_and_loses_a_shuffle(coloured):
    result = measure_texture_shape(wrapped(ByPlace()), coloured, transforms=["grayscale", "shuffle"])
    assert accuracy(result, "grayscale") == 1
    assert accuracy(result, "shuffle 8") < 0.7


def test_the_headline_is_the_mean_over_usual_strengths_image_by_image(coloured):
    result = measure_texture_shape(wrapped(ByPlace()), coloured, transforms=["grayscale", "shuffle", "occlusion"])
    usual = [accuracy(result, label) for label in ("grayscale", "shuffle 4", "occlusion 0.5")]
    assert result.value == pytest.approx(np.mean(usual))
    assert result.per_image().mean() == pytest.approx(result.value)
    assert result.per_image().shape == (60,)
    assert result.interval.contains(result.value)
    assert len(result.conditions) == 1 + 3 + 4
    alone = measure_texture_shape(wrapped(ByPlace()), coloured, transforms=["shuffle"], curves=False)
    assert [one.label() for one in alone.conditions] == ["shuffle 4"]
    assert alone.value == pytest.approx(accuracy(result, "shuffle 4"))  # and nothing depends on what else is asked


def test_the_first_pictures_of_a_subset_are_changed_alike_in_the_whole(coloured):
    whole = measure_texture_shape(wrapped(ByPlace()), coloured, images=None, transforms=["occlusion"])
    some = measure_texture_shape(wrapped(ByPlace()), coloured, images=30, transforms=["occlusion"])
    assert some.n == 30
    from priorscope.data.fetch import some_images

    _, index = some_images(coloured, 30)
    assert np.array_equal(some.right, whole.right[:, index])


def test_a_block_holds_as_many_pixels_whatever_their_side(coloured, monkeypatch):
    assert [at_once(side, 500) for side in (16, 32, 64, 224, 2000)] == [500, 500, 125, 10, 1]
    asked = {"images": None, "transforms": ["occlusion", "histogram"]}
    whole = measure_texture_shape(wrapped(ByPlace()), coloured, **asked)
    monkeypatch.setattr(texture_shape, "BLOCK", 7)
    parts = measure_texture_shape(wrapped(ByPlace()), coloured, **asked)
    assert np.array_equal(parts.right, whole.right)
    assert np.array_equal(parts.borrowed, whole.borrowed)
    assert np.array_equal(parts.pictures, whole.pictures)


class Stopping(ByPlace):
    """Stops once it has seen `after` pictures."""

    def __init__(self, after):
        super().__init__()
        self.left, self.seen = after, 0

    def forward(self, x):
        self.seen += len(x)
        if self.left is not None and self.seen > self.left:
            raise KeyboardInterrupt
        return super().forward(x)


def test_an_interrupted_measurement_is_resumed(coloured, tmp_path, monkeypatch):
    """Four conditions of three blocks: stopped in the second block, it shows what is left and nothing else."""
    monkeypatch.setattr(texture_shape, "BLOCK", 20)
    monkeypatch.setattr(progress, "SAVE_EVERY_SECONDS", 0.0)
    asked = {"images": None, "transforms": ["grayscale", "shuffle"]}
    stopped = Stopping(None)
    model = wrapped(stopped)
    naming = 4  # pictures by whose answers a network of no family is named
    stopped.left, stopped.seen = naming + 140, 0
    with pytest.raises(KeyboardInterrupt):
        measure_texture_shape(model, coloured, folder=tmp_path, **asked)
    assert stopped.seen == naming + 160
    stopped.left, stopped.seen = None, 0
    result = measure_texture_shape(model, coloured, folder=tmp_path, **asked)
    assert stopped.seen == naming + 5 * 60 - 140
    assert result.table() == measure_texture_shape(model, coloured, **asked).table()
    measure_texture_shape(model, coloured, folder=tmp_path, seed=1, **asked)
    assert len(list(tmp_path.iterdir())) == 2, "another seed is another measurement"


def test_differences_are_paired_over_images_or_over_seeds(coloured):
    one, other = (measure_texture_shape(wrapped(net), coloured, transforms=["grayscale"]) for net in (ByColour(), ByPlace()))
    condition = one.conditions[0]
    alone = difference([one], [other], condition)
    assert (alone.value, alone.interval.over) == (-1.0, "images")
    assert difference([one], [other], None).value == 0
    families = difference([one, one], [other, other], condition)
    assert (families.value, families.interval.over) == (-1.0, "seeds x images")


def test_the_z_transforms_say_their_faults(coloured):
    result = measure_texture_shape(wrapped(ByPlace()), coloured, transforms=["z"])
    assert [one.label() for one in result.conditions] == ["z-grayscale", "z-edges", "z-shuffle", "z-occlusion", "z-blackening"]
    assert any("covers 38 % at 32 pixels" in caveat for caveat in result.caveats)


def test_pictures_stylised_elsewhere_are_counted_apart(coloured, tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 255, 0))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), colour).save(tmp_path / name / "1.png")
    result = measure_texture_shape(wrapped(ByColour()), coloured, transforms=["grayscale"], stylised=str(tmp_path))
    assert result.stylised is not None
    assert (result.stylised.right, result.stylised.n) == (1, 2)
    assert result.stylised.by_class == (("red", 1, 1), ("green", 0, 0), ("blue", 0, 1))
    assert "stylised elsewhere" in result.table()
    assert not any("past the normalisation" in caveat for caveat in result.caveats)
    z = measure_texture_shape(wrapped(ByColour()), coloured, transforms=["z-shuffle"], stylised=str(tmp_path))
    assert any("The stylised pictures are normalised here like all others" in caveat for caveat in z.caveats)
    parts = tmp_path.with_name("parts")
    for part in ("train", "test"):
        shutil.copytree(tmp_path, parts / part)
    again = measure_texture_shape(wrapped(ByColour()), coloured, transforms=["grayscale"], stylised=str(parts))
    assert again.stylised is not None
    assert again.stylised.by_class == result.stylised.by_class
    (tmp_path / "purple").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "purple" / "1.png")
    with pytest.raises(RequestError, match="has the class 'purple'"):
        measure_texture_shape(wrapped(ByColour()), coloured, transforms=["grayscale"], stylised=str(tmp_path))


def test_it_is_stored_and_drawn(tmp_path):
    world = open_source({"name": "shapetex", "train": 20, "val": 20, "test": 40})
    models = [ps.models.create(name, image_size=32, num_classes=10) for name in ("mlp/tiny", "cnn/tiny")]
    asked = ["grayscale", "quilting", "shuffle"]
    results = [measure_texture_shape(model, world, images=20, transforms=asked) for model in models]
    back = load_result(results[0].save(tmp_path / "a.json"))
    assert isinstance(back, TextureShape)
    assert back.table() == results[0].table()
    assert [figure.name for figure in back.charts()] == [
        "texture-shape", "texture-shape-pictures", "texture-shape-curves", "texture-shape-classes",
    ]  # fmt: skip
    subjects = [Subject(name=name, family=name) for name in ("mlp", "cnn")]
    figures = TextureShape.draw(list(zip(subjects, results, strict=True)))
    assert "texture-shape-differences" in [figure.name for figure in figures]
    for figure in figures:
        assert figure.svg().startswith("<svg")


def test_titles_rank_what_differs_alone(coloured):
    result = measure_texture_shape(wrapped(ByPlace()), coloured, transforms=["grayscale", "histogram"])

    def titles(**shares: tuple[float, float]) -> dict[str, str]:
        """Of networks that are always right without a transform, and in these shares under the two."""
        named = [
            (
                Subject(name=name, family="mlp"),
                result.model_copy(update={"clean": np.ones(60, bool), "right": np.arange(60) / 60 < np.array(kept)[:, None]}),
            )
            for name, kept in shares.items()
        ]
        return {figure.name: figure.title for figure in TextureShape.draw(named)}

    assert titles(a=(0.5, 0.5))["texture-shape"] == "grayscale and histogram each leave 50% of 100%"
    assert titles(a=(0.2, 0.5))["texture-shape"] == "grayscale leaves least: 20% of 100%"
    assert titles(a=(1.0, 1.0))["texture-shape-classes"] == "a keeps every class alike: 100%"
    assert titles(a=(0.5, 0.5), b=(0.5, 0.5))["texture-shape"] == "No transform parts a and b"
    assert titles(a=(0.2, 0.5), b=(0.5, 0.2))["texture-shape"] == "grayscale and histogram part them: by 30 points"
    assert titles(a=(0.2, 0.5), b=(0.5, 0.5), c=(0.5, 0.5))["texture-shape"] == (
        "grayscale parts them most: b and c keep 50%, a 20%"
    )


def test_wrong_requests_are_refused(coloured):
    with pytest.raises(RequestError, match="No transform was given"):
        measure_texture_shape(wrapped(ByColour()), coloured, transforms=[])
    with pytest.raises(RequestError, match="'blur' is not a transform"):
        measure_texture_shape(wrapped(ByColour()), coloured, transforms=["blur"])
    assert TextureShapeConfig().images == 1000
