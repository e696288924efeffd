"""What a study shows on a terminal."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from priorscope.study.display import _table
from priorscope.study.schedule import Tally


def test_names_in_brackets_are_shown_as_they_are() -> None:
    screen = io.StringIO()
    tally = Tally(2, going={"train cnn[small]-s0": 0.05}, failed={"train mlp[red]-s0": "no room"})
    Console(file=screen, width=80).print(_table(Progress(), tally))
    assert "train cnn[small]-s0  5%" in screen.getvalue()
    assert "failed train mlp[red]-s0" in screen.getvalue()
