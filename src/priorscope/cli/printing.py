"""What verbs share: the options that many have, tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer


def setting(example: str) -> Any:
    """The option `--set`, with a setting that the verb would take."""
    return typer.Option("--set", metavar="KEY=VALUE", help=f"Change one setting, e.g. {example}; may be given often.")


Setting = Annotated[list[str], setting("optim.lr=0.001")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def application(help: str) -> typer.Typer:
    """Plain help, no tracebacks of ours."""
    return typer.Typer(
        help=help, rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )


def print_json(value: Any) -> None:
    """Indented JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], as_json: bool = False) -> None:
    """Aligned columns, or the same as JSON."""
    if as_json:
        return print_json([dict(zip(head, row, strict=True)) for row in rows])
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return None
