"""What users name in their own code: `package.module:function`, found where Python finds modules or in the current folder."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from priorscope.core.errors import RequestError

OWN = "raised in your own code"
"""What the note begins with that an error of the system gets which comes from a user's code."""


def made_by(factory: str) -> Any:
    """What a function that a user names returns. An error inside it is the user's to see, with its traceback."""
    name, _, function = factory.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    if not name or name.startswith(".") or not function:
        raise _not_found(factory, "it names no function of a module")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _fails(name, error) from error
        raise _not_found(factory, error) from None
    except Exception as error:
        raise _fails(name, error) from error
    try:
        made = getattr(module, function)
    except AttributeError as error:
        raise _not_found(factory, error) from None
    if not callable(made):
        came = f"{factory!r} is of type {type(made).__name__}, which cannot be called."
        raise RequestError(came, "package.module:function", f"name a function in {name} that returns it")
    try:
        return made()
    except OSError as error:
        error.add_note(f"{OWN}, {factory}")
        raise


def _not_found(factory: str, why: object) -> RequestError:
    return RequestError(f"{factory!r} is not found: {why}.", "package.module:function", "check the name")


def _fails(module: str, error: Exception) -> RequestError:
    return RequestError(
        f"The module {module!r} is there and fails: {type(error).__name__}: {error}.",
        "a module that can be imported",
        f"python -c 'import {module}' shows where",
    )
