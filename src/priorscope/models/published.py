"""Checkpoints that others published: which there are, how their files are named, and how they become models of ours.

The MLPs of "Scaling MLPs" (arXiv 2306.13575) come as `<name>_weights` (a bare state dict) beside `<name>_config` (JSON);
fine-tuned ones take the config of the model that they began as. A network trained with that code is read too: any file of
weights beside the `config.txt` that its training wrote. CIFAR's ResNets have names of their own (`published_resnets`).

The MLPs saw 64 x 64 pixels. CIFAR images reached that size by area resampling, which at a factor of two repeats every pixel;
so do they here, inside the model. CIFAR-100 checkpoints were trained with CIFAR-10's statistics, and get them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.config import Plain
from priorscope.core.contracts import Statistics
from priorscope.core.errors import PriorscopeError, RequestError, WorkError, unknown_name
from priorscope.core.folder import at_home, read_json
from priorscope.models import FamilyConfig, create, family_config, published_resnets
from priorscope.models.published_resnets import HUB_FILES, IMAGENET, RESNETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from priorscope.models.classifier import Classifier

CIFAR10 = Statistics(mean=(0.49139968, 0.48215827, 0.44653124), std=(0.24703233, 0.24348505, 0.26158768))
STL10 = Statistics(mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616))


@dataclass(frozen=True)
class Source:
    """What a published network was trained on: classes, the side of the stored images, and the statistics it was given."""

    classes: int
    image_size: int
    statistics: Statistics


TRAINED_ON = {
    "imagenet21": Source(11230, 64, IMAGENET),
    "imagenet": Source(1000, 64, IMAGENET),
    "imagenet_real": Source(1000, 64, IMAGENET),
    "tinyimagenet": Source(200, 64, IMAGENET),
    "cifar10": Source(10, 32, CIFAR10),
    "cifar100": Source(100, 32, CIFAR10),
    "stl10": Source(10, 64, STL10),
}


@dataclass(frozen=True)
class Published:
    """One checkpoint: its files' name, the files' name of its pre-trained model, what it was trained on, and its link."""

    file: str
    config_file: str
    source: str
    weights_id: str | None
    config_id: str | None


def _registry() -> dict[str, Published]:
    """Key (architecture_res_64_tag) -> checkpoint. The published link of one points to another's file, so it has none here."""
    table = {
        ("B_12-Wi_1024", 800, "1envpLKUa9LhUlp2dLIL8Jb8447wwpXF0"): {
            "imagenet21": (800, "1rcV8RXij_kW9X2zSLNyNOTO_bKUjE0cJ"),
            "cifar10": (20, "1GyxuewoOzMRhzEOyUrIBLQzquc-QEYNV"),
            "cifar100": (40, "1LNqC58cSwtuDr-C4bk1O3GA_vAWls-UH"),
            "imagenet": (50, "1MVebvnSGL02k_ql1gUCjh4quGqM9RM4F"),
        },
        ("B_12-Wi_512", 600, "14GKtQ1iYwOqYpy4RcrWz2Ue3AGG7eGLz"): {
            "imagenet21": (600, "1sL9j_4FFeBTWTzuRFbHLfwrmPVLXhUtW"),
            "cifar10": (20, "1F1NvoOsYCgsn1GOZcwsoToOtsw-9Aw1v"),
            "cifar100": (20, "1KIULehrqOyxIkZj0HiqowNmBy4Ye1EQ2"),
            "imagenet": (20, "1f0ZYzB_XujX8hDcEn_J6iWvw1meJ4Cbg"),
        },
        ("B_6-Wi_1024", 800, "11zFGFiKKxxrZOGk5oyk3AzBDnIY7KN3s"): {
            "imagenet21": (800, "1cmO3QSz_hfHtyzkUOZnPmXPxIE2YzEbf"),
            "cifar10": (20, "1Tyd5CkROPCMQybnrZ_o1wiAW7VoK6AfJ"),
            "cifar100": (20, "1FrRb78bjun6QGbbH-pCWDaaE_8LWW785"),
            "imagenet": (20, "115Lks211vx1at2dWn3JtQ57EZ7eNAVP4E"),
        },
        ("B_6-Wi_512", 800, "1Fjf4RA_yUXHgHncb9GIlf9zBNAJ-8giv"): {
            "imagenet21": (800, "1QV3a99UT8llfh9zDDuNKWDH_5c6S_YT5"),
            "cifar10": (20, "1VjHgjheSm_w7xPtheEmY5kV_KE4-38zQ"),
            "cifar100": (20, "1iK3t20-GS_Vs-_Q3ZexSiCfjGJ3IaPC2"),
            "imagenet": (20, None),
        },
    }
    found: dict[str, Published] = {}
    for (architecture, first_epochs, config_id), files in table.items():
        stem = architecture.replace("_", ";").replace("-", "_").replace(";", "-") + "_res_64"
        for source, (epochs, weights_id) in files.items():
            tag = "in21k" if source == "imagenet21" else f"in21k_{source}"
            found[f"{architecture}_res_64_{tag}"] = Published(
                f"{stem}_{source}_epochs_{epochs}", f"{stem}_imagenet21_epochs_{first_epochs}", source, weights_id, config_id
            )
    return found


