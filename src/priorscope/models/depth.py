"""Where a network's blocks are, and which taps stand for its depth: its embedding, what each block hands on, its head's input.

No torch here: addresses are text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier

_BLOCK = re.compile(r"((?:(?:stages|layers)/\d+/)?(?:blocks|layers)/\d+(?:/\d+(?=/))?)(?:/|$)")
"""The block of a tap: `blocks/2/0` of `blocks/2/0/conv` (as in EfficientNet), but `blocks/2` of `blocks/2/0`, its part."""
_NUMBERED = re.compile(r"[^/]+/\d+")


def block_taps(taps: Sequence[str]) -> dict[str, list[str]]:
    """The numbered blocks by their addresses, in the order of execution, and the taps in each; a stage of blocks is none."""
    inside: dict[str, list[str]] = {}
    for tap in taps:
        if found := _BLOCK.match(tap):
            inside.setdefault(found[1], []).append(tap)
    return {block: own for block, own in inside.items() if not any(other.startswith(f"{block}/") for other in inside)}


def depth_taps(taps: Sequence[str]) -> list[str]:
    """The taps along the depth, from `model.taps()`.

    Where a network is not of a family here, its taps are its modules: then its blocks, or modules such as `layer1/0`, and the
    input of its head are taken; where it has no such modules, its outermost ones.
    """
    ends = {"embed/out", "encoder/out", "head/in"}
    ends |= {f"{block}/out" if f"{block}/out" in own else block for block, own in block_taps(taps).items()}
    along = [tap for tap in taps if tap in ends]
    if len(along) > 1:
        return along
    numbered = [tap for tap in taps if _NUMBERED.fullmatch(tap)]
    outermost = [tap for tap in taps if "/" not in tap and tap != "logits"]
    return [*(numbered if len(numbered) > 1 else outermost), *along]


def taps_along(model: Classifier, named: Sequence[str] | None, count: int) -> list[tuple[str, float]]:
    """The taps that are named, which must be there, or `count` of them along the network; each with its depth."""
    if named is None:
        return spread_over_depth(model.taps(), count)
    for tap in named:
        model.tap(tap)
    return depths_of(model.taps(), named)


def depths_of(taps: Sequence[str], asked: Sequence[str]) -> list[tuple[str, float]]:
    """Some of a network's taps in the order of execution, each with its depth: 0 is the embedding, 1 what the head sees.

    A tap between two of those along the depth lies between them.
    """
    marks = [taps.index(tap) for tap in depth_taps(taps)] or [0, len(taps) - 1]
    rows = sorted(taps.index(tap) for tap in dict.fromkeys(asked))
    return [(taps[row], float(np.interp(row, marks, np.linspace(0, 1, len(marks))))) for row in rows]


def spread_over_depth(taps: Sequence[str], count: int) -> list[tuple[str, float]]:
    """Up to `count` of the taps along the depth, the first and the last among them, each with its depth from 0 to 1."""
    every = depth_taps(taps)
    rows = np.unique(np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int)).tolist()
    return [(every[row], row / max(1, len(every) - 1)) for row in rows]
