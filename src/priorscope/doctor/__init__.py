"""What is wrong with a recipe, a run, a study, a log, a training script, a network, or this machine?

A check is one file here and one line in `CHECKS`; its opening text says which fault it finds and, but for faults of speed,
where it once bent a published number. It has one function for each kind of subject that it can look at, which yields findings:

    look_at_recipe(recipe)      a checked recipe
    look_at_side(recipe, side)  a recipe and the side of the pictures that its backbone sees, where that is known
    look_at_source(source)      its pictures, where they are on this machine
    look_at_network(network)    a classifier: a run's, or one of your own, wrapped
    look_at_training(recipe, split, network)
                                a recipe with its pictures and its network, for what must be measured
    look_at_run(run)            a finished run
    look_at_study(study)        the finished runs of a folder
    look_at_log(log)            the curves that another system logged
    look_at_script(script)      the source text of a training script

A check says what it saw, with numbers, what that means, and what to do. It never changes what it looks at.
"""

from __future__ import annotations

from typing import Literal

from priorscope.core.config import Config
from priorscope.core.listing import Listing

CHECKS = Listing(
    "check",
    "priorscope doctor --help",
    {
        "evaluation_mode": "priorscope.doctor.evaluation_mode",
        "dropout": "priorscope.doctor.dropout",
        "selection": "priorscope.doctor.selection",
        "normalisation": "priorscope.doctor.normalisation",
        "one_token": "priorscope.doctor.one_token",
        "windows": "priorscope.doctor.windows",
        "schedule": "priorscope.doctor.schedule",
        "options": "priorscope.doctor.options",
        "refused": "priorscope.doctor.refused",
        "resume": "priorscope.doctor.resume",
        "partial_data": "priorscope.doctor.partial_data",
        "loss_scale": "priorscope.doctor.loss_scale",
        "evaluation_noise": "priorscope.doctor.evaluation_noise",
        "duplicates": "priorscope.doctor.duplicates",
        "loader_bound": "priorscope.doctor.loader_bound",
        "precision": "priorscope.doctor.precision",
        "grid_edge": "priorscope.doctor.grid_edge",
        "learnt_nothing": "priorscope.doctor.learnt_nothing",
        "masked": "priorscope.doctor.masked",
    },
)

Severity = Literal["fault", "warning", "note"]
"""fault: a number is wrong, or is not what it is called. warning: it will mislead, or time is wasted. note: worth knowing."""


class Finding(Config):
    """One thing that a check saw: in numbers, what it means, and what to do."""

    check: str
    severity: Severity
    saw: str
    means: str
    do: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.saw} [{self.check}]\n  means: {self.means}\n  try:   {self.do}"
