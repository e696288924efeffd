"""Dropout that does nothing: a rate is set, and the network answers the same in training as if there were none.

Scaling MLPs' released code took a dropout rate and had no dropout; a study of Perceivers compared rates while dropout was off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.core.errors import RequestError
from priorscope.doctor import Finding

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Classifier


def look_at_network(network: Classifier) -> Iterator[Finding]:
    """Finds a network with a dropout rate above 0 whose two training passes over the same images do not differ."""
    asked = (network.config.rates if network.config else {}) or _drops(network)
    if asked and not _answers_differ(network):
        told = ", ".join(f"{name} {rate:g}" for name, rate in asked.items())
        yield Finding(
            check="dropout",
            severity="fault",
            saw=f"{network.name} has {told}, and two training passes over the same images were equal, bit for bit.",
            means="nothing is dropped: networks with and without it differ by their seeds alone",
            do="look for the rate in the network: is it read, and does train() reach the modules that drop?",
        )


def _drops(network: Classifier) -> dict[str, float]:
    """The rates of the modules that drop, for a network without settings of ours."""
    from torch import nn

    return {
        f"{type(module).__name__} {path}": float(module.p)
        for path, module in network.network.named_modules()
        if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.AlphaDropout) and module.p > 0
    }


def _answers_differ(network: Classifier, images: int = 16) -> bool:
    """Whether the network, in training mode, answers the same images differently under two seeds; left as it was."""
    import torch

    from priorscope.models.classifier import evaluating

    device = network.device
    with evaluating(network), torch.no_grad():
        statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
        network.train()
        batch = torch.rand(images, 3, network.image_size, network.image_size).to(device)
        answers = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            answers.append(_seen(network, batch))
        for name, buffer in network.named_buffers():  # batch norms have moved theirs
            buffer.copy_(statistics[name])
    return not torch.equal(answers[0], answers[1])


def _seen(network: Classifier, batch: Tensor) -> Tensor:
    """What the head sees, because a head that begins with zeros answers the same whatever it sees; else the logits."""
    try:
        return network.features(batch)
    except RequestError:  # several heads, or none
        return network(batch)
