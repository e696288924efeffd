"""How an editor sees configs: what goes into their JSON schemas beside their fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import core_schema


def nothing_required(schema: dict[str, Any]) -> None:
    """Takes `required` out of the JSON schema of what stands in a file that may be laid over another."""
    schema.pop("required", None)


def schema_within(config: type[BaseModel], handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """The JSON schema of a config inside that of another.

    It is handled as the only link of a chain: what is handled alone has lost what its class says of its own schema.
    """
    return handler(core_schema.chain_schema([config.__pydantic_core_schema__]))
