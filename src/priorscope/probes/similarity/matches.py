"""How well the layers of networks match, with intervals: everything that is made of the sums of HSIC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core import layout
from priorscope.core.stats import Interval
from priorscope.probes.similarity import Pair
from priorscope.probes.similarity.cka import Alignment, jackknife, ratio
from priorscope.probes.similarity.reading import ChosenLayers

Floats = NDArray[np.float64]


def matched(trained: Sequence[ChosenLayers], alignment: Alignment, twinned: bool, n: int) -> dict[str, Any]:
    """The fields of `Similarity` that tell of matches; with `twinned` the twins' layers come after those of the trained."""
    ends = np.cumsum([len(network.taps) for network in trained]).tolist()
    blocks = [slice(end - len(network.taps), end) for end, network in zip(ends, trained, strict=True)]
    layers = ends[-1]
    whole, left_out = alignment.values()
    cka = whole[:layers, :layers]
    untrained = whole[layers:, layers:] if twinned else np.zeros((0, 0))
    match, without = _match(cka, blocks), np.stack([_match(one, blocks) for one in left_out])
    pairs: list[Pair] = []
    for a, b in combinations(range(len(blocks)), 2):
        value = _of_pair(match, blocks, a, b)
        pairs.append(
            Pair(
                first=trained[a].name,
                second=trained[b].name,
                value=value,
                **_interval(value, [_of_pair(one, blocks, a, b) for one in without]),
                untrained=_of_pair(_match(untrained, blocks), blocks, a, b) if twinned else None,
                kin=_kin(trained[a], trained[b]),
            )
        )
    value = float(np.mean([pair.value for pair in pairs]))
    interval = _interval(value, [_mean_match(one, blocks) for one in without])
    return {
        "value": value,
        "interval": Interval(**interval, method="jackknife", over="batches of images") if interval else None,
        "n": n,
        "pairs": tuple(pairs),
        "dead": _dead(trained, alignment),
        "cka": cka,
        "half": jackknife(left_out)[:layers, :layers],
        "untrained": untrained,
        "match": match,
        "match_half": jackknife(without),
        "convergence": _convergence(alignment, blocks, n),
    }


def _interval(value: float, without: Sequence[float]) -> dict[str, float]:
    """The ends of a match's interval, from its values without each group of batches; none where there is a single group."""
    half = float(jackknife(np.array(without)))
    return {"low": value - half, "high": max(min(value + half, 1.0), value)} if np.isfinite(half) else {}


def _match(cka: Floats, blocks: Sequence[slice]) -> Floats:
    """(layers, networks): the largest CKA with any layer of another network; NaN for its own and for dead layers."""
    filled = np.where(np.isnan(cka), -np.inf, cka)
    best = np.stack([filled[: blocks[-1].stop, block].max(1) for block in blocks], axis=1)
    for at, block in enumerate(blocks):
        best[block, at] = np.nan
    return np.where(np.isneginf(best), np.nan, best)


def _of_pair(match: Floats, blocks: Sequence[slice], a: int, b: int) -> float:
    """The mean match of two networks' layers, both ways; 0 where all layers of one are dead."""
    ways = [match[blocks[a], b], match[blocks[b], a]]
    return float(np.mean([float(np.nanmean(way)) if np.isfinite(way).any() else 0.0 for way in ways]))


def _mean_match(match: Floats, blocks: Sequence[slice]) -> float:
    return float(np.mean([_of_pair(match, blocks, a, b) for a, b in combinations(range(len(blocks)), 2)]))


def _convergence(alignment: Alignment, blocks: Sequence[slice], n: int) -> Floats:
    """The headline from the first 1, 2, 4, ... groups of batches alone."""
    groups, dead = len(alignment.sums), alignment.dead()
    layers = blocks[-1].stop
    steps: list[tuple[float, float, float]] = []
    for count in sorted({*(2**power for power in range(groups.bit_length())), groups}):
        some = alignment.sums[:count]
        hsic = some.sum(0)
        sums = [hsic, *(hsic - one for one in some if count > 2)]
        value, *without = (_mean_match(_match(ratio(each, dead)[:layers, :layers], blocks), blocks) for each in sums)
        half = float(jackknife(np.array(without))) if without else float("nan")
        steps.append((n * count / groups, value, half))
    return np.array(steps)


def _kin(first: ChosenLayers, second: ChosenLayers) -> bool:
    """Whether two networks are one recipe with two seeds, as far as names and architectures show: a-s0 and a-s1."""
    one, other = (layout.arm_of_run(network.name) for network in (first, second))
    config = first.model.config
    return one == other and config is not None and config == second.model.config


def _dead(trained: Sequence[ChosenLayers], alignment: Alignment) -> tuple[str, ...]:
    names = [f"{network.name} {tap}" for network in trained for tap in network.taps]
    return tuple(name for name, gone in zip(names, alignment.dead(), strict=False) if gone)  # the twins' layers come after
