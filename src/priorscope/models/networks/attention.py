"""What the attention families share: how weights meet values, and attention absorbed into its context.

On a GPU torch's fused attention is the kernel of choice. On a CPU its backward takes two to eight times as long as plain
products in bfloat16 (torch 2.15, 64 x 8 heads of 32 to 65 tokens), and as long in float32, so that there the products are
taken, with and without gradients alike: a logit is the same number in training and in evaluation.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from priorscope.models.networks.fused import Dropout, kept_weights, runs_kernels

SHORT = 32
"""Rows of scores below this length are weighed in float32 on a CPU: backward, torch takes 12 times as long in bfloat16."""


def in_product_precision(values: Tensor) -> Tensor:
    """Values as matrix products take them: as they are, or as autocast would have them."""
    kind = values.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return values.to(torch.get_autocast_dtype(kind))
    return values


def in_own_precision(values: Tensor) -> AbstractContextManager[object]:
    """Switches autocast off inside the block, on the device of some values."""
    kind = values.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def attend(query: Tensor, key: Tensor, value: Tensor, dropout: Dropout | None = None) -> Tensor:
    """softmax(query key^T) value, for tensors (..., tokens, channels); queries come scaled, `dropout` acts on the weights."""
    query, key, value = (in_product_precision(part) for part in (query, key, value))
    if dropout is not None and dropout.active:
        return weigh_and_drop(query @ key.mT, dropout) @ value
    if query.device.type == "cpu":
        return weigh(query @ key.mT) @ value
    flat = query.ndim == 3  # fused kernels know tensors with an axis of heads only
    query, key, value = (part[:, None] if flat else part for part in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    return mixed[:, 0] if flat else mixed


def weigh(scores: Tensor) -> Tensor:
    """softmax over the last axis, in the scores' own type."""
    if _is_short(scores):
        return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)
    return torch.softmax(scores, -1)


def _is_short(rows: Tensor) -> bool:
    return rows.shape[-1] < SHORT and rows.dtype == torch.bfloat16 and rows.device.type == "cpu"


def weigh_and_drop(scores: Tensor, dropout: Dropout) -> Tensor:
    """softmax over the last axis, of which some weights are dropped."""
    return kept_weights(scores, dropout.p) if runs_kernels(scores) else dropout(weigh(scores))


def self_attend(packed: Tensor, heads: int) -> Tensor:
    """Attention among the tokens of each sequence: (batch, tokens, 3 x channels) to (batch, tokens, channels).

    `packed` holds queries, keys and values side by side, each head by head, as one linear map returns them; queries are scaled
    here. Its gradient is written into one tensor, where autograd would put three together.
    """
    with in_own_precision(packed):
        mixed: Tensor = _SelfAttention.apply(packed, heads)  # pyright: ignore[reportAssignmentType]
    return mixed


def packs(values: Tensor) -> bool:
    """Whether `self_attend` is the faster way for values of this type: in bfloat16 on a CPU, outside torch.compile."""
    return values.device.type == "cpu" and values.dtype == torch.bfloat16 and not torch.compiler.is_compiling()


class _SelfAttention(torch.autograd.Function):
    """Unpack, score, weigh, mix, and put the heads side by side."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, heads: int) -> Tensor:
        batch, tokens, channels = packed.shape[0], packed.shape[1], packed.shape[2] // 3
        parts = packed.new_empty(3, batch * heads, tokens, channels // heads)
        parts.view(3, batch, heads, tokens, -1).copy_(_unpacked(packed, heads))
        query, key, value = parts
        query.mul_(query.shape[-1] ** -0.5)
        weights = weigh(torch.bmm(query, key.mT))
        ctx.save_for_backward(parts, weights)
        ctx.heads = heads
        return torch.bmm(weights, value).view(batch, heads, tokens, -1).transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (query, key, value), weights = ctx.saved_tensors
        batch, tokens, channels = gradient.shape
        of_mixed = gradient.reshape(batch, tokens, ctx.heads, -1).transpose(1, 2).reshape(query.shape)
        of_scores = _weigh_backward(torch.bmm(of_mixed, value.mT), weights)
        parts = query.new_empty(3, *query.shape)
        torch.bmm(of_scores, key, out=parts[0]).mul_(query.shape[-1] ** -0.5)
        torch.bmm(of_scores.mT, query, out=parts[1])
        torch.bmm(weights.mT, of_mixed, out=parts[2])
        packed = gradient.new_empty(batch, tokens, 3 * channels)
        _unpacked(packed, ctx.heads).copy_(parts.view(3, batch, ctx.heads, tokens, -1))
        return packed, None


def _unpacked(packed: Tensor, heads: int) -> Tensor:
    """A view (3, batch, heads, tokens, channels of a head)."""
    return packed.view(*packed.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)


def _weigh_backward(of_weights: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the scores, from that of their weights."""
    if not _is_short(weights):
        return torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
    wide = torch.ops.aten._softmax_backward_data(of_weights.float(), weights.float(), -1, torch.float32)
    return wide.to(weights.dtype)


def absorbing_pays(channels: int, head_width: int) -> bool:
    """Whether self-attention on `channels` is faster absorbed: up to twice a head's width, in fewer, larger products."""
    return channels <= 2 * head_width


def absorbed(
    queries: Tensor,
    context: Tensor,
    to_query: Tensor,
    to_key: Tensor,
    to_value: Tensor,
    to_out: Tensor,
    heads: int,
    dropout: Dropout | None = None,
) -> Tensor:
    """Multi-head attention on the context itself: keys and values are never made.

    A head's score q k^T is x (W_q^T W_k) c^T, and its output (weights c) (W_v^T W_o^T): with the two small products made first,
    what is left works on the context's own channels, which all heads share. The numbers are those of the usual order. It pays
    where the context has few channels (24 or 29 against heads of 64 or 16), above all where it is long or constant.

    Shapes: queries (batch or 1, n, a), context (batch, m, c), to_query (heads d, a), to_key and to_value (heads d, c),
    to_out (o, heads d); returns (batch, n, o) without bias.
    """
    into, out = _products(to_query, to_key, to_value, to_out, heads)
    (batch, _, channels), asked = context.shape, queries.shape[1]
    questions = (queries @ into).view(-1, asked * heads, channels).expand(batch, -1, -1)
    return F.linear(attend(questions, context, context, dropout).view(batch, asked, heads * channels), out)


def _products(to_query: Tensor, to_key: Tensor, to_value: Tensor, to_out: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """W_q^T W_k side by side for all heads (a, heads c), scaled, and W_o W_v likewise (o, heads c).

    In the weights' own precision even under autocast: the products are tiny, and rounding them would round twice.
    """
    head = to_query.shape[0] // heads
    with in_own_precision(to_query):
        key = to_key.view(heads, head, -1)
        into = torch.bmm(to_query.view(heads, head, -1).transpose(1, 2), key) * head**-0.5
        out = torch.bmm(to_out.view(-1, heads, head).transpose(0, 1), to_value.view(heads, head, -1))
    return into.transpose(0, 1).reshape(to_query.shape[1], -1), out.transpose(0, 1).reshape(to_out.shape[0], -1)
