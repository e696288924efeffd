"""A network of somebody else's as a classifier: its taps, its head and its logits, found by running it once."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from priorscope.core.contracts import Statistics
from priorscope.core.errors import PriorscopeError, RequestError, first_line
from priorscope.core.machine import ran_out
from priorscope.models import Resize
from priorscope.models.classifier import Backbone, Classifier, Tap, evaluating


def wrap_network(
    network: nn.Module, image_size: int, num_classes: int, statistics: Statistics | None, input_size: int | None, resize: Resize
) -> Classifier:
    """A user's own network as a classifier: every submodule that runs is a tap, under its own path."""
    taps, head, logits = module_taps(network, input_size or image_size)
    if tuple(logits.shape) != (2, num_classes):
        raise RequestError(
            f"The network gives {tuple(logits.shape)} for 2 images.",
            f"(2, {num_classes}): one logit a class",
            f"data with {logits.shape[1]} classes (--data), or classes={logits.shape[1]} in ps.wrap"
            if logits.ndim == 2 and len(logits) == 2
            else "return one row of logits for each image",
        )
    return Classifier(
        Backbone(network, taps, head),
        image_size=image_size,
        num_classes=num_classes,
        statistics=statistics,
        input_size=input_size,
        resize=resize,
    ).to(logits.device)


def module_taps(network: nn.Module, side: int) -> tuple[dict[str, Tap], str | None, Tensor]:
    """What shows when two grey images of a side pass: taps, the head, and the logits.

    Every submodule that runs is a tap under its own path, in the order in which they end. The head is the linear map whose
    output the network returns unchanged, or None.
    """
    ended: dict[str, tuple[Tensor, int] | None] = {}  # holding outputs keeps their addresses from being given away again

    def end(path: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        ended.pop(path, None)
        ended[path] = (output, changes_of(output)) if isinstance(module, nn.Linear) else None

    handles = [
        module.register_forward_hook(partial(end, path))
        for path, module in network.named_modules()
        if path and not isinstance(module, torch.jit.ScriptModule)
    ]
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        with evaluating(network), torch.no_grad():
            logits = _logits(network, torch.full((2, 3, side, side), 0.5, device=device))
    finally:
        for handle in handles:
            handle.remove()

    def answers(output: Tensor, changes: int) -> bool:
        same = output.shape == logits.shape and output.data_ptr() == logits.data_ptr()
        return same and changes_of(output) == changes

    head = next((path for path, kept in ended.items() if kept is not None and answers(*kept)), None)
    return {path.replace(".", "/"): Tap(path, "any") for path in ended}, head, logits


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """A network's answer; refuses a network that fails on these images, and an answer that is not a tensor."""
    name = type(network).__name__
    try:
        logits = network(images)
    except PriorscopeError:
        raise
    except Exception as error:
        if ran_out(error):
            raise
        single = all(p.dtype == torch.float32 for p in network.parameters() if p.is_floating_point())
        raise RequestError(
            f"{name} fails on images of shape {tuple(images.shape)}: {first_line(error)}.",
            "a network that takes float32 images of this size",
            "data of the size that it takes (--data), or input_size=<that size> in ps.wrap: images are resized inside"
            if single
            else "network.float()",
        ) from error
    if not isinstance(logits, Tensor):
        raise RequestError(
            f"{name} returns a {type(logits).__name__}.",
            "a tensor of logits, (N, classes)",
            "return the logits alone: of a Hugging Face model, network(images).logits",
        )
    return logits


def changes_of(tensor: Tensor) -> int:
    """How often torch has counted a change of a tensor; those made in inference mode it does not count."""
    return 0 if tensor.is_inference() else tensor._version
