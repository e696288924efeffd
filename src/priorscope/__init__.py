"""Priorscope shows what an architecture's prior does.

    import priorscope as ps

    run = ps.fit(ps.Recipe.load("recipe.toml"), out="runs/a")
    result = ps.measure(run, "accuracy")
    ps.write_report([run], "report.html")

Names are imported when they are first used: importing the package costs nothing, and torch is loaded only by what needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from priorscope import data, models, probes
    from priorscope.core.contracts import Result, Statistics, draw
    from priorscope.core.errors import PriorscopeError, RequestError, WorkError
    from priorscope.fitting import fit
    from priorscope.looking.look import measure
    from priorscope.models import wrap
    from priorscope.recipe import Recipe
    from priorscope.report import write_report
    from priorscope.run import Run, load

_HOMES = {
    "PriorscopeError": "priorscope.core.errors",
    "Recipe": "priorscope.recipe",
    "RequestError": "priorscope.core.errors",
    "Result": "priorscope.core.contracts",
    "Run": "priorscope.run",
    "Statistics": "priorscope.core.contracts",
    "WorkError": "priorscope.core.errors",
    "draw": "priorscope.core.contracts",
    "fit": "priorscope.fitting",
    "load": "priorscope.run",
    "measure": "priorscope.looking.look",
    "wrap": "priorscope.models",
    "write_report": "priorscope.report",
}
_MODULES = ("data", "models", "probes")

__all__ = [
    "PriorscopeError",
    "Recipe",
    "RequestError",
    "Result",
    "Run",
    "Statistics",
    "WorkError",
    "__version__",
    "data",
    "draw",
    "fit",
    "load",
    "measure",
    "models",
    "probes",
    "wrap",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # it takes longer than all else here

        return version("priorscope")
    if name in _MODULES:
        return import_module(f"priorscope.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'priorscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
