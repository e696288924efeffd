"""A loader that knows how long its consumer has waited for batches."""

from __future__ import annotations

import time
from collections.abc import Iterator

from priorscope.data.loader import Batch, Loader


class WatchedLoader(Loader):
    """Counts the seconds between asking for a batch and having it."""

    waited = 0.0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        batches = super().epoch(epoch, start)
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - begun
            if batch is None:
                return
            yield batch
