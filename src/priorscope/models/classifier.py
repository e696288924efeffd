"""The one interface of every model: pixels in, logits and taps out.

A classifier takes float images in [0, 1], NCHW, at the data set's own size. Resizing and normalisation are inside it and
differentiable, so that attacks, transforms and pictures of every family live in the same pixel space.

A tap is a place where activations can be read. Its address is `stage/block/part`, in one form for all families:

    embed/out                 what the first block receives: embedded pixels, tokens with positions, the stem's map
    blocks/3/norm             what block 3 hands to its first branch
    blocks/3/attention        what that branch adds, where it is attention (Mixer: blocks/3/tokens)
    blocks/3/mlp              what the MLP branch adds (its input: blocks/3/mlp_norm; of an MLP's block: blocks/3/hidden inside)
    blocks/3/out              what block 3 hands on, the residual stream
    stages/2/blocks/1/out     the same where blocks come in stages of different map sizes (CNN, Swin)
    head/in, logits           what the head sees, and what it answers

Reading leaves the model as it was: no hook remains, values are copied before any in-place operation can change them, mode and
gradients stay. A module that runs several times in a pass is read at its last run.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.machine import repeatable
from priorscope.core.rng import seed_of, stream
from priorscope.models import FamilyConfig, Permutation, Resize, check_resize
from priorscope.models.networks.linear import Linear

Layout = Literal["NC", "NLC", "NCL", "NCHW", "NHWC", "any"]


@dataclass(frozen=True)
class Tap:
    """Where an activation is read: the output (or input) of one submodule, and what its axes mean.

    Where a submodule returns several tensors, `item` is the one that is read: torch's own attention returns its weights beside
    its output.
    """

    module: str
    layout: Layout
    at: Literal["output", "input"] = "output"
    item: int = 0


@dataclass(frozen=True)
class Backbone:
    """What a family builds: a network, its taps in the order of execution, and the path of its head (the last linear map).

    `statistics` are those that pre-trained weights were made with: they are used in place of the data's.
    """

    network: nn.Module
    taps: Mapping[str, Tap]
    head: str | None
    statistics: Statistics | None = None


class Classifier(nn.Module):
    """Images in [0, 1] at `image_size` in, logits out."""

    mean: Tensor
    std: Tensor
    pixel_order: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        *,
        image_size: int,
        num_classes: int,
        statistics: Statistics | None = None,
        input_size: int | None = None,
        resize: Resize = "bilinear",
        config: FamilyConfig | None = None,
    ) -> None:
        super().__init__()
        self.network = backbone.network
        self.image_size = image_size
        self.input_size = input_size or image_size
        self.num_classes = num_classes
        self.resize: Resize = resize
        self.config = config
        self._told = statistics
        self._taps = dict(backbone.taps)
        self._head = backbone.head
        check_resize(image_size, self.input_size, resize)
        mean, std = (statistics.mean, statistics.std) if statistics else ((0.0,) * 3, (1.0,) * 3)
        if min(std) <= 0:
            raise RequestError(
                f"The standard deviation came as {std}.",
                "positive numbers",
                "leave out statistics, or give those of the training data",
            )
        permutation = config.permute if config else None
        order = None if permutation is None else pixel_order(permutation, self.input_size)
        self.register_buffer("pixel_order", order, persistent=False)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    @property
    def name(self) -> str:
        """The preset's name, or the class of a wrapped network."""
        return self.config.name if self.config else type(self.network).__name__

    @property
    def statistics(self) -> Statistics | None:
        """The mean and deviation by which it normalises, whoever loaded them; None where pixels stay as they are."""
        mean, std = (tuple(float(value) for value in part.flatten()) for part in (self.mean, self.std))
        if self._told is not None and _rounded(self._told.mean) == mean and _rounded(self._told.std) == std:
            return self._told  # in float64, as it was given
        return None if set(mean) == {0.0} and set(std) == {1.0} else Statistics(mean=mean, std=std)

    @property
    def device(self) -> torch.device:
        """The device that the model computes on."""
        return self.mean.device

    def prepare(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the backbone wants them: resized, put into another order if the config says so, normalised."""
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, self.image_size, self.image_size):
            raise RequestError(
                f"The images came with shape {tuple(images.shape)}.",
                f"(N, 3, {self.image_size}, {self.image_size})",
                "resize them, or create the model for their size",
            )
        if self.input_size != self.image_size:
            images = _resized(images, self.input_size, self.resize)
        if self.pixel_order is not None:
            images = images.flatten(2).index_select(2, self.pixel_order).view_as(images)
        return (images - self.mean.to(images.dtype)).div_(self.std.to(images.dtype))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.prepare(images))

    def taps(self) -> list[str]:
        """The addresses of the places that can be read, in the order of execution."""
        return list(self._taps)

    def tap(self, address: str) -> Tap:
        """The tap at an address; raises where there is none."""
        if address not in self._taps:
            raise unknown_name(f"tap of {self.name}", address, self._taps, "model.taps()")
        return self._taps[address]

    def activations(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """The activations at some taps, in one pass. Gradients flow where they are enabled and the images want them."""
        return self.forward_with_taps(images, taps)[1]

    def forward_with_taps(self, images: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and activations of one pass."""
        with self._reading({address: self.tap(address) for address in taps}) as read:
            logits = self(images)
        missing = [address for address in taps if address not in read]
        if missing:
            raise RequestError(
                f"Nothing passed through {missing[0]!r} of {self.name}.",
                "taps of modules that the forward pass uses",
                "model.taps()",
            )
        return logits, {address: read[address] for address in taps}

    def features(self, images: Tensor) -> Tensor:
        """The features of each image: the input of the head."""
        if self._head is None:
            raise RequestError(
                f"{self.name} has no single linear head.",
                "a model whose last layer is one Linear",
                "read a tap: model.activations(x, [...])",
            )
        with self._reading({"head": Tap(self._head, "NC", "input")}) as read:
            self(images)
        return read["head"]

    @property
    def head_path(self) -> str | None:
        """The path of the last linear map in the network; None if there is no single one."""
        return self._head

    @property
    def head(self) -> nn.Module:
        """The last linear map, from features to logits."""
        if self._head is None:
            raise RequestError(
                f"{self.name} has no single linear head.",
                "a model whose last layer is one Linear",
                "wrap a network that ends in one",
            )
        return self.network.get_submodule(self._head)

    def replace_head(self, num_classes: int, seed: int) -> None:
        """Puts a fresh linear head in place of the old one, at `num_classes`; the config still builds the same body."""
        old = self.head
        if not isinstance(old, nn.Linear):
            raise RequestError(
                f"The head of {self.name} is a {type(old).__name__}.",
                "a Linear",
                "ps.wrap(network, image_size=..., classes=...) of a network that ends in a Linear",
            )
        with seeded(seed, "head"):
            kind = Linear if isinstance(old, Linear) else nn.Linear
            fresh = kind(old.in_features, num_classes, bias="bias" in old.state_dict())
        fresh = fresh.to(old.weight.device, old.weight.dtype)
        for path in [path for path, module in self.network.named_modules(remove_duplicate=False) if module is old]:
            self.network.set_submodule(path, fresh)
        if self.config is not None and num_classes != self.num_classes:
            self.config = self.config.keep_body(self.num_classes)
        self.num_classes = num_classes

    def normalise_by(self, statistics: Statistics) -> None:
        """Takes the mean and standard deviation that some weights were made with."""
        self.mean.copy_(torch.tensor(statistics.mean).view_as(self.mean))
        self.std.copy_(torch.tensor(statistics.std).view_as(self.std))
        self._told = statistics

    def normalisation(self) -> dict[str, Tensor]:
        """The mean and standard deviation that are part of the state."""
        return {"mean": self.mean.cpu(), "std": self.std.cpu()}

    def parameter_count(self) -> int:
        """How many numbers the network learns."""
        return sum(p.numel() for p in self.network.parameters())

    @contextmanager
    def _reading(self, taps: Mapping[str, Tap]) -> Generator[dict[str, Tensor]]:
        """Copies what passes through some submodules into the dict that it yields; its hooks are always removed."""
        read: dict[str, Tensor] = {}
        handles = [_hook(self.network.get_submodule(tap.module), address, tap, read) for address, tap in taps.items()]
        try:
            yield read
        finally:
            for handle in handles:
                handle.remove()


def _hook(module: nn.Module, address: str, tap: Tap, read: dict[str, Tensor]) -> Any:
    """Hooks a module; its value is copied at once, for a later in-place operation (timm's in-place ReLU) would rewrite it."""

    def copy(value: Any) -> None:
        if isinstance(value, tuple) and value:
            value = value[tap.item]
        if not isinstance(value, Tensor):
            raise RequestError(
                f"{address!r} gives a {type(value).__name__}.", "a tap where one tensor passes", "read a module inside it"
            )
        read[address] = value.clone()

    if tap.at == "input":
        return module.register_forward_pre_hook(lambda _module, inputs: copy(inputs))
    return module.register_forward_hook(lambda _module, _inputs, output: copy(output))


def _resized(images: Tensor, side: int, how: Resize) -> Tensor:
    if how == "area":
        return F.interpolate(images, size=(side, side), mode="area")
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=side < images.shape[-1])


