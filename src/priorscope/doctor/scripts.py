"""A training script as its syntax tree, and what checks ask of it.

Reading a script shows what it says, not what happens: a finding names the line, so that its author can judge.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from priorscope.core.errors import RequestError


def speaks_of(*words: str) -> re.Pattern[str]:
    """Names that hold one of some words as a part: `val_loader` and `valset` hold `val`, `values` and `retrieval` do not."""
    parts = rf"(?:{'|'.join(words)})\d*(?:(?:data)?(?:set|loader)|data|transforms?)?"
    return re.compile(rf"(?:^|_){parts}(?:_|$)", re.IGNORECASE)


HELD_OUT = speaks_of("test", "val", "valid", "validation", "dev", "eval", "evaluation")
"""Names that speak of pictures that a network is judged on."""


@dataclass(frozen=True)
class Script:
    """A script's name and its tree."""

    name: str
    tree: ast.Module

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call with the last part of what is called: `model.eval()` is `eval`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield last_name(node.func), node

    def at(self, node: ast.AST) -> str:
        """The place of a part as an editor takes it: the script's name and the line."""
        return f"{self.name}:{getattr(node, 'lineno', 0)}"


def read_script(path: Path) -> Script:
    """Reads a script without running it."""
    try:
        return Script(path.name, ast.parse(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RequestError(f"There is no file {str(path)!r}.", "a Python script", "check the path") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is no Python: {error}.", "a script that Python can read", "check the file") from None


def last_name(node: ast.expr) -> str:
    """`model.eval` -> `eval`; `eval` -> `eval`; else nothing."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    """A constant given by keyword; None where there is none."""
    given = [item.value for item in call.keywords if item.arg == name]
    return given[0].value if given and isinstance(given[0], ast.Constant) else None


def evaluates(call: ast.Call) -> bool:
    """Whether a call puts a network in evaluation mode: `net.eval()` or `net.train(False)`."""
    return _called(call) == "eval" or (_called(call) == "train" and any(_is_false(mode) for mode in _modes(call)))


def may_evaluate(call: ast.Call) -> bool:
    """Whether it does so for some value of a variable at least: `net.train(is_train)`."""
    return evaluates(call) or (_called(call) == "train" and any(not isinstance(mode, ast.Constant) for mode in _modes(call)))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _modes(call: ast.Call) -> list[ast.expr]:
    return [*call.args[:1], *(item.value for item in call.keywords if item.arg == "mode")]


def _is_false(mode: ast.expr) -> bool:
    return isinstance(mode, ast.Constant) and mode.value is False


def targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """The names that an assignment gives a value to."""
    places = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [last_name(place) for place in places if last_name(place)]
