"""The report: stored results made into one page that a reader can trust, and into tidy rows and curves.

It never sees a model or a GPU and never imports torch: everything it shows was stored.
"""

from priorscope.report.page import write_report

__all__ = ["write_report"]
