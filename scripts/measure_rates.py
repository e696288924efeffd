"""Measures what the steps of shipped studies cost here, and ships it: `study --plan` scales it for other machines.

uv run python scripts/measure_rates.py [STUDY...]    runs them once in a temporary folder, on an idle machine

Not given: those that need no data and take minutes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from priorscope.core.folder import write_json
from priorscope.study.plan import make_plan
from priorscope.study.rates import SHIPPED, export
from priorscope.study.run import run_study
from priorscope.study.study import Study

USUAL = ("quickstart", "scaling", "what-is-locality-worth")


def main() -> None:
    steps = []
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or USUAL:
            study = Study.load(name)
            run_study(study, Path(folder) / name).check()
            steps += make_plan(study, Path(folder) / name).steps
    write_json(Path(__file__).resolve().parents[1] / "src" / "priorscope" / "studies" / SHIPPED, export(steps))


if __name__ == "__main__":
    main()
