"""The two MLPs of "Scaling MLPs", with the state-dict keys and the input order of its released checkpoints.

The keys fix the layout (`blocks.3.block.0.weight` beside `layernorms.3.weight`), so a block's norm lives outside the block.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from priorscope.models.classifier import Backbone, Tap
from priorscope.models.networks.fused import Gelu
from priorscope.models.networks.linear import Linear
from priorscope.models.networks.norm import LayerNorm

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": LayerNorm,
    "batch": nn.BatchNorm1d,
    "none": lambda _width: nn.Identity(),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"gelu": Gelu, "relu": nn.ReLU}


class Bottleneck(nn.Module):
    """Widens, activates and narrows: the branch beside a skip connection."""

    def __init__(self, width: int, expansion: int, act: str, dropout: float) -> None:
        super().__init__()
        self.block = nn.Sequential(Linear(width, expansion * width), ACTIVATIONS[act](), Linear(expansion * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        widen, act, narrow = self.block
        return self.dropout(narrow(self.dropout(act(widen(x)))))


class BottleneckMLP(nn.Module):
    """Flatten, embed, then blocks x + narrow(act(widen(norm(x)))), then the head, with no norm before it."""

    def __init__(
        self, inputs: int, classes: int, blocks: int, width: int, expansion: int, norm: str, act: str, dropout: float
    ) -> None:
        super().__init__()
        self.linear_in = Linear(inputs, width)
        self.linear_out = Linear(width, classes)
        self.blocks = nn.ModuleList(Bottleneck(width, expansion, act, dropout) for _ in range(blocks))
        self.layernorms = nn.ModuleList(NORMS[norm](width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear_in(x.flatten(1))
        for norm, block in zip(self.layernorms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.linear_out(x)


class StandardMLP(nn.Module):
    """Flatten, embed, then `blocks` - 1 times linear(act(norm(x))), then the head. No skip connections."""

    def __init__(self, inputs: int, classes: int, blocks: int, width: int, norm: str, act: str, dropout: float) -> None:
        super().__init__()
        self.linear_in = Linear(inputs, width)
        self.linear_out = Linear(width, classes)
        self.layers = nn.ModuleList(Linear(width, width) for _ in range(blocks - 1))
        self.layernorms = nn.ModuleList(NORMS[norm](width) for _ in range(blocks - 1))
        self.acts = nn.ModuleList(ACTIVATIONS[act]() for _ in range(blocks - 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear_in(x.flatten(1))
        for norm, act, layer in zip(self.layernorms, self.acts, self.layers, strict=True):
            x = layer(self.dropout(act(norm(x))))
        return self.linear_out(x)


def bottleneck(
    inputs: int, classes: int, blocks: int, width: int, expansion: int, norm: str, act: str, dropout: float
) -> Backbone:
    """The bottleneck MLP and its taps. What a block hands on is read where the next one takes it up."""
    network = BottleneckMLP(inputs, classes, blocks, width, expansion, norm, act, dropout)
    taps = {"embed/out": Tap("linear_in", "NC")}
    for i in range(blocks):
        after = f"layernorms.{i + 1}" if i + 1 < blocks else "linear_out"
        taps |= {
            f"blocks/{i}/norm": Tap(f"layernorms.{i}", "NC"),
            f"blocks/{i}/hidden": Tap(f"blocks.{i}.block.1", "NC"),
            f"blocks/{i}/mlp": Tap(f"blocks.{i}", "NC"),
            f"blocks/{i}/out": Tap(after, "NC", "input"),
        }
    return Backbone(network, taps | HEAD_TAPS, "linear_out")


def standard(inputs: int, classes: int, blocks: int, width: int, norm: str, act: str, dropout: float) -> Backbone:
    """The standard MLP and its taps."""
    network = StandardMLP(inputs, classes, blocks, width, norm, act, dropout)
    taps = {"embed/out": Tap("linear_in", "NC")}
    for i in range(blocks - 1):
        taps |= {
            f"blocks/{i}/norm": Tap(f"layernorms.{i}", "NC"),
            f"blocks/{i}/hidden": Tap(f"acts.{i}", "NC"),
            f"blocks/{i}/out": Tap(f"layers.{i}", "NC"),
        }
    return Backbone(network, taps | HEAD_TAPS, "linear_out")


HEAD_TAPS = {"head/in": Tap("linear_out", "NC", "input"), "logits": Tap("linear_out", "NC")}
