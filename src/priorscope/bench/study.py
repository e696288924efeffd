"""What a study costs from end to end: a fresh run, the same again with nothing to do, and how soon the command line answers.

Each is a process of its own, timed from outside as a user would: imports, workers and the page included. Memory is what the
command and all processes that it starts hold together, pages that they share counted once (Linux; elsewhere it is not told).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from priorscope.core.config import Config
from priorscope.core.errors import WorkError

EVERY_SECONDS = 0.1
HELPS = 5
"""How often `--help` is asked; the median time counts."""

PROC = Path("/proc")


class StudyCase(Config):
    """One command: how long it took, and what it and its processes held at most at once."""

    what: str
    seconds: float
    peak_bytes: int | None = None


class StudyBench(Config):
    """A study's fresh run, its second one, and `--help`."""

    study: str
    cases: tuple[StudyCase, ...]

    def table(self) -> str:
        """The cases as text."""
        lines = [f"{self.study:>24} {'seconds':>9} {'peak GiB':>9}"]
        for case in self.cases:
            peak = "-" if case.peak_bytes is None else f"{case.peak_bytes / 2**30:.2f}"
            lines.append(f"{case.what:>24} {case.seconds:>9.2f} {peak:>9}")
        return "\n".join(lines)


def run(
    name: str = "quickstart",
    settings: Sequence[str] = (),
    budget: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> StudyBench:
    """Measures a study, in a folder of its own that goes when it is done."""
    asked = [*(["--budget", budget] if budget else []), *(part for setting in settings for part in ("--set", setting))]
    with tempfile.TemporaryDirectory() as folder:
        command = ["study", name, *asked, "--out", str(Path(folder) / "study")]
        cases: list[StudyCase] = []
        for what in ("a fresh run", "the same again"):
            say(f"{name}: {what}")
            cases.append(_timed(what, command))
        say("--help")
        helps = [_timed("--help", ["--help"]) for _ in range(HELPS)]
    helped = helps[0].replace(seconds=median(each.seconds for each in helps))
    return StudyBench(study=f"{name}-{budget}" if budget else name, cases=(*cases, helped))


def _timed(what: str, arguments: Sequence[str]) -> StudyCase:
    """One command of the command line, in a process that is watched until it ends."""
    begun, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "priorscope.cli", *arguments], stdout=said, stderr=said)
        try:
            while process.poll() is None:
                peak = max(peak, _held(process.pid))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(EVERY_SECONDS)
        finally:
            process.kill()
        seconds = time.perf_counter() - begun
        if process.returncode:
            said.seek(0)
            raise WorkError(
                f"`priorscope {' '.join(arguments)}` failed:\n{said.read().decode(errors='replace').strip()}\n",
                "a study that runs to its end",
                "priorscope study NAME --plan",
            )
    return StudyCase(what=what, seconds=seconds, peak_bytes=peak or None)


def _held(pid: int) -> int:
    """Bytes that a process and all that come from it hold, shared pages counted once; 0 where the system does not say."""
    held, waiting, children = 0, [pid], _children()
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        try:
            told = (PROC / str(one) / "smaps_rollup").read_text()
        except OSError:  # it has ended, or there is no such file here
            continue
        held += sum(int(line.split()[1]) * 1024 for line in told.splitlines() if line.startswith("Pss:"))
    return held


def _children() -> dict[int, list[int]]:
    """The processes that each has started."""
    found: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        found.setdefault(parent, []).append(int(stat.parent.name))
    return found
