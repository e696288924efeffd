"""The attack bench: its cases, with and without a peer."""

from __future__ import annotations

import pytest

from priorscope.bench.attack import AttackBench, run


@pytest.mark.slow
def test_the_bench_runs_anywhere_and_says_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRIORSCOPE_DATA", raising=False)
    said: list[str] = []
    bench = run((8 / 255,), images=20, curve_images=20, rounds=2, say=said.append)
    assert [case.attack for case in bench.cases] == ["pgd-20 8/255", "fgsm x 21"]
    assert said == ["resnet20 (shapetex), PGD-20 at 8/255", "resnet20 (shapetex), the FGSM curve of 21 budgets"]
    for case in bench.cases:
        assert case.ours_s > 0
        assert case.images == 20
        assert (case.ratio is None) == (case.torchattacks_s is None) == (case.robust_torchattacks is None)
    assert AttackBench.parse(bench.plain()) == bench
    assert len(bench.table().splitlines()) == 3