REGISTRY = _registry()

_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"


def published_names() -> dict[str, tuple[str, bool]]:
    """Every checkpoint that can be asked for by name: what it was trained on, and whether it has a link of its own."""
    mlps = {name: (entry.source, entry.weights_id is not None) for name, entry in REGISTRY.items()}
    return mlps | {name: (known.source, True) for name, known in RESNETS.items()}


def weights_file(weights: Path | str) -> Path:
    """The file of weights that a path names: itself, or the one in a folder of the hub's layout."""
    path = at_home(weights)
    inside = [path / name for name in HUB_FILES if (path / name).is_file()]
    if inside:
        return inside[0]
    if path.is_dir():
        raise RequestError(f"The folder {str(path)!r} holds no weights.", f"{' or '.join(HUB_FILES)} in it", "name the file")
    if not path.is_file():
        known = [f"{next(iter(REGISTRY.values())).file}_weights", f"{next(iter(RESNETS))}.pth"]
        raise RequestError(
            f"There is no file {str(path)!r}.", f"a published file of weights: {', '.join(known)}, ...", "check the path"
        )
    return path


def read_published(weights: Path | str) -> Classifier:
    """A published file (or folder of the hub's layout) as a model of ours, every key checked."""
    path = weights_file(weights)
    if _is_ours(path):
        from priorscope.models.hub import load_hub

        return load_hub(path.parent)
    if known := published_resnets.known_as(path):
        return published_resnets.read(path, known)
    if path.name in HUB_FILES and path.with_name("config.json").is_file():
        raise RequestError(
            f"{path.parent} is no network that is known here: its name is not published, and its config.json is not ours.",
            f"a folder of the name of {', '.join(list(RESNETS)[:3])}, ..., or one that priorscope wrote",
            f"priorscope probe accuracy {shlex.quote(f'timm/local-dir:{path.parent}')} --data NAME, if timm wrote it",
        )
    return _read_mlp(path)


def _is_ours(path: Path) -> bool:
    """Whether `models export` wrote it, whatever its folder is called."""
    config = path.with_name("config.json")
    return path.name in HUB_FILES and config.is_file() and read_json(config).get("library") == "priorscope"


def trained_on(weights: Path) -> str | None:
    """The source that a published file's name says it was trained on, by the source's name here."""
    if _is_ours(weights):
        return None
    if known := published_resnets.known_as(weights):
        return known.source
    names = {entry.file: entry.source for entry in REGISTRY.values()}
    ours = {"imagenet21": "imagenet21k", "tinyimagenet": "tiny_imagenet"}
    found = names.get(weights.name.removesuffix("_weights"))
    return None if found is None else ours.get(found, found)


def fetch_published(key: str, folder: Path | str, link: str = _DRIVE) -> Path:
    """Downloads a checkpoint's files, named as published, and returns the path of its weights.

    The files have no published hash. What came is read, every key held against the network, before the path is given; what is
    no such file (a page that asks to sign in, say) is deleted, so that trying again downloads again.
    """
    import pooch

    links = _links(key, link)
    for name, address in links.items():
        try:
            pooch.retrieve(address, known_hash=None, fname=name, path=folder)
        except OSError as error:
            raise WorkError(
                f"{name} could not be downloaded ({type(error).__name__}: {error}).".replace("\n", " ")[:400],
                "a reachable link",
                f"put {_files(links)} into {folder} by hand",
            ) from None
    path = Path(folder) / next(iter(links))
    try:
        read_published(path)
    except PriorscopeError as error:
        for name in links:
            Path(folder, name).unlink(missing_ok=True)
        raise WorkError(
            f"What came for {key} is not that checkpoint: {error.came}",
            "the published files",
            f"open the link in a browser and put {_files(links)} into {folder} by hand",
        ) from None
    return path


