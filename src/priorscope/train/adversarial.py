"""Adversarial training: each picture is moved within a budget, against the network as it is, and the network learns from that.

- `fgsm`: one step from a random point of the ball (Wong, Rice and Kolter 2020, arXiv 2001.03994): cheap, and known to fail
  suddenly ("catastrophic overfitting"): the network learns to fool one step and nothing else. It is looked for.
- `pgd`: several steps (Madry et al. 2017, arXiv 1706.06083).
- `trades`: the network learns the clean picture, and its answer to the moved one is pulled towards the clean answer (Zhang et
  al. 2019, arXiv 1901.08573).

Pictures are moved with the network in evaluation mode, so that batch statistics are those of what is learnt from. Where a
picture's walk begins is a function of (seed, epoch, step, picture), not of the batch or of a rank's share of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from priorscope.attacks import Norm, attack_of
from priorscope.attacks.budgets import check_budget
from priorscope.core.config import Number, Plain
from priorscope.core.epoch import Epoch, Robust
from priorscope.core.errors import RequestError
from priorscope.train.defaults import OwnDefaults

if TYPE_CHECKING:
    from torch import Tensor, nn

    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier

Kind = Literal["fgsm", "pgd", "trades"]
Forward = Callable[["Tensor"], "Tensor"]

KINDS: dict[str, Plain] = {
    "fgsm": {"steps": 1, "step": 1.25},
    "pgd": {"steps": 10, "step": 0.25},
    "trades": {"steps": 10, "step": 0.25, "beta": 6.0},
}
"""The default settings of each kind. A step's size is a share of the budget: the papers' 10/255 and 2/255 of 8/255."""

LARGER = 2.0**12
"""By how much the loss that moves the pixels is multiplied in half precision: float16 ends at 6e-8 and 65504."""

LOOKED_AT = 500
LOST = 0.5
"""An epoch after which iterated attacks leave less than this share of the best epoch's accuracy has overfitted to one step."""


class AdversarialConfig(OwnDefaults):
    """How pictures are moved before a network learns from them."""

    CHOICE: ClassVar[str] = "kind"
    DEFAULTS: ClassVar[Mapping[str, Plain]] = KINDS

    kind: Kind = Field(default="pgd", description="fgsm (one step from a random start), pgd, or trades")
    eps: Annotated[Number, Field(gt=0)] = Field(
        default=8 / 255, description="the budget: how far a picture may be moved, of pixels in [0, 1]"
    )
    norm: Norm = Field(default="linf", description="the norm in which the budget is measured")
    steps: int | None = Field(default=None, ge=1, description="in how many steps a picture is moved; not set: 10 (fgsm: 1)")
    step: Number | None = Field(
        default=None, gt=0, description="a step's size as a share of the budget; not set: 0.25 (fgsm: 1.25)"
    )
    beta: Number | None = Field(
        default=None,
        gt=0,
        description="trades: the weight of the divergence between the answers to clean and moved pictures; not set: 6",
    )
    ramp: Number = Field(default=0.0, ge=0, le=1, description="the share of the run over which the budget grows from 0 to eps")

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        check_budget(self.eps, self.norm)
        if self.kind == "fgsm" and self.steps != 1:
            raise RequestError(f"adversarial.steps = {self.steps} came with fgsm.", "one step", 'kind = "pgd"')
        if self.beta is not None and self.kind != "trades":
            raise RequestError(f"adversarial.beta came with {self.kind}.", "trades, which weighs two losses", 'kind = "trades"')
        return self

    @property
    def walk(self) -> tuple[int, float]:
        """How many steps a picture takes, and their size as a share of the budget."""
        return cast("int", self.steps), float(cast("float", self.step))

    def budget(self, done: float) -> float:
        """The budget after a share of the run."""
        return float(self.eps) if done >= self.ramp else float(self.eps) * done / float(self.ramp)


