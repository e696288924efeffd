"""Makes the table of docs/training.md from the descriptions in the configs: `python scripts/training_page.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from priorscope.core.config import Config
from priorscope.recipe import Recipe

PAGE = Path(__file__).parent.parent / "docs" / "training.md"
BEGIN, END = "<!-- options -->\n", "<!-- end of options -->"
ELSEWHERE = ("data.source", "data.augment", "model")
"""Settings whose own settings have a page of their own."""


def table() -> str:
    """Every option of a recipe: its dotted name, its default, what it does."""
    rows = [f"| `{name}` | {_default(field)} | {field.description} |" for name, field in options(Recipe)]
    return "\n".join(["| option | default | what |", "| --- | --- | --- |", *rows])


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


def _default(field: FieldInfo) -> str:
    """What holds where a recipe says nothing."""
    if field.is_required():
        return "must be given"
    if field.default is PydanticUndefined:
        return "`none`"
    if field.default is None:
        return "not set"
    if isinstance(field.default, tuple):
        return " ".join(f"`{value}`" for value in field.default)
    if isinstance(field.default, float):
        return f"`{field.default:.4g}`"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def main() -> None:
    """Puts the table between its marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
