"""A classifier made of a family's config: at a size, with its weights or fresh ones.

The initial weights are a pure function of the config and a seed. Weights from a file must fit to the last key, and they are
brought to another image size only where the family says how.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home
from priorscope.models import FAMILIES, FamilyConfig
from priorscope.models.classifier import Backbone, Classifier, seeded
from priorscope.models.weights import check_fit, read_tensors


def build(
    config: FamilyConfig,
    *,
    image_size: int,
    num_classes: int,
    statistics: Statistics | None = None,
    weights: Path | str | None = None,
    seed: int = 0,
) -> Classifier:
    """Builds a classifier of a checked config; see `models.create`."""
    config.check(image_size, num_classes)
    start = config.without_start() if weights is not None else config
    with seeded(seed, "weights"):
        backbone: Backbone = FAMILIES.load(config.family).build(start, config.input_size or image_size, num_classes)
    classifier = Classifier(
        backbone,
        image_size=image_size,
        num_classes=num_classes,
        statistics=backbone.statistics or statistics,
        input_size=config.input_size,
        resize=config.resize,
        config=config,
    )
    if weights is not None:
        load_weights(classifier, at_home(weights))
    return classifier


def load_weights(classifier: Classifier, path: Path) -> None:
    """Loads a file strictly: every key that is missing, left over or of another shape is named.

    The file holds a classifier (its network's keys begin with "network.", and its normalisation is beside them) or a bare
    network with the keys of its family, or with those of a published layout that the family's `translate` reads.
    """
    stored = read_tensors(path)
    if not {"mean", "std"} <= set(stored):
        stored = {f"network.{key}": tensor for key, tensor in _translated(classifier.config, stored).items()}
        # Files from before torch 0.4.1 do not count batches. No forward pass uses the count, and torch itself fills it in.
        counts = {key: value for key, value in classifier.state_dict().items() if key.endswith("num_batches_tracked")}
        stored = counts | stored | classifier.normalisation()
    check_fit(
        stored,
        classifier.state_dict(),
        f"The weights {path} do not fit {classifier.name}",
        "create the model with the settings of its recipe",
    )
    classifier.load_state_dict(stored)


def _translated(config: FamilyConfig | None, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames a network's tensors to the family's own keys, where the family knows published ones."""
    if config is None:
        return tensors
    family = FAMILIES.load(config.family)
    return family.translate(tensors) if hasattr(family, "translate") else tensors


def at_size(classifier: Classifier, image_size: int) -> Classifier:
    """Returns a classifier with the same weights for images of another side; raises where its family cannot have them.

    Where the size inside is fixed by `input_size`, only the resize changes. Else learnt positions are interpolated (ViT, Swin),
    and families without any take the weights as they are.
    """
    config = classifier.config
    if config is None:
        raise RequestError(
            f"{classifier.name} is a network of your own.", "a model of a family", "wrap the network again with image_size=..."
        )
    family = FAMILIES.load(config.family)
    changes = (config.input_size or image_size) != classifier.input_size
    if changes and config.permute is not None:
        raise RequestError(
            f"{config.name} cannot go from {classifier.input_size} to {image_size} pixels: they would stand in another order.",
            f"images of {classifier.input_size} pixels",
            f"input_size = {classifier.input_size}: images are resized inside the model",
        )
    if changes and hasattr(family, "FIXED_SIZE"):
        raise RequestError(
            f"{config.name} cannot go from {classifier.input_size} to {image_size} pixels: {family.FIXED_SIZE}.",
            f"images of {classifier.input_size} pixels",
            f"input_size = {classifier.input_size}: images are resized inside the model",
        )
    resized = build(
        config.without_start(), image_size=image_size, num_classes=classifier.num_classes, statistics=classifier.statistics
    )
    resized.config = config
    state = classifier.network.state_dict()
    if changes and hasattr(family, "resample"):
        state = family.resample(state, resized.network)
    check_fit(
        state,
        resized.network.state_dict(),
        f"The weights of {config.name} do not fit {image_size} pixels",
        f"input_size = {classifier.input_size}: images are resized inside the model",
    )
    resized.network.load_state_dict(state)
    return resized.train(classifier.training).to(classifier.device)
