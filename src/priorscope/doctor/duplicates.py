"""Pictures that are in train and in test, or in val: what was learnt by heart is scored as if it had been understood.

Tiny ImageNet holds one of its validation pictures in train as well, byte for byte, and one picture of train twice: both times
under two labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.core.wording import listed
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
    """Looks for pictures of train in test and val, and for pictures that train holds twice."""
    if "train" not in source.splits():
        return
    train = source.split("train")
    held_out = [source.split(name) for name in ("test", "val") if name in source.splits()]
    count = len(train) + sum(map(len, held_out))
    if count > MOST:
        splits = listed(["train", *(split.name for split in held_out)])
        yield Finding(
            check="duplicates",
            severity="note",
            saw=f"{source.name} has {count:,} pictures in {splits}: they were not compared.",
            means="whether a picture is there twice is not known",
            do=f"at most {MOST:,} are compared; convert a part of them, and look at that",
        )
        return
    known = digests(train)
    for split in held_out:
        yield from _between(source.name, train, split, _equal(known, digests(split)))
    yield from _within(source.name, train, known)


def _between(name: str, train: Split, other: Split, pairs: Pairs) -> Iterator[Finding]:
    if not pairs:
        return
    torn = sum(int(train.labels[a]) != int(other.labels[b]) for a, b in pairs)
    share = len(pairs) / len(other)
    yield Finding(
        check="duplicates",
        severity="fault" if share > 0.01 else "warning" if share > 0.001 else "note",
        saw=f"{len(pairs):,} of the {len(other):,} {other.name} pictures of {name} are in train too, pixel for pixel "
        f"({_shown(pairs, 'train', other.name)}); {torn:,} of them with another label.",
        means=f"up to {share:.2%} of a {other.name} accuracy may be learnt by heart",
        do="state it beside the figure, or leave those pictures out of train",
    )


def _within(name: str, train: Split, known: list[bytes]) -> Iterator[Finding]:
    """Finds pictures that train holds under two labels: one of the two is wrong, whatever the network answers."""
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
