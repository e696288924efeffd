"""The modules of a transformer in a transformer, with the keys of transformer-in-transformer.

The pixel stream keeps one row an image, (batch, patches * pixels, channels), patch by patch, so that its taps read like any
other's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope.models.networks.attention import absorbed, absorbing_pays, attend, packs, self_attend
from priorscope.models.networks.fused import Dropout, Gelu
from priorscope.models.networks.linear import Linear
from priorscope.models.networks.norm import LayerNorm

if TYPE_CHECKING:
    from priorscope.models.tnt import TntConfig


class Attention(nn.Module):
    """Multi-head attention with one bias-free map to queries, keys and values, among `group` neighbouring tokens (0: all).

    With fewer channels than a head has (24 against 64) keys and values are absorbed: a third of the work at 512 inner channels.
    """

    def __init__(self, width: int, heads: int, head_width: int, dropout: float, group: int = 0) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.group = group
        self.absorbs = absorbing_pays(width, head_width)
        self.to_qkv = Linear(width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(Linear(inner, width), Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.reshape(-1, self.group, x.shape[-1]) if self.group else x
        out = cast("nn.Linear", self.to_out[0])
        mixed = self._absorbed(grouped, out) if self.absorbs else out(self._mixed(grouped))
        return self.to_out[1](mixed).view(x.shape)

    def _absorbed(self, x: Tensor, out: nn.Linear) -> Tensor:
        query, key, value = self.to_qkv.weight.chunk(3)
        return absorbed(x, x, query, key, value, out.weight, self.heads) + out.bias

    def _mixed(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        packed = self.to_qkv(x)
        if packs(packed):
            return self_attend(packed, self.heads)
        query, key, value = packed.view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return attend(query * query.shape[-1] ** -0.5, key, value).transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Linear to four widths, GELU, dropout, Linear back."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(Linear(width, 4 * width), Gelu(), Dropout(dropout), Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Normed(nn.Module):
    """LayerNorm before a module."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class JoinPixels(nn.Module):
    """The pixels of each patch side by side as one vector: (batch, patches * pixels, c) to (batch, patches, pixels * c)."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.pixels * x.shape[-1])


class Block(nn.ModuleList):
    """One layer of both streams; a list, because published keys number its parts. `out` is where the patch stream is read."""

    def __init__(self, pixels: int, config: TntConfig) -> None:
        inner, outer, drop = config.pixel_width, config.width, config.dropout
        super().__init__(
            [
                Normed(inner, Attention(inner, config.heads, config.head_width, drop, group=pixels)),
                Normed(inner, Mlp(inner, drop)),
                nn.Sequential(LayerNorm(inner), JoinPixels(pixels), Linear(inner * pixels, outer)),
                Normed(outer, Attention(outer, config.heads, config.head_width, drop)),
                Normed(outer, Mlp(outer, drop)),
            ]
        )
        self.out = nn.Identity()

    def forward(self, pixels: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels + self[0](pixels)
        pixels = pixels + self[1](pixels)
        patches = patches + F.pad(self[2](pixels), (0, 0, 1, 0))
        patches = patches + self[3](patches)
        return pixels, self.out(patches + self[4](patches))


class Unfold(nn.Module):
    """An image as squares of `pixel` x `pixel` values (colour first), patch by patch, row by row inside a patch."""

    def __init__(self, patch: int, pixel: int) -> None:
        super().__init__()
        self.patch = patch
        self.pixel = pixel

    def forward(self, images: Tensor) -> Tensor:
        batch, _, height, width = images.shape
        inside = self.patch // self.pixel
        grid = images.view(batch, 3, height // self.patch, inside, self.pixel, width // self.patch, inside, self.pixel)
        return grid.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(batch, -1, 3 * self.pixel**2)


class Tnt(nn.Module):
    """The whole network: a table of patch tokens, told by their pixels layer by layer what the image shows."""

    def __init__(self, side: int, classes: int, config: TntConfig) -> None:
        super().__init__()
        patches = (side // config.patch) ** 2
        pixels = (config.patch // config.pixel) ** 2
        self.patch_tokens = nn.Parameter(torch.randn(patches + 1, config.width))
        self.to_pixel_tokens = nn.ModuleDict(
            {"0": Unfold(config.patch, config.pixel), "3": Linear(3 * config.pixel**2, config.pixel_width)}
        )
        self.patch_pos_emb = nn.Parameter(torch.randn(patches + 1, config.width))
        self.pixel_pos_emb = nn.Parameter(torch.randn(pixels, config.pixel_width))
        self.embed_pixels = nn.Identity()
        self.embed_patches = nn.Identity()
        self.layers = nn.ModuleList(Block(pixels, config) for _ in range(config.depth))
        self.mlp_head = nn.Sequential(LayerNorm(config.width), Linear(config.width, classes))

    def forward(self, images: Tensor) -> Tensor:
        values = self.to_pixel_tokens["3"](self.to_pixel_tokens["0"](images))
        within = self.pixel_pos_emb.repeat(self.patch_tokens.shape[0] - 1, 1)
        pixels = self.embed_pixels(values + within)
        patches = self.embed_patches((self.patch_tokens + self.patch_pos_emb).expand(images.shape[0], -1, -1))
        for layer in self.layers:
            pixels, patches = layer(pixels, patches)
        return self.mlp_head(patches[:, 0])
