"""The networks of the dial: what mixes places is exchanged, all else stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope.models.dial import GRID, HEADS
from priorscope.models.networks.attention import attend
from priorscope.models.networks.fused import gelu
from priorscope.models.networks.linear import Linear

if TYPE_CHECKING:
    from priorscope.models.dial import DialConfig, Size

Map = Callable[[int, int], nn.Module]
"""Makes a linear map from one number of channels to another."""


class Local(nn.Module):
    """A convolution whose every place has weights of its own: locality without sharing.

    With the same weights at every place it is the convolution. `weight` is (places, outputs, inputs * kernel**2), ordered like
    a flattened convolution kernel; starting values are those of a convolution of the same kernel.
    """

    def __init__(self, side: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.padding = (kernel - 1) // 2 if stride == 1 else 0
        self.side = side // stride
        bound = 1 / math.sqrt(inputs * kernel**2)
        self.weight = nn.Parameter(torch.empty(self.side**2, outputs, inputs * kernel**2).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(self.side**2, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        around = F.unfold(x, self.kernel, padding=self.padding, stride=self.stride)
        here = torch.baddbmm(self.bias[:, :, None], self.weight, around.permute(2, 1, 0))
        return here.permute(2, 1, 0).reshape(x.shape[0], -1, self.side, self.side)


class Mlp(nn.Module):
    """Norm, map to the hidden width, GELU, map back; the norm has no weights."""

    def __init__(self, shape: tuple[int, ...], width: int, hidden: int, make: Map) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(list(shape), elementwise_affine=False)
        self.widen = make(width, hidden)
        self.narrow = make(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(gelu(self.widen(self.norm(x))))


class GridBlock(nn.Module):
    """The maps of the grid row, each mixing places and channels at once, added to the stream."""

    def __init__(self, shape: tuple[int, ...], width: int, hidden: int, make: Map) -> None:
        super().__init__()
        self.mlp = Mlp(shape, width, hidden, make)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(x)


class TokenMixer(nn.Module):
    """Mixes patches by where they are: the same map for every channel."""

    def __init__(self, width: int, places: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.widen = Linear(places, places)
        self.narrow = Linear(places, places)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(gelu(self.widen(self.norm(x).transpose(1, 2)))).transpose(1, 2)


class Attention(nn.Module):
    """Mixes patches by what they show."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        heads = self.qkv(self.norm(x)).view(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        mixed = attend(query * (width // HEADS) ** -0.5, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class PatchBlock(nn.Module):
    """What mixes patches (or nothing), then an MLP on the channels of each patch; both added to the stream."""

    def __init__(self, width: int, hidden: int, mix: nn.Module | None) -> None:
        super().__init__()
        self.mix = mix
        self.mlp = Mlp((width,), width, hidden, Linear)

    def forward(self, x: Tensor) -> Tensor:
        if self.mix is not None:
            x = x + self.mix(x)
        return x + self.mlp(x)


class PatchEmbed(nn.Module):
    """Each patch through one linear map, with a learnt vector for its position where the order is to be known."""

    def __init__(self, side: int, patch: int, width: int, ordered: bool) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, width, patch, patch)
        places = (side // patch) ** 2
        self.positions = nn.Parameter(0.02 * torch.randn(places, width)) if ordered else None

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.map(images).flatten(2).transpose(1, 2)
        return tokens if self.positions is None else tokens + self.positions


class Dial(nn.Module):
    """Embedding, blocks, norm, flattening or mean, head."""

    def __init__(self, embed: nn.Module, blocks: list[nn.Module], norm: nn.Module, head: nn.Linear, pools: bool) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.pools = pools
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x.mean(1) if self.pools else x.flatten(1))


def network(config: DialConfig, found: Size, side: int, classes: int) -> Dial:
    """The network where the dial stands, at solved widths."""
    return _grid(config, found, side, classes) if config.mixing in GRID else _patches(config, found, side, classes)


def _grid(config: DialConfig, found: Size, side: int, classes: int) -> Dial:
    width, across = found.width, side // config.patch
    shape = (width,) if config.mixing == "dense" else (width, across, across)
    if config.mixing == "dense":
        embed: nn.Module = nn.Sequential(nn.Flatten(), Linear(3 * side**2, width))
        make: Map = Linear
    elif config.mixing == "local":
        embed = Local(side, 3, width, config.patch, config.patch)
        make = partial(Local, across, kernel=config.kernel)
    else:
        embed = nn.Conv2d(3, width, config.patch, config.patch)
        make = partial(nn.Conv2d, kernel_size=config.kernel, padding="same")
    blocks: list[nn.Module] = [GridBlock(shape, width, found.hidden, make) for _ in range(config.depth)]
    head = Linear(math.prod(shape), classes)
    return Dial(embed, blocks, nn.LayerNorm(list(shape), elementwise_affine=False), head, pools=False)


def _patches(config: DialConfig, found: Size, side: int, classes: int) -> Dial:
    width, places = found.width, (side // config.patch) ** 2
    mixers: dict[str, Callable[[], nn.Module | None]] = {
        "patch-mlp": lambda: None,
        "mixer": lambda: TokenMixer(width, places),
        "attention-unordered": lambda: Attention(width),
        "attention": lambda: Attention(width),
    }
    embed = PatchEmbed(side, config.patch, width, ordered=config.mixing == "attention")
    blocks: list[nn.Module] = [PatchBlock(width, found.hidden, mixers[config.mixing]()) for _ in range(config.depth)]
    return Dial(embed, blocks, nn.LayerNorm(width, elementwise_affine=False), Linear(width, classes), pools=True)
