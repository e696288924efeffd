"""The bench of probes: what it measures, in processes of their own."""

from __future__ import annotations

import pytest

from priorscope.bench.probes import ProbeBench, run


@pytest.mark.slow
def test_the_bench_measures_every_kind_and_says_so() -> None:
    said: list[str] = []
    bench = run(
        networks=("mlp/tiny", "vit/tiny"),
        images=256,
        wanted=("mlp/tiny",),
        steps=2,
        transforms=("grayscale", "shuffle"),
        say=said.append,
    )
    assert [case.case for case in bench.cases] == said
    assert [case.kind for case in bench.cases] == ["similarity", "activation", *["transform"] * 4]
    assert said[2:] == ["grayscale", "shuffle 2", "shuffle 4", "shuffle 8"]
    assert bench.cases[0].images == 256
    assert bench.cases[1].images == 10
    for case in bench.cases:
        assert case.seconds > 0
        assert case.img_per_s == pytest.approx(case.images / case.seconds)
        assert 0.1 < case.peak_gib < 20
    assert ProbeBench.parse(bench.plain()) == bench
    assert len(bench.table().splitlines()) == 1 + len(bench.cases)
