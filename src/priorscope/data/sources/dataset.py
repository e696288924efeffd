"""Any torch-style dataset: an object with `len` and `[i]`, which gives (picture, label) or a table with both.

    priorscope data convert --from mypackage.data:flowers flowers.beton

The factory is called without arguments and returns a dataset, or a table of them by split. Pictures may be PIL images, arrays
or tensors (H x W, H x W x 3 or 3 x H x W; bytes, or floats from 0 to 1). Augmentation does not belong into such a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import PriorscopeError, RequestError, WorkError
from priorscope.core.imports import made_by
from priorscope.data.decode import BrokenImageError, rgb
from priorscope.data.parts import Part, PublishedSource, by_name, part_named, usual_order
from priorscope.data.sources import PartsConfig
from priorscope.data.split import Bytes, Ints
from priorscope.data.store import numbers_as_names

VERSION = 2
"""Version of which pictures are in which split, and of their labels; raised when either changes."""

IMAGE_KEYS = ("image", "img", "images", "pixel_values")
LABEL_KEYS = ("label", "labels", "fine_label", "target", "class")


@runtime_checkable
class Dataset(Protocol):
    """What torch calls a map-style dataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class DatasetConfig(PartsConfig):
    """The factory of a dataset, as `package.module:function`."""

    name: str = "dataset"
    factory: str


def open_source(config: DatasetConfig) -> PublishedSource:
    """Calls the factory and opens what it returns."""
    return of_datasets(made_by(config.factory), name=config.factory.partition(":")[2])


def of_datasets(made: object, name: str = "dataset") -> PublishedSource:
    """A source of one dataset, whose part is called train, or of a table of them by split.

    Where several name their classes, the names of train (else of val, else of test) are the source's, and the labels of the
    others are told by name.
    """
    table: Mapping[str, Any] = made if isinstance(made, Mapping) else {"train": made}
    datasets = {part_named(str(split)) or str(split): dataset for split, dataset in table.items()}
    if len(datasets) < len(table):
        raise RequestError(
            f"{name} gives {', '.join(map(str, table))}: two of them mean one split.",
            "one dataset a split",
            f"leave one out: {', '.join(datasets)}",
        )
    for split, dataset in datasets.items():
        if not isinstance(dataset, Dataset):
            raise RequestError(
                f"{split!r} is a {type(dataset).__name__}.", "an object with len and [i]", "return a map-style dataset"
            )
    labels = {split: labels_of(dataset) for split, dataset in datasets.items()}
    own = {split: own_names(dataset, labels[split]) for split, dataset in datasets.items()}
    first = min(datasets, key=usual_order)
    labels = {split: by_name(values, own[split], own[first], f"{split} of {name}") for split, values in labels.items()}
    classes = classes_of(datasets[first], np.concatenate(list(labels.values())))
    parts = {split: partial(Part, DatasetPixels(dataset), labels[split]) for split, dataset in datasets.items()}
    return PublishedSource(name, classes, parts, origin=f"{type(next(iter(datasets.values()))).__qualname__} objects")


def labels_of(dataset: Dataset) -> Ints:
    """All labels: from `targets` where a dataset lists them (torchvision's do), else from its items, one by one.

    Of torch's Subset, those of the dataset that it is a part of.
    """
    listed: Any = getattr(dataset, "targets", None)
    if listed is not None and len(listed) == len(dataset) and getattr(dataset, "target_transform", None) is None:
        return np.asarray(listed).astype(np.int64)
    whole, chosen = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if isinstance(whole, Dataset) and chosen is not None and getattr(whole, "targets", None) is not None:
        return labels_of(whole)[np.asarray(chosen, np.int64)]
    return np.array([_label_of(dataset, index) for index in range(len(dataset))], np.int64)


def _label_of(dataset: Dataset, index: int) -> int:
    """The label of one item, whose picture may be decoded for it."""
    try:
        return int(item_of(dataset, index)[1])
    except OSError as error:
        raise _broken(dataset, index, error) from None


def _broken(dataset: Dataset, index: int, error: OSError) -> BrokenImageError:
    """The error for an item that Pillow finds torn, or whose file is missing."""
    return BrokenImageError(f"item {index} of the {type(dataset).__name__}", str(error).rstrip("."), "check the dataset")


def own_names(dataset: Dataset, labels: Ints) -> tuple[str, ...]:
    """The dataset's own class names; none where it has none, or fewer than its labels want."""
    named: Any = getattr(dataset, "classes", None)
    enough = isinstance(named, Sequence) and len(named) > int(labels.max(initial=-1))
    return tuple(str(name) for name in named) if enough else ()


def classes_of(dataset: Dataset, labels: Ints) -> tuple[str, ...]:
    """The dataset's own class names where it has them, else numbers."""
    do = "return the numbers of classes as labels, and name the classes in its `classes`"
    return own_names(dataset, labels) or numbers_as_names(labels, f"The {type(dataset).__name__}", "list called classes", do)


def item_of(dataset: Dataset, index: int) -> tuple[Any, Any]:
    """(picture, label) of one item."""
    item = dataset[index]
    if isinstance(item, Mapping):
        image = next((item[key] for key in IMAGE_KEYS if key in item), None)
        label = next((item[key] for key in LABEL_KEYS if key in item), None)
        if image is not None and label is not None:
            return image, label
    elif isinstance(item, Sequence) and len(item) >= 2:
        return item[0], item[1]
    raise WorkError(
        f"Item {index} of the {type(dataset).__name__} is {type(item).__name__} and not understood.",
        "(picture, label), or a table with image and label",
        "wrap the dataset so that its items are pairs",
    )


@dataclass(frozen=True)
class DatasetPixels:
    """The pictures of a dataset. Nothing is known of them before they are read."""

    dataset: Dataset

    @property
    def size(self) -> tuple[int, int] | None:
        return None

    @property
    def array(self) -> Bytes | None:
        return None

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> Bytes:
        try:
            return pixels_of(item_of(self.dataset, index)[0])
        except PriorscopeError:
            raise
        except OSError as error:
            raise _broken(self.dataset, index, error) from None
        except (ValueError, TypeError) as error:
            raise WorkError(
                f"Item {index} of the {type(self.dataset).__name__} has no picture that is understood: {error}.",
                "a PIL image, or an array or tensor of bytes or of floats from 0 to 1",
                "check the dataset's transform",
            ) from None


def pixels_of(image: Any) -> Bytes:
    """A picture of any usual kind as uint8 (H, W, 3)."""
    from PIL import Image

    if isinstance(image, Image.Image):
        return np.asarray(rgb(image))
    array: NDArray[Any] = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(f"its shape is {array.shape}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # NaN is neither
            raise ValueError(f"its values run from {array.min():.3g} to {array.max():.3g}")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"its type is {array.dtype}")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
