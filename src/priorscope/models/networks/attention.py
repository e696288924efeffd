"""What the attention families share: how weights meet values, attention on a small context, and a cheap dropout.

torch's fused attention is the kernel of choice on a GPU. On a CPU its backward takes two to eight times as long as plain
products in bfloat16 (torch 2.15, 64 x 8 heads of 32 to 65 tokens), and as long in float32, so that there the products are
taken, with and without gradients alike: a logit is the same number in training and in evaluation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DRAW = 1 << 16
"""A dropout mask is drawn 16 bits a number, so that one 64-bit draw serves four."""


class Dropout(nn.Module):
    """Dropout whose mask costs a fifth of torch's on a CPU.

    torch draws a number for each element, one after the other: a third of a published Perceiver's training step. Here one draw
    of 64 bits serves four elements. The probability is rounded to 1/65536 and survivors are scaled by its exact inverse, so
    that the mean stays what it was.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return values
        if values.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(values, self.probability)
        dropped = min(round(self.probability * DRAW), DRAW - 1)
        draws = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        numbers = draws.view(torch.int16)[: values.numel()].view(values.shape)
        kept = numbers >= dropped - DRAW // 2
        return values * (kept.to(values.dtype) * (DRAW / (DRAW - dropped)))

    def extra_repr(self) -> str:
        return f"{self.probability}"


def attend(query: Tensor, key: Tensor, value: Tensor, dropout: Dropout | None = None) -> Tensor:
    """softmax(query key^T) value, for tensors (..., tokens, channels); queries come scaled, `dropout` acts on the weights."""
    dropping = dropout is not None and dropout.training and dropout.probability > 0
    if query.device.type != "cpu" and not dropping:
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)
    weights = torch.softmax(query @ key.transpose(-2, -1), dim=-1)
    return (dropout(weights) if dropout else weights) @ value


def absorbing_pays(channels: int, head_width: int) -> bool:
    """Whether self-attention on so many channels is faster absorbed: up to twice a head's width, in fewer, larger products."""
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
    to_out (o, heads d); gives (batch, n, o) without bias.
    """
    (batch, tokens, channels), asked = context.shape, queries.shape[1]
    into, out = _products(to_query, to_key, to_value, to_out, heads)
    questions = (queries @ into).view(-1, 1, asked * heads, channels).expand(batch, 1, asked * heads, channels)
    own = context.view(batch, 1, tokens, channels)
    mixed = attend(questions, own, own, dropout)
    return mixed.reshape(batch, asked, heads * channels) @ out


def _products(to_query: Tensor, to_key: Tensor, to_value: Tensor, to_out: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """W_q^T W_k side by side for all heads (a, heads c), and W_v^T W_o^T below each other (heads c, o).

    In the weights' own precision even under autocast: the products are tiny, and rounding them would round twice.
    """
    head = to_query.shape[0] // heads
    with torch.autocast(to_query.device.type, enabled=False):
        key = to_key.view(heads, head, -1)
        into = torch.bmm(to_query.view(heads, head, -1).transpose(1, 2), key) * head**-0.5
        out = torch.bmm(to_value.view(heads, head, -1).transpose(1, 2), to_out.view(-1, heads, head).permute(1, 2, 0))
    return into.transpose(0, 1).reshape(to_query.shape[1], -1), out.reshape(-1, to_out.shape[0])
