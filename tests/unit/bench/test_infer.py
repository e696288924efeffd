"""The bench of answers: what it measures, and that its ratio is of the two that it names."""

from __future__ import annotations

import pytest
import torch

from priorscope.bench import infer
from priorscope.bench.infer import InferBench, run


def test_every_model_is_measured_at_every_batch_size_and_the_threads_are_left_as_they_were() -> None:
    said: list[str] = []
    before = torch.get_num_threads()
    bench = run(("mlp/tiny", "vit/tiny"), image_size=32, batch_sizes=(1, 4), threads=1, rounds=2, seconds=0.01, say=said.append)
    assert torch.get_num_threads() == before
    assert [(case.model, case.batch) for case in bench.cases] == [(m, n) for m in ("mlp/tiny", "vit/tiny") for n in (1, 4)]
    assert said == [f"{case.model}, 32 pixels, batches of {case.batch}" for case in bench.cases]
    assert [case.reference for case in bench.cases] == [None, None, "timm", "timm"]
    for case in bench.cases:
        assert (case.ratio_reference is None) == (case.reference is None)
        assert case.slowest_ms >= case.latency_ms > 0
    assert InferBench.parse(bench.plain()) == bench
    assert len(bench.table().splitlines()) == 1 + 4 + 1


def test_a_reference_that_takes_thrice_as_long_has_a_ratio_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on only while a network answers."""
    now = [0.0]

    class Answers:
        image_size, device = 8, torch.device("cpu")

        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        def __call__(self, _: torch.Tensor) -> None:
            now[0] += self.seconds

    monkeypatch.setattr(infer, "_contenders", lambda *_: ({"ours": Answers(0.01), "reference": Answers(0.03)}, "theirs"))
    monkeypatch.setattr(infer.time, "perf_counter", lambda: now[0])
    (case,) = run("mlp/tiny", batch_sizes=(5,), threads=1, rounds=3, seconds=0.05).cases
    assert case.ratio_reference == pytest.approx(3)
    assert case.latency_ms == case.slowest_ms == pytest.approx(10)
    assert case.img_per_s == pytest.approx(500)
