"""Sources whose pictures are ready to train on: decoded once, then read as one array."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from priorscope.data.encoded import decoded
from priorscope.data.split import ArrayPixels, Source, Split


@dataclass(frozen=True, eq=False)
class ReadySource:
    """Another source, whose encoded pictures are decoded when a split is first asked for, and only then."""

    of: Source
    _ready: dict[str, Split] = field(default_factory=dict[str, Split])

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.of.classes

    def splits(self) -> tuple[str, ...]:
        """The names of the splits there are."""
        return self.of.splits()

    def split(self, name: str) -> Split:
        """One split, its pictures as one array where they are all of one size."""
        if name not in self._ready:
            self._ready[name] = ready(self.of.split(name))
        return self._ready[name]


def ready(split: Split) -> Split:
    """The split with its pictures as one array where they are all of one size; as it is where they differ."""
    if split.pixels.array is not None:
        return split
    array = decoded(split.pixels)
    return split if array is None else replace(split, pixels=ArrayPixels(array))
