"""The bench of a study: memory of a whole tree of processes, and what a command that fails says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from priorscope.bench.study import PROC, StudyBench, StudyCase, StudyForecast, _held, run
from priorscope.core.errors import WorkError

LINUX = pytest.mark.skipif(not (PROC / "self" / "smaps_rollup").exists(), reason="the system does not tell memory by process")
MIB = 1 << 20


@LINUX
def test_memory_is_that_of_a_process_and_of_all_that_it_started() -> None:
    """A process that holds 40 MiB and has started one that holds 60."""
    child = "x = bytearray(60 << 20); print(flush=True); import time; time.sleep(60)"
    parent = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "x = bytearray(40 << 20); p.stdout.readline(); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        held = _held(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
    assert 100 * MIB < held < 160 * MIB
    assert _held(process.pid) == 0


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(WorkError, match="'nothing' is not a study"):
        run("nothing")


def bench_of(forecast: StudyForecast, peak: int | None) -> StudyBench:
    fresh = StudyCase(what="a fresh run", seconds=200.0, peak_bytes=peak, disk_bytes=2**30)
    return StudyBench(study="mine", forecast=forecast, cases=(fresh, fresh, fresh))


def test_a_forecast_stands_beside_what_was_measured_with_its_error() -> None:
    whole = bench_of(StudyForecast(steps=9, unknown=0, seconds=150.0, memory=3 * 2**30, disk=1.5 * 2**30), 2 * 2**30)
    assert whole.errors() == {"time": -0.25, "memory": 0.5, "disk": 0.5}
    assert whole.table().splitlines()[1].split() == ["forecast", "150.00", "3.00", "1.50"]
    assert whole.table().splitlines()[-1] == "Error of the forecast: time -25%, memory +50%, disk +50%."
    part = bench_of(StudyForecast(steps=9, unknown=2, seconds=150.0, memory=3 * 2**30), None)
    assert part.error_said() == "Error of the forecast, without 2 of 9 steps: time -25%."
    nothing = bench_of(StudyForecast(steps=9, unknown=9, seconds=0.0, memory=0.0, disk=0.0), None)
    assert nothing.error_said() == "No step of it was ever measured here, so that nothing was foretold."
    assert "forecast" not in nothing.table().splitlines()[1]


@pytest.mark.slow
def test_a_study_is_run_fresh_and_again() -> None:
    bench = run("quickstart", ["seeds=[0]"])
    fresh, again, helped = bench.cases
    assert [case.what for case in bench.cases] == ["a fresh run", "the same again", "--help"]
    assert fresh.seconds > again.seconds > helped.seconds > 0
    assert StudyBench.parse(bench.plain()) == bench
    assert fresh.disk_bytes == again.disk_bytes > 2**20
    assert bench.forecast.steps > 50
    assert bench.table().splitlines()[-1] == bench.error_said()
