"""In which order an epoch sees its pictures: a function of (seed, epoch), and of the data's sizes, never of the machine."""

from __future__ import annotations

from typing import Literal

import numpy as np

from priorscope.core.rng import stream
from priorscope.data.memory import CHUNKS
from priorscope.data.split import Ints

Shuffle = bool | Literal["chunks"]


def epoch_order(count: int, seed: int, epoch: int, shuffle: Shuffle, chunk: int) -> Ints:
    """Positions in the order in which they are seen.

    `shuffle=True` draws from all orders. `shuffle="chunks"` shuffles chunks of `chunk` neighbours, then all pictures within
    each 64 chunks that follow each other: nearly as random, and a store is read in long pieces, each once.
    """
    if shuffle is False:
        return np.arange(count)
    random = stream(seed, "order", epoch)
    if shuffle is True:
        return random.permutation(count)
    starts = random.permutation(-(-count // chunk)) * chunk
    order = (starts[:, None] + np.arange(chunk)).ravel()
    order = order[order < count]
    window = chunk * CHUNKS
    for start in range(0, count, window):
        random.shuffle(order[start : start + window])
    return order
