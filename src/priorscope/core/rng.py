"""Named random streams from one seed.

Every consumer of randomness names its stream, so that adding one consumer never moves the numbers of another, and so that
nothing depends on the order in which streams are opened. `torch` generators are seeded from the same names.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(seed: int, *names: str | int) -> int:
    """A 63-bit seed for a named stream: a pure function of the run's seed and the names."""
    text = "/".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for a named stream (PCG64, whose bits numpy keeps stable across versions)."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, *names)))
