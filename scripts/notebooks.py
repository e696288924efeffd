"""Runs the notebooks of docs/notebooks and makes the pages that show them: `python scripts/notebooks.py [NAME...]`.

A notebook is kept as it is read by Jupyter, but without outputs, so that a change of it is a change of its text. What its cells
show stands on the page beside it (`NAME.md`), with the pictures in `images/`; a page is made here and never written by hand.
Cells are run one after the other, in one process and a fresh namespace each notebook: nothing of Jupyter is needed.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

NOTEBOOKS = Path(__file__).parent.parent / "docs" / "notebooks"

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

SHOWN, END = "<!-- shown -->", "<!-- end -->"
"""Between what lines of a page the outputs of a cell stand."""


class Cell(NamedTuple):
    """A cell: `markdown` or `code`, and its text."""

    kind: str
    text: str


class Output(NamedTuple):
    """What a cell printed, and what its last line gives, by MIME type."""

    printed: str
    shown: dict[str, Any]


def read(path: Path) -> list[Cell]:
    """The cells of a notebook."""
    return [Cell(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def as_kept(cells: Sequence[Cell]) -> str:
    """A notebook's file: no outputs, no counts, cells numbered in order, so that equal cells give equal bytes."""
    kept: list[dict[str, Any]] = []
    for number, cell in enumerate(cells, 1):
        own = {"execution_count": None, "outputs": []} if cell.kind == "code" else {}
        source = cell.text.splitlines(keepends=True)
        kept.append({"cell_type": cell.kind, "id": f"cell-{number}", "metadata": {}, "source": source, **own})
    notebook = {"cells": kept, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def run(name: str, cells: Sequence[Cell]) -> list[Output]:
    """What every cell prints and shows; an error says whose it is."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs: list[Output] = []
    for number, cell in enumerate(cells, 1):
        try:
            outputs.append(_run_cell(cell.text, f"{name}, cell {number}", namespace) if cell.kind == "code" else Output("", {}))
        except Exception as error:
            error.add_note(f"in docs/notebooks/{name}.ipynb, cell {number}")
            raise
    return outputs


def _run_cell(text: str, where: str, namespace: dict[str, Any]) -> Output:
    """Runs a cell's statements and shows its last one, where that is an expression, as a notebook would."""
    body = ast.parse(text, where)
    last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(body, where, "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), where, "eval"), namespace) if isinstance(last, ast.Expr) else None
    return Output(printed.getvalue(), _shown(value))


def _shown(value: Any) -> dict[str, Any]:
    """A value by MIME type: its own bundle, or its text."""
    if value is None:
        return {}
    bundle = getattr(value, "_repr_mimebundle_", None)
    return bundle() if bundle else {"text/plain": repr(value)}


def page(name: str, cells: Sequence[Cell], outputs: Sequence[Output], images: Path | None) -> str:
    """The page that shows a notebook; its pictures are written to `images` (None: nothing is written)."""
    parts: list[str] = []
    pictures = 0
    for cell, output in zip(cells, outputs, strict=True):
        if cell.kind == "markdown":
            parts.append(cell.text if parts else f"{cell.text}\n\n[This page as a notebook]({name}.ipynb)")
            continue
        parts.append(f"```python\n{cell.text}\n```")
        if output.printed or output.shown:
            picture = output.shown.get("image/svg+xml")
            if picture is not None:
                pictures += 1
                if images:
                    (images / f"{name}-{pictures}.svg").write_text(picture, encoding="utf-8")
            parts.append("\n".join((SHOWN, "", _told(output, f"images/{name}-{pictures}.svg"), "", END)))
    return "\n\n".join(parts) + "\n"


def _told(output: Output, picture: str) -> str:
    """An output on a page: text as it is, a table folded away, a picture as a file beside the page."""
    parts = [f"```text\n{output.printed.rstrip()}\n```"] if output.printed else []
    html, text = output.shown.get("text/html"), output.shown.get("text/plain", "")
    if html is not None:
        html = html.removeprefix("<div>").removesuffix("</div>")
        folded = r"<details><summary>All numbers</summary>\1</details>"
        html = re.sub(r"(<table>.*?</table>(<p>and [\d,]+ more rows</p>)?)", folded, html, flags=re.DOTALL)
        html = re.sub(r'<img src="data:[^"]*" alt="([^"]*)"[^>]*>', lambda image: _image(unescape(image[1]), picture), html)
        parts.append(re.sub(r"(?<=[^\n])(<details>|<tr>|<p>)", r"\n\1", html))
    elif "image/svg+xml" in output.shown:
        parts.append(_image(text, picture).strip())
    elif text:
        parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts)


def _image(alt: str, picture: str) -> str:
    """A picture in Markdown, whose path the site's builder checks and rewrites; in HTML it would stay as it is."""
    words = re.sub(r"([\\`*_\[\]<>])", r"\\\1", alt)
    return f"\n\n![{words}]({picture})\n\n"


def without_outputs(text: str) -> str:
    """A page's words and code alone: what a notebook determines, whatever machine ran it."""
    return re.sub(rf"\n{SHOWN}\n.*?\n{END}\n", "", text, flags=re.DOTALL)


def main(names: Sequence[str], out: Path = NOTEBOOKS) -> None:
    """Runs the notebooks named, or all, and writes each without outputs, with its page beside it."""
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        cells = read(path)
        outputs = run(path.stem, cells)
        (out / path.name).write_text(as_kept(cells), encoding="utf-8")
        (out / f"{path.stem}.md").write_text(page(path.stem, cells, outputs, images), encoding="utf-8")
        print(path.stem, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
