"""Where a measurement keeps what it knows: a file that is named by everything that its numbers are a function of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.config import Plain, content_key

if TYPE_CHECKING:
    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier


def state_of(
    folder: Path | None,
    name: str,
    network: Classifier | list[Classifier],
    data: Split | list[Split],
    settings: Plain,
    ending: str = "npz",
) -> Path | None:
    """The file of a measurement in a folder, named by networks, pictures and settings (the part's version is one of them)."""
    if folder is None:
        return None
    from priorscope.models.key import network_key

    networks = [network_key(each) for each in network] if isinstance(network, list) else network_key(network)
    pictures = [each.fingerprint for each in data] if isinstance(data, list) else data.fingerprint
    return folder / f"{name}-{content_key({'network': networks, 'data': pictures, **settings})}.{ending}"
