"""A network left in evaluation mode: dropout, stochastic depth and batch statistics are off while it trains.

In a study of Perceivers the evaluating function called `eval()` and nothing ever called `train()` again. Dropout was on in the
first of a hundred epochs, and its authors reported that dropout has no effect.

`watching(network)` finds it in any training loop, by looking at the mode of each pass that a gradient flows through:

    with watching(network) as watch:
        my_training_loop(network)
    for finding in watch.findings():
        print(finding)
"""

from __future__ import annotations

import ast
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from priorscope.doctor import Finding
from priorscope.doctor.scripts import Script, evaluates, last_name

if TYPE_CHECKING:
    from torch import nn

    from priorscope.models.classifier import Classifier

MEANS = (
    "dropout, stochastic depth and batch statistics work there as in a test: what a recipe says of them is not what was done"
)


@dataclass
class Watch:
    """How many passes with gradients there were, in how many something was off, and from which on."""

    behaving: int
    passes: int = 0
    off: int = 0
    first: int | None = None
    silent: int = 0

    def count(self, silent: int) -> None:
        """One pass with gradients, and how many submodules were in evaluation mode in it."""
        self.passes += 1
        if silent:
            self.off += 1
            self.silent = max(self.silent, silent)
            self.first = self.first or self.passes

    def findings(self) -> list[Finding]:
        """What was seen, if it is a fault."""
        if not self.off:
            return []
        return [
            Finding(
                check="evaluation_mode",
                severity="fault",
                saw=f"In {self.off:,} of {self.passes:,} training passes, from number {self.first:,} on, {self.silent} of "
                f"{self.behaving} submodules that behave differently in training were in evaluation mode.",
                means=MEANS,
                do="call model.train() at the start of every epoch, after whatever evaluates",
            )
        ]


def two_faced(network: nn.Module) -> list[nn.Module]:
    """The submodules that do something else in training: those that drop, and those with running statistics."""
    found: list[nn.Module] = []
    for module in network.modules():
        drops = max(_share(module, "p"), _share(module, "drop_prob")) > 0 and "drop" in type(module).__name__.lower()
        if drops or getattr(module, "track_running_stats", False):
            found.append(module)
    return found


def _share(module: nn.Module, name: str) -> float:
    value = getattr(module, name, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


@contextmanager
def watching(network: nn.Module) -> Generator[Watch]:
    """Counts the training passes inside the block and in which of them the network was, in part, in evaluation mode."""
    import torch

    behaving = two_faced(network)
    watch = Watch(len(behaving))

    def counted(silent: int, _gradient: torch.Tensor) -> None:
        watch.count(silent)

    def look(_module: object, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.requires_grad:
            output.register_hook(partial(counted, sum(not module.training for module in behaving)))

    handle = network.register_forward_hook(look)
    try:
        yield watch
    finally:
        handle.remove()


def look_at_network(network: Classifier) -> Iterator[Finding]:
    """Whether `train()` reaches every part: a network's own `train` may leave some behind."""
    modes = [(module, module.training) for module in network.modules()]
    behaving = two_faced(network)
    try:
        network.train()
        left = sum(not module.training for module in behaving)
    finally:
        for module, training in modes:
            module.training = training
    if left:
        yield Finding(
            check="evaluation_mode",
            severity="warning",
            saw=f"After train(), {left} of {len(behaving)} submodules of {network.name} that behave differently in training "
            "are still in evaluation mode.",
            means=MEANS,
            do="if they are not frozen on purpose, let the network's train() call super().train(mode)",
        )


def look_at_script(script: Script) -> Iterator[Finding]:
    """A call of `eval()` where something is trained and told `train()` nowhere, or only outside of every loop and function.

    A gradient alone trains nothing, it may move a picture; and a `fit` of another object is that of a readout.
    """
    switched_off = [node for _, node in script.calls() if evaluates(node)]
    asked = [node for node in _repeated(script.tree) if isinstance(node.func, ast.Attribute) and node.func.attr == "train"]
    on = [node for node in asked if not evaluates(node)]
    trains = any(name == "step" or (name == "fit" and isinstance(node.func, ast.Name)) for name, node in script.calls())
    if switched_off and trains and not on:
        yield Finding(
            check="evaluation_mode",
            severity="fault",
            saw=f"{script.at(switched_off[0])} calls {_told(switched_off[0])}, and no loop or function of the script calls "
            "train() on a network.",
            means=f"after the first evaluation the network stays in evaluation mode: {MEANS}",
            do="call model.train() at the start of every epoch",
        )


def _told(call: ast.Call) -> str:
    """A method's call without the object that it is one of."""
    return f"{last_name(call.func)}({', '.join(ast.unparse(part) for part in (*call.args, *call.keywords))})"


def _repeated(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls that may happen more than once: inside a loop or a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.While | ast.FunctionDef):
            yield from (call for call in ast.walk(node) if isinstance(call, ast.Call))
