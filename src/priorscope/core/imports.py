"""What users name in their own code: `package.module:function`, found where Python finds modules or in the current folder."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from priorscope.core.errors import RequestError


def made_by(factory: str) -> Any:
    """What a function that a user names returns. An error inside it is the user's to see, with its traceback."""
    module, _, function = factory.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        made = getattr(import_module(module), function)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise RequestError(f"{factory!r} is not found: {error}.", "package.module:function", "check the name") from None
    return made()
