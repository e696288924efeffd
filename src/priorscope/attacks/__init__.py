"""Attacks: what may be done to a picture, written as pure steps on a callable that returns logits.

An `Attack` is plain data; what carries it out lies in one file an idea, and only that needs torch:

    losses.py     what an attack raises: cross-entropy, margin, DLR, and DLR towards a class
    budgets.py    which budgets are asked about, and how they are written
    ball.py       budgets as geometry: pictures with their budgets, random starts, steps, projections, distances
    victim.py     a network under attack: logits and input gradients in chunks, parameters left alone
    pgd.py        FGSM, BIM, PGD, MI-FGSM; and a whole FGSM curve from one backward pass
    apgd.py       PGD that chooses its own step size (Croce and Hein 2020, arXiv 2003.01690)
    fab.py        the nearest decision boundary (Croce and Hein 2019, arXiv 1907.02044)
    square.py     random search without gradients (Andriushchenko et al. 2019, arXiv 1912.00049)
    rays.py       only the decision is seen (Chen and Gu 2020, arXiv 2006.12792)
    turns.py      restarts, targets and ensembles: each in turn on what still stands
    search.py     the smallest budget that breaks each picture, resumable
    doubts.py     what is wrong with the answers before anything is attacked
    audit.py      what the attack may have missed
    verdict.py    whether a number deserves belief

Pictures are in [0, 1] and so are budgets: 8/255 in L-inf is eight grey levels. Every picture draws from a stream of its own,
named by seed, position in the split, attack and restart, so nothing depends on the batch.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from priorscope.core.config import Config, Plain
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.wording import counted

Norm = Literal["linf", "l2"]
LossName = Literal["cross-entropy", "margin", "dlr", "targeted-dlr"]
Start = Literal["none", "random"]
Kind = Literal["pgd", "apgd", "fab", "square", "decision"]

NORMS: dict[Norm, str] = {"linf": "L-inf", "l2": "L2"}
READ_BY: dict[str, tuple[Kind, ...]] = {
    "loss": ("pgd", "apgd"),
    "step": ("pgd",),
    "momentum": ("pgd",),
    "start": ("pgd", "apgd", "fab"),
}
"""Which attacks read a setting that others have no use for."""
USUAL_START: dict[Kind, Start] = {"apgd": "random", "fab": "none", "square": "random", "decision": "none"}
"""Where attacks begin whose start goes without saying."""
FEW_STEPS = 10
"""An iterated gradient attack with fewer steps is called weak: its number is an upper bound and nothing else."""


class Attack(Config):
    """One attack as plain data. Budgets are not part of it: the same attack is run at many.

    `step` is the step size as a share of the budget (not set: of `pgd`, one over the number of steps). `leave` lets a
    broken picture leave the batch; `judge` "any" counts a picture as broken if any iterate fools the network (each lies in
    the ball, so each is a proof); "last" looks at the last one only, as older protocols do. `targets` is how many other
    classes a targeted attack aims at, the likeliest first.
    """

    name: str
    kind: Kind
    steps: int = Field(ge=1)
    step: float = Field(default=1.0, gt=0)
    start: Start = "none"
    restarts: int = Field(default=1, ge=1)
    loss: LossName = "cross-entropy"
    momentum: float = Field(default=0.0, ge=0)
    targets: int = Field(default=0, ge=0)
    leave: bool = True
    judge: Literal["any", "last"] = "any"

    @model_validator(mode="before")
    @classmethod
    def _steps_that_reach_the_budget(cls, values: Any) -> Any:
        match values:
            case {"kind": "pgd", "steps": int(steps)}:
                return {"step": 1 / max(steps, 1), **values}
            case _:
                return values

    @property
    def gradient_free(self) -> bool:
        """Whether it sees logits or decisions only."""
        return self.kind in ("square", "decision")

    @property
    def weak(self) -> bool:
        """Whether its number is an upper bound by construction: one step, few steps, or few queries."""
        if self.gradient_free:
            return self.steps < 1000
        return self.steps < FEW_STEPS

    @property
    def reach(self) -> float:
        """How far its steps lead at most, as a share of the budget."""
        return self.steps * self.step

    @property
    def classes_needed(self) -> int:
        """How many classes its loss needs: DLR divides by the gap from the first logit to the third, or below."""
        return {"dlr": 3, "targeted-dlr": 4}.get(self.loss, 2)

    def sentence(self) -> str:
        """The attack in words, every setting that moves its number named."""
        if self.kind == "decision":
            return f"RayS, {self.steps} queries, decisions only"
        if self.kind == "square":
            return f"Square, {self.steps} queries, no gradients"
        parts = [self.name, counted(self.steps, "step")]
        if self.kind == "pgd":
            parts.append(f"step size {self.step:.3g} of the budget")
        if self.kind != "fab":
            parts.append(self.loss)
        if self.momentum:
            parts.append(f"momentum {self.momentum:g}")
        if self.targets:
            parts.append(f"{self.targets} target classes")
        if self.start != USUAL_START.get(self.kind):
            parts.append("random start" if self.start == "random" else "no random start")
        if self.restarts > 1:
            parts.append(f"{self.restarts} restarts")
        if self.judge == "last":
            parts.append("the last iterate counts")
        return ", ".join(parts)


PRESETS: dict[str, Plain] = {
    "fgsm": {"kind": "pgd", "steps": 1},
    "bim": {"kind": "pgd", "steps": 10, "step": 0.25},
    "pgd": {"kind": "pgd", "steps": 20, "step": 0.125, "start": "random"},
    "pgd-margin": {"kind": "pgd", "steps": 20, "step": 0.125, "start": "random", "loss": "margin"},
    "mi-fgsm": {"kind": "pgd", "steps": 10, "momentum": 1.0},
    "apgd": {"kind": "apgd", "steps": 100, "start": "random"},
    "apgd-dlr": {"kind": "apgd", "steps": 100, "start": "random", "loss": "dlr"},
    "apgd-t": {"kind": "apgd", "steps": 100, "start": "random", "loss": "targeted-dlr", "targets": 9},
    "fab-t": {"kind": "fab", "steps": 100, "targets": 9, "loss": "margin"},
    "square": {"kind": "square", "steps": 5000, "start": "random", "loss": "margin"},
    "decision": {"kind": "decision", "steps": 500, "loss": "margin"},
    "z-fgsm": {"kind": "pgd", "steps": 1, "leave": False, "judge": "last"},
    "z-pgd5": {"kind": "pgd", "steps": 5, "step": 0.5, "start": "random", "leave": False, "judge": "last"},
}
"""Named attacks. `z-fgsm` and `z-pgd5` are the protocols of the "zooming in on MLPs" study, which judges the last iterate and
also attacks what was wrong before."""

ENSEMBLES: dict[str, tuple[Plain, ...]] = {
    "standard": ({"name": "apgd"}, {"name": "apgd-t"}, {"name": "fab-t"}, {"name": "square"}),
    "quick": ({"name": "pgd", "steps": 10, "step": 0.25}, {"name": "apgd", "steps": 15, "loss": "margin"}),
}
"""Named attacks in turn, each on what the ones before left standing.

