"""What verbs share: how their help looks, the options that many have, tables and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup


def setting(example: str, what: str = "one setting") -> Any:
    """The option `--set`, with a setting that the verb would take."""
    return typer.Option("--set", metavar="KEY=VALUE", help=f"Change {what}, e.g. {example}; may be given often.")


Setting = Annotated[list[str], setting("optim.lr=0.001")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class _Verb(TyperCommand):
    """A verb whose help names arguments as our pages do: NAME|FILE, RUN..., and [SUBJECT...] for those that may be left out."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        given = [one for one in self.get_params(ctx) if isinstance(one, TyperArgument)]
        options = [self.options_metavar] if self.options_metavar else []
        return [*options, *(_named(one) if one.required else f"[{_named(one)}]" for one in given)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for one in self.get_params(ctx):
            if (record := one.get_help_record(ctx)) is not None:
                name, told = record
                argument = isinstance(one, TyperArgument)
                name = _named(one) if argument else re.sub(r"<list\[(\w+)\]>", r"<\1>", name)
                sections["Arguments" if argument else "Options"].append((name, told))
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _named(argument: TyperArgument) -> str:
    """An argument as it is called in the usage line: in capitals, with dots where several may be given."""
    name = argument.metavar or str(argument.name).upper()
    return name if argument.nargs == 1 or name.endswith("...") else f"{name}..."


class _Verbs(TyperGroup):
    """Verbs whose list shows the first sentence of each, whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        verbs = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.get_short_help_str(1000)) for name, verb in verbs.items() if verb])


class _Application(typer.Typer):
    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = _Verb, **options: Any
    ) -> Callable[[Any], Any]:
        return super().command(name, cls=cls, **options)


def application(help: str, epilog: str | None = None) -> typer.Typer:
    """Plain help under -h and --help, no tracebacks of ours."""
    return _Application(
        cls=_Verbs,
        help=help,
        epilog=epilog,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
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
