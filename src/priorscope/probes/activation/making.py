"""How `priorscope.probes.activation` makes its pictures and scores them; apart from it because it needs torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from priorscope.attacks.victim import frozen
from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.core.machine import plain_attention
from priorscope.core.metrics import answers_alone
from priorscope.core.progress import kept_array
from priorscope.core.rng import stream
from priorscope.core.stats import wilson
from priorscope.data.fetch import some_images
from priorscope.data.split import Split
from priorscope.models.classifier import Classifier, looking
from priorscope.probes.activation import (
    CLASSES,
    VERSION,
    ZOOMING_FAULTS,
    Activation,
    ActivationConfig,
    Making,
    above_real,
    by_others,
    interval_over,
)
from priorscope.probes.shared.state import state_of
from priorscope.synthesis.descent import Steps, descend
from priorscope.synthesis.forms import Parameterisation, as_bytes, as_images, form_of, noisy_starts
from priorscope.synthesis.motion import Motion
from priorscope.synthesis.penalties import glare, total_variation
from priorscope.synthesis.spectrum import radial_power, spectrum_distance
from priorscope.synthesis.targets import LOGITS, Target, check_targets, numbered_class, own_scores, reading, target_of

BATCH = 64
"""Pictures in one pass without gradients."""

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What is to be made, and the real pictures that everything is held against."""

    asked: ActivationConfig
    chosen: Split
    folder: Path | None

    @cached_property
    def making(self) -> Making:
        """How a picture is made."""
        return self.asked.making()

    @cached_property
    def targets(self) -> list[Target]:
        """What is driven: what was written, or classes evenly spread."""
        classes = self.chosen.classes
        if self.asked.targets is None:
            shown = np.unique(self.chosen.labels)
            rows = np.linspace(0, len(shown) - 1, min(CLASSES, len(shown))).round().astype(int)
            return [numbered_class(row, classes) for row in shown[rows].tolist()]
        found = [target_of(text, classes) for text in self.asked.targets]
        if not found or len({target.name for target in found}) < len(found):
            raise RequestError(
                f"targets = {list(self.asked.targets)}.", "at least one target, each once", f'targets = ["class:{classes[0]}"]'
            )
        return found

    @cached_property
    def real(self) -> Split:
        """The real pictures, class-balanced."""
        return self._some[0]

    @cached_property
    def _some(self) -> tuple[Split, NDArray[np.int64]]:
        """The real pictures shown, and their positions in the split."""
        return some_images(self.chosen, self.asked.images)

    @cached_property
    def real_bytes(self) -> Bytes:
        """The real pictures' pixels, uint8 (N, H, W, 3)."""
        return np.stack([self.real[row][0] for row in range(len(self.real))])

    def real_of(self, target: Target) -> Bytes:
        """Real pictures of a target's class, as many as starts or as there are; for a target of another kind, the first ones.

        Pictures in `real` come first, but where there are more classes than such pictures, most classes have none among them.
        """
        if target.kind != "class":
            return self.real_bytes[: self.asked.starts]
        real, index = self._some
        among = index[real.labels == target.index]
        rows = np.concatenate([among, np.setdiff1d(np.flatnonzero(self.chosen.labels == target.index), among)])
        if not len(rows):
            raise RequestError(
                f"{self.chosen.name} has no picture of {target.name}.",
                "a class with a picture, which stands beside what is made",
                "another split, or other targets",
            )
        return np.stack([self.chosen[row][0] for row in rows[: self.asked.starts].tolist()])

    def streams(self) -> list[str]:
        """The names of the pictures' streams: of target and start alone, so that no picture depends on another."""
        return [f"{target.name}/{start}" for target in self.targets for start in range(self.asked.starts)]


@dataclass(frozen=True)
class Seen:
    """What one network says: of its own pictures (T, S), of real ones (N, T), and as a judge of everyone's (M, T, S)."""

    driven: Floats
    real: Floats
    given: Floats
    accuracy: float


