"""Pictures that are in train and in test: what was learnt by heart is scored as if it had been understood.

Tiny ImageNet holds one of its validation pictures in train as well, byte for byte, and one picture of train twice: both times
under two labels.
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

Pairs = list[tuple[int, int]]


def shared(source: Source, one: str, other: str) -> Pairs:
    """Which pictures of two splits are equal, pixel for pixel: (place in one, place in the other)."""
    first, second = source.split(one), source.split(other)
    if len(first) + len(second) > MOST:
        return []
    return _equal(digests(first), digests(second))


def digests(split: Split) -> list[bytes]:
    """A hash of each picture's pixels."""
    return [_digest(split, at) for at in range(len(split))]


def _digest(split: Split, at: int) -> bytes:
    pixels = split.pixels.read(at)
    return hashlib.blake2b(pixels.tobytes(), digest_size=16, salt=repr(pixels.shape).encode()[:16]).digest()


def _equal(first: list[bytes], second: list[bytes]) -> Pairs:
    place = {digest: at for at, digest in enumerate(first)}
    return [(place[digest], at) for at, digest in enumerate(second) if digest in place]


def look_at_source(source: Source) -> Iterator[Finding]:
    """Train against test, and train against itself."""
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
    known = digests(train)
    yield from _between(source.name, train, test, _equal(known, digests(test)))
    yield from _within(source.name, train, known)


def _between(name: str, train: Split, test: Split, pairs: Pairs) -> Iterator[Finding]:
    if not pairs:
        return
    other = sum(int(train.labels[a]) != int(test.labels[b]) for a, b in pairs)
    share = len(pairs) / len(test)
    yield Finding(
        check="duplicates",
        severity="fault" if share > 0.01 else "warning" if share > 0.001 else "note",
        saw=f"{len(pairs):,} of the {len(test):,} test pictures of {name} are in train too, pixel for pixel "
        f"({_shown(pairs, 'train', 'test')}); {other:,} of them with another label.",
        means=f"up to {share:.2%} of a test accuracy may be learnt by heart",
        do="state it beside the figure, or leave those pictures out of train",
    )


def _within(name: str, train: Split, known: list[bytes]) -> Iterator[Finding]:
    """The same picture under two labels: one of them is wrong, whatever the network answers."""
    first: dict[bytes, int] = {}
    pairs = [(before, at) for at, digest in enumerate(known) if (before := first.setdefault(digest, at)) != at]
    torn = [(a, b) for a, b in pairs if train.labels[a] != train.labels[b]]
    if torn:
        share = len(torn) / len(train)
        yield Finding(
            check="duplicates",
            severity="warning" if share > 0.01 else "note",
            saw=f"{len(torn):,} of the {len(train):,} training pictures of {name} are there again under another label "
            f"({_shown(torn, 'train', 'train')}).",
            means="no network can be right about both",
            do="state it beside the figure, or leave those pictures out of train",
        )


def _shown(pairs: Pairs, one: str, other: str) -> str:
    return ", ".join(f"{one} {a} = {other} {b}" for a, b in pairs[:3]) + (", ..." if len(pairs) > 3 else "")
