"""The report: stored results made into one page that a reader can trust, and into tidy rows, curves and tables.

It never sees a model or a GPU and never imports torch: everything it shows was stored.
"""

from __future__ import annotations

from pathlib import Path

from priorscope.report.diff import compare_sources
from priorscope.report.latex import write_tables
from priorscope.report.markdown import write_markdown
from priorscope.report.page import write_report
from priorscope.report.tidy import JSON, PARQUET, write_tidy

__all__ = ["compare_sources", "write_markdown", "write_report", "write_study_page", "write_tables"]

PAGE = "report.html"


def write_study_page(study: Path, *, changed: bool) -> Path:
    """Writes a study folder's tables and page, where something has changed or one of them is missing; returns the page."""
    page = study / PAGE
    if changed or not all((study / name).exists() for name in (PAGE, JSON, PARQUET)):
        write_tidy(study)
        write_report([study], page)
    return page
