"""What a model costs: parameters, multiply-adds, activation memory, tokens. Counted by running it, not by its name."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from priorscope.core.config import Config
from priorscope.models.arithmetic import in_plain_steps
from priorscope.models.places import by_place

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Classifier


class ModelInfo(Config):
    """The cost of one more image in a batch; work done once per batch (weights times weights) is not counted.

    `macs` are the multiply-adds of all matrix products, convolutions and attention; `flops` are twice that, a multiplication
    and an addition each. Norms, activations and additions are in neither: they are under 1 % of these networks' arithmetic.
    `activation_bytes` is what a training step in float32 keeps of one image for its backward pass. `tokens` is the number of
    positions where it changes on the way: at the first block's input, then at the end of each stage with another number.
    """

    name: str
    image_size: int
    input_size: int
    num_classes: int
    parameters: int
    macs: int
    flops: int
    activation_bytes: int
    tokens: dict[str, int]


def info(classifier: Classifier) -> ModelInfo:
    """Counts on a copy, so that the classifier, its statistics and the random state stay as they are."""
    from priorscope.models.classifier import seeded

    counted = copy.deepcopy(classifier).cpu().float()
    with seeded(0, "info"):
        own = _macs(counted)
        tokens = _tokens(counted)
        few, many = (_saved_bytes(counted.train().requires_grad_(True), batch) for batch in (2, 4))
    return ModelInfo(
        name=classifier.name,
        image_size=classifier.image_size,
        input_size=classifier.input_size,
        num_classes=classifier.num_classes,
        parameters=classifier.parameter_count(),
        macs=own,
        flops=2 * own,
        activation_bytes=(many - few) // 2,
        tokens=tokens,
    )


def macs(classifier: Classifier) -> int:
    """The multiply-adds of one image, without the rest that `info` counts: a training asks for them at every start.

    Counted by shapes alone, on torch's device `meta`; a network that needs numbers on its way is run.
    """
    from priorscope.models.classifier import seeded

    with seeded(0, "info"):
        try:
            return _macs(_without_numbers(classifier))
        except (RuntimeError, NotImplementedError, TypeError, ValueError):
            return _macs(copy.deepcopy(classifier).cpu().float())


def _without_numbers(classifier: Classifier) -> Classifier:
    """A copy on the device `meta`, whose weights are never copied."""
    import torch

    shapes: dict[int, Any] = {id(b): torch.empty_like(b, device="meta") for b in classifier.buffers()}
    shapes |= {id(p): torch.nn.Parameter(torch.empty_like(p, device="meta")) for p in classifier.parameters()}
    return copy.deepcopy(classifier, shapes).to("meta").float()


def _macs(classifier: Classifier) -> int:
    few, many = (_batch_macs(classifier.eval(), batch) for batch in (2, 3))
    return many - few


def _images(classifier: Classifier, batch: int) -> Tensor:
    import torch

    device = next((p.device for p in classifier.parameters()), None)
    return torch.rand(batch, 3, classifier.image_size, classifier.image_size, device=device)


def _batch_macs(classifier: Classifier, batch: int) -> int:
    """The multiply-adds of a batch.

    Attention is counted as plain products: torch's counter has not known every fused kernel in every version. On frozen
    weights: the counter reads `grad_fn` of parameter views, and without gradients they have none.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    images = classifier.prepare(_images(classifier, batch))
    network = copy.deepcopy(classifier.network).requires_grad_(False)
    with torch.no_grad(), torch.autocast("cpu", enabled=False), sdpa_kernel(SDPBackend.MATH), in_plain_steps(), counter:
        network(images)
    return counter.get_total_flops() // 2


def _tokens(classifier: Classifier) -> dict[str, int]:
    import torch

    along = [
        address
        for address in classifier.taps()
        if address.endswith("/out") and classifier.tap(address).layout in ("NC", "NLC", "NCHW", "NHWC")
    ]
    with torch.no_grad():
        read = classifier.activations(_images(classifier, 1), along)
    tokens: dict[str, int] = {}
    for address, value in read.items():
        count = by_place(value, classifier.tap(address).layout).shape[1]
        if not tokens or list(tokens.values())[-1] != count:
            tokens[address] = count
    return tokens


def _saved_bytes(classifier: Classifier, batch: int) -> int:
    """Bytes of all storages that autograd keeps between the passes, each counted once, the parameters' own left out."""
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    own = {p.untyped_storage().data_ptr() for p in classifier.state_dict().values()}
    kept: dict[int, Tensor] = {}  # holding the tensors keeps their addresses from being given away again

    def pack(tensor: Tensor) -> Tensor:
        if (address := tensor.untyped_storage().data_ptr()) not in own:
            kept[address] = tensor
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        classifier(_images(classifier, batch))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
