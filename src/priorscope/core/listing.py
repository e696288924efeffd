"""Lists of members that are loaded when they are needed: sources, families, probes, checks, benchmarks.

A list maps a name to a module's path, as strings, so that showing what there is costs no import of torch or timm. A member
module keeps to its list's names: `<Name>Config` is its config (`cue_conflict` -> `CueConflictConfig`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, cast

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from priorscope.core.config import Config, Plain
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.schema import nothing_required, schema_within


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


class Member(Config):
    """Base of the configs of a list's members: `name` is the member's name, or one that leads to it, the rest its settings.

    A kind of members has a base of its own, which says what they are listed in. In a file a member is its name, or a table of
    its name and its settings, and so does an editor see the base.
    """

    listing: ClassVar[Listing]
    """The list that the members stand in; a class that names it itself is the base of a kind."""

    name: str

    @classmethod
    def names(cls, member: str) -> tuple[list[str], str | None]:
        """The names that lead to a member of the list, and a pattern of those that may."""
        return [member], None

    def refuse(self, settings: Iterable[str], because: str) -> None:
        """Refuses settings that nothing would read, where they differ from their defaults."""
        for setting in settings:
            given, usual = getattr(self, setting), type(self).model_fields[setting].default
            if given != usual:
                raise RequestError(
                    f"{self.name} came with {setting} = {given!r}, which changes nothing: {because}.",
                    "settings that are read",
                    f"leave {setting} out",
                )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Plain:
        if "listing" not in vars(cls):
            return handler(schema)
        tables = [schema_within(cls.listing.config(member), handler) for member in cls.listing]
        for member, table in zip(cls.listing, map(handler.resolve_ref_schema, tables), strict=True):
            table["properties"]["name"] = _text(cls.names(member))
            nothing_required(table)
        return {"title": cls.__name__, "anyOf": [_text(*map(cls.names, cls.listing)), *tables]}


def _text(*named: tuple[list[str], str | None]) -> Plain:
    """The JSON schema of a text that is one of some names, or like one of some patterns."""
    patterns = dict.fromkeys(pattern for _, pattern in named if pattern)
    known = {"enum": [name for names, _ in named for name in names]}
    return {"type": "string", "anyOf": [known, *({"pattern": pattern} for pattern in patterns)]}
