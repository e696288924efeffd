"""ShapeTex: the built-in world. Shapes filled with textures, drawn from a seed, with exact labels of both cues.

In the training world shape k always carries texture pi(k), pi a permutation drawn from the world's seed, so both cues predict
the class, which is k. Elsewhere the cues disagree (`conflict`), or one of them is randomised (`shape-only`, `texture-only`) or
removed (`shape-alone`, `texture-alone`). docs/shapetex.md says what every split shows and what is controlled.

Picture i of a split is a pure function of (config, split, i): of neither how many there are nor in which batch it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.config import Number
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.data.sources import SourceConfig
from priorscope.data.sources.shapetex_render import (
    BLOBS,
    FILLS,
    NOISE_STARTS,
    OUTLINES,
    REACH,
    Bytes,
    Doubles,
    Ints,
    Look,
    Scenes,
    render,
)
from priorscope.data.split import ArrayPixels, Split, no_such_split

VERSION = 1
"""Version of the pictures that the world draws; raised when they change."""

SHAPES = tuple(OUTLINES)
CLASSES = len(SHAPES)

BY_HAND = "open it as it is: it is drawn from a seed and needs no download"

Cue = Literal["both", "shape", "texture"]
Size = Annotated[int, Field(ge=1, le=10_000_000)]

_BLOCK = CLASSES * (CLASSES - 1)
"""Scenes are drawn in blocks of 90: nine of every class, or each disagreeing pair once."""


class ShapetexConfig(SourceConfig):
    """Which world, how large, and how loud either cue is."""

    name: str = "shapetex"
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the pairing pi and every picture."""
    cue: Cue = "both"
    """What predicts the class in train, val and test: both cues, or one alone (the other is randomised)."""
    salience: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """The dial from the outline (0) to the texture (1) of every split that does not name its own: see `look`."""
    image_size: Annotated[int, Field(ge=16, le=96)] = 32
    train: Size = 10_000
    val: Size = 1_000
    test: Size = 2_000
    """Pictures in test; the single-cue splits have as many, conflict the nearest multiple of 90."""

    @property
    def side(self) -> int:
        return self.image_size


def look(image_size: int, salience: float, *, whole: bool = False, plain: bool = False) -> Look:
    """What the salience dial s does, at fixed everything else.

    texture contrast (rms inside the outline)             0.03 * 8**s
    edge contrast (rms step from background to foreground) 0.24 / 8**s
    softness of the outline (Gaussian, in its radii)      0.05 * 4**s
    mean radius of the outline (in picture sides)          0.25 - 0.03 * s

    So the ratio of texture contrast to edge contrast runs from 1/8 to 8 in equal steps of its logarithm and is 1 at s = 0.5.
    """
    return Look(
        image_size=image_size,
        softness=round(0.05 * 4**salience, 6),
        edge=0.24 / 8**salience,
        contrast=0.0 if plain else 0.03 * 8**salience,
        whole=whole,
    )


def mean_radius(salience: float) -> float:
    """The mean radius of the disc that has an outline's area, in picture sides."""
    return 0.25 - 0.03 * salience


@lru_cache(maxsize=64)
def pairing(seed: int) -> tuple[int, ...]:
    """pi: the texture that shape k carries in the world of a seed."""
    return tuple(int(k) for k in stream(seed, "shapetex", "pairing").permutation(CLASSES))


Shown = Literal["cue", "randomised", "removed"]


@dataclass(frozen=True)
class ScenePlan:
    """What a split shows of either cue."""

    stream: str
    shape: Shown = "cue"
    texture: Shown = "cue"
    conflict: bool = False
    training: bool = False
    salience: float = 0.5


TRAINING_CUES: dict[Cue, tuple[Shown, Shown]] = {
    "both": ("cue", "cue"),
    "shape": ("cue", "randomised"),
    "texture": ("randomised", "cue"),
}
SINGLE_CUES: dict[str, tuple[Shown, Shown]] = {
    "shape-only": ("cue", "randomised"),
    "texture-only": ("randomised", "cue"),
    "shape-alone": ("cue", "removed"),
    "texture-alone": ("removed", "cue"),
}
SPLITS = ("train", "val", "test", "conflict", *SINGLE_CUES)


def plan(config: ShapetexConfig, split: str) -> ScenePlan:
    """What a split shows; `conflict@0.2` is the conflict split at that salience. An unknown name is refused."""
    base, at, dial = split.partition("@")
    if at and base == "conflict":
        return ScenePlan("conflict", conflict=True, salience=_dial(split, dial))
    if split == "conflict":
        return ScenePlan("conflict", conflict=True, salience=config.salience)
    if split in SINGLE_CUES:
        return ScenePlan(split, *SINGLE_CUES[split], salience=config.salience)
    if split in SPLITS:
        return ScenePlan(split, *TRAINING_CUES[config.cue], training=split == "train", salience=config.salience)
    raise no_such_split("shapetex", split, (*SPLITS, "conflict@0.25"))


def _dial(split: str, dial: str) -> float:
    try:
        salience = float(dial)
    except ValueError:
        salience = -1.0
    if not 0 <= salience <= 1:
        raise RequestError(f"{split!r} names the salience {dial!r}.", "a number from 0 to 1 after the @", "conflict@0.25")
    return salience


def size(config: ShapetexConfig, split: str) -> int:
    """How many pictures a split has. Conflict has a multiple of 90, so that each disagreeing pair occurs equally often."""
    planned = plan(config, split)
    if planned.conflict:
        return max(1, round(config.test / _BLOCK)) * _BLOCK
    return {"train": config.train, "val": config.val}.get(planned.stream, config.test)


