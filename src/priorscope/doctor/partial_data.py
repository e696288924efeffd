"""A score of some of the images under the name of all of them.

FFCV's loader drops the last partial batch unless told otherwise, in evaluation too; a study's notebook skipped every batch
that was not whole: 9,984 of 10,000 images were scored.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.core import layout
from priorscope.doctor import Finding
from priorscope.doctor.scripts import HELD_OUT, Script, keyword, last_name, targets

if TYPE_CHECKING:
    from priorscope.run import Run

TRAINS = ("backward", "step", "fit")
"""What is called where a network is trained."""
MEANS = "the score is of fewer images than it says, and two networks may have been scored on different ones"


def look_at_run(run: Run) -> Iterator[Finding]:
    """Validation, and every stored accuracy, over as many images as the split has."""
    scored = [(f"epoch {epoch.epoch}", "val", epoch.val.n) for epoch in run.history]
    scored += [("a stored accuracy", split, n) for split, n in _stored(run)]
    sizes = {name: len(run.source.split(name)) for name in {name for _, name, _ in scored} if name in run.source.splits()}
    for where, name, n in scored:
        if n != sizes.get(name, n):
            yield Finding(
                check="partial_data",
                severity="fault",
                saw=f"{run.name}: {where} scored {n:,} of the {sizes[name]:,} images of {name}.",
                means=MEANS,
                do="score every image once: priorscope probe accuracy " + str(run.path),
            )
            return


def _stored(run: Run) -> Iterator[tuple[str, int]]:
    """Split and number of images of each accuracy that is kept with a run, those on other data than its own left out."""
    from priorscope.core.contracts import About
    from priorscope.probes import load_result

    own = run.recipe.data.source.plain()
    for path in layout.results_of(run.path / layout.RESULTS, "accuracy"):
        if About.read(path).source in ({}, own):
            result = load_result(path)
            yield str(getattr(result, "split", "test")), result.n


def look_at_script(script: Script) -> Iterator[Finding]:
    """A loader of held-out pictures that drops its last batch, or a loop over one that skips a batch for its size."""
    scoring = _in_scoring(script.tree)
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            held_out = [name for name in targets(node) if HELD_OUT.search(name)]
            if held_out and keyword(node.value, "drop_last") is True:
                yield _finding(script, node, f"{held_out[0]} drops its last batch when that is not whole")
        if isinstance(node, ast.If) and node in scoring and any(isinstance(part, ast.Continue) for part in node.body):
            asked = ast.unparse(node.test)
            if "batch_size" in asked or "len(" in asked:
                yield _finding(script, node, f"batches are skipped when {asked}")


def _in_scoring(tree: ast.Module) -> set[ast.If]:
    """Conditions whose innermost loop goes over held-out pictures and trains no network."""
    inside: dict[ast.If, ast.For | ast.While] = {}
    for loop in ast.walk(tree):  # an inner loop comes after the outer one
        if isinstance(loop, ast.For | ast.While):
            inside |= {node: loop for node in ast.walk(loop) if isinstance(node, ast.If)}
    return {
        node
        for node, loop in inside.items()
        if isinstance(loop, ast.For)
        and any(HELD_OUT.search(name) for name in _names(loop.iter))
        and not any(isinstance(part, ast.Call) and last_name(part.func) in TRAINS for part in ast.walk(loop))
    }


def _names(value: ast.expr) -> Iterator[str]:
    """What a value is made of by name: `enumerate(loaders["val"])` is of enumerate, loaders and val."""
    for node in ast.walk(value):
        if isinstance(node, ast.Name | ast.Attribute):
            yield last_name(node)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)


def _finding(script: Script, node: ast.AST, what: str) -> Finding:
    return Finding(
        check="partial_data",
        severity="fault",
        saw=f"{script.at(node)}: {what}.",
        means=MEANS,
        do="drop_last=False, and weight each batch by its size",
    )
