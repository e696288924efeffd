"""Pictures that are in train and in test: what was learnt by heart is scored as if it had been understood.

Tiny ImageNet holds two of its validation pictures in train as well, byte for byte, under other labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.data.split import Source, Split

MOST = 300_000
"""Pictures that are compared: 60,000 of 32 pixels take a second, ImageNet would take hours of decoding."""


def shared(source: Source, one: str, other: str) -> list[tuple[int, int]]:
    """Which pictures of two splits are equal, pixel for pixel: (place in one, place in the other)."""
    first, second = source.split(one), source.split(other)
    if len(first) + len(second) > MOST:
        return []
    place = {digest: at for at, digest in enumerate(digests(first))}
    return [(place[digest], at) for at, digest in enumerate(digests(second)) if digest in place]


def digests(split: Split) -> Iterator[bytes]:
    """A hash of each picture's pixels."""
    for at in range(len(split)):
        pixels = split.pixels.read(at)
        yield hashlib.blake2b(pixels.tobytes(), digest_size=16, salt=repr(pixels.shape).encode()[:16]).digest()


def look_at_source(source: Source) -> Iterator[Finding]:
    """Train against test."""
    if not {"train", "test"} <= set(source.splits()):
        return
    train, test = source.split("train"), source.split("test")
    if len(train) + len(test) > MOST:
        yield Finding(
            check="duplicates",
            severity="note",
            saw=f"{source.name} has {len(train) + len(test):,} pictures in train and test: they were not compared.",
            means="whether a test picture is in train is not known",
            do=f"at most {MOST:,} are compared; convert a part of them, and look at that",
        )
        return
    pairs = shared(source, "train", "test")
    if not pairs:
        return
    other = sum(int(train.labels[a]) != int(test.labels[b]) for a, b in pairs)
    share = len(pairs) / len(test)
    named = ", ".join(f"train {a} = test {b}" for a, b in pairs[:3]) + (", ..." if len(pairs) > 3 else "")
    yield Finding(
        check="duplicates",
        severity="fault" if share > 0.01 else "warning" if share > 0.001 else "note",
        saw=f"{len(pairs):,} of the {len(test):,} test pictures of {source.name} are in train too, pixel for pixel ({named}); "
        f"{other:,} of them with another label.",
        means=f"up to {share:.2%} of a test accuracy may be learnt by heart",
        do="state it beside the figure, or leave those pictures out of train",
    )
