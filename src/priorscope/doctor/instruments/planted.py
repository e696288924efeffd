"""Things whose truth is known: deciders that answer by a rule, and a linear network on grey pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from priorscope.core.epoch import Epoch, Score, Speed
from priorscope.data.split import ArrayPixels, Ints, Source, Split
from priorscope.evidence import Evidence
from priorscope.views import Floats, Views

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Classifier

Decide = Callable[[Split], Ints]

SIDE = 8


def planted_epoch(right: float = 0.5, **known: Any) -> Epoch:
    """An epoch of a run that nobody trained, its first if nothing else is known of it, which left this share of val right."""
    counted = {"epoch": 1, "step": 1, "images": 1, "flops": 6, "macs": 3, "seconds": 1.0}
    speed = Speed(img_per_s=1.0, data_wait_share=0.0, gemm_share=0.1)
    return Epoch.parse({**counted, "lr": 0.1, "train_loss": 1.0, "val": Score(1.0, right, 1000), "measured": speed, **known})


class Planted(Evidence):
    """Evidence of no network: it knows every class that it is asked about."""

    @property
    def name(self) -> str:
        """What a figure would call it."""
        return "planted"

    def check_classes(self, split: Split) -> None:
        """Accepts every split, whatever its classes."""


class Decider(Planted):
    """Evidence that answers what a rule decides, with logits of 1 for it and 0 for all else."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def logits(self, split: Split, views: Views | None = None) -> Floats:  # noqa: ARG002  seen otherwise it decides no otherwise
        """The rule's answers."""
        return np.eye(len(split.classes), dtype=np.float32)[self._decide(split)]


class Speaker(Planted):
    """Evidence that says given logits about each split, by the split's name."""

    def __init__(self, said: Mapping[str, NDArray[np.float64]]) -> None:
        self._said = said

    def logits(self, split: Split, views: Views | None = None) -> Floats:  # noqa: ARG002  seen otherwise it says no other
        """The given logits."""
        return self._said[split.name].astype(np.float32)


def blind(side: int, classes: int) -> Classifier:
    """A network that always says class 0."""
    import torch

    return _saying(side, classes, lambda x: torch.eye(classes)[0].expand(len(x), classes))


def stubborn(side: int) -> Classifier:
    """A network of two classes that says class 0 whatever it sees; how surely depends on the picture, a little."""
    import torch

    def say(x: Tensor) -> Tensor:
        little = 1e-3 * x.mean((1, 2, 3))
        return torch.stack([1 + little, -little], 1)

    return _saying(side, 2, say)


def by_noise(side: int) -> Classifier:
    """A network of three classes that says a of an even picture and b of one with noise, and never c."""
    import torch

    def say(x: Tensor) -> Tensor:
        noise = x.std((1, 2, 3)) - 0.02
        return torch.stack([-noise, noise, torch.full_like(noise, -1.0)], 1)

    return _saying(side, 3, say)


def erratic(side: int, classes: int) -> Classifier:
    """A network whose answer is a function of the picture, and as good as drawn again for every other picture."""
    import torch

    return _saying(side, classes, lambda x: torch.sin(1e4 * x.sum((1, 2, 3))[:, None] * torch.arange(1, classes + 1).sqrt()))


def source_of(parts: Mapping[str, Split]) -> Source:
    """A source of given splits."""
    classes = next(iter(parts.values())).classes
    made: Any = SimpleNamespace(name="made", classes=classes, origin="", caveats=(), splits=lambda: tuple(parts))
    made.split = parts.__getitem__
    return cast("Source", made)


def by_colour(side: int) -> Classifier:
    """A network of three classes that says which channel is brightest."""
    return _saying(side, 3, lambda x: x.mean((2, 3)))


def by_place(side: int) -> Classifier:
    """A network of three classes that says which third of the picture, from left to right, is brightest."""
    import torch

    return _saying(side, 3, lambda x: torch.stack([part.mean((1, 2, 3)) for part in x.chunk(3, dim=3)], 1))


def _saying(side: int, classes: int, say: Callable[[Tensor], Tensor]) -> Classifier:
    """A function as a network."""
    from torch import nn

    from priorscope.models import wrap

    class Saying(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return say(x)

    return wrap(Saying(), image_size=side, classes=classes)


def reader(weights: NDArray[np.float64]) -> Classifier:
    """A network whose module "1" is a linear map of the pixels, taken channel by channel."""
    import torch
    from torch import nn

    from priorscope.models import wrap

    layer = nn.Linear(weights.shape[1], len(weights), bias=False)
    head = nn.Linear(len(weights), 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
    return wrap(nn.Sequential(nn.Flatten(), layer, head), image_size=SIDE, classes=2)


def sleeper(seconds: float) -> Classifier:
    """A network of two classes that sleeps before it answers."""
    import time

    from torch import nn

    from priorscope.models import wrap

    class Sleeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * SIDE * SIDE, 2)

        def forward(self, x: Tensor) -> Tensor:
            time.sleep(seconds)
            return self.layer(x.flatten(1))

    return wrap(Sleeping(), image_size=SIDE, classes=2)


def grey_world(n: int) -> Split:
    """Two classes of pictures near mid-grey, told apart by noise alone: no attack of a small budget leaves [0, 1]."""
    draw = np.random.default_rng(0)
    array = draw.integers(96, 160, (n, SIDE, SIDE, 3)).astype(np.uint8)
    return Split("grey", "test", ArrayPixels(array), (np.arange(n) % 2).astype(np.int64), ("a", "b"))


def linear(scale: float = 1.0) -> tuple[Classifier, NDArray[np.float64]]:
    """A linear network of two classes, and the difference of its rows of weights in the order of the pictures' pixels."""
    import torch
    from torch import nn

    from priorscope.models import wrap

    draw = np.random.default_rng(1)
    weights = draw.normal(size=(2, 3 * SIDE * SIDE))
    layer = nn.Linear(3 * SIDE * SIDE, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(scale * weights))
    return wrap(nn.Sequential(nn.Flatten(), layer), image_size=SIDE, classes=2), weights[0] - weights[1]


def margins(split: Split, difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much a linear network prefers each picture's own class, in logits."""
    pixels = np.stack([split[i][0] for i in range(len(split))]).transpose(0, 3, 1, 2).reshape(len(split), -1) / 255
    return (pixels @ difference) * np.where(split.labels == 0, 1, -1)


def lit_noise(name: str, seed: int, told: bool, count: int) -> Split:
    """Noise, and where the class is told, one channel that is lit."""
    labels = (np.arange(count) % 2).astype(np.int64)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    if told:
        pixels[np.arange(count), :, :, labels] = 255
    return Split("made", name, ArrayPixels(pixels), labels, ("a", "b"))