`standard` is the published ensemble; `quick` costs a fiftieth of it, for tiny networks and first looks: its audit tries what
it leaves out.
"""

PROTOCOL_BUDGETS: dict[str, tuple[float, ...]] = {
    "z-fgsm": tuple(round(k * 0.0125, 4) for k in range(21)),
    "z-pgd5": tuple(k * 0.025 / 12 for k in range(12)),
}
"""The budgets at which a protocol was published, budget 0 included."""


def attack_of(name: str, **changes: Any) -> Attack:
    """A named attack, with some settings changed."""
    if name not in PRESETS:
        raise unknown_name("named attack", name, (*PRESETS, *ENSEMBLES))
    attack = Attack.parse({"name": name, **PRESETS[name], **changes}, f"attack {name}")
    for setting, kinds in READ_BY.items():
        if setting in changes and attack.kind not in kinds:
            came = f"{name} has a way of its own and reads no {setting}."
            raise RequestError(came, "the attack as it is", f"leave out {setting}")
    if attack.restarts > 1 and attack.start == "none":
        raise RequestError(
            f"{name} begins at the picture itself: {attack.restarts} restarts would all be the same.",
            "one start, or random ones",
            'start = "random"' if attack.kind in READ_BY["start"] else 'attack = "pgd"',
        )
    return attack


def attacks_of(name: str, classes: int, **changes: Any) -> tuple[Attack, ...]:
    """The attacks that a name stands for, on a network with that many classes.

    DLR has no meaning below 3 classes and its targeted form below 4: a single attack is then refused; an ensemble takes the
    margin loss instead (which at 2 classes is all there is to raise).
    """
    if name not in ENSEMBLES:
        attack = attack_of(name, **changes)
        if classes < attack.classes_needed:
            raise RequestError(
                f"{name} raises {attack.loss}, and the network has {classes} classes.",
                f"at least {attack.classes_needed} classes",
                'loss = "margin"',
            )
        return (_with_targets(attack, classes),)
    if changes:
        raise RequestError(
            f"{name} is several attacks, and {', '.join(sorted(changes))} came for all of them.",
            "an ensemble as it is defined, or one attack with settings",
            'attack = "pgd", with ' + ", ".join(sorted(changes)),
        )
    members = (attack_of(**member) for member in ENSEMBLES[name])
    return tuple(_with_targets(_with_loss(attack, classes), classes) for attack in members)


def follows_gradients(name: str) -> bool:
    """Whether a named attack, or any of an ensemble, follows gradients, which may lead nowhere."""
    members = [str(member["name"]) for member in ENSEMBLES.get(name, ({"name": name},))]
    return any(not attack_of(member).gradient_free for member in members)


def _with_loss(attack: Attack, classes: int) -> Attack:
    return attack if classes >= attack.classes_needed else attack.replace(loss="margin")


def _with_targets(attack: Attack, classes: int) -> Attack:
    return attack.replace(targets=min(attack.targets, classes - 1)) if attack.targets else attack
