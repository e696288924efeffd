"""Makes the tables of settings from the descriptions in the configs: `python scripts/settings_pages.py`.

docs/training.md shows those of a recipe, the page of each probe the probe's own. Those of models are on the page that
scripts/models_page.py makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from priorscope.core.config import Config
from priorscope.probes import PROBES
from priorscope.recipe import Recipe
from priorscope.report.settings import setting_said

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- settings of {} -->\n", "<!-- end of settings of {} -->"
SHARED = {"accuracy": "evaluation", "fewshot": "evaluation", "transfer": "robustness"}
"""Probes that stand on a page of another name."""
ELSEWHERE = ("data.source", "data.augment", "model")
"""Settings whose own settings have a page of their own."""


def settings() -> Iterator[tuple[str, str, list[tuple[str, FieldInfo]]]]:
    """The page of each table, whose settings it shows, and these."""
    yield "training", "a recipe", list(options(Recipe))
    for probe in PROBES:
        own = [(name, field) for name, field in PROBES.config(probe).model_fields.items() if name != "name"]
        if own:
            yield SHARED.get(probe, probe.replace("_", "-")), probe, own


def options(config: type[Config], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The options of a config and of the configs inside it, in the order in which they stand in the code."""
    for name, field in config.model_fields.items():
        dotted = f"{path}{name}"
        inside = None if dotted in ELSEWHERE else _inside(field.annotation)
        if inside is None or field.description:
            yield dotted, field
        if inside is not None:
            yield from options(inside, f"{dotted}.")


def _inside(annotation: Any) -> type[Config] | None:
    """The config that an annotation names, alone or beside None."""
    return next(
        (part for part in (annotation, *get_args(annotation)) if isinstance(part, type) and issubclass(part, Config)), None
    )


def table(shown: Iterable[tuple[str, FieldInfo]], required: str = "must be given") -> str:
    """Each setting: its name, what holds where nothing is said, what it does and which words it takes."""
    rows = [f"| `{name}` | {_default(field, required)} | {field.description}{_words(field)} |" for name, field in shown]
    return "\n".join(["| setting | default | what |", "| --- | --- | --- |", *rows])


def _words(field: FieldInfo) -> str:
    """The words that a setting takes, unless what it does already names all of them."""
    words = [str(word).lower() for word in _literals(field.annotation)]
    named = set(re.findall(r"[\w-]+", field.description or ""))
    return "" if named.issuperset(words) else f" ({', '.join(f'`{word}`' for word in words)})"


def _literals(annotation: Any) -> Iterator[Any]:
    """The values of every Literal in an annotation, in the order in which they stand there."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)


def _default(field: FieldInfo, required: str) -> str:
    if field.is_required():
        return required
    if field.default is PydanticUndefined:
        return "`none`"
    if field.default is None:
        return "not set"
    if isinstance(field.default, tuple):
        return " ".join(f"`{setting_said(value)}`" for value in field.default) or "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else setting_said(field.default)}`"


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with its text."""
    texts: dict[Path, str] = {}
    for page, whose, shown in settings():
        path = DOCS / f"{page}.md"
        before, rest = (texts.get(path) or path.read_text(encoding="utf-8")).split(BEGIN.format(whose))
        _, after = rest.split(END.format(whose))
        texts[path] = before + BEGIN.format(whose) + table(shown) + "\n" + END.format(whose) + after
    yield from texts.items()


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
