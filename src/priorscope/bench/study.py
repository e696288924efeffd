"""What a study costs from end to end: a fresh run, the same again with nothing to do, and how soon the command line answers.

Each is a process of its own, timed from outside as a user would: imports, workers and the page included. Memory is what the
command and all processes that it starts hold together, pages that they share counted once (Linux; elsewhere it is not told).
What `--plan` foretold of the fresh run stands beside what it took, with its error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from priorscope.core import layout
from priorscope.core.config import Config
from priorscope.core.errors import WorkError

EVERY_SECONDS = 0.1
HELPS = 5
"""How often `--help` is asked; the median time counts."""

PROC = Path("/proc")


class StudyCase(Config):
    """One command: how long it took, what it and its processes held at most at once, and what its steps left on the disk."""

    what: str
    seconds: float
    peak_bytes: int | None = None
    disk_bytes: int | None = None


class StudyForecast(Config):
    """What `--plan` said that a fresh run would take; `unknown` of its `steps` were not in the sums, which are then too low."""

    steps: int
    unknown: int
    seconds: float
    memory: float
    disk: float | None = None


class StudyBench(Config):
    """A study's fresh run beside its forecast, its second one, and `--help`."""

    study: str
    forecast: StudyForecast
    cases: tuple[StudyCase, ...]

    def table(self) -> str:
        """The cases as text."""
        lines = [f"{self.study:>24} {'seconds':>9} {'peak GiB':>9} {'disk GiB':>9}"]
        told = self.forecast
        if told.unknown < told.steps:
            lines.append(_line("forecast", told.seconds, told.memory, told.disk))
        lines += [_line(case.what, case.seconds, case.peak_bytes, case.disk_bytes) for case in self.cases]
        return "\n".join([*lines, self.error_said()])

    def errors(self) -> dict[str, float]:
        """By how large a share of the measured the forecast was too high, of whatever was both foretold and measured."""
        fresh, told = self.cases[0], self.forecast
        both = {
            "time": (told.seconds, fresh.seconds),
            "memory": (told.memory, fresh.peak_bytes),
            "disk": (told.disk, fresh.disk_bytes),
        }
        return {name: said / was - 1 for name, (said, was) in both.items() if said is not None and was}

    def error_said(self) -> str:
        """The forecast's error in words, and how many steps it left out."""
        told = self.forecast
        if told.unknown == told.steps:
            return "No step of it was ever measured here, so that nothing was foretold."
        without = f", without {told.unknown} of {told.steps} steps" if told.unknown else ""
        return f"Error of the forecast{without}: {', '.join(f'{name} {by:+.0%}' for name, by in self.errors().items())}."


def _line(what: str, seconds: float, memory: float | None, disk: float | None) -> str:
    sizes = " ".join(f"{'-' if size is None else f'{size / 2**30:.2f}':>9}" for size in (memory, disk))
    return f"{what:>24} {seconds:>9.2f} {sizes}"


def run(
    name: str = "quickstart",
    settings: Sequence[str] = (),
    budget: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> StudyBench:
    """Measures a study, in a folder of its own that goes when it is done."""
    asked = [*(["--budget", budget] if budget else []), *(part for setting in settings for part in ("--set", setting))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "study"
        command = ["study", name, *asked, "--out", str(out)]
        forecast, cases = _foretold(command), list[StudyCase]()
        for what in ("a fresh run", "the same again"):
            say(f"{name}: {what}")
            cases.append(_timed(what, command).replace(disk_bytes=_on_disk(out)))
        say("--help")
        helps = [_timed("--help", ["--help"]) for _ in range(HELPS)]
    helped = helps[0].replace(seconds=median(each.seconds for each in helps))
    return StudyBench(study=f"{name}-{budget}" if budget else name, forecast=forecast, cases=(*cases, helped))


def _foretold(arguments: Sequence[str]) -> StudyForecast:
    """What the plan says before anything is done."""
    asked = [sys.executable, "-m", "priorscope.cli", *arguments, "--plan", "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _failed(arguments, done.stderr)
    told = json.loads(done.stdout)
    costs = {name: told[name] for name in ("unknown", "seconds", "memory", "disk")}
    return StudyForecast.parse({**costs, "steps": len(told["steps"])})


def _on_disk(study: Path) -> int:
    """Bytes of its runs and results, of which a forecast speaks: the page and the tables are no step's."""
    files = (file for place in (layout.RUNS, layout.TUNING, layout.JOINT) for file in (study / place).rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _failed(arguments: Sequence[str], said: str) -> WorkError:
    return WorkError(
        f"`priorscope {' '.join(arguments)}` failed:\n{said.strip()}\n",
        "a study that runs to its end",
        "priorscope study NAME --plan",
    )


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
            raise _failed(arguments, said.read().decode(errors="replace"))
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
