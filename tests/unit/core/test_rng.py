"""Random streams: named, independent of each other, the same on every machine."""

from __future__ import annotations

import numpy as np

from priorscope.core.rng import seed_of, stream


def test_streams_are_pinned():
    assert seed_of(0, "weights") == 7388263408636359099
    assert all(0 <= seed_of(seed, "a") < 2**63 for seed in range(100))


def test_names_and_seeds_give_streams_of_their_own():
    seeds = {seed_of(seed, name, step) for seed in range(10) for name in ("a", "b") for step in range(10)}
    assert len(seeds) == 200


def test_streams_are_uncorrelated():
    draws = np.stack([stream(seed, "test").standard_normal(4000) for seed in range(20)])
    correlation = np.corrcoef(draws) - np.eye(20)
    assert abs(correlation).max() < 5 / np.sqrt(4000)
