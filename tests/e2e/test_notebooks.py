"""The notebooks run, and their pages and the index say what they hold."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "docs" / "notebooks"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
CHAPTERS = (
    "networks",
    "robustness",
    "transfer",
    "texture-shape",
    "cue-conflict",
    "similarity",
    "activation",
    "inversion",
    "calibration",
    "cost",
    "generalisation",
    "figures",
)
"""What "Zooming in on MLPs" looks at, in its order."""

RUN = """
import runpy, sys
from pathlib import Path
import priorscope as ps
if sys.argv[3] == "short":
    whole = ps.fit
    ps.fit = lambda recipe, out: whole(recipe.replace(train=recipe.train.plain() | {"epochs": 2}), out)
script = runpy.run_path(sys.argv[1])
script["main"](sys.argv[4:], Path(sys.argv[2]))
"""


def carried_out(out: Path, length: str, *names: str) -> str:
    """Runs notebooks in a process of their own, with runs of their own, into a folder; gives what was said.

    Where they are "short" every training has two epochs; else they are "whole".
    """
    runs = out / "tmp"
    runs.mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(runs), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(ROOT / "scripts" / "notebooks.py"), str(out), length, *names]
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_one_for_each_chapter() -> None:
    assert [path.stem for path in ALL] == [f"{number:02}-{name}" for number, name in enumerate(CHAPTERS, 1)]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_its_page_says_the_same(path: Path) -> None:
    cells = SCRIPT["read"](path)
    assert path.read_text(encoding="utf-8") == SCRIPT["as_kept"](cells), f"run python scripts/notebooks.py {path.stem}"
    nothing = [SCRIPT["Output"]("", {})] * len(cells)
    words = SCRIPT["without_outputs"](path.with_suffix(".md").read_text(encoding="utf-8"))
    assert words == SCRIPT["page"](path.stem, cells, nothing, None), f"run python scripts/notebooks.py {path.stem}"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_notebook_has_its_parts(path: Path) -> None:
    """A question, Z's way, the one beginning that all share, and what cannot be concluded."""
    cells = SCRIPT["read"](path)
    words = "\n".join(cell.text for cell in cells if cell.kind == "markdown")
    code = [cell.text for cell in cells if cell.kind == "code"]
    assert cells[0].text.startswith(f"# {int(path.stem[:2])}. ")
    assert re.search(r"\bZ('s)?\b", words)
    assert code[0] == next(cell.text for cell in SCRIPT["read"](ALL[0]) if cell.kind == "code"), "runs are shared: one recipe"
    assert "## What this does not say" in words or path.stem == "12-figures"
    for text in code:
        ast.parse(text)


def test_every_notebook_is_linked_from_the_index_and_the_navigation() -> None:
    index, navigation = (NOTEBOOKS / "index.md").read_text(), (ROOT / "mkdocs.yml").read_text()
    for path in ALL:
        assert f"]({path.stem}.md) ([ipynb]({path.stem}.ipynb))" in index
        assert f": notebooks/{path.stem}.md\n" in navigation


def test_pages_show_only_pictures_that_stand_beside_them() -> None:
    drawn = {image for path in ALL for image in re.findall(r"\]\(images/([^)]+)\)", path.with_suffix(".md").read_text())}
    assert drawn == {image.name for image in (NOTEBOOKS / "images").iterdir()}


def test_all_notebooks_run_and_show_a_picture(tmp_path: Path) -> None:
    """In one process and the order of their numbers, with short trainings."""
    said = carried_out(tmp_path, "short").split()
    assert said == [path.stem for path in ALL]
    for path in ALL:
        page = (tmp_path / f"{path.stem}.md").read_text(encoding="utf-8")
        pictures = re.findall(r"^!\[.+\]\((images/.+\.svg)\)$", page, flags=re.MULTILINE)
        assert pictures, path.stem
        assert all((tmp_path / file).read_text(encoding="utf-8").startswith("<svg ") for file in pictures)
        committed = path.with_suffix(".md").read_text(encoding="utf-8")
        assert SCRIPT["without_outputs"](page) == SCRIPT["without_outputs"](committed)
        assert page.count(SCRIPT["SHOWN"]) == committed.count(SCRIPT["SHOWN"])


@pytest.mark.slow
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_notebook_runs_alone(path: Path, tmp_path: Path) -> None:
    assert carried_out(tmp_path, "whole", path.stem).split() == [path.stem]


def test_an_error_says_which_cell() -> None:
    cells = [SCRIPT["Cell"]("markdown", "# 1. Wrong"), SCRIPT["Cell"]("code", "1 / 0")]
    with pytest.raises(ZeroDivisionError) as caught:
        SCRIPT["run"]("wrong", cells)
    assert caught.value.__notes__ == ["in docs/notebooks/wrong.ipynb, cell 2"]


def test_what_a_cell_shows_is_what_a_notebook_would() -> None:
    cells = [SCRIPT["Cell"]("code", text) for text in ("x = 6", "print('a')\nx * 7", "x", "None")]
    assert [(out.printed, out.shown.get("text/plain")) for out in SCRIPT["run"]("n", cells)] == [
        ("", None),
        ("a\n", "42"),
        ("", "6"),
        ("", None),
    ]


def test_kept_notebooks_are_of_format_4_5() -> None:
    """What the format's schema demands of the cells that we write."""
    for path in ALL:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        ids = [cell["id"] for cell in notebook["cells"]]
        assert len(set(ids)) == len(ids)
        for cell in notebook["cells"]:
            wanted = {"cell_type", "id", "metadata", "source"}
            assert set(cell) == (wanted | {"execution_count", "outputs"} if cell["cell_type"] == "code" else wanted)