def _files(links: Mapping[str, str]) -> str:
    return f"the file{'s' * (len(links) > 1)} {' and '.join(links)}"


def _links(key: str, link: str) -> dict[str, str]:
    """The files of a checkpoint and their addresses, the weights first."""
    if key in RESNETS:
        return {f"{key}.pth": published_resnets.link(key)}
    if key not in REGISTRY:
        raise unknown_name("published checkpoint", key, published_names(), "priorscope models fetch")
    entry = REGISTRY[key]
    if entry.weights_id is None:
        raise RequestError(
            f"The published link of {key} leads to another checkpoint's file.",
            "a checkpoint with a link of its own",
            f"ask its authors for {entry.file}_weights, then: priorscope models import {entry.file}_weights --out RUN",
        )
    ids = {f"{entry.file}_weights": entry.weights_id, f"{entry.config_file}_config": entry.config_id}
    return {name: link.format(identity) for name, identity in ids.items()}


def _read_mlp(path: Path) -> Classifier:
    from priorscope.models.weights import read_tensors

    tensors = read_tensors(path)
    entry = next((entry for entry in REGISTRY.values() if path.name == f"{entry.file}_weights"), None)
    about, where = _about(path, entry)
    source = TRAINED_ON.get(entry.source if entry else str(about.get("dataset", "")))
    side = int(about["crop_resolution"])
    image_size = min(side, source.image_size) if source else side
    config = _config(about, where, side if image_size != side else None)
    classes = _classes(tensors, path, source if entry else None)
    return create(
        config, image_size=image_size, num_classes=classes, statistics=source.statistics if source else None, weights=path
    )


def _about(path: Path, entry: Published | None) -> tuple[Plain, Path]:
    """The config beside a file of weights, and where it was found."""
    names = [f"{path.name.removesuffix('_weights')}_config", *([f"{entry.config_file}_config"] if entry else []), "config.txt"]
    for name in dict.fromkeys(names):
        if (found := path.with_name(name)).is_file():
            return _checked(read_json(found), found), found
    raise RequestError(
        f"{path} has no config beside it.",
        f"one of: {', '.join(dict.fromkeys(names))}; or the name of a network that needs none ({next(iter(RESNETS))}.pth, ...)",
        f"put the published config into {path.parent}",
    )


def _checked(about: Plain, where: Path) -> Plain:
    missing = [key for key in ("model", "architecture", "normalization", "crop_resolution") if key not in about]
    if missing:
        raise RequestError(
            f"The config {where} lacks: {', '.join(missing)}.",
            "model, architecture, normalization and crop_resolution",
            "add them as they were in training",
        )
    return about


def _config(about: Plain, where: Path, input_size: int | None) -> FamilyConfig:
    """The config of our family `mlp` for the network that a published config describes."""
    forms = {"BottleneckMLP": "bottleneck", "MLP": "standard"}
    if about["model"] not in forms:
        raise RequestError(
            f"The config {where} names the model {about['model']!r}.",
            "BottleneckMLP or MLP",
            "check that it is this file's config",
        )
    table = family_config(str(about["architecture"])).plain() | {"norm": about["normalization"]}
    if forms[about["model"]] == "standard":
        table |= {"form": "standard", "name": f"mlp/s{table['blocks']}-w{table['width']}"}
    if input_size is not None:
        table |= {"input_size": input_size, "resize": "area"}
    return family_config(table)


def _classes(tensors: dict[str, Tensor], path: Path, source: Source | None) -> int:
    """How many classes the head answers; a registered file must answer those of its data."""
    if "linear_out.weight" not in tensors:
        raise RequestError(
            f"{path} has no key linear_out.weight; it has {', '.join(sorted(tensors)[:6])}, ...",
            "the state dict of a published MLP",
            "check the file",
        )
    classes = tensors["linear_out.weight"].shape[0]
    if source is not None and classes != source.classes:
        raise RequestError(
            f"{path} answers {classes} classes: linear_out.weight is {tuple(tensors['linear_out.weight'].shape)}.",
            f"{source.classes} classes, as its name says",
            "check that the file is what its name says",
        )
    return classes
