"""CIFAR ResNets that others published: which there are, how a file is known to be one, and how it becomes a model of ours.

Those of Idelbayev's pytorch_resnet_cifar10 are one file each, with the first eight digits of its sha256 in the name
(`resnet20-12fca82f.th`): He's narrow ResNets with option-A shortcuts, on images normalised with ImageNet's statistics.

Those of the `detectors` package (Dadalto), `resnet18_cifar10` and its like, are ImageNet's ResNets with a 3x3 stem of stride 1
and no max-pool, under timm's keys. A file is known by its name (`resnet18_cifar10.pth`, `.bin`, `.safetensors`), and the hub's
own (`pytorch_model.bin`) by its folder's, in the hub's cache as well. Each was trained with statistics that its authors rounded
in their way, and gets them, whatever those of the data are.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import read_json
from priorscope.models import create

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier


@dataclass(frozen=True)
class PublishedResnet:
    """One network: its preset here, what it was trained on, how its images were normalised, and its file's hash if known."""

    preset: str
    source: str
    classes: int
    statistics: Statistics
    sha256: str = ""


IMAGENET = Statistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

_SOURCES = {
    "cifar10": (10, Statistics(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))),
    "cifar100": (100, Statistics(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))),
}

RESNETS = {
    f"{architecture}_{source}": PublishedResnet(f"cnn/{architecture}", source, classes, statistics)
    for source, (classes, statistics) in _SOURCES.items()
    for architecture in ("resnet18", "resnet34", "resnet50")
}
"""The networks of the `detectors` package, by name."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What the hub calls a repository's weights; a repository that has both has them twice."""

_HASHED = re.compile(r"(?P<architecture>resnet(?:20|32|44|56))-(?P<digits>[0-9a-f]{8})\.th")


def known_as(weights: Path) -> PublishedResnet | None:
    """The network that a file's name says it is, or its folder's where the hub named the file; None where neither says one.

    In the hub's cache a file lies in models--owner--name/snapshots/revision.
    """
    path = weights.absolute()
    if match := _HASHED.fullmatch(path.name):
        return PublishedResnet(f"cnn/{match['architecture']}", "cifar10", 10, IMAGENET, match["digits"])
    folders = [folder.name.rpartition("--")[2] for folder in list(path.parents)[:3]]
    return next((RESNETS[name] for name in (folders if path.name in HUB_FILES else [path.stem]) if name in RESNETS), None)


def link(name: str) -> str:
    """The address of a network's weights, on the hub that `HF_ENDPOINT` names."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{hub}/edadaltocg/{name}/resolve/main/pytorch_model.bin"


def read(weights: Path, known: PublishedResnet) -> Classifier:
    """The network with the weights of a file, every key checked."""
    _check_whole(weights, known.sha256)
    if weights.name in HUB_FILES:
        _check_statistics(weights.with_name("config.json"), known)
    return create(known.preset, image_size=32, num_classes=known.classes, statistics=known.statistics, weights=weights)


def _check_whole(weights: Path, wanted: str) -> None:
    """Refuses a file whose hash does not begin as its name says."""
    found = hashlib.sha256(weights.read_bytes()).hexdigest()[: len(wanted)] if wanted else wanted
    if found != wanted:
        raise WorkError(
            f"{weights} is damaged: its sha256 begins with {found}.", f"{wanted}, as its name says", "download it again"
        )


def _check_statistics(config: Path, known: PublishedResnet) -> None:
    """Refuses a folder whose config states another normalisation: the one thing that a network's weights do not show."""
    wanted = known.statistics
    stored = read_json(config) if config.is_file() else {}
    told = {**stored.get("pretrained_cfg", {}), **stored}
    wrong = [f"{key} is {told[key]}" for key in ("mean", "std") if key in told and tuple(told[key]) != getattr(wanted, key)]
    if wrong:
        name = f"{known.preset.removeprefix('cnn/')}_{known.source}"
        raise RequestError(
            f"{config} states another normalisation than that of {name}: {', '.join(wrong)}.",
            f"mean {list(wanted.mean)} and std {list(wanted.std)}",
            f"name the folder after the network that it holds, or import its weights alone as {name}.bin",
        )
