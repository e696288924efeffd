"""What a step costs in floating-point operations.

An image's forward pass is counted once (`models/counting.py`: twice its multiply-adds). The backward pass of a network that
learns costs twice that, for the gradients of its inputs and of its weights; where the head alone learns, only the gradient of
the head's weights is computed. A sharpness-aware step makes both passes twice. Updates, norms and activations do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from priorscope.train.finetune import FinetuneConfig, trains_body

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier
    from priorscope.train.optim import OptimConfig


def image_flops(model: Classifier, finetune: FinetuneConfig | None, optim: OptimConfig) -> int:
    """The operations of one image in one training step."""
    from priorscope.models.counting import info

    forward = info(model).flops
    backward = 2 * forward if trains_body(finetune) else 2 * sum(p.numel() for p in model.head.parameters() if p.ndim > 1)
    return (forward + backward) * (1 if optim.sam is None else 2)
