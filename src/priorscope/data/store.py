"""Splits written to `.beton` files, and read back as splits.

One file holds one split: its pictures, its labels (`label`) and its further columns. What the format cannot say (class names,
which split, its siblings, statistics, origin) stands in the manifest beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import RequestError, WorkError
from priorscope.core.machine import cores
from priorscope.data.progress import Watch, silent
from priorscope.data.split import Split, as_stored

if TYPE_CHECKING:
    from priorscope.data.beton.fields import Field, ImageField
    from priorscope.data.beton.manifest import Manifest
    from priorscope.data.beton.reader import Beton

IMAGE, LABEL = "image", "label"
"""What FFCV's own examples call the two fields. A further column of such a name is called `label_2`: see `further_columns`."""

FINGERPRINT_MOST = 1 << 30
"""Up to here a fingerprint is made from the pixels, the same in memory and in a file; beyond, from the file's checksum."""


def write_split(
    split: Split,
    path: Path,
    *,
    images: ImageField | None = None,
    workers: int | None = None,
    siblings: Mapping[str, str] | None = None,
    origin: str = "",
    caveats: Sequence[str] = (),
    resume: str | None = None,
    watch: Watch = silent,
) -> Manifest:
    """Writes a split to a file: pixels as they are, unless `images` says otherwise."""
    from priorscope.data.beton.fields import ImageField, IntField
    from priorscope.data.beton.manifest import About
    from priorscope.data.beton.writer import write

    fields: dict[str, Field] = {IMAGE: images or ImageField(), LABEL: IntField()}
    fields |= {name: _field(name, column) for name, column in further_columns(split.columns).items()}
    about = About(
        classes=split.classes,
        split=split.name,
        siblings=dict(siblings or {}),
        source=split.source,
        origin=origin,
        caveats=tuple(caveats),
    )
    return write(path, fields, _samples(split, watch), len(split), workers=workers or cores(), manifest=about, resume=resume)


def further_columns(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Further columns by names that a store can hold beside the pictures and their labels: `label` becomes `label_2`."""
    named = {name: column for name, column in columns.items() if name not in (IMAGE, LABEL)}
    for name in (IMAGE, LABEL):
        if name in columns:
            named[next(other for k in count(2) if (other := f"{name}_{k}") not in named)] = columns[name]
    return named


def _samples(split: Split, watch: Watch) -> Iterator[Callable[[], tuple[Any, ...]]]:
    """A function for each picture, which reads and decodes it in one of the writer's threads."""
    columns = list(further_columns(split.columns).values())

    def sample(index: int) -> tuple[Any, ...]:
        return (split.pixels.read(index), int(split.labels[index]), *(column[index] for column in columns))

    for index in range(len(split)):
        watch(index + 1, len(split))
        yield partial(sample, index)


def _field(name: str, column: NDArray[Any]) -> Field:
    """The field for a further column: whole numbers, floating-point numbers, or rows of them."""
    from priorscope.data.beton.fields import ArrayField, FloatField, IntField

    if column.ndim > 1:
        return ArrayField(column.dtype, column.shape[1:])
    kind = as_stored(column).dtype.kind
    if kind in "if":
        return IntField() if kind == "i" else FloatField()
    raise RequestError(f"The column {name!r} holds {column.dtype}.", "numbers", "leave it out, or number its values")


def read_split(beton: Beton, *, source: str, name: str, label: str | None = None) -> Split:
    """The split that a file holds, with those of its further fields that are numbers."""
    from priorscope.data.beton.fields import ArrayField, FloatField, IntField
    from priorscope.data.beton.reader import BetonPixels, known_statistics

    chosen = label_field(beton, label)
    labels = np.asarray(beton.column(chosen), np.int64)
    further = [
        key
        for key, field in beton.fields.items()
        if key != chosen
        and (isinstance(field, IntField | FloatField) or (isinstance(field, ArrayField) and field.dtype.kind in "biuf"))
    ]
    return Split(
        source=source,
        name=name,
        pixels=BetonPixels(beton),
        labels=labels,
        classes=class_names(beton, labels),
        columns=further_columns({key: np.asarray(beton.column(key)) for key in further}),
        known_statistics=known_statistics(beton),
        known_fingerprint=_checksum(beton),
    )


def label_field(beton: Beton, asked: str | None = None) -> str:
    """The field of labels: the one asked for, the one called so, or the only whole number."""
    from priorscope.data.beton.fields import IntField

    numbers = [name for name, field in beton.fields.items() if isinstance(field, IntField)]
    if asked is not None:
        if asked in numbers:
            return asked
        raise RequestError(
            f"{beton.path} has no field {asked!r} of whole numbers.", f"one of: {', '.join(numbers)}", "check the name"
        )
    if LABEL in numbers or len(numbers) == 1:
        return LABEL if LABEL in numbers else numbers[0]
    raise RequestError(
        f"It is not clear which field of {beton.path} is the label. Its fields: {', '.join(beton.fields)}.",
        "one field of whole numbers, or one called label",
        f"label = {numbers[0]!r}" if numbers else "write the file again with a label for every picture",
    )


CLASSES_MOST = 100_000
"""Classes that labels alone may claim: ImageNet-21k has 21,841, and one hostile label must not fill the memory with names."""


def class_names(beton: Beton, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """The manifest's class names; without a manifest the labels' numbers."""
    if beton.manifest is not None and beton.manifest.classes:
        return beton.manifest.classes
    return numbers_as_names(labels, str(beton.path), "manifest", "check that the label field holds class numbers")


def numbers_as_names(labels: NDArray[Any], where: str, lacking: str, do: str) -> tuple[str, ...]:
    """The numbers of the classes that labels claim, as their names: `where` has no manifest, or what else would name them."""
    classes = int(labels.max()) + 1
    if classes > CLASSES_MOST:
        raise WorkError(
            f"{where} has a label of {classes - 1:,} and no {lacking}.",
            f"labels below {CLASSES_MOST:,}, or a {lacking} that names the classes",
            do,
        )
    return tuple(str(number) for number in range(classes))


def _checksum(beton: Beton) -> str | None:
    """The fingerprint of a file too large, or of too many JPEGs, to hash its pixels at every opening."""
    if beton.manifest is None or (beton.images is not None and beton.manifest.bytes <= FINGERPRINT_MOST):
        return None
    return beton.manifest.sha256[:16]