@dataclass(frozen=True)
class Draw:
    """What was drawn: one row a picture. -1 stands where a cue is randomised or removed."""

    scenes: Scenes
    look: Look
    labels: Ints
    shape: Ints
    """The class that the shape speaks for."""
    texture: Ints
    """The class that the texture speaks for: k where the fill is pi(k)."""
    fill: Ints
    """Which of the ten textures it is, whatever the pairing."""

    def images(self) -> Bytes:
        """The pictures, uint8 (N, H, W, 3)."""
        return render(self.scenes, self.look)


def draw(config: ShapetexConfig, split: str, index: NDArray[np.integer]) -> Draw:
    """The scenes and exact labels of some pictures of a split, by index; `images()` paints them."""
    planned = plan(config, split)
    index = np.asarray(index, np.int64)
    blocks, place = np.unique(index // _BLOCK, return_inverse=True)
    rows = place * _BLOCK + index % _BLOCK
    seen = [_classes(config.seed, planned, int(block)) for block in blocks]
    shape, texture = (np.concatenate(column)[rows] for column in zip(*seen, strict=True))
    scenes = Scenes.join([_scenes(config.seed, planned, int(block)) for block in blocks]).rows(rows)
    fill = np.asarray(pairing(config.seed))[texture]
    scenes = scenes.showing(
        outline=shape if planned.shape == "cue" else CLASSES + scenes.outline,
        fill=fill if planned.texture == "cue" else CLASSES + scenes.fill,
    )
    none = np.full_like(shape, -1)
    return Draw(
        scenes=scenes,
        look=look(config.image_size, planned.salience, whole=planned.shape == "removed", plain=planned.texture == "removed"),
        labels=shape if planned.shape == "cue" else texture,
        shape=shape if planned.shape == "cue" else none,
        texture=texture if planned.texture == "cue" else none,
        fill=fill if planned.texture == "cue" else none,
    )


def _classes(seed: int, planned: ScenePlan, block: int) -> tuple[Ints, Ints]:
    """The classes that shape and texture of a block's pictures speak for, in random order, every one equally often."""
    random = stream(seed, "shapetex", planned.stream, "classes", block)
    if planned.conflict:
        pair = random.permutation(_BLOCK)
        shape = pair // (CLASSES - 1)
        return shape, (shape + 1 + pair % (CLASSES - 1)) % CLASSES
    # Ten at a time, so that the classes of a short split differ by one picture at most.
    shape = random.permuted(np.tile(np.arange(CLASSES), (_BLOCK // CLASSES, 1)), axis=1).ravel()
    return shape, shape


def _scenes(seed: int, planned: ScenePlan, block: int) -> Scenes:
    """Place, size, turns and colours of a block's pictures, none of which knows the class."""
    random = stream(seed, "shapetex", planned.stream, "scenes", block)
    uniform = random.random((_BLOCK, 16))
    normal = random.standard_normal((_BLOCK, 6))
    radius = mean_radius(planned.salience) * (0.9 + 0.2 * uniform[:, 0])
    # One law of places for all outlines: the furthest-reaching one stays inside, with half of its softening.
    free = 0.5 - radius * (REACH + 1.5 * look(32, planned.salience).softness)
    tint = np.where(uniform[:, 9, None] < 0.5, -1, 1) + 0.5 * normal[:, :3]
    half = 0 if planned.training else 1
    return Scenes(
        outline=_pick(uniform[:, 10], BLOBS // 2) + half * (BLOBS // 2),
        fill=_pick(uniform[:, 11], FILLS // 2) + half * (FILLS // 2),
        radius=radius,
        place=0.5 + free[:, None] * (2 * uniform[:, 1:3] - 1),
        turn=2 * np.pi * uniform[:, 3],
        fill_turn=2 * np.pi * uniform[:, 4],
        fill_scale=0.9 + 0.2 * uniform[:, 5],
        fill_shift=uniform[:, 6:8],
        middle=0.5 + 0.08 * (2 * uniform[:, 12:15] - 1),
        step=_unit_rms(normal[:, 3:]),
        tint=_unit_rms(tint),
        noise=_pick(uniform[:, 8], NOISE_STARTS),
    )


def _pick(uniform: Doubles, count: int) -> Ints:
    return (uniform * count).astype(np.int64)


def _unit_rms(colour: Doubles) -> Doubles:
    return colour / np.sqrt((colour**2).mean(1, keepdims=True))


@dataclass(frozen=True)
class ShapeTex:
    """The world of a config as a source of splits."""

    config: ShapetexConfig
    name: str = "shapetex"
    classes: tuple[str, ...] = SHAPES

    def splits(self) -> tuple[str, ...]:
        """The splits there are; beside them `conflict@S` for any salience S from 0 to 1."""
        return SPLITS

    def split(self, name: str) -> Split:
        """One split, drawn at once into memory (about 3 KB a picture at 32x32)."""
        drawn = draw(self.config, name, np.arange(size(self.config, name)))
        columns = {"shape": drawn.shape, "texture": drawn.texture, "fill": drawn.fill}
        return Split(self.name, name, ArrayPixels(drawn.images()), drawn.labels, self.classes, columns)


def open_source(config: ShapetexConfig) -> ShapeTex:
    """The world of a config."""
    return ShapeTex(config)
