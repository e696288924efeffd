"""The Perceiver IO's modules: the whole image as a token, and the network. Its blocks are the Perceiver's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from priorscope.models.networks.linear import Linear
from priorscope.models.networks.perceiver import (
    FourierTokens,
    NormedCross,
    NormedMlp,
    PerceiverBlock,
    standardised,
)

if TYPE_CHECKING:
    from priorscope.models.perceiver_io import PerceiverIoConfig


class ImageToken(nn.Module):
    """The whole image as one token, colour last, as 2x - 1."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.channels = 3 * side**2

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).reshape(images.shape[0], 1, -1) * 2 - 1


class PerceiverIo(nn.Module):
    """Tokens read once by the latents, blocks of latent attention, and a query that reads the class."""

    queries: Tensor

    def __init__(self, side: int, classes: int, config: PerceiverIoConfig) -> None:
        super().__init__()
        asked = config.query_width or classes
        self.prepares = config.tokens == "patches"
        self.embed = FourierTokens(side, config.patch, config.bands, config.max_freq) if self.prepares else ImageToken(side)
        self.latents = nn.Parameter(torch.randn(config.latents, config.width))
        if config.queries == "trained":
            self.queries = nn.Parameter(torch.randn(1, asked))
        else:
            self.register_buffer("queries", torch.rand(1, asked))
        self.cross_attend_block = PerceiverBlock(
            config.width,
            context=self.embed.channels,
            prepared=self.prepares,
            cross_heads=config.cross_heads,
            cross_head_width=config.cross_head_width,
            selves=0,
            dropout=config.dropout,
        )
        self.layers = nn.ModuleList(
            PerceiverBlock(config.width, heads=config.heads, head_width=config.head_width, dropout=config.dropout)
            for _ in range(config.depth)
        )
        self.decoder_cross_attn = NormedCross(
            asked, config.width, config.cross_heads, config.cross_head_width, config.dropout, on_weights=False, prepared=False
        )
        self.decoder_ff = NormedMlp(asked, config.dropout, dropout_last=False) if config.decoder_mlp else None
        self.to_logits = Linear(asked, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        x = self.cross_attend_block(self.latents[None], standardised(tokens) if self.prepares else tokens)
        for layer in self.layers:
            x = layer(x)
        answer = self.decoder_cross_attn(self.queries[None], x)
        if self.decoder_ff is not None:
            answer = answer + self.decoder_ff(answer)
        return self.to_logits(answer[:, 0])
