"""What a picture is made to drive: a class, a unit, a channel, a token or a latent.

    class:3, class:ship              the logit of a class, by its number or name
    unit:blocks/2/hidden@17          one number: channel 17, in the middle of the map or of the tokens; `@17,5` at place 5
    channel:stages/1/blocks/0/out@5  channel 5, mean over all places
    token:blocks/2/out@9             the vector of token 9 (of the pixel at place 9 of a map), its mean square
    latent:layers/0/out@4            the same of a Perceiver's latent, which has no place in the picture

Places count along rows from 0, with class tokens where the network has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from priorscope.core.errors import RequestError, unknown_name
from priorscope.models.places import by_place, middle

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Classifier, Layout

Kind = Literal["class", "unit", "channel", "token", "latent"]

LOGITS = "logits"
FORMS = "class:NAME, unit:TAP@CHANNEL, channel:TAP@CHANNEL, token:TAP@PLACE or latent:TAP@PLACE"
_WRITTEN = re.compile(r"(?P<kind>unit|channel|token|latent):(?P<tap>[^@]+)@(?P<index>\d+)(,(?P<place>\d+))?")


@dataclass(frozen=True)
class Target:
    """What is driven. `index` is the class, the channel, or the place; `place` of a unit may be None: in the middle."""

    name: str
    kind: Kind
    tap: str
    index: int
    place: int | None = None


def own_scores(of: Sequence[Target], read: Mapping[str, Tensor], model: Classifier) -> Tensor:
    """How strongly each picture drives its own target, from the activations of all of them at the targets' taps."""
    import torch

    device = model.device
    found = torch.empty(len(of), device=device)
    groups: dict[tuple[str, bool], list[int]] = {}
    for row, target in enumerate(of):
        groups.setdefault((target.tap, target.kind in ("token", "latent")), []).append(row)
    parts: list[Tensor] = []
    for (tap, whole), rows in groups.items():
        places = by_place(read[tap], layout_of(tap, model))[torch.tensor(rows, device=device)].float()
        parts.append(_tokens(places, [of[row] for row in rows]) if whole else _channels(places, [of[row] for row in rows]))
    order = torch.tensor([row for rows in groups.values() for row in rows], device=device)
    return found.index_copy(0, order, torch.cat(parts))


def _tokens(places: Tensor, of: Sequence[Target]) -> Tensor:
    """The mean square of each picture's token."""
    import torch

    chosen = torch.tensor([target.index for target in of], device=places.device)
    return places[torch.arange(len(of), device=places.device), chosen].square().mean(1)


def _channels(places: Tensor, of: Sequence[Target]) -> Tensor:
    """Each picture's channel: at one place (a unit), or its mean over all."""
    import torch

    chosen = torch.tensor([target.index for target in of], device=places.device)
    maps = places[torch.arange(len(of), device=places.device), :, chosen]
    weights = torch.full_like(maps, 1 / maps.shape[1])
    for row, target in enumerate(of):
        if target.kind == "unit":
            weights[row] = 0.0
            weights[row, middle(maps.shape[1]) if target.place is None else target.place] = 1.0
    return (maps * weights).sum(1)


def layout_of(tap: str, model: Classifier) -> Layout:
    """What the axes at a tap mean; the logits of a wrapped network stand at no tap of its own."""
    return "NC" if tap == LOGITS else model.tap(tap).layout


def reading(model: Classifier, images: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
    """The activations at some taps, the logits among them."""
    logits, read = model.forward_with_taps(images, [tap for tap in dict.fromkeys(taps) if tap != LOGITS])
    return {**read, LOGITS: logits}


def target_of(text: str, classes: Sequence[str]) -> Target:
    """The target that a text describes, as `unit:blocks/2/hidden@17` does."""
    if text.startswith("class:"):
        return class_target(text.removeprefix("class:"), classes)
    match = _WRITTEN.fullmatch(text)
    if match is None or (match["place"] and match["kind"] != "unit"):
        raise RequestError(f"{text!r} is not a target.", FORMS, f'targets = ["class:{classes[0]}"]')
    kind: Kind = match["kind"]  # pyright: ignore[reportAssignmentType]
    return Target(text, kind, match["tap"], int(match["index"]), int(match["place"]) if match["place"] else None)


def class_target(which: str, classes: Sequence[str]) -> Target:
    """The target of a class, by its name or number; a class that is called by another's number is meant by its name."""
    if which in classes:
        return numbered_class(list(classes).index(which), classes)
    if which.isdecimal() and int(which) < len(classes):
        return numbered_class(int(which), classes)
    raise unknown_name("class", which, classes, "priorscope data info NAME")


def numbered_class(row: int, classes: Sequence[str]) -> Target:
    """The target of the class at a position."""
    return Target(f"class:{classes[row]}", "class", LOGITS, row)


def check_targets(targets: Sequence[Target], model: Classifier) -> None:
    """Refuses a target that the network does not have, after one pass of a grey picture."""
    import torch

    grey = torch.full((1, 3, model.image_size, model.image_size), 0.5, device=model.device)
    with torch.no_grad():
        read = reading(model, grey, [target.tap for target in targets])
    for target in targets:
        places, channels = by_place(read[target.tap], layout_of(target.tap, model)).shape[1:]
        _check(target, model, places, channels)


def _check(target: Target, model: Classifier, places: int, channels: int) -> None:
    whole = target.kind in ("token", "latent")
    family = model.config.family if model.config else ""
    if target.kind == "latent" and (not family.startswith("perceiver") or target.tap == "embed/out"):
        raise RequestError(
            f"{target.name!r}: nothing at {target.tap!r} of {model.name} is a latent.",
            "a tap of a Perceiver after its first cross-attention",
            f"token:{target.tap}@{target.index}",
        )
    if whole and places == 1:
        raise RequestError(
            f"{target.name!r}: {target.tap!r} of {model.name} is one vector, without tokens.",
            "a tap with tokens or a map",
            f"channel:{target.tap}@0",
        )
    place, channel = (target.index, 0) if whole else (target.place or 0, target.index)
    if place >= places or channel >= channels:
        raise RequestError(
            f"{target.name!r}: {target.tap!r} of {model.name} has {places:,} places and {channels:,} channels.",
            "numbers from 0 below these",
            f"{'token' if whole else 'channel'}:{target.tap}@{(places if whole else channels) - 1}",
        )
