"""A study's folder as a study leaves it, made of planted numbers: two families, three seeds, two probes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from priorscope.core.contracts import About, Result
from priorscope.core.machine import hardware, versions
from priorscope.core.stats import Interval, wilson
from priorscope.probes.accuracy import Accuracy
from priorscope.probes.cue_conflict import CueConflict, Learning

CLASSES = ("disc", "ring", "square", "triangle", "star", "cross", "bar", "arc", "heart", "gear")
IMAGES = 1000


def accuracy(right: float, seed: int, hard: int = 3, images: int = IMAGES) -> Accuracy:
    """A result in which an image is right with probability `right`, the same images being hard for everyone."""
    shared = np.random.default_rng(0).normal(size=images)
    own = np.random.default_rng(1000 + seed).normal(size=images)
    score = shared + own
    correct = score > np.quantile(score, 1 - right)
    labels = np.arange(images) % len(CLASSES)
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    answers = np.where(correct, labels, (labels + 1 + (np.arange(images) % hard)) % len(CLASSES))
    np.add.at(confusion, (labels, answers), 1)
    count = int(correct.sum())
    bins = np.linspace(0.3, 1, 20)
    return Accuracy(
        value=count / images,
        interval=wilson(count, images),
        n=images,
        unit="share of images",
        split="test",
        classes=CLASSES,
        k=5,
        top_k=min(1.0, count / images + 0.15),
        top_k_interval=wilson(min(images, count + 150), images),
        loss=1.5 - right,
        correct=correct,
        confusion=confusion,
        confidence_right=(count * bins / bins.sum()).astype(np.int64),
        confidence_wrong=((images - count) * bins[::-1] / bins.sum()).astype(np.int64),
    )


def cue_conflict(point: float) -> CueConflict:
    """A result whose shape share falls along the dial through one half at `point`."""
    salience = tuple(np.linspace(0, 1, 9).tolist())
    share = 1 / (1 + np.exp(8 * (np.array(salience) - point)))
    shape = (0.9 * IMAGES * share).astype(np.int64)
    between = Interval(low=point - 0.03, high=point + 0.03, method="percentile bootstrap", over="images")
    return CueConflict(
        value=point,
        interval=between,
        n=IMAGES,
        unit="share of decisions",
        caveats=("No run of this recipe saw one cue only: how fast each cue is learnt was not measured.",),
        salience=salience,
        shape=shape,
        texture=(0.9 * IMAGES - shape).astype(np.int64),
        point=point,
        point_interval=between,
        slope=8.0,
        learning=(
            Learning(cue="shape", images=21_000.0, final=0.97, n=1000),
            Learning(cue="texture", images=9_000.0, final=0.99, n=1000),
        ),
    )


def write_run(
    folder: Path, family: str, seed: int, results: Mapping[str, Result], *, ends: float = 0.7, lr: float = 0.001
) -> Path:
    """A finished run's folder with these results."""
    folder.mkdir(parents=True)
    recipe: dict[str, Any] = {
        "data": {"source": {"name": "shapetex", "seed": 0}, "augment": {"name": "none"}},
        "model": {"name": f"{family}/tiny"},
        "optim": {"name": "adamw", "lr": lr},
        "train": {"epochs": 12, "batch_size": 128},
        "seed": seed,
    }
    (folder / "recipe.toml").write_text(tomli_w.dumps(recipe), encoding="utf-8")
    environment = {
        **versions(),
        "data": {"source": "shapetex", "fingerprint": "f00d", "train": 10_000},
        "model": {"image_size": 32, "num_classes": 10, "parameters": 21_000 + 1_000 * len(family)},
        "hardware": {**hardware(), "processor": "a processor", "gpus": ["a GPU", "a GPU"]},
        "seconds": 21.5,
        "key": f"{family}{seed}",
        "threads": 1,
    }
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    (folder / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history(ends, seed)), encoding="utf-8")
    for probe, result in results.items():
        about = {
            "subject": {"name": folder.name, "family": family, "recipe": folder.name.rpartition("-s")[0], "seed": seed},
            "data": "shapetex",
            "split": "test",
            "protocol": "Every image of the split once.",
            "command": f"priorscope probe {probe} runs/{folder.name}",
            "config": {"name": probe},
        }
        result.save(folder / "results" / probe / "0123456789abcdef.json", About.parse(about))
    return folder


def history(ends: float, seed: int) -> list[dict[str, Any]]:
    """Curves that rise to `ends` on val, a little above on train."""
    rows: list[dict[str, Any]] = []
    for epoch in range(1, 13):
        done = 1 - np.exp(-epoch / 4)
        wiggle = 0.01 * np.sin(3 * epoch + seed)
        val = 0.1 + (ends - 0.1) * done + wiggle
        rows.append(
            {
                "epoch": epoch,
                "step": 78 * epoch,
                "train_loss": float(2.3 * (1 - 0.8 * done)),
                "lr": 0.001,
                "seconds": 1.5 * epoch,
                "images": 10_000 * epoch,
                "flops": 60_000 * epoch,
                "macs": 30_000 * epoch,
                "measured": {"img_per_s": 6666.7, "data_wait_share": 0.01, "gemm_share": 0.5},
                "train": {"loss": float(2.2 * (1 - 0.85 * done)), "accuracy": float(val + 0.06 * done), "n": 1000},
                "val": {"loss": float(2.25 * (1 - 0.7 * done)), "accuracy": float(val), "n": 1000},
            }
        )
    return rows


def write_study(
    out: Path,
    families: Mapping[str, float],
    seeds: Sequence[int] = (0, 1, 2),
    *,
    name: str = "quickstart",
    failures: Sequence[Mapping[str, str]] = (),
    probes: Sequence[str] = ("accuracy", "cue_conflict"),
    lr: Mapping[str, float] | None = None,
    images: int = IMAGES,
) -> Path:
    """A study's folder: each family with the accuracy that is planted for it, a little apart from seed to seed."""
    for family, right in families.items():
        for seed in seeds:
            moved = right + 0.012 * (seed - 1)
            results: dict[str, Result] = {
                "accuracy": accuracy(moved, 10 * hash_of(family) + seed, images=images),
                "cue_conflict": cue_conflict(round(0.9 - right, 3) + 0.01 * seed),
            }
            asked = {probe: results[probe] for probe in probes}
            write_run(out / "runs" / f"{family}-s{seed}", family, seed, asked, ends=moved, lr=(lr or {}).get(family, 0.001))
    study = {
        "name": name,
        "question": "Does an MLP lean on texture where a CNN leans on shape?",
        "promise": "Two minutes on two cores; 1,000 images a number; shows which differences three seeds can tell apart.",
        "seeds": list(seeds),
        "probes": [],
        "recipes": {family: {"model": f"{family}/tiny"} for family in families},
    }
    (out / "study.toml").write_text(tomli_w.dumps(study), encoding="utf-8")
    if failures:
        (out / "failures.json").write_text(json.dumps({"failures": list(failures)}), encoding="utf-8")
    return out


def hash_of(family: str) -> int:
    """A small number from a name, the same in every process."""
    return sum(map(ord, family)) % 97
