"""Configs as plain typed data: frozen, unknown keys refused, TOML in and TOML out.

A config is a pydantic model that cannot be changed after it is made. `None` means "not set" and is left out of TOML, which
has no null. Numbers may be written as fractions ("8/255"), because attack budgets are published that way.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self, TypeGuard

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from priorscope.core.errors import RequestError
from priorscope.core.refusal import explain

Plain = dict[str, Any]
"""What TOML and JSON can hold: strings, numbers, booleans, lists and tables."""


def _number(value: object) -> object:
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""What JSON schema calls the bounds of a number, which pydantic leaves in its own words where a validator stands before it."""


class _OrFraction:
    """The JSON schema of a number that may be written as a fraction."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Plain:
        number = {BOUNDS.get(name, name): value for name, value in handler(schema).items()}
        return {"anyOf": [number, {"type": "string", "pattern": r"^ *[-+]? *\d+ */ *\d+ *$"}]}


Number = Annotated[float, BeforeValidator(_number), _OrFraction]
"""A float that may also be written as a fraction: 0.03 or "8/255"."""


class Config(BaseModel):
    """Base of every config: frozen, strict about its keys, with a canonical digest of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "", at: str = "") -> Self:
        """Checks plain data and makes the config, or refuses with the nearest valid key.

        `where` is what to call the place the values came from: a file, a command-line option; `at` is the dotted key under
        which they are typed there, where they are a part of something.
        """
        try:
            table = isinstance(values, Mapping)  # pyright: ignore[reportUnnecessaryIsInstance]  a user's value may be anything
            return cls.model_validate(dict(values) if table else values)
        except ValidationError as error:
            raise explain(error, cls, values, where, at) from None

    def plain(self) -> Plain:
        """The config as plain data, what is not set left out: what TOML and JSON hold."""
        return self.model_dump(mode="json", exclude_none=True)

    def toml(self) -> str:
        """The config as TOML text; `parse_toml` reads it back equal."""
        return tomli_w.dumps(self.plain())

    def digest(self) -> str:
        """A hash of the content: the same for equal configs, on every machine."""
        return content_key(self.plain())

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like the original; what is set to None though that is not usual stays so."""
        unusual = [name for name, field in type(self).model_fields.items() if field.default is not None]
        nothing = {name: None for name in unusual if getattr(self, name) is None}
        return type(self).parse({**self.plain(), **nothing, **changes})


def content_key(value: Any) -> str:
    """A short hash of plain data (16 hex digits): the same for equal content, whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_toml(path: Path) -> Plain:
    """The tables of a TOML file, or an error that names the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"There is no file {str(path)!r}.", "a TOML file", "check the path") from None
    except OSError as error:
        told = "name the recipe.toml or study.toml in it" if path.is_dir() else "check the path"
        raise RequestError(f"{path} cannot be read: {error.strerror}.", "a TOML file", told) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is not valid TOML: {error}.", "TOML 1.0 in UTF-8", "mend the line named above") from None


def assign(values: Mapping[str, Any], *settings: str) -> Plain:
    """Plain data with `a.b=c` settings put in, one after the other; c is read as TOML, or as a string if it is not TOML."""
    assigned = dict(values)
    for setting in settings:
        dotted, sign, text = setting.partition("=")
        keys = [key.strip() for key in dotted.split(".")]
        if not sign or not all(keys):
            raise RequestError(f"--set {setting!r} is not a setting.", "KEY=VALUE with a dotted key", "--set optim.lr=0.001")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        assigned = _assigned(assigned, keys, value)
    return assigned


def _assigned(values: Mapping[str, Any], keys: Sequence[str], value: Any, above: str = "") -> Plain:
    if len(keys) == 1:
        return {**values, keys[0]: value}
    below: Any = values.get(keys[0], {})
    if isinstance(below, str):  # "mlp/tiny" is short for {name = "mlp/tiny"}
        below = {"name": below}
    if not is_table(below):
        here = f"{above}{keys[0]}"
        raise RequestError(f"{here!r} is a value, not a table.", "a dotted key into tables", f"--set {here}=VALUE")
    return {**values, keys[0]: _assigned(below, keys[1:], value, f"{above}{keys[0]}.")}


def inline_toml(value: Any) -> str:
    """A value as it stands after `=` on one line of TOML, and after `--set KEY=`."""
    if is_table(value):
        return "{" + ", ".join(f"{inline_toml(key)} = {inline_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML has neither surrogates nor a bare DEL


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Plain:
    """Plain data with another's values laid over it, table by table."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if is_table(below) and is_table(value) else value
    return merged


def flat(table: Mapping[str, Any], above: str = "") -> Plain:
    """The values of nested tables by their dotted keys: {"optim": {"lr": 0.1}} as {"optim.lr": 0.1}."""
    found: Plain = {}
    for name, value in table.items():
        found |= flat(value, f"{above}{name}.") if is_table(value) else {f"{above}{name}": value}
    return found


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a setting is a number; yes and no are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_table(value: object) -> TypeGuard[Plain]:
    """Whether a setting is a table of settings."""
    return isinstance(value, dict)
