"""What names a network: a hash of its weights and of what it does with them."""

from __future__ import annotations

import hashlib

import torch

from priorscope.core.config import content_key
from priorscope.models import FAMILIES
from priorscope.models.classifier import Classifier, evaluating


def network_key(model: Classifier) -> str:
    """A hash of every weight and of what the network does with them: an adversarial picture depends on it, data and attack.

    A family's config and the version of its numbers say what its network does; for any other, whose code may do anything, its
    answers on fixed pictures do.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())  # bfloat16 too
    if model.config is None:
        does: list[object] = [repr(model.network), _answers(model)]
    else:
        does = [model.config.plain(), FAMILIES.version(model.config.family)]
    digest.update(content_key([does, model.image_size, model.input_size, model.resize]).encode())
    return digest.hexdigest()


def _answers(model: Classifier) -> list[str]:
    """Logits of a few fixed pictures, to three digits: rounding differs between machines and numbers of threads."""
    pictures = torch.linspace(0, 997, 4 * 3 * model.image_size**2).sin().square().view(4, 3, model.image_size, model.image_size)
    with evaluating(model), torch.no_grad():
        logits = model(pictures.to(model.device)).float().cpu()
    return [f"{value:.3g}" for value in logits.flatten().tolist()]
