"""The Perceiver's modules: Fourier tokens, cross and latent attention, gated MLP, and the whole network.

Parameters bear the names of perceiver-pytorch 0.11.0; the layout of 0.7.5 is renamed when it is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope.models.networks.attention import (
    absorbed,
    absorbing_pays,
    attend,
    in_own_precision,
    in_product_precision,
    packs,
    self_attend,
)
from priorscope.models.networks.fused import Dropout, gated
from priorscope.models.networks.linear import Linear
from priorscope.models.networks.norm import LayerNorm

if TYPE_CHECKING:
    from priorscope.models.perceiver import DropoutAt, PerceiverConfig


def fourier_positions(side: int, bands: int, max_freq: float) -> Tensor:
    """Position features of a square grid, (side * side, 2 (2 bands + 1)), rows first.

    Each axis has p in [-1, 1], sin(pi s p) and cos(pi s p) at `bands` scales s spaced evenly from 1 to max_freq / 2, then p.
    """
    positions = torch.linspace(-1.0, 1.0, side, dtype=torch.float64)
    angles = positions[:, None] * torch.linspace(1.0, max_freq / 2, bands, dtype=torch.float64) * math.pi
    axis = torch.cat([angles.sin(), angles.cos(), positions[:, None]], dim=1)
    rows = axis[:, None, :].expand(side, side, -1)
    columns = axis[None, :, :].expand(side, side, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, -1).float()


class FourierTokens(nn.Module):
    """An image as tokens: the values of each square of `patch` x `patch` pixels (colour last), then its position features.

    The positions are not weights and are not stored: the same weights serve every image size. A channel's values lie side by
    side in memory, as an image has them: tokens of few channels are long rows so.
    """

    positions: Tensor

    def __init__(self, side: int, patch: int, bands: int, max_freq: float) -> None:
        super().__init__()
        self.patch = patch
        self.register_buffer("positions", fourier_positions(side // patch, bands, max_freq), persistent=False)
        self.channels = 3 * patch**2 + self.positions.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        batch, _, height, width = images.shape
        patch = self.patch
        grid = images.view(batch, 3, height // patch, patch, width // patch, patch).permute(0, 3, 5, 1, 2, 4)
        values = grid.reshape(batch, 3 * patch**2, -1)
        positions = self.positions.T.to(values.dtype).expand(batch, -1, -1)
        return torch.cat([values, positions], dim=1).mT


def standardised(tokens: Tensor) -> Tensor:
    """Tokens with mean 0 and variance 1 over their channels, then a channel of ones, and zeros up to a multiple of eight.

    It is the part of every depth's LayerNorm that depends on the image alone, so that it is computed once, in float32 at least.
    The ones carry each depth's own shift; eight is what vector units want. A channel's values lie side by side on a CPU, whose
    products take long rows, and a token's elsewhere, as fused attention asks.
    """
    planes = tokens.mT if tokens.dtype == torch.float64 else tokens.mT.float()
    batch, channels, count = planes.shape
    with in_own_precision(planes):  # on a CPU, LayerNorm would be done in bfloat16, and takes ten times as long across rows
        centred = planes - planes.mean(1, keepdim=True)
        normal = centred * (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt()
    result = in_product_precision(tokens.new_empty(0)).new_empty(batch, channels + 1 + -(channels + 1) % 8, count)
    result[:, :channels], result[:, channels], result[:, channels + 1 :] = normal, 1.0, 0.0
    return result.mT if result.device.type == "cpu" else result.mT.contiguous()


class Attention(nn.Module):
    """The projections of one attention and where its dropout acts; queries, keys and values without bias."""

    def __init__(self, width: int, context: int, heads: int, head_width: int, dropout: float, on_weights: bool) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.head_width = head_width
        self.to_q = Linear(width, inner, bias=False)
        self.to_kv = Linear(context, 2 * inner, bias=False)
        self.to_out = Linear(inner, width)
        self.drop_weights = Dropout(dropout if on_weights else 0.0)
        self.drop_output = Dropout(0.0 if on_weights else dropout)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Attention of x to a context, or to itself."""
        x = in_product_precision(x)
        if context is None and absorbing_pays(x.shape[-1], self.head_width):
            return self.absorbing(x, x, *self.to_kv.weight.chunk(2))
        if context is None and packs(x) and not self.drop_weights.active:
            packed = F.linear(x, torch.cat([self.to_q.weight, self.to_kv.weight]))
            return self.drop_output(self.to_out(self_attend(packed, self.heads)))
        context = x if context is None else context
        batch, heads = context.shape[0], self.heads
        query = (self.to_q(x) * self.head_width**-0.5).view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
        key, value = self.to_kv(context).view(batch, context.shape[1], 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attend(query.expand(batch, -1, -1, -1), key, value, self.drop_weights)
        return self.drop_output(self.to_out(mixed.transpose(1, 2).flatten(2)))

    def on_standardised(self, x: Tensor, context: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        """Attention to a context that `standardised` has prepared, whose LayerNorm has this gain and shift."""
        weight = self.to_kv.weight
        full = torch.cat([weight * gain, (weight @ shift)[:, None]], dim=1)
        to_key, to_value = F.pad(full, (0, context.shape[-1] - full.shape[1])).chunk(2)
        return self.absorbing(x, context, to_key, to_value)

    def absorbing(self, x: Tensor, context: Tensor, to_key: Tensor, to_value: Tensor) -> Tensor:
        out = absorbed(x, context, self.to_q.weight, to_key, to_value, self.to_out.weight, self.heads, self.drop_weights)
        return self.drop_output(out + self.to_out.bias)


class NormedAttention(nn.Module):
    """LayerNorm, then attention of the latents to themselves."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float, on_weights: bool) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.fn = Attention(width, width, heads, head_width, dropout, on_weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class NormedCross(nn.Module):
    """LayerNorm of the latents and of the context, then attention of one to the other.

    `prepared` says that the context comes from `standardised`, as a long context of few channels should.
    """

    def __init__(
        self, width: int, context: int, heads: int, head_width: int, dropout: float, on_weights: bool, prepared: bool
    ) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.norm_context = LayerNorm(context)
        self.fn = Attention(width, context, heads, head_width, dropout, on_weights)
        self.prepared = prepared

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        if self.prepared:
            return self.fn.on_standardised(self.norm(x), context, self.norm_context.weight, self.norm_context.bias)
        return self.fn(self.norm(x), self.norm_context(context))


class GatedMlp(nn.Module):
    """Linear to 8 widths, half gated by the GELU of the other half, Linear back (GEGLU, arXiv 2002.05202)."""

    def __init__(self, width: int, dropout: float, dropout_last: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(Linear(width, 8 * width), nn.Identity(), Linear(4 * width, width))
        self.drop_hidden = Dropout(0.0 if dropout_last else dropout)
        self.drop_output = Dropout(dropout if dropout_last else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        hidden = gated(self.net[0](in_product_precision(x)))
        return self.drop_output(self.net[2](self.drop_hidden(hidden)))


class NormedMlp(nn.Module):
    """LayerNorm, then the gated MLP."""

    def __init__(self, width: int, dropout: float, dropout_last: bool) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.fn = GatedMlp(width, dropout, dropout_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class PerceiverBlock(nn.Module):
    """Latents read the context, think alone, and then attend to themselves some times; every step is added to them.

    Without a context (`context` 0) the latents only attend to themselves.
    """

    def __init__(
        self,
        width: int,
        *,
        context: int = 0,
        prepared: bool = True,
        cross_heads: int = 1,
        cross_head_width: int = 64,
        selves: int = 1,
        heads: int = 8,
        head_width: int = 64,
        dropout: float = 0.0,
        dropout_at: DropoutAt = "output",
    ) -> None:
        super().__init__()
        late = dropout_at == "weights"
        if context:
            self.cross_attn = NormedCross(width, context, cross_heads, cross_head_width, dropout, late, prepared)
            self.cross_ff = NormedMlp(width, dropout, late)
        self.self_attns = nn.ModuleList(
            nn.ModuleList([NormedAttention(width, heads, head_width, dropout, late), NormedMlp(width, dropout, late)])
            for _ in range(selves)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is not None:
            x = x + self.cross_attn(x, context)
            x = x + self.cross_ff(x)
        for attention, mlp in cast("Iterable[tuple[nn.Module, nn.Module]]", self.self_attns):
            x = x + attention(x)
            x = x + mlp(x)
        return x


class LatentMean(nn.Module):
    """The mean over the latents."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


class Perceiver(nn.Module):
    """Fourier tokens, a stack of blocks that all read them, the mean latent, LayerNorm and a linear head."""

    def __init__(self, side: int, classes: int, config: PerceiverConfig) -> None:
        super().__init__()
        self.embed = FourierTokens(side, config.patch, config.bands, config.max_freq)
        self.latents = nn.Parameter(torch.randn(config.latents, config.width))
        self.layers = nn.ModuleList(
            PerceiverBlock(
                config.width,
                context=self.embed.channels,
                cross_heads=config.cross_heads,
                cross_head_width=config.cross_head_width,
                selves=config.selves,
                heads=config.heads,
                head_width=config.head_width,
                dropout=config.dropout,
                dropout_at=config.dropout_at,
            )
            for _ in range(config.depth)
        )
        self.to_logits = nn.Sequential(LatentMean(), LayerNorm(config.width), Linear(config.width, classes))

    def forward(self, images: Tensor) -> Tensor:
        context = standardised(self.embed(images))
        x = self.latents[None]
        for layer in self.layers:
            x = layer(x, context)
        return self.to_logits(x)
