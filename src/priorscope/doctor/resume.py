"""A run that cannot resume where it stopped: the checkpoint is read otherwise than it is written, or its error is swallowed.

Scaling MLPs' training loaded a file of a literal placeholder's name inside of a bare `except`: whoever resumed trained from
scratch, from epoch 350 on. A study's TNT saved three things under names of which its resuming asked for none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from priorscope.doctor import Finding
from priorscope.doctor.scripts import Script, last_name, targets

RESUMING = re.compile("resume|reload|restart|restore|continue", re.IGNORECASE)
LOADS = ("load", "load_state_dict")
CATCH_ALL = ("Exception", "BaseException")


def look_at_script(script: Script) -> Iterator[Finding]:
    """Loading whose every error is caught and forgotten, and keys that are read where a run resumes and never saved."""
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Try) and _loads_weights(node.body):
            yield from (_swallowed(script, node, handler) for handler in node.handlers if _swallows(handler))
    saved = _saved(script)
    if saved:
        for subscript, key in _read(script):
            if key not in saved:
                yield _unsaved(script, subscript, key, saved)


def _loads_weights(body: list[ast.stmt]) -> bool:
    calls = [part for node in body for part in ast.walk(node) if isinstance(part, ast.Call)]
    return any(ast.unparse(call.func) == "torch.load" or last_name(call.func) == "load_state_dict" for call in calls)


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it takes any error and neither ends the run nor loads something else."""
    takes_all = handler.type is None or last_name(handler.type) in CATCH_ALL
    ends = any(isinstance(part, ast.Raise | ast.Return) for node in handler.body for part in ast.walk(node))
    return takes_all and not ends and not _calls(handler.body, (*LOADS, "exit"))


def _calls(body: list[ast.stmt], names: tuple[str, ...]) -> bool:
    parts = [part for node in body for part in ast.walk(node)]
    return any(isinstance(part, ast.Call) and last_name(part.func) in names for part in parts)


def _saved(script: Script) -> set[str]:
    """The keys of all tables that are saved; none where one of them is not spelt out in the script."""
    tables = {
        name: node.value
        for node in ast.walk(script.tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for name in targets(node)
    }
    keys: set[str] = set()
    for name, call in script.calls():
        if name == "save" and call.args:
            what = call.args[0]
            table = tables.get(last_name(what)) if isinstance(what, ast.Name) else what
            if not isinstance(table, ast.Dict) or None in table.keys:  # `None`: another table is laid into it
                return set()
            keys |= {str(key.value) for key in table.keys if isinstance(key, ast.Constant)}
            keys |= _added(script, last_name(what)) if isinstance(what, ast.Name) else set()
    return keys


def _added(script: Script, table: str) -> set[str]:
    """The keys that a table gets later: `state["ema"] = ...`."""
    places = [place for node in ast.walk(script.tree) if isinstance(node, ast.Assign) for place in node.targets]
    return {
        str(place.slice.value)
        for place in places
        if isinstance(place, ast.Subscript) and last_name(place.value) == table and isinstance(place.slice, ast.Constant)
    }


def _read(script: Script) -> Iterator[tuple[ast.Subscript, str]]:
    """What is asked of a loaded table where a run resumes: below a condition, or in a function, that speaks of it."""
    for node in ast.walk(script.tree):
        told = ast.unparse(node.test) if isinstance(node, ast.If) else getattr(node, "name", "")
        if not isinstance(node, ast.If | ast.FunctionDef) or not RESUMING.search(str(told)):
            continue
        inside = [part for statement in node.body for part in ast.walk(statement)]
        loaded = {
            name
            for part in inside
            if isinstance(part, ast.Assign) and isinstance(part.value, ast.Call) and last_name(part.value.func) == "load"
            for name in targets(part)
        }
        for part in inside:
            if isinstance(part, ast.Subscript) and last_name(part.value) in loaded and isinstance(part.slice, ast.Constant):
                yield part, str(part.slice.value)


def _swallowed(script: Script, node: ast.Try, handler: ast.ExceptHandler) -> Finding:
    return Finding(
        check="resume",
        severity="fault",
        saw=f"{script.at(node)} loads weights, and line {handler.lineno} forgets whatever error that raises.",
        means="a run that could not go on begins anew and says nothing",
        do="let the error end the run; except FileNotFoundError, where a first run has no checkpoint yet",
    )


def _unsaved(script: Script, node: ast.Subscript, key: str, saved: set[str]) -> Finding:
    return Finding(
        check="resume",
        severity="fault",
        saw=f"{script.at(node)} asks a checkpoint for {key!r}; the script saves {', '.join(map(repr, sorted(saved)))}.",
        means="no run of this script can go on where it stopped",
        do="read what is saved, and try it: stop a run and resume it",
    )