def pixel_order(permutation: Permutation, side: int) -> Tensor:
    """Which pixel stands at each place: a random order of all, or of those of each patch, one order for every patch."""
    places = np.arange(side * side).reshape(side, side)
    patch = permutation.patch or side
    draw = stream(permutation.seed, "pixels", patch).permutation(patch * patch)
    blocks = places.reshape(side // patch, patch, side // patch, patch).transpose(0, 2, 1, 3).reshape(-1, patch * patch)
    moved = blocks[:, draw].reshape(side // patch, side // patch, patch, patch).transpose(0, 2, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(moved).reshape(-1))


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers as the buffers of a classifier hold them."""
    return tuple(float(value) for value in torch.tensor(values, dtype=torch.float32))


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Evaluation mode inside the block.

    Afterwards every submodule has the mode that it had, and the processor's random state is the same.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def looking(model: Classifier) -> Generator[None]:
    """Evaluation mode inside the block, and a CUDA device held to float32 and repeatable kernels.

    So one network gives one number, whichever probe asks. Where a gradient is taken it needs `plain_attention` as well.
    """
    with repeatable(model.device), evaluating(model):
        yield


@contextmanager
def seeded(seed: int, *names: str) -> Generator[None]:
    """Torch's CPU generator seeded from a named stream inside the block, and as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, *names))
        yield