def measure(names: tuple[str, ...], models: Sequence[Classifier], task: Task) -> Activation:
    """Makes, shows and scores. What cannot be driven is refused before anything is made."""
    _check_enough(task)
    for model in models:
        with looking(model):
            check_targets(task.targets, model)
    pictures = np.stack([_made(model, task) for model in models])
    flat = pictures.reshape(-1, *pictures.shape[3:])
    seen = [_seen_by(model, own, flat, task) for model, own in zip(models, pictures, strict=True)]
    power = radial_power(flat).reshape(*pictures.shape[:3], -1)
    real_power = radial_power(task.real_bytes)
    arrays: dict[str, NDArray[Any]] = {
        "pictures": pictures,
        "real": _examples(task, seen[0].real),
        "probability": np.stack([each.given for each in seen]),
        "score": np.stack([each.driven for each in seen]),
        "real_score": np.stack([np.stack([each.real.mean(0), each.real.std(0), each.real.max(0)], -1) for each in seen]),
        "power": power.mean((1, 2)),
        "real_power": np.stack([real_power.mean(0), *np.percentile(real_power, [2.5, 97.5], axis=0)]),
        "distance": spectrum_distance(power, real_power),
        "between_starts": _between(pictures),
        "between_targets": _between(pictures.swapaxes(1, 2)).mean(-1),
    }
    facts = {
        "names": names,
        "families": tuple(model.config.family if model.config else "other" for model in models),
        "accuracy": tuple(each.accuracy for each in seen),
        "real_distance": float(spectrum_distance(real_power, real_power).mean()),
    }
    return _result(task, arrays, facts)


