"""Cost of an MLP, whose products and weights have closed forms, and of a network that sleeps for a known time."""

from __future__ import annotations

from collections.abc import Iterator

from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import SIDE, grey_world, sleeper
from priorscope.models import create
from priorscope.probes.cost import measure_cost

BLOCKS, WIDTH, EXPANSION, CLASSES = 2, 32, 4, 2
NAP = 0.03
"""Seconds: long beside the time slices of a busy system."""


def known_answers() -> Iterator[Answer]:
    """Multiply-adds d*m + blocks*2*k*m^2 + m*C, weights with their biases and norms, and the nap."""
    inputs, inner = 3 * SIDE * SIDE, EXPANSION * WIDTH
    macs = inputs * WIDTH + BLOCKS * 2 * WIDTH * inner + WIDTH * CLASSES
    block = 2 * WIDTH * inner + inner + WIDTH + 2 * WIDTH
    parameters = (inputs + 1) * WIDTH + BLOCKS * block + (WIDTH + 1) * CLASSES
    network = create(f"mlp/b{BLOCKS}-w{WIDTH}", image_size=SIDE, num_classes=CLASSES)
    counted = measure_cost(network, grey_world(8), batch_sizes=[1], repeats=6, seconds=0.1, memory_batch=2)
    for question, expected, got in (
        ("multiply-adds of an MLP", macs, counted.macs),
        ("multiply-adds as run", macs, counted.macs_as_run),
        ("parameters of an MLP", parameters, counted.parameters),
    ):
        yield Answer(probe="cost", question=question, expected=expected, got=got, within=0)
    timed = measure_cost(sleeper(NAP), grey_world(8), batch_sizes=[1], repeats=6, seconds=0.1, memory_batch=2)
    yield Answer(
        probe="cost",
        question=f"seconds of a network that sleeps for {NAP:g} of them",
        expected=NAP,
        got=timed.times.latencies[0].median,
        within=NAP / 2,
    )
