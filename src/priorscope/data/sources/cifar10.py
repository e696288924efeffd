"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test pictures of 32x32 in ten classes."""

from __future__ import annotations

from priorscope.core.errors import RequestError
from priorscope.data.parts import PublishedSource
from priorscope.data.places import data_folder
from priorscope.data.sources import SourceConfig, parquet
from priorscope.data.table import Table

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10Config(SourceConfig):
    """CIFAR-10 from the data folder."""

    name: str = "cifar10"


def open_source(_config: Cifar10Config) -> PublishedSource:
    """Opens the tables in the data folder."""
    folder = data_folder() / "cifar10"
    tables = {name: folder / f"{name}.parquet" for name in ("train", "test")}
    if not all(file.is_file() for file in tables.values()):
        raise RequestError(f"There is no CIFAR-10 in {folder}.", "train.parquet and test.parquet", "set PRIORSCOPE_DATA")
    return parquet.published("cifar10", {name: Table((file,)) for name, file in tables.items()}, classes=CLASSES)
