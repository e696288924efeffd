"""Where things lie in a run's folder and in a study's: names that one part writes and others read.

runs/a/                a run
  recipe.toml          what was asked
  made_from.json       everything the weights are a function of; its hash is the run's key
  environment.json     written last: the run's key, data, weights begun with, network, epoch kept; how it was carried out
                       (precision, threads, ranks, parts of a batch, compiled) and what that took (seconds, joules,
                       images, operations); versions and hardware
  steps.jsonl          what happened, one line an epoch
  checkpoint.pt        where a killed run resumes (absent once finished)
  extend.pt            where a finished run can be made longer (under a schedule that does not look ahead)
  weights.safetensors  what came out
  snapshots/           weights after some of the steps (`train.keep`)
  evidence/            what the network says about splits, and what probes have done so far
  results/<probe>/     what probes measured on it
  .lock                who writes into it, or did last

out/quickstart/        a study
  study.toml           what was asked
  runs/  tuning/       its runs, and the trials that chose their settings
  joint/<probe>/       what probes measured on several runs together
  stale/               runs of recipes or data that have changed since
  failures.json        the steps that failed, and why
  report.html          the page, with results.parquet, results.json and results.csv beside it
"""

from __future__ import annotations

import glob
import itertools
import re
from pathlib import Path

from priorscope.core.config import Plain, is_table

RECIPE, MADE_FROM, ENVIRONMENT = "recipe.toml", "made_from.json", "environment.json"
STEPS, CHECKPOINT, EXTEND = "steps.jsonl", "checkpoint.pt", "extend.pt"
WEIGHTS, SNAPSHOTS, EVIDENCE, RESULTS = "weights.safetensors", "snapshots", "evidence", "results"

RUN_FOLDERS = (SNAPSHOTS, EVIDENCE, RESULTS)
"""The folders that a run makes in its own."""

STUDY, RUNS, TUNING, JOINT = "study.toml", "runs", "tuning", "joint"
STALE, FAILURES = "stale", "failures.json"
STUDY_FOLDERS = (RUNS, TUNING, JOINT, STALE)
"""The folders that a study makes in its own."""


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, finished or not."""
    return (folder / RECIPE).exists()


def is_finished(run: Path) -> bool:
    """Whether a run is finished: this file is written last."""
    return (run / ENVIRONMENT).exists()


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's, or holds runs as one does."""
    return (folder / STUDY).exists() or (folder / RUNS).is_dir()


def is_own_copy(study: Plain) -> bool:
    """Whether a `study.toml` is what a study writes into its folder, not what people write and ask for.

    A study leaves out neither its name nor its probes, and keeps what a probe is set to apart, under `probe`.
    """
    entries = study.get("probes")
    return "name" in study and isinstance(entries, list) and all(is_table(one) and "probe" in one for one in entries)


def runs_in(folder: Path) -> list[Path]:
    """The runs that lie in a folder, finished or not, by their names."""
    return sorted(path for path in folder.glob("*") if is_run(path))


def run_name(arm: str, seed: int) -> str:
    """What the run of an arm with a seed is called."""
    return f"{arm}-s{seed}"


def trial_name(arm: str, number: int) -> str:
    """What a trial of an arm is called."""
    return f"{arm}-t{number}"


def arm_of_run(run: str) -> str:
    """The arm of which a run is called a seed: its whole name, if it is called none."""
    return re.sub(r"-s\d+$", "", run)


def arm_of_trial(run: str) -> str | None:
    """The arm of which a run is called a trial, if it is."""
    called = re.fullmatch(r"(.+)-t\d+", run)
    return called[1] if called else None


def trials_beside(run: Path) -> list[Path]:
    """The trials of a run's arm, where it lies in a study that has some."""
    run = run.resolve()
    if run.parent.name != RUNS:
        return []
    return [trial for trial in runs_in(run.parent.parent / TUNING) if arm_of_trial(trial.name) == arm_of_run(run.name)]


def snapshot(run: Path, step: int) -> Path:
    """The path in a run's folder of the weights after `step` steps."""
    return run / SNAPSHOTS / f"step-{step:08d}.safetensors"


def snapshots(run: Path) -> list[int]:
    """After how many steps a run's folder keeps weights."""
    return [int(path.stem.partition("-")[2]) for path in sorted((run / SNAPSHOTS).glob("step-*.safetensors"))]


def stale(study: Path, run: str, key: str) -> tuple[list[Path], Path]:
    """The runs of a name and a key that a study keeps and does not ask for any more, and the path for one more.

    There are several where the data behind them differed.
    """
    name = f"{run}-{key}"
    kept = sorted((study / STALE).glob(f"{glob.escape(name)}*"))
    places = (study / STALE / f"{name}-{number}" for number in itertools.count(2))
    return kept, study / STALE / name if not kept else next(place for place in places if not place.exists())


def result(place: Path, probe: str, key: str) -> Path:
    """The path of a probe's result among the results of a run or the joint ones of a study."""
    return place / probe / f"{key}.json"


def results(place: Path) -> list[Path]:
    """The paths of all probes' results in the results folder of a run, or the joint one of a study.

    What a process is writing, or a killed one left unfinished, is none.
    """
    return sorted(path for path in place.glob("*/*.json") if not path.name.startswith("."))


def results_of(place: Path, probe: str) -> list[Path]:
    """The paths of one probe's results there."""
    return [path for path in results(place) if path.parent.name == probe]
