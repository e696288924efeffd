"""Optimisers.

Weight decay really arrives: parameters are grouped by whether they are decayed, and every group is given its decay by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, Self, cast

from pydantic import AfterValidator, Field, model_validator

from priorscope.core.config import Number, Plain
from priorscope.core.errors import RequestError
from priorscope.train.defaults import OwnDefaults
from priorscope.train.finetune import FinetuneConfig, head_names, rates
from priorscope.train.sam import SamConfig
from priorscope.train.schedule import PlateauConfig, Schedule
from priorscope.train.timm_optim import PREFIX, make_timm

if TYPE_CHECKING:
    from torch import nn

VERSION = 2
"""Version of the numbers that training by these rules ends with; raised when they change."""

OPTIMISERS: dict[str, Plain] = {
    "adamw": {"momentum": 0.9, "beta2": 0.999},
    "sgd": {"momentum": 0.9, "beta2": 0.999},
    "adam": {"momentum": 0.9, "beta2": 0.999},
    "lion": {"momentum": 0.9, "beta2": 0.99},
    "muon": {"momentum": 0.95, "beta2": 0.999},
    "lamb": {"momentum": 0.9, "beta2": 0.999},
}
"""The optimisers, and the defaults of each, as its paper has them."""


def _known(name: str) -> str:
    """Refuses an unknown name; what timm has is known only once it is imported."""
    if name in OPTIMISERS or name.startswith(PREFIX):
        return name
    raise ValueError(f"one of: {', '.join(OPTIMISERS)}, or timm/NAME")


class OptimConfig(OwnDefaults):
    """How weights move: the optimiser, its learning rate over time, and weight decay."""

    CHOICE: ClassVar[str] = "name"
    DEFAULTS: ClassVar[Mapping[str, Plain]] = OPTIMISERS

    name: Annotated[str, AfterValidator(_known)] = Field(
        default="adamw", description="adamw, sgd, adam, lion, muon, lamb, or timm/NAME of timm's list"
    )
    lr: Number = Field(default=1e-3, gt=0, description="the learning rate after warm-up")
    weight_decay: Number = Field(
        default=0.05, ge=0, description="how strongly the weights of maps (matrices and kernels) decay"
    )
    decay_norms_and_biases: bool = Field(
        default=False, description="whether everything else decays too: norms, biases, positions, tokens, latents"
    )
    momentum: Number | None = Field(
        default=None, ge=0, lt=1, description="SGD's and Muon's, the first beta of the others; not set: 0.9 (Muon: 0.95)"
    )
    beta2: Number | None = Field(
        default=None, ge=0, lt=1, description="the second beta; SGD has none; not set: 0.999 (Lion: 0.99)"
    )
    nesterov: bool | None = Field(
        default=None, description="SGD and Muon: whether Nesterov's momentum looks ahead; not set: wherever there is momentum"
    )
    schedule: Schedule = Field(
        default="cosine", description="how the rate moves after warm-up: cosine, constant, linear, wsd or plateau"
    )
    warmup: Number = Field(default=0.0, ge=0, description="epochs of linear warm-up, which are part of the schedule's length")
    decay_share: Number | None = Field(
        default=None, gt=0, le=1, description="wsd: the share of all steps, at the end, in which the rate falls; not set: 0.2"
    )
    plateau: PlateauConfig | None = Field(
        default=None, description="plateau: when the rate falls, and how far; not set: by the defaults of its settings"
    )
    clip: Number | None = Field(default=None, gt=0, description="largest global L2 norm of the gradient")
    sam: SamConfig | None = Field(
        default=None, description="sharpness-aware steps (SAM): each takes its gradient a short way uphill"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.name == "sgd" and self.beta2 != OPTIMISERS["sgd"]["beta2"]:
            raise RequestError("optim.beta2 came with SGD.", "an optimiser that has a second beta", "remove optim.beta2")
        if self.nesterov is not None and self.name not in ("sgd", "muon"):
            raise RequestError(
                f"optim.nesterov came with {self.name}.", "SGD or Muon, whose momentum can look ahead", "remove optim.nesterov"
            )
        if self.nesterov and self.momentum == 0:
            raise RequestError("optim.nesterov came with momentum = 0.", "momentum to look ahead with", "optim.momentum = 0.9")
        if self.decay_share is not None and self.schedule != "wsd":
            raise RequestError(
                f"optim.decay_share came with the schedule {self.schedule}.", "the schedule wsd", 'optim.schedule = "wsd"'
            )
        if self.plateau is not None and self.schedule != "plateau":
            raise RequestError(
                f"optim.plateau came with the schedule {self.schedule}.", "the schedule plateau", 'optim.schedule = "plateau"'
            )
        return self

    @property
    def looks_ahead(self) -> bool:
        """Whether momentum is Nesterov's."""
        return self.betas[0] > 0 if self.nesterov is None else self.nesterov

    @property
    def betas(self) -> tuple[float, float]:
        """Momentum and second beta of an optimiser whose defaults are known here."""
        return cast("float", self.momentum), cast("float", self.beta2)


