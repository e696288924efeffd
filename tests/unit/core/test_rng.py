"""Random streams: named, independent of each other, the same on every machine."""

from __future__ import annotations

import numpy as np
import torch

from priorscope.core.rng import hashed, seed_of, stream


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


def test_signed_arithmetic_hashes_as_unsigned_splitmix64_does():
    """The finaliser in whole numbers without a sign, modulo 2^64; the largest and the smallest word among those asked."""

    def finalised(word: int) -> int:
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return word ^ word >> 31

    words = [0, 1, -1, 2**63 - 1, -(2**63), 0x123456789ABCDEF]
    expected = [(finalised(word % 2**64) >> 40) / 2**24 for word in words]
    assert hashed(torch.tensor(words)).tolist() == expected
    assert finalised(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # the first number of the published generator from seed 0
