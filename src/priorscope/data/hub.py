"""Tables from repositories of the Hugging Face hub: `hf://owner/name`, `hf://owner/name@revision/folder`.

The hub's own client downloads (resuming what was cut, into its own cache, which other tools share), and works offline from it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.errors import RequestError, WorkError, first_line

if TYPE_CHECKING:
    from priorscope.data.sources import SourceConfig

PREFIX = "hf://"
ADDRESS = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)(?:@(refs/(?:convert|pr)/[\w-]+|[\w.-]+))?(?:/([\w./ -]+?))?/?")
CONVERTED = "refs/convert/parquet"
"""The revision in which the hub keeps its own parquet copy of repositories that publish other files."""


def is_on_hub(source: SourceConfig) -> bool:
    """Whether to open a source would ask the hub for it."""
    return str(getattr(source, "path", "")).startswith(PREFIX)


def fetch_tables(address: str) -> Path:
    """The folder with a repository's parquet files, downloaded where they are not in the hub's cache."""
    repository, revision, folder = _parsed(address)
    for wanted in [revision] if revision else [None, CONVERTED]:
        root = _snapshot(address, repository, wanted, folder)
        found = root / folder if root and folder else root
        if found is not None and next(found.rglob("*.parquet"), None) is not None:
            return found
    raise RequestError(
        f"{address} holds no parquet file.",
        "tables of images in parquet",
        f"look at its files: huggingface.co/datasets/{repository}",
    )


def _parsed(address: str) -> tuple[str, str | None, str]:
    found = ADDRESS.fullmatch(address)
    if found is None or ".." in address:
        raise RequestError(
            f"{address!r} is no address of a data set on the hub.",
            "hf://owner/name[@revision][/folder]",
            "hf://uoft-cs/cifar10",
        )
    return found[1], found[2], found[3] or ""


def _snapshot(address: str, repository: str, revision: str | None, folder: str) -> Path | None:
    """The tables of a revision; None where the hub has made no copy of its own of them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        with _quiet_off_a_terminal():
            return Path(
                snapshot_download(
                    repository,
                    repo_type="dataset",
                    revision=revision,
                    allow_patterns=f"{folder}/*.parquet" if folder else "*.parquet",
                    endpoint=os.environ.get("HF_ENDPOINT"),
                )
            )
    except GatedRepoError:
        raise RequestError(
            f"{address} is given only to those who accept its terms.",
            "an account that did",
            f"accept them on huggingface.co/datasets/{repository}, then: hf auth login",
        ) from None
    except RevisionNotFoundError:
        if revision == CONVERTED:
            return None
        raise RequestError(
            f"{repository} has no revision {revision!r}.",
            "a branch, a tag or a commit of it",
            f"look at its revisions: huggingface.co/datasets/{repository}",
        ) from None
    except RepositoryNotFoundError:
        raise RequestError(
            f"There is no data set {address}.", "hf://owner/name[@revision][/folder]", "check the name"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise WorkError(
            f"{address} cannot be downloaded: {first_line(error)}.",
            "the hub, or an earlier download of it",
            "check the connection, then run the same command again",
        ) from None


@contextmanager
def _quiet_off_a_terminal() -> Generator[None]:
    """The client draws progress bars into log files too; here they are for terminals."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silence = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if silence:
        disable_progress_bars()
    try:
        yield
    finally:
        if silence:
            enable_progress_bars()
