"""What all tests share: the real images, where they are, and a cache of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REAL = Path(os.environ.get("PRIORSCOPE_DATA", "") or "/nowhere")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on real images are skipped, with the reason, where there are none."""
    if (REAL / "cifar10").is_dir():
        return
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(pytest.mark.skip(reason="PRIORSCOPE_DATA does not name the folder of real images"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real images and published weights."""
    return REAL


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    before = os.environ.get("PRIORSCOPE_CACHE")
    os.environ["PRIORSCOPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["PRIORSCOPE_CACHE"]
    else:
        os.environ["PRIORSCOPE_CACHE"] = before
