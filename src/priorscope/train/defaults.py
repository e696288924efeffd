"""Settings whose defaults another setting chooses: an optimiser's, or those of a way to move pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import model_validator

from priorscope.core.config import Config, Plain, is_table


class OwnDefaults(Config):
    """A config in which one field, `CHOICE`, chooses the defaults of some others (`DEFAULTS`).

    They are filled in, so that a recipe that is saved is complete.
    """

    CHOICE: ClassVar[str]
    DEFAULTS: ClassVar[Mapping[str, Plain]]

    @classmethod
    def _own(cls, table: Plain) -> Plain:
        return cls.DEFAULTS.get(str(table.get(cls.CHOICE, cls.model_fields[cls.CHOICE].default)), {})

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        if not is_table(values):
            return values
        own = cls._own(values)
        return {**own, **{name: value for name, value in values.items() if name not in own or value is not None}}

    @classmethod
    def without_defaults(cls, table: Plain) -> Plain:
        """A table without what its choice has filled in: another choice takes its own."""
        own = cls._own(table)
        return {name: value for name, value in table.items() if name not in own or value != own[name]}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like the original; with another choice it takes that one's defaults."""
        return type(self).parse({**self.without_defaults(self.plain()), **changes})
