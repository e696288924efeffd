"""What a probe's author may say of a result, and what the docs say of that."""

from __future__ import annotations

import re
from pathlib import Path

from priorscope.core.config import Config
from priorscope.core.contracts import Result, Standing

GIVEN = {"against", "bounded", "charts", "chart", "table", "arrays", "save", "load"}
"""What every result has and no probe overrides."""


def test_every_name_that_a_probe_may_override_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "add-a-probe.md").read_text()
    names = {name for name in vars(Result) if not name.startswith("_") and name not in dir(Config)} - GIVEN
    assert {"bounds", "which_count", "standing"} <= names
    names |= set(Standing.model_fields)
    assert sorted(name for name in names if not re.search(rf"[`.]{name}\b", page)) == []
