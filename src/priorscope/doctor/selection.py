"""A test split that chooses: the epoch, the setting or the network that does best on test is reported with that very score.

The best of many noisy scores is too high. All three predecessors scored test after every epoch and none had a validation
split; one reported the best of a hundred epochs, up to six points above the last.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.core.logs import Log
from priorscope.doctor import Finding
from priorscope.doctor.duplicates import shared
from priorscope.doctor.scripts import Script, keyword, speaks_of, targets

if TYPE_CHECKING:
    from priorscope.data.split import Source

BEST = re.compile(
    r"(?:^|_)(?:best|optimal)|(?:^|_)max_?\w*(?:acc|score|correct|f1|auc|top)|(?:acc|score)\w*_max$", re.IGNORECASE
)
"""Names of the best score so far; `max_rows` is none."""

TEST, VALIDATION = speaks_of("test", "testing"), speaks_of("val", "valid", "validation")
SCORED = speaks_of("loss", "losses", "acc", "accuracy", "err", "error", "score", "scores", "metric", "metrics", "top1", "top5")
"""What is measured on pictures, and no pictures."""

MEANS = "the test images choose what they are to judge: the figure is too high by an amount that nobody knows"


def look_at_log(log: Log) -> Iterator[Finding]:
    """A log of test scores and no validation scores, whose best epoch is not its last."""
    scores = [score for _, score in log.along("test", "acc")]
    if not scores or log.along("val", "acc"):
        return
    best = max(scores)
    if best > scores[-1]:
        yield Finding(
            check="selection",
            severity="warning",
            saw=f"{log.name} scores test after each of {len(scores)} epochs and no validation split; the best epoch "
            f"({scores.index(best) + 1}) has {best:.2%}, the last {scores[-1]:.2%}.",
            means=f"quoted as the result, the best epoch is chosen on test, {MEANS}",
            do="quote the last epoch, or hold a part of train back and let it choose",
        )


def look_at_source(source: Source) -> Iterator[Finding]:
    """A validation split that shares pictures with test."""
    if not {"val", "test"} <= set(source.splits()):
        return
    pairs = shared(source, "val", "test")
    if pairs:
        count = len(source.split("test"))
        yield Finding(
            check="selection",
            severity="fault" if len(pairs) > count // 100 else "note",
            saw=f"{len(pairs):,} of the {count:,} test pictures of {source.name} are in val as well, pixel for pixel.",
            means=MEANS,
            do="hold val back from train: leave the source without a val part, and one is carved out of train",
        )


def look_at_script(script: Script) -> Iterator[Finding]:
    """A comparison of a test score with the best one so far, and test pictures under the name of validation."""
    for node, where in _comparisons(script.tree):
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
        in_test = TEST.search(where)
        if any(BEST.search(name) for name in names) and (in_test or any(TEST.search(name) for name in names)):
            place = f" in {where}()" if in_test else ""
            yield _chooses(f"{script.at(node)} compares {' with '.join(names)}{place}.")
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            validates = [name for name in targets(node) if VALIDATION.search(name) and not SCORED.search(name)]
            if validates and (keyword(node.value, "train") is False or keyword(node.value, "split") == "test"):
                yield _chooses(f"{script.at(node)}: {validates[0]} holds the test pictures.")


def _comparisons(tree: ast.Module) -> Iterator[tuple[ast.Compare, str]]:
    """Every comparison, with the name of the function that it stands in (nothing outside of functions)."""
    inside: dict[ast.Compare, str] = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            inside |= {node: function.name.lower() for node in ast.walk(function) if isinstance(node, ast.Compare)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield node, inside.get(node, "")


def _chooses(saw: str) -> Finding:
    return Finding(
        check="selection",
        severity="warning",
        saw=saw,
        means=MEANS,
        do="hold a part of train back, choose on that, and score test once, at the end",
    )
