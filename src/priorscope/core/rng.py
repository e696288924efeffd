"""Named random streams from one seed.

Every consumer of randomness names its stream, so that adding one consumer never moves the numbers of another, and so that
nothing depends on the order in which streams are opened. `torch` generators are seeded from the same names.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def seed_of(seed: int, *names: str | int) -> int:
    """A 63-bit seed for a named stream: a pure function of the run's seed and the names."""
    text = "/".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for a named stream (PCG64, whose bits numpy keeps stable across versions)."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, *names)))


def hashed(words: Tensor) -> Tensor:
    """Float32 numbers in [0, 1) made from signed 64-bit ones: 24 bits of what splitmix64's finaliser makes of each."""
    words = (words ^ _shifted(words, 30)) * -0x40A7B892E31B1A47
    words = (words ^ _shifted(words, 27)) * -0x6B2FB644ECCEEE15
    words = words ^ _shifted(words, 31)
    return _shifted(words, 40).float() / 2**24


def _shifted(words: Tensor, by: int) -> Tensor:
    """The bits moved right and zeros put before them, as in unsigned numbers."""
    return (words >> by) & ((1 << (64 - by)) - 1)
