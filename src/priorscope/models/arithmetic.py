"""A second count of a network's multiply-adds: by the operands of each product that runs, fused attention included.

`counting.py` asks torch's own counter, with attention taken apart because that counter has not known every fused kernel in
every version (on a CPU torch 2.13 counted fused attention as nothing). This one looks at the network as it really runs, by
formulas of its own. Two counts that agree have not both forgotten the same thing for the same reason.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier


def macs_as_run(classifier: Classifier) -> int:
    """The multiply-adds of matrix products, convolutions and attention that one image more takes, in evaluation mode."""
    counted = copy.deepcopy(classifier).cpu().float().eval()
    few, many = (_of_batch(counted, batch) for batch in (2, 3))
    return many - few


def _of_batch(classifier: Classifier, batch: int) -> int:
    import torch

    side = classifier.image_size
    with torch.no_grad():
        images = classifier.prepare(torch.zeros(batch, 3, side, side))
        with in_plain_steps(), _Products() as products:
            classifier.network(images)
    return products.macs


@contextmanager
def in_plain_steps() -> Generator[None]:
    """Attention and encoder layers of torch's own run step by step inside the block: their kernel in one shows no product."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Products(TorchDispatchMode):
    """Adds up the products that run while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.macs += _macs(str(func.overloadpacket).removeprefix("aten."), args, result)
        return result


def _macs(name: str, args: tuple[Any, ...], result: Any) -> int:
    """The multiply-adds of one operation; 0 where it is not a matrix product, a convolution or attention."""
    operands = [arg for arg in args if isinstance(arg, Tensor)]
    if name in ("mm", "bmm", "mv", "dot", "vdot"):
        return result.numel() * operands[0].shape[-1]
    if name in ("addmm", "baddbmm", "addmv", "_addmm_activation"):
        return result.numel() * operands[1].shape[-1]
    if name in ("addbmm",):
        return result.numel() * operands[1].shape[0] * operands[1].shape[2]
    if name in ("linear", "mkldnn_linear", "mkldnn._linear_pointwise"):
        return result.numel() * operands[1].shape[-1]
    if name in ("convolution", "mkldnn_convolution", "cudnn_convolution", "_convolution"):
        return _convolution(operands[0], operands[1], result, transposed=len(args) > 6 and args[6] is True)
    if name.startswith("_scaled_dot_product") and not name.endswith("backward"):
        return _attention(*operands[:3])
    return 0


def _convolution(images: Tensor, weight: Tensor, result: Tensor, *, transposed: bool) -> int:
    """The multiply-adds of a convolution: a kernel at each place of its output, or of its input if it is transposed."""
    places = images if transposed else result
    return places.numel() * math.prod(weight.shape[1:])


def _attention(queries: Tensor, keys: Tensor, values: Tensor) -> int:
    """The multiply-adds of attention: every query meets every key, and every weight its value."""
    return queries[..., 0].numel() * keys.shape[-2] * (queries.shape[-1] + values.shape[-1])
