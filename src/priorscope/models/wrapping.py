"""A network of somebody else's as a classifier: its taps, its head and its logits, found by running it once."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

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
    """What shows when grey images of a side pass: taps, the head, and the logits of two.

    Every submodule that runs is a tap under its own path, in the order in which they end, unless its output does not grow with
    the images along its first axis: nobody could tell whose an activation is (torch's attention has tokens there, unless it
    is told otherwise). The head is the linear map whose output the network returns unchanged, or None.
    """
    ended, logits = _ended(network, 2, side)
    more, _ = _ended(network, 3, side)

    def answers(output: Tensor, changes: int) -> bool:
        same = output.shape == logits.shape and output.data_ptr() == logits.data_ptr()
        return same and changes_of(output) == changes

    head = next((path for path, end in ended.items() if end.kept is not None and answers(*end.kept)), None)
    known = [path for path, end in ended.items() if path not in more or 3 * end.first == 2 * more[path].first]
    return {path.replace(".", "/"): Tap(path, "any") for path in known}, head, logits


class _End(NamedTuple):
    """How a submodule ended: the first axis of its output, and of a linear map the output and how often it was changed.

    The output is held, which keeps its address from being given away again.
    """

    first: int
    kept: tuple[Tensor, int] | None


def _ended(network: nn.Module, count: int, side: int) -> tuple[dict[str, _End], Tensor]:
    """Every submodule that runs, in the order in which they end, and the logits of so many grey images."""
    ended: dict[str, _End] = {}

    def end(path: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        ended.pop(path, None)
        kept = (output, changes_of(output)) if isinstance(module, nn.Linear) else None
        read: Any = output[0] if isinstance(output, tuple) and output else output  # as a tap reads it
        ended[path] = _End(len(read) if isinstance(read, Tensor) and read.ndim else 0, kept)

    handles = [
        module.register_forward_hook(partial(end, path))
        for path, module in network.named_modules()
        if path and not isinstance(module, torch.jit.ScriptModule)
    ]
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        with evaluating(network), torch.no_grad():
            return ended, _logits(network, torch.full((count, 3, side, side), 0.5, device=device))
    finally:
        for handle in handles:
            handle.remove()


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
