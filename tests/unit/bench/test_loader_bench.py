from __future__ import annotations

from pathlib import Path

import pytest

from priorscope.bench import loader_peers as peers
from priorscope.bench.loader import LoaderBench, LoaderCase, Spread, _file, _ratio, run


def test_a_ratio_is_taken_round_by_round() -> None:
    """A round in which the machine was busy for both says the same as any other."""
    assert _ratio([100, 10, 400], [10, 1, 20]) == Spread(median=10, low=10, high=20)


def test_the_json_holds_what_scripts_read() -> None:
    spread = {name: Spread(median=1, low=1, high=1) for name in ("torchvision", "memcpy")}
    case = LoaderCase(
        size=32, threads=2, ours=5e5, torchvision=1e4, ratio_torchvision=50, memcpy_bound=1e6, ratio_memcpy=0.5, spread=spread
    )
    bench = LoaderBench(cases=(case,), cold_start_s=1.5, cold_total_s=4)
    plain = bench.plain()
    assert plain["cold_start_s"] == 1.5
    assert {"size", "threads", "ours", "torchvision", "ratio_torchvision", "memcpy_bound"} <= plain["cases"][0].keys()
    assert "ffcv" not in plain["cases"][0], "what is not installed is not measured"
    assert "500,000" in bench.table()
    assert LoaderBench.parse(plain) == bench


def test_all_read_the_same_file_whole(tmp_path: Path) -> None:
    for jpeg in (False, True):
        case = _file(tmp_path, 16, 24, 40, jpeg)
        assert peers.ours(case, 2)() == 40
        assert peers.decoding(case, 1)() == 40
        assert peers.torchvision(case, 0)() == 40


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    bench = run(sizes=(32,), threads=(1,), rounds=1, share=0.02)
    assert [(case.size, case.jpeg) for case in bench.cases] == [(32, False), (224, True)]
    assert bench.cold_start_s > 0
    assert all(case.ours > 0 and case.memcpy_bound > 0 for case in bench.cases)
