"""What is wrong with a config, in the words in which people write one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails

from priorscope.core.errors import RequestError, nearest
from priorscope.core.schema import schema_within

WORDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a table of settings",
    "dict_type": "a table of settings",
}
"""What is wanted, by pydantic's name of the error; it says the rest well enough itself."""

MEMBER = re.compile(r"str|int|float|bool|.+\[.*\]")
"""What pydantic puts into the place of an error for the member of a union that refused the value."""


@dataclass(frozen=True)
class Like:
    """Marks a table that is laid over configs of this class later, so that its settings have their names there.

    `rare` marks one in which a setting is less likely meant than in another of the same class.
    """

    config: type[BaseModel]
    rare: bool = False

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return schema_within(self.config, handler)


def explain(error: ValidationError, model: type[BaseModel], values: object, where: str = "", at: str = "") -> RequestError:
    """The first thing that is wrong with values for a config, in three parts.

    `where` is what to call the place they came from, and `at` the dotted key under which they are typed.
    """
    errors = error.errors()
    first, loc = errors[0], _place(errors[0], values)
    path, within = ".".join(map(str, loc)), f"{at}." if at else ""
    place = f" in {where}" if where else ""
    if first["type"] == "extra_forbidden":
        owner, above = _model_at(model, loc[:-1]) or model, "".join(f"{part}." for part in loc[:-1])
        guess = _meant(str(loc[-1]), owner, above) or _meant(str(loc[-1]), model)
        better = f"{within}{guess}{_first_key(first['input'])} = ... (did you mean that?)" if guess else "remove it"
        return RequestError(f"{path!r} is not a setting{place}.", f"one of: {', '.join(owner.model_fields)}", better)
    if first["type"] == "missing":
        return RequestError(f"{path!r} is missing{place}.", "a value for it", f"{within}{path} = ...")
    alike = [one for one in errors if _place(one, values) == loc]
    wanted = " or ".join(dict.fromkeys(map(_wanted, alike)))
    came = f"{f'{path} = ' if path else ''}{first['input']!r} was refused{place}."
    typed = f"{within}{path}" if path else at
    return RequestError(came, wanted, _told(first["input"], wanted, typed, listed=_model_at(model, [*loc, 0]) is not None))


def _place(error: ErrorDetails, values: object) -> list[int | str]:
    """Where in the values an error is, as dotted keys name it: a recipe may be called `float`, as a union's member is."""
    place: list[int | str] = []
    inside: Any = values
    for key in error["loc"]:
        if isinstance(inside, Mapping) and key in inside:
            inside = cast("Mapping[object, object]", inside)[key]
        elif isinstance(key, int) and isinstance(inside, list | tuple):
            inside = cast("Sequence[object]", inside)[key]
        elif isinstance(key, str) and MEMBER.fullmatch(key):
            continue
        place.append(key)
    return place


def _wanted(error: ErrorDetails) -> str:
    if error["type"] in WORDS:
        return WORDS[error["type"]]
    said = re.sub(r"^(Value error, |Input should be |\w+ should have )", "", error["msg"])
    return said.partition(" after validation")[0].removesuffix(".")


def _told(value: object, wanted: str, path: str, *, listed: bool) -> str:
    """What to type in place of a value that was refused; `listed` where a list would hold tables."""
    text = json.dumps(value) if isinstance(value, str | int | float) else None
    match wanted:
        case "a table of settings" if not path:
            return "NAME = VALUE for each of its settings"
        case "a table of settings":
            one, every = f"--set '{path}.NAME=VALUE'", f"--set '{path}={{NAME = VALUE, ...}}'"
            return f"{one} for one of its settings, or {every} for all, in quotes"
        case "a list" if listed:
            return f"{path} = [{{NAME = VALUE, ...}}]"
        case "a list" if text:
            return f"{path} = [{text}]"
        case "text in quotes" if text:
            return f'{path} = "{text}"'
        case _:
            listed_names = wanted.removeprefix("one of: ").split(", ") if wanted.startswith("one of: ") else []
            named = re.findall(r"'([^']+)'", wanted) or listed_names
            guess = nearest(value, named) if isinstance(value, str) else None
            return f'{path} = "{guess}" (did you mean that?)' if guess else f"change {path or 'it'}"


def _meant(name: str, owner: type[BaseModel], above: str = "") -> str | None:
    """The setting of a config that was most likely meant: a slip of the pen, the one of that name in a table, or the nearest.

    Of several tables one that is always there is meant.
    """
    same = [(unset, dotted) for dotted, unset in _below(owner) if dotted.rpartition(".")[2] == name]
    likely = [dotted for unset, dotted in same if unset == min(same)[0]]
    in_table = likely[0] if len(likely) == 1 else None
    guess = nearest(name, owner.model_fields, cutoff=0.8) or in_table or nearest(name, owner.model_fields)
    return f"{above}{guess}" if guess else None


def _first_key(value: object) -> str:
    """The dotted key of the first setting in a table that belongs elsewhere; nothing of a value."""
    if not isinstance(value, Mapping) or not value:
        return ""
    key, below = next(iter(cast("Mapping[str, object]", value).items()))
    return f".{key}{_first_key(below)}"


def _below(model: type[BaseModel], above: str = "", unset: int = 0) -> Iterator[tuple[str, int]]:
    """The settings in a config's tables, by their dotted names, and how many tables above each are usually not set."""
    for name, field in model.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Like)]
        laid = [mark.config for mark in marks]
        listed = get_origin(field.annotation) in (list, tuple, dict) and not laid
        for part in laid or ([] if listed else _models(field.annotation)):
            rarer = unset + (field.default is None or any(mark.rare for mark in marks))
            yield from ((f"{above}{name}.{own}", rarer) for own in part.model_fields)
            yield from _below(part, f"{above}{name}.", rarer)


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The config that owns a place in a nested config; None where the place is inside plain data."""
    if not loc:
        return model
    field = model.model_fields.get(str(loc[0]))
    if field is None:
        return None
    keyed = len(loc) > 1 and (isinstance(loc[1], int) or get_origin(field.annotation) is dict)
    for option in _models(field.annotation):
        return _model_at(option, loc[2:] if keyed else loc[1:])
    return None


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The configs that an annotation names, through unions, lists and tables."""
    if get_origin(annotation) in (Union, UnionType, list, tuple, dict, Annotated):
        return [model for part in get_args(annotation) for model in _models(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