class Optimiser(Protocol):
    """What the loop and a checkpoint ask of an optimiser: torch's own, or two at work together."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class Together:
    """Two optimisers as one, each with parameters of its own."""

    def __init__(self, *parts: Optimiser) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all, in order."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One update by each."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state of each, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Puts the state of each in place."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def parameter_groups(model: nn.Module, config: OptimConfig, finetune: FinetuneConfig | None = None) -> list[dict[str, Any]]:
    """Parameters by their share of the learning rate, and whether they are decayed.

    The weights of maps are decayed, everything else only when asked. The loop sets each group's rate to `lr_scale` times that
    of the step. LAMB adapts the rate of what is decayed, however little: also by 0, where timm's would be Adam.
    """
    rate_of = rates(model, finetune)
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            spared = not (_maps(name, p) or config.decay_norms_and_biases)
            members.setdefault((-rate_of[name], spared), []).append(p)
    return [
        {
            "params": members[minus_rate, spared],
            "weight_decay": 0.0 if spared else config.weight_decay,
            "lr_scale": -minus_rate,
            **({"always_adapt": not spared} if config.name == "lamb" else {}),
        }
        for minus_rate, spared in sorted(members)
    ]


def _maps(name: str, p: nn.Parameter) -> bool:
    """Whether a parameter maps its input: a matrix or kernel, which is called weight.

    A bias may have one value per place; positions, tokens, latents and tables of relative positions have two dimensions or
    more. None of them multiplies anything.
    """
    return p.ndim > 1 and name.endswith("weight")


def make_optimiser(model: nn.Module, config: OptimConfig, finetune: FinetuneConfig | None = None) -> Optimiser:
    """The optimiser of a config.

    Fused if torch has that, because one kernel a step replaces dozens of small ones (and gives the same numbers each run).
    """
    import torch

    groups = parameter_groups(model, config, finetune)
    if config.name.startswith(PREFIX):
        return make_timm(groups, config)
    lr, betas = config.lr, config.betas
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=betas[0], nesterov=config.looks_ahead, fused=True)
    if config.name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=betas, fused=True)
    if config.name == "lion":
        from priorscope.train.lion import Lion

        return Lion(groups, lr=lr, betas=betas)
    if config.name == "lamb":
        from timm.optim.lamb import Lamb

        return Lamb(groups, lr=lr, betas=betas, max_grad_norm=None)  # by default it clips unasked; optim.clip does that
    if config.name == "muon":
        return _muon(model, groups, config)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)


def _muon(model: nn.Module, groups: list[dict[str, Any]], config: OptimConfig) -> Optimiser:
    """Muon for the matrices inside, AdamW (first beta 0.9) for kernels, the head and what maps nothing, as its author has it.

    Its updates are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that one learning rate serves both.
    """
    import torch

    from priorscope.models.classifier import Classifier
    from priorscope.train.muon import in_fast_precision

    if not hasattr(torch.optim, "Muon"):
        raise RequestError(f"torch {torch.__version__} has no Muon.", "torch 2.9 or later", 'optim.name = "adamw"')
    head = head_names(model) if isinstance(model, Classifier) and model.head_path else set[str]()
    inside = {id(p) for name, p in model.named_parameters() if p.ndim == 2 and _maps(name, p) and name not in head}
    matrices = _part(groups, lambda p: id(p) in inside)
    others = _part(groups, lambda p: id(p) not in inside)
    parts: list[Optimiser] = []
    if matrices:
        muon = torch.optim.Muon(
            matrices,
            lr=config.lr,
            momentum=config.betas[0],
            nesterov=config.looks_ahead,
            adjust_lr_fn="match_rms_adamw",
        )
        parts.append(in_fast_precision(muon))
    if others:
        parts.append(torch.optim.AdamW(others, lr=config.lr, betas=(0.9, config.betas[1]), fused=True))
    return Together(*parts)


def _part(groups: list[dict[str, Any]], belongs: Callable[[nn.Parameter], bool]) -> list[dict[str, Any]]:
    """The groups with only those parameters that belong; empty ones left out."""
    kept = [{**group, "params": [p for p in group["params"] if belongs(p)]} for group in groups]
    return [group for group in kept if group["params"]]
