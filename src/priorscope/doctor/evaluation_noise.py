"""Chance in evaluation: test pictures that are augmented, or a network that answers the same picture differently twice.

A study flipped and jittered its test pictures and left them un-normalised; its Swins were scored with stochastic depth on. A
forward pass that calls `F.dropout(x)` drops in evaluation too, because its `training` is true unless told otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.doctor import Finding
from priorscope.doctor.scripts import HELD_OUT, Script, last_name, may_evaluate, targets

if TYPE_CHECKING:
    from priorscope.data.split import Source
    from priorscope.models.classifier import Classifier

PICTURES = 32
RANDOM = ("ColorJitter", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix")


def look_at_source(source: Source) -> Iterator[Finding]:
    """Reads a few held-out pictures twice: both readings must be equal."""
    for name in ("val", "test"):
        if name not in source.splits():
            continue
        split = source.split(name)
        chosen = range(0, len(split), max(len(split) // PICTURES, 1))
        differ = sum(not (split[i][0] == split[i][0]).all() for i in chosen)
        if differ:
            yield Finding(
                check="evaluation_noise",
                severity="fault",
                saw=f"{differ} of {len(chosen)} pictures of {source.name}/{name} were different pictures when read again.",
                means="scores on it change from one reading to the next, and are of pictures that the data set does not hold",
                do="augment in the recipe (data.augment), not in the source",
            )


def look_at_network(network: Classifier) -> Iterator[Finding]:
    """Shows a network the same images twice, in evaluation mode: its answers must be equal."""
    import torch

    from priorscope.models.classifier import evaluating

    with evaluating(network), torch.inference_mode():
        side = network.image_size
        images = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0)).to(network.device)
        first, again = network(images), network(images)
    largest = float((first - again).abs().max())
    if largest > 1e-3 * max(float(first.std()), 1e-6):
        yield Finding(
            check="evaluation_noise",
            severity="fault",
            saw=f"{network.name} in evaluation mode gave the same 8 images logits that differ by up to {largest:.3g} "
            f"(their deviation is {float(first.std()):.3g}).",
            means="every score of it is one draw of many",
            do="F.dropout(x, p, training=self.training), and no random transform in forward()",
        )


def look_at_script(script: Script) -> Iterator[Finding]:
    """A held-out transform that holds a random operation, and an evaluation that never asks for evaluation mode."""
    without = [node for name, node in script.calls() if name in ("no_grad", "inference_mode")]
    if without and not any(may_evaluate(node) for _, node in script.calls()):
        yield Finding(
            check="evaluation_noise",
            severity="fault",
            saw=f"{script.at(without[0])} evaluates without gradients, and nothing in the script calls eval().",
            means="dropout and stochastic depth are on, and batch norms take the test batch's statistics, while it is scored",
            do="call model.eval() before scoring, and model.train() after it",
        )
    for node in ast.walk(script.tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        held_out = [name for name in targets(node) if HELD_OUT.search(name)]
        names = [last_name(call.func) for call in ast.walk(node.value) if isinstance(call, ast.Call)]
        random = [name for name in names if name.startswith("Random") or name in RANDOM]
        if held_out and random:
            yield Finding(
                check="evaluation_noise",
                severity="fault",
                saw=f"{script.at(node)}: {held_out[0]} holds {', '.join(random)}.",
                means="the network is scored on pictures that the data set does not hold, other ones each time",
                do="only resize, centre crop and normalise what a network is judged on",
            )
