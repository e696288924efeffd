"""Weights as files: read without running them, compared key by key, and the layout of a model hub on disk."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from priorscope.core.errors import RequestError, WorkError, first_line

WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every key of what they wrap."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file: safetensors, or what `torch.save` wrote of a state dict. Nothing in the file is run.

    A state dict that lies under "state_dict" or "model" beside other things is found; prefixes that wrappers put before every
    key are taken off.
    """
    if not path.is_file():
        raise RequestError(f"There is no file {str(path)!r}.", "a file of weights", "check the path")
    stored = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    while wrapper := next((one for one in WRAPPERS if stored and all(key.startswith(one) for key in stored)), None):
        stored = {key.removeprefix(wrapper): tensor for key, tensor in stored.items()}
    return stored


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from None


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols: the refusal below says what matters
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        if "nsupported global" not in str(error) and not _is_pickle(path):
            raise _damaged(path, error) from None
        raise RequestError(
            f"{path} holds a pickled Python object, not only tensors: opening it would run code from the file.",
            "a state dict, or safetensors",
            "in the program that made it: torch.save(model.state_dict(), 'weights.pt'), then import that file",
        ) from None
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise RequestError(
            f"{path} holds no state dict.", "a table of tensors by name", "torch.save(model.state_dict(), 'weights.pt')"
        )
    return cast("dict[str, Tensor]", dict(content))


def _is_pickle(path: Path) -> bool:
    """Whether a file is one bare pickle (its first opcode says so), where torch's own are archives."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def _damaged(path: Path, error: Exception) -> WorkError:
    return WorkError(
        f"The weights {path} are damaged: {first_line(error)}.",
        "a file as it was written",
        "get the file again, or write it again",
    )


def misfits(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Every key that is missing, left over or of another shape."""
    return [
        *(f"missing {key}" for key in wanted if key not in stored),
        *(f"left over {key}" for key in stored if key not in wanted),
        *(
            f"{key} is {tuple(stored[key].shape)}, not {tuple(wanted[key].shape)}"
            for key in wanted
            if key in stored and stored[key].shape != wanted[key].shape
        ),
    ]


def check_fit(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, do: str) -> None:
    """Refuses weights that do not fit, key by key."""
    wrong = misfits(stored, wanted)
    if wrong:
        shown = "; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        raise RequestError(f"{what}: {shown}.", "weights of this very model", do)