def adversarial_loss(
    forward: Forward,
    network: nn.Module,
    images: Tensor,
    wanted: Tensor,
    keys: Tensor,
    config: AdversarialConfig,
    done: float,
    plain_loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The mean loss on moved pictures after a share `done` of the run; `keys` name where each picture's walk begins.

    `forward` is what is learnt from (compiled, or spread over ranks); `network` is what the pictures are moved against.
    """
    import torch

    from priorscope.attacks.victim import frozen
    from priorscope.models.classifier import evaluating

    eps = config.budget(done)
    if config.kind != "trades":
        moved = move(network, images, keys, config, eps, lambda logits: plain_loss(logits, wanted) * len(logits))
        return plain_loss(forward(moved), wanted)
    with evaluating(network), frozen(network), torch.no_grad():  # else autocast of torch 2.8 keeps casts that have no gradient
        clean = network(images).float()
    moved = move(network, images, keys, config, eps, lambda logits: divergence(clean, logits))
    both = forward(torch.cat([images, moved]))
    own, others = both.chunk(2)
    return plain_loss(own, wanted) + cast("float", config.beta) * divergence(own, others) / len(images)


def move(
    network: nn.Module,
    images: Tensor,
    keys: Tensor,
    config: AdversarialConfig,
    eps: float,
    loss: Callable[[Tensor], Tensor],
) -> Tensor:
    """Pictures moved to raise the summed loss of their logits; no parameter is asked for a gradient."""
    import torch

    from priorscope.attacks.ball import Pictures, direction, project, random_start, wide
    from priorscope.attacks.victim import frozen
    from priorscope.models.classifier import evaluating

    check_budget(config.eps, config.norm, images.shape[-1])  # in L2 no config knows the pictures
    nowhere = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    of = Pictures(images, nowhere, nowhere, images.new_full((len(images),), eps), config.norm)
    x, (steps, step) = random_start(of, keys), config.walk
    with evaluating(network), frozen(network):
        for _ in range(steps):
            gradient = _gradient(network, x, loss)
            x = project(x.detach() + wide(of.eps * step) * direction(gradient, of.norm), of)
    return x.detach()


def _gradient(network: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient of the pixels, of which a step takes only the direction: its size may be anything.

    In half precision small gradients would become 0, so the loss is made larger; a picture whose gradient is then too large is
    asked again without that. Each picture decides for itself, not the batch.
    """
    import torch

    x = x.detach().requires_grad_(True)
    kind = x.device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    (gradient,) = torch.autograd.grad(loss(network(x)) * (LARGER if half else 1.0), x)
    if not half:
        return gradient
    finite = gradient.flatten(1).isfinite().all(1)
    if bool(finite.all()):
        return gradient
    (plain,) = torch.autograd.grad(loss(network(x)), x)
    return torch.where(finite.view(-1, *[1] * (x.ndim - 1)), gradient, plain)


def divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """How far answers are from those wanted, both as logits, summed over pictures: Kullback and Leibler's, in float32.

    It is computed from logarithms throughout: a probability that is 0 in float32 has no gradient of its own.
    """
    from torch.nn import functional as F

    log_q, log_p = (F.log_softmax(each.float(), 1) for each in (logits, wanted))
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True)


def look(model: Classifier, split: Split, config: AdversarialConfig, seed: int, before: Sequence[Epoch]) -> Robust:
    """The accuracy left by one step and by ten, at the full budget, on the first pictures of a split in balanced order.

    One step that leaves more than ten do is what catastrophic overfitting looks like: it is told from the epochs before.
    """
    import torch

    from priorscope.attacks.ball import pictures
    from priorscope.attacks.turns import run_attack
    from priorscope.attacks.victim import Victim, frozen
    from priorscope.data.fetch import fetcher, some_images
    from priorscope.models.classifier import evaluating

    some, index = some_images(split, LOOKED_AT)
    fetch = fetcher(split, model.device)
    images, labels = fetch(index)
    of = pictures(images, labels, float(config.eps), norm=config.norm, index=torch.from_numpy(index))
    with evaluating(model), frozen(model):
        victim = Victim(model)
        fgsm, pgd = (
            1 - float(run_attack(victim, of, attack, seed).broken.float().mean())
            for attack in (attack_of("fgsm"), attack_of("pgd", steps=10, step=0.25))
        )
    lost = overfitted(fgsm, pgd, [epoch.robust.pgd for epoch in before if epoch.robust])
    return Robust(float(config.eps), len(some), fgsm, pgd, lost)


def overfitted(fgsm: float, pgd: float, before: Sequence[float]) -> bool:
    """Whether an epoch lost what ten steps had left `before`, though one step left it alone."""
    best = max((pgd, *before))
    return pgd < LOST * best and fgsm >= LOST * best
