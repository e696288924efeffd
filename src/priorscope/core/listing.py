"""Lists of members that are loaded when they are needed: sources, families, probes, checks, benchmarks.

A list maps a name to a module's path, as strings, so that showing what there is costs no import of torch or timm. A member
module keeps to its list's names: `<Name>Config` is its config (`cue_conflict` -> `CueConflictConfig`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, cast

from priorscope.core.config import Config, Plain
from priorscope.core.errors import RequestError, unknown_name


@dataclass(frozen=True)
class Listing:
    """Named members of one kind. `command` is what a user types to see them all."""

    kind: str
    command: str
    modules: Mapping[str, str]

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __contains__(self, name: object) -> bool:
        return name in self.modules

    def load(self, name: str) -> ModuleType:
        """The member's module, or an error with the nearest valid name."""
        if name not in self.modules:
            raise unknown_name(self.kind, name, self.modules, self.command)
        return import_module(self.modules[name])

    def config(self, name: str) -> type[Config]:
        """The member's config class."""
        return getattr(self.load(name), f"{camel(name)}Config")

    def table(self, named: object) -> Plain:
        """The table of settings that a member's name is short for, or a copy of the one given; refuses what is neither."""
        if isinstance(named, str):
            return {"name": named}
        if isinstance(named, Mapping):
            return dict(cast("Mapping[str, Any]", named))
        came = f"{named!r} does not name a {self.kind}."
        raise RequestError(came, "a name, or a table of a name and settings", f"list all with: {self.command}")

    def version(self, name: str) -> int:
        """The version of a member's numbers; 1 if they never changed."""
        return int(getattr(self.load(name), "VERSION", 1))


def camel(name: str) -> str:
    """A name as a class is called: `cue_conflict` -> `CueConflict`."""
    return "".join(part.capitalize() for part in name.split("_"))
