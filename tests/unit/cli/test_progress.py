"""What long verbs show while they work: something on a terminal, nothing elsewhere."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from priorscope.cli import app
from priorscope.cli import bench as verb
from priorscope.data import progress
from priorscope.fitting import fit


@pytest.fixture
def runs(tiny, tmp_path):
    return [str(fit(tiny.replace(seed=seed), tmp_path / f"s{seed}").path) for seed in (0, 1)]


def test_probe_counts_the_networks_that_it_has_looked_at(runs, monkeypatch):
    shown = []

    @contextmanager
    def bar(what):
        shown.append(what)
        yield lambda done, total: shown.append((done, total))

    monkeypatch.setattr(progress, "bar", bar)
    done = CliRunner().invoke(app, ["probe", "accuracy", *runs], catch_exceptions=False)
    assert done.exit_code == 0
    assert shown == ["accuracy of 2 networks", (1, 2), (2, 2)]


def test_probe_shows_a_bar_on_a_terminal_alone(runs, monkeypatch, capsys):
    def asked() -> str:
        with pytest.raises(SystemExit):
            app(["probe", "accuracy", *runs])
        return capsys.readouterr().err

    assert asked() == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "accuracy of 2 networks" in asked()


def test_what_a_file_is_to_hold_does_not_go_to_the_terminal_of_a_bar(monkeypatch, capsys):
    """`priorscope probe ... > file`: results are printed while the bar stands on the terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.bar("accuracy"):
        print("a result")
    assert capsys.readouterr().out == "a result\n"


def test_bench_says_what_is_measured_and_after_how_long_on_a_terminal_alone(monkeypatch, capsys):
    verb._say("resnet20, PGD-20")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    verb._say("resnet20, PGD-20")
    assert re.fullmatch(r" *\d+:\d\d  resnet20, PGD-20\n", capsys.readouterr().err)
