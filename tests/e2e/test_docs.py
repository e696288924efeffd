"""The pages' code runs: Python blocks are executed, TOML blocks are read as what they are, command lines are parsed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from priorscope.cli import app
from priorscope.core.config import assign, merge
from priorscope.data import SOURCES, source_config
from priorscope.models import family_config
from priorscope.probes import probe_config
from priorscope.recipe import Recipe, find_recipe
from priorscope.study.plan import make_plan
from priorscope.study.study import Study

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Every block of a language, page by page; a page's Python blocks are one program."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    found = [(page.name, fence.findall(page.read_text())) for page in PAGES]
    if language == "python":
        return [(name, "\n".join(texts)) for name, texts in found if texts]
    return [(name, text) for name, texts in found for text in texts]


@pytest.mark.parametrize(("page", "program"), blocks("python"))
def test_python_blocks_run(page, program, tmp_path):
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"{page}:\n{done.stderr}"


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_toml_blocks_are_recipes_or_studies(page, text, tmp_path):
    values = tomllib.loads(text)
    if "recipes" in values:
        assert make_plan(Study.parse({"name": "shown", **values}), tmp_path).to_do(), page
    else:
        rest = {"data": {"source": "shapetex"}, "model": "mlp/tiny"}
        Recipe.of(merge(rest, values))


def command_lines() -> list[tuple[str, str]]:
    """Those of shell blocks, those that begin a line of a text block (what takes long or needs files), and those in tables."""
    found: list[tuple[str, str]] = []
    for language, before in (("bash", r"\b"), ("text", "^")):
        lines = [(page, line) for page, text in blocks(language) for line in text.splitlines()]
        command = re.compile(rf"{before}priorscope (.*?)\s*(?:#.*)?$")
        found += [(page, match[1]) for page, line in lines if (match := command.search(line))]
    rows = [(page.name, row) for page in PAGES for row in page.read_text().splitlines() if row.startswith("|")]
    found += [(page, said) for page, row in rows for said in re.findall(r"`priorscope ([^`]+)`", row)]
    found = [(page, re.sub(r"\s*>.*$", "", line)) for page, line in found]
    return [(page, re.sub(r"\[(--[^\]]+)\]", r"\1", line)) for page, line in found]  # what may be left out


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_command_lines_parse(page, line):
    command = typer.main.get_command(app)
    words = shlex.split(line)
    context = command.make_context("priorscope", list(words))
    while hasattr(command, "resolve_command") and getattr(command, "commands", None):
        _, command, words = command.resolve_command(context, words)
        context = command.make_context(command.name, list(words), parent=context)
    name = context.params.get("name")
    if context.info_name == "study" and name != "list" and not name.endswith(".toml"):
        assert Study.load(name, context.params["settings"], context.params["budget"]), page
    if context.info_name == "probe" and context.params["name"] != "list":
        assert probe_config(assign({"name": context.params["name"]}, *context.params["settings"]))
    if line.startswith("data ") and (source := context.params.get("source")) in SOURCES:
        assert source_config(assign({"name": source}, *context.params["settings"]))
    if line.startswith("models info ") and "/" in name and not name.startswith("timm/"):
        assert family_config(name), page
    if line.startswith("train ") and not name.endswith(".toml"):
        assert Recipe.load(find_recipe(context.params["name"]), context.params["settings"])