def _result(task: Task, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Activation:
    """The result with its headline number and what is to be doubted about it."""
    is_class = np.array([target.kind == "class" for target in task.targets])
    driven = above_real(arrays["score"], arrays["real_score"])
    chosen = by_others(arrays["probability"])[:, is_class] if is_class.any() else driven
    values = chosen.mean((0, 2))
    if not np.isfinite(values).all():
        raise RequestError(
            "What the targets do is no number, or infinite, on some picture.", "networks that answer", "look for a diverged run"
        )
    told: dict[str, Any] = {**facts, **arrays}
    return Activation(
        value=float(values.mean()),
        interval=interval_over(values),
        n=int(np.prod(arrays["score"].shape)),
        unit="probability" if is_class.any() else "standard deviations",
        caveats=tuple(_caveats(task, facts, is_class, driven)),
        targets=tuple(target.name for target in task.targets),
        preset=task.asked.preset,
        making=task.making,
        split=task.chosen.name,
        images=len(task.real),
        seed=task.asked.seed,
        classes=len(task.chosen.classes),
        **told,
    )


def _caveats(task: Task, facts: Mapping[str, Any], is_class: NDArray[np.bool_], driven: Floats) -> list[str]:
    names, images = facts["names"], len(task.real)
    said = [ZOOMING_FAULTS] if task.asked.preset == "zooming" else []
    if task.making.begin == "real" and (few := [t.name for t in task.targets if len(task.real_of(t)) < task.asked.starts]):
        said.append(f"There are fewer pictures than starts of {', '.join(few)}: some starts are the same picture.")
    if is_class.any() and len(names) == 1:
        said.append("One network judged its own pictures, as it would adversarial ones: name others to judge them too.")
    if not is_class.all() and is_class.any():
        said.append("The headline is about the class targets alone: no other network has the units of the rest.")
    if task.asked.starts == 1:
        said.append("One start a target: how much another start would change was not measured.")
    for name, accuracy in zip(names, facts["accuracy"], strict=True):
        if wilson(round(accuracy * images), images).low <= 1 / len(task.chosen.classes):
            said.append(
                f"{name} is right on {accuracy:.0%} of the real pictures, not above chance: its judgement is worth nothing."
            )
    weak = [name for name, own in zip(names, driven, strict=True) if np.median(own) < 1]
    if weak:
        said.append(f"Half of the pictures of {', '.join(weak)} drive their target no further than usual real pictures do.")
    return said


def _check_enough(task: Task) -> None:
    """Refuses to stop at a probability where something other than a class's probability is raised."""
    making, others = task.making, [target.name for target in task.targets if target.kind != "class"]
    if making.enough is not None and (making.climb != "probability" or others):
        what = f"{', '.join(others)} came for it" if others else f"climb = {making.climb!r} came for it"
        raise RequestError(
            f"Preset {task.asked.preset} stops at a probability of {making.enough:g}, and {what}.",
            'classes and climb = "probability"',
            'preset = "priorscope"',
        )


def _made(model: Classifier, task: Task) -> Bytes:
    """The pictures of one network, uint8 (T, S, H, W, 3), computed once a folder."""
    data = [task.real, task.chosen] if task.making.begin == "real" else [task.real]
    settings: Plain = {
        "version": VERSION,
        "making": task.making.plain(),
        "streams": task.streams(),
        "seed": task.asked.seed,
    }
    path = state_of(task.folder, "activation", model, data, settings, "npy")

    def make() -> Bytes:
        with looking(model), plain_attention(model.device), frozen(model):
            rounded = as_bytes(_followed(model, task))
        return rounded.reshape(len(task.targets), task.asked.starts, *rounded.shape[1:])

    return kept_array(path, make)


def _followed(model: Classifier, task: Task) -> Tensor:
    making, device = task.making, model.device
    real = as_images(task.real_bytes, device)
    form = form_of(making.form, real, model.mean, model.std)
    of = [target for target in task.targets for _ in range(task.asked.starts)]

    def loss(images: Tensor, rows: slice) -> Tensor:
        read = reading(model, images, [target.tap for target in of])
        if making.climb == "probability":
            read[LOGITS] = F.log_softmax(read[LOGITS].float(), dim=1)
        return -own_scores(of[rows], read, model)

    def penalty(_numbers: Tensor, images: Tensor) -> Tensor:
        return making.total_variation * total_variation(images) + making.glare * glare(images)

    return descend(
        loss,
        _begun(form, task, real),
        form,
        Steps(
            steps=making.steps,
            lr=making.lr,
            optimiser=making.optimiser,
            momentum=making.momentum,
            schedule=making.schedule,
            enough=None if making.enough is None else -math.log(making.enough),
        ),
        penalty=penalty if making.total_variation or making.glare else None,
        motion=Motion(shift=making.shift, zoom=making.zoom, turn=making.turn),
        names=task.streams(),
        seed=task.asked.seed,
    )


def _begun(form: Parameterisation, task: Task, real: Tensor) -> Tensor:
    """The free numbers of every start: noise around the data's mean colour, or real pictures of the target's class."""
    if task.making.begin == "real":
        each = [task.real_of(target) for target in task.targets]
        begun = np.stack([own[start % len(own)] for own in each for start in range(task.asked.starts)])
        return form.encode(as_images(begun, real.device))
    return noisy_starts(form, real, (stream(task.asked.seed, "start", name) for name in task.streams()))


def _seen_by(model: Classifier, own: Bytes, everyone: Bytes, task: Task) -> Seen:
    """What a network says of its own pictures (T, S, ...), of the real ones, and of everyone's (M x T x S, ...)."""
    targets, starts = task.targets, task.asked.starts
    with looking(model):
        driven, _ = _answers(model, own.reshape(-1, *own.shape[2:]), targets)
        real, logits = _answers(model, task.real_bytes, targets)
        _, judged = _answers(model, everyone, [])
    sure = F.softmax(torch.from_numpy(judged), dim=1).nan_to_num(0.0)  # NaN gives no class any probability
    given = sure.numpy().reshape(-1, len(targets), starts, model.num_classes)
    by_target = [
        given[:, t, :, target.index] if target.kind == "class" else np.full((len(given), starts), np.nan)
        for t, target in enumerate(targets)
    ]
    per_picture = driven.reshape(len(targets), starts, len(targets))
    return Seen(
        np.stack([per_picture[t, :, t] for t in range(len(targets))]),
        real,
        np.stack(by_target, 1),
        float((answers_alone(logits) == task.real.labels).mean()),
    )


def _answers(model: Classifier, pixels: Bytes, targets: Sequence[Target]) -> tuple[Floats, Floats]:
    """(pictures, targets) how strongly each picture drives each target; and the logits. In float64 from float32."""
    scores: list[Tensor] = []
    logits: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(pixels), BATCH):
            images = as_images(pixels[start : start + BATCH], model.device)
            read = reading(model, images, [target.tap for target in targets])
            each = [own_scores([target] * len(images), read, model) for target in targets]
            scores.append(torch.stack(each, 1) if each else images.new_zeros(len(images), 0))
            logits.append(read[LOGITS])
    return torch.cat(scores).cpu().double().numpy(), torch.cat(logits).cpu().double().numpy()


def _examples(task: Task, driven: Floats) -> Bytes:
    """A real picture of each target's class; for another target the one that drives it most in the first network."""
    return np.stack(
        [
            task.real_of(target)[0] if target.kind == "class" else task.real_bytes[driven[:, t].argmax()]
            for t, target in enumerate(task.targets)
        ]
    )


def _between(pictures: Bytes) -> Floats:
    """(M, A): the root mean square difference of all pairs along the third axis of (M, A, B, H, W, 3); nan of one."""
    many = pictures.shape[2]
    if many < 2:
        return np.full(pictures.shape[:2], np.nan)
    flat = pictures.reshape(*pictures.shape[:3], -1).astype(np.float64) / 255
    # The mean square difference of distinct pairs is twice the variance with the divisor B - 1.
    return np.sqrt(2 * flat.var(axis=2, ddof=1).mean(-1))
