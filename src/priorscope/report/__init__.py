"""The report: stored results made into one page that a reader can trust, and into tidy rows, curves and tables.

It never sees a model or a GPU and never imports torch: everything it shows was stored.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from priorscope.core import layout
from priorscope.core.config import content_key
from priorscope.core.folder import write_text
from priorscope.report.diff import compare_sources
from priorscope.report.latex import write_tables
from priorscope.report.markdown import write_markdown
from priorscope.report.page import write_report
from priorscope.report.tidy import TABLES, write_tidy

__all__ = ["compare_sources", "write_markdown", "write_report", "write_study_page", "write_tables"]

PAGE, MADE_FROM = "report.html", ".report.made_from"


def write_study_page(study: Path) -> Path:
    """Writes a study folder's tables and page, where one is missing or not made of what is stored now; returns the page."""
    page, made_from, stored = study / PAGE, study / MADE_FROM, _stored(study)
    written = all((study / name).exists() for name in (PAGE, *TABLES, MADE_FROM))
    if not written or made_from.read_text(encoding="utf-8") != stored:
        write_tidy(study)
        write_report([study], page)
        write_text(made_from, stored)  # last, so that a page cut short is written again
    return page


def _stored(study: Path) -> str:
    """A hash of the names, sizes and times of all files that a page is made from, and of the version that makes it."""
    files = [
        study / layout.STUDY,
        study / layout.FAILURES,
        *study.glob(f"{layout.JOINT}/*/*.*"),
        *study.glob(f"{layout.RUNS}/*/{layout.RESULTS}/*/*.*"),
    ]
    files += [
        run / name for run in study.glob(f"{layout.RUNS}/*") for name in (layout.RECIPE, layout.ENVIRONMENT, layout.STEPS)
    ]
    told = {str(file.relative_to(study)): file.stat() for file in files if file.exists()}
    return content_key([version("priorscope"), {name: [stat.st_size, stat.st_mtime_ns] for name, stat in told.items()}])
