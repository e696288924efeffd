"""What a step costs in floating-point operations.

An image's forward pass is counted once (`models/counting.py`: twice its multiply-adds). The backward pass of a network that
learns costs twice that, for the gradients of its inputs and of its weights; if the head alone learns, only the gradient of
the head's weights is computed: a multiply-add each. A sharpness-aware step makes both passes twice. To move a picture against
the network takes a forward pass and the gradient of the pixels at each of its steps; TRADES learns from the picture and the
moved one, after one look at the first. Updates, norms and activations do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from priorscope.train.finetune import trains_body

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier
    from priorscope.train.config import TrainConfig
    from priorscope.train.optim import OptimConfig


def image_flops(model: Classifier, train: TrainConfig, optim: OptimConfig) -> int:
    """The operations of one image in one training step."""
    from priorscope.models.counting import macs

    forward = 2 * macs(model)
    backward = 2 * (forward if trains_body(train.finetune) else sum(p.numel() for p in model.head.parameters() if p.ndim > 1))
    learning = forward + backward
    moving = 0
    if train.adversarial is not None:
        moving = 2 * forward * train.adversarial.walk[0]
        if train.adversarial.kind == "trades":
            learning, moving = 2 * learning, moving + forward
    return (learning + moving) * (1 if optim.sam is None else 2)
