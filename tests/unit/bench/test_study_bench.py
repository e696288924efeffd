"""The bench of a study: memory of a whole tree of processes, and what a command that fails says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from priorscope.bench.study import PROC, StudyBench, _held, run
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


@pytest.mark.slow
def test_a_study_is_run_fresh_and_again() -> None:
    bench = run("quickstart", ["seeds=[0]"])
    fresh, again, helped = bench.cases
    assert [case.what for case in bench.cases] == ["a fresh run", "the same again", "--help"]
    assert fresh.seconds > again.seconds > helped.seconds > 0
    assert StudyBench.parse(bench.plain()) == bench
    assert len(bench.table().splitlines()) == 4
