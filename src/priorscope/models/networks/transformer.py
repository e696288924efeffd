"""timm's modules as they train in bfloat16 on a CPU at the processor's rate.

timm's networks are built as timm builds them, with its keys and its random numbers; `quicken` then gives the modules that it
knows, attention, linear maps, LayerNorm and GELU, other passes. In float32, on a GPU, and for a module set up in a way that
ours are not, they are timm's own.
"""

from __future__ import annotations

from typing import TypeVar

from timm.layers import attention as timm_attention
from timm.layers import norm as timm_norm
from torch import Tensor, nn

from priorscope.models.networks.attention import self_attend
from priorscope.models.networks.fused import Gelu
from priorscope.models.networks.linear import Linear, multiplies_in_bfloat16
from priorscope.models.networks.norm import LayerNorm

Network = TypeVar("Network", bound=nn.Module)


def quicken(network: Network) -> Network:
    """Turns a network's modules in place into their faster kinds, and returns it; state and hooks stay as they are."""
    for module in network.modules():
        if faster := QUICKER.get(type(module)):
            module.__class__ = faster
    return network


class SelfAttention(timm_attention.Attention):
    """Attention among all tokens.

    torch's fused attention is most of a ViT's step in bfloat16 on a CPU: 60 of 110 ms a layer with 65 tokens of 192 channels,
    batches of 128, on two cores. Here it takes 8.
    """

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        if is_causal:
            return super().forward(x, attn_mask, is_causal)
        if attn_mask is not None or not (self._is_plain() and multiplies_in_bfloat16(x)):
            return super().forward(x, attn_mask)  # older timm has no third
        return self.proj_drop(self.proj(self_attend(self.qkv(x), self.num_heads)))

    def _is_plain(self) -> bool:
        """Whether nothing happens beside the products: no norm of queries, keys or outputs, no gate, no dropped weights."""
        others = (self.q_norm, self.k_norm, self.norm)
        dropped = self.training and self.attn_drop.p > 0
        return not dropped and getattr(self, "gate", None) is None and all(type(module) is nn.Identity for module in others)


class TimmLayerNorm(LayerNorm, timm_norm.LayerNorm):  # pyright: ignore[reportIncompatibleMethodOverride]
    """timm's own LayerNorm in evaluation, and ours as it learns."""


QUICKER: dict[type[nn.Module], type[nn.Module]] = {
    timm_attention.Attention: SelfAttention,
    nn.Linear: Linear,
    nn.LayerNorm: LayerNorm,
    nn.GELU: Gelu,
    timm_norm.LayerNorm: TimmLayerNorm,
}
"""Modules and their faster kinds: subclasses that add methods alone."""
