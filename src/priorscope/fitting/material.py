"""What a run learns from and what learns, as its recipe says: opened data, and the network before its first step."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from priorscope.core.environment import NetworkRecord
from priorscope.core.errors import RequestError
from priorscope.data import open as open_source
from priorscope.recipe import Recipe
from priorscope.train.distributed import Ranks
from priorscope.train.init import InitialWeights

if TYPE_CHECKING:
    from priorscope.data.split import Source, Split
    from priorscope.models.classifier import Classifier
    from priorscope.train.watched import WatchedLoader


@dataclass(frozen=True)
class Material:
    """What a run learns from and is evaluated on: its pictures, the splits of its curves, and the caveats of the data."""

    data: Split
    tracked: Mapping[str, Split]
    loader: WatchedLoader
    origin: str
    caveats: tuple[str, ...]

    @classmethod
    def of(cls, recipe: Recipe, ranks: Ranks, device: str) -> Material:
        """Opens a recipe's data."""
        from priorscope.train.watched import WatchedLoader

        source = open_source(recipe.data.source)
        data = source.split("train")
        if recipe.data.subset is not None:
            data = data.subset(recipe.data.subset)
        if ranks.first:
            _warn_of_row_groups(recipe, data)
        names = dict.fromkeys(("val", *recipe.train.track))
        loader = WatchedLoader(
            data,
            batch_size=_batch_size(recipe, len(data), ranks),
            augment=recipe.data.augment,
            seed=recipe.seed,
            device=device,
            shuffle=recipe.data.shuffle or True,
            partial="drop",
            rank=ranks.rank,
            ranks=ranks.size,
            threads=recipe.train.threads,
        )
        if loader.side != data.image_size:
            raise RequestError(
                f"data.augment.size = {loader.side} came with pictures of {data.image_size} pixels.",
                "pictures of the size that the network is judged on; it may see them at another",
                f"model.input_size = {loader.side}, or: priorscope data convert SRC DST.beton --res {loader.side}",
            )
        tracked = {name: _tracked(source, data, name, recipe) for name in names}
        return cls(data, tracked, loader, source.origin, source.caveats)


def _warn_of_row_groups(recipe: Recipe, data: Split) -> None:
    """Says before the first step that tables are too large to be decoded or kept, and what ends the hours of waiting."""
    from priorscope.data.cache import encoded_in
    from priorscope.data.table import TablePixels

    found = encoded_in(data.pixels)
    if found is not None and isinstance(found[0], TablePixels) and found[0].outgrows_memory:
        print(
            f"{found[0].table.where} is too large to be decoded or kept in memory: in random order, a whole row group of its"
            " tables is read for nearly every picture. Convert it once, and train on what is written: priorscope data convert"
            f" {getattr(recipe.data.source, 'path', None) or recipe.data.source.name} NEW.beton --res {data.image_size}",
            file=sys.stderr,
        )


def _batch_size(recipe: Recipe, pictures: int, ranks: Ranks) -> int:
    """The pictures of a batch over all ranks: no more than there are, and at least one per rank."""
    batch_size = min(recipe.train.batch_size, pictures)
    if batch_size < ranks.size:
        raise RequestError(
            f"A batch of {batch_size} pictures came with {ranks.size} ranks.",
            "a picture or more a rank",
            "a larger train.batch_size",
        )
    return batch_size


def first_model(recipe: Recipe, data: Split, init: InitialWeights | None) -> Classifier:
    """The network before its first step."""
    from priorscope.models import create

    statistics = data.statistics.replace(std=[deviation or 1.0 for deviation in data.statistics.std])  # a channel of one value
    model = create(
        recipe.model, image_size=data.image_size, num_classes=len(data.classes), statistics=statistics, seed=recipe.seed
    )
    if not recipe.train.trains:
        _check_own_head(recipe, model, init)
    if init is not None:
        init.put_into(model, recipe.seed)
        if recipe.init.head == "new" or _others(init.names, data.classes):
            model.replace_head(len(data.classes), recipe.seed)
    return model


def _check_own_head(recipe: Recipe, model: Classifier, init: InitialWeights | None) -> None:
    """Refuses a network that is not trained where its published head is for another number of classes."""
    from priorscope.models.timm_zoo import TimmConfig, published_classes

    classes = init.classes if init else published_classes(recipe.model) if isinstance(recipe.model, TimmConfig) else None
    if classes != model.num_classes:
        raise RequestError(
            f"The published head of {model.name} tells {classes} classes apart, {recipe.data.source.name} has"
            f" {model.num_classes}, and train.epochs = 0 trains no other.",
            "data of the head's own classes, or training for a new head",
            'train = {epochs = 10, finetune = {mode = "head"}}',
        )


def _others(before: tuple[str, ...], now: tuple[str, ...]) -> bool:
    """Whether a head was made for classes of other names, or in another order. Numbers as names say nothing of either."""
    numbers = tuple(map(str, range(len(now))))
    return bool(before) and before != now and numbers not in (before, now)


def _tracked(source: Source, data: Split, name: str, recipe: Recipe) -> Split:
    """A split to evaluate after each epoch.

    The training data itself without augmentation, val whole, any other up to `track_images`.
    """
    split = data if name == "train" else source.split(name)
    most = recipe.train.track_images
    return split if name == "val" or len(split) <= most else split.subset(most)


def record_of(model: Classifier, classes: tuple[str, ...]) -> NetworkRecord:
    """What is needed beside the recipe to build a model again."""
    return NetworkRecord(
        image_size=model.image_size,
        num_classes=model.num_classes,
        parameters=model.parameter_count(),
        classes=classes,
        statistics=model.statistics,
    )
