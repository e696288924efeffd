"""The pictures of `priorscope.probes.cue_conflict.stimuli`: the share, what stands behind it, categories, and some stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import interval_dots
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, smallest
from priorscope.core.matrices import gallery, heat_map
from priorscope.core.seeds import by_recipe
from priorscope.core.stats import wilson
from priorscope.core.wording import capitalised
from priorscope.probes.cue_conflict.figures import SEVERAL as SEEDS
from priorscope.probes.cue_conflict.figures import arm_row, share_title
from priorscope.probes.cue_conflict.stimuli import PEOPLE, StimuliConflict
from priorscope.probes.shared.lead import arm_rows

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

Arms = Sequence[tuple[Subject, Sequence[StimuliConflict]]]
"""The seeds of each recipe together."""

SEVERAL = f"{SEEDS}; of one checkpoint, Wilson's over images"


def draw_all(results: Sequence[tuple[Subject, StimuliConflict]]) -> list[Figure]:
    """The ratio, its two parts and their sum, categories, and some of the stimuli."""
    arms = by_recipe(results)
    decided = any(seed.counts()[2] for _, seeds in arms for seed in seeds)
    by_category = [_categories(arms)] if decided else []
    return [_share(arms), _accuracies(arms), *by_category, _looks(arms[0][1][0])]


def _share(arms: Arms) -> Figure:
    first = arms[0][1][0]
    rows = arm_rows(arms)
    reference = (0.5, "both cues equally often")
    if first.humans and first.humans.shares:
        reference = (first.humans.mean(), PEOPLE)
    return interval_dots(
        f"shape-share-{first.kind.replace(' ', '-')}",
        f"{_not_published(first)}{share_title(arms, rows)}",
        rows,
        axis=Axis("share of shape among decisions for either cue", domain=(0.0, 1.0), format=".0%"),
        n=f"{first.n:,} conflicts, decided {min(sum(seed.counts()[2] for seed in seeds) for _, seeds in arms):,} times or more",
        protocol=f"{capitalised(first.how)}. Means over seeds with intervals over seeds and pictures; of one checkpoint, "
        "Wilson's over images.",
        alt="; ".join(f"{row['subject']} {row['value']:.0%}" for row in rows),
        reference=reference,
    )


def _not_published(result: StimuliConflict) -> str:
    said = {"part of the published": f"Not the published protocol ({len(result.categories)} of 16 categories): "}
    return said.get(result.kind, "")


def _accuracies(arms: Arms) -> Figure:
    rows: list[dict[str, Any]] = []
    for subject, seeds in arms:
        for panel, at in (("answered with the shape", 0), ("answered with the texture", 1), ("answered with either", 2)):
            counts = [seed.counts()[at] for seed in seeds]
            shares = [count / seed.n for count, seed in zip(counts, seeds, strict=True)]
            rows.append({**arm_row(subject, shares, [wilson(count, seeds[0].n) for count in counts]), "panel": panel})
        agree = [seed.agreeing for seed in seeds if seed.agreeing and seed.agreeing[1]]
        if agree:
            shares = [right / asked for right, asked in agree]
            row = arm_row(subject, shares, [wilson(right, asked) for right, asked in agree])
            rows.append({**row, "panel": "right where both cues agree"})
    fewest = smallest({row["subject"]: row["value"] for row in rows if row["panel"] == "answered with either"})
    first = arms[0][1][0]
    chance = 2 / len(first.categories)
    return interval_dots(
        "shape-and-texture",
        f"{fewest.do('answers', 'answer')} {fewest.value:.0%} of the conflicts with either cue (guessing: {chance:.0%})",
        rows,
        axis=SHARE,
        n=first.n,
        protocol=f"Of all conflicts, {len(first.categories)} choices. {SEVERAL}.",
        alt="; ".join(f"{row['subject']} {row['panel']} {row['value']:.0%}" for row in rows),
        panel="panel",
    )


def _categories(arms: Arms) -> Figure:
    rows: list[dict[str, Any]] = []
    for subject, seeds in arms:
        for name in seeds[0].categories:
            counted = [(hits, n) for seed in seeds for category, hits, n in seed.by_category() if category == name]
            total = sum(n for _, n in counted)
            if total:
                rows.append({"x": name, "y": subject.name, "value": sum(hits for hits, _ in counted) / total})
    most = largest({f"{row['x']} in {row['y']}" if len(arms) > 1 else row["x"]: row["value"] for row in rows})
    return heat_map(
        "shape-share-by-category",
        f"Shape decides {most.value:.0%}, whatever the category"
        if most.equal
        else f"Shape decides most often where it is of {most}: {most.value:.0%}",
        rows,
        x="category of the shape",
        y="",
        value=Axis("share of shape", domain=(0.0, 1.0), format=".0%"),
        n=f"{arms[0][1][0].n:,} conflicts",
        protocol="Among the decisions for either cue; a category with few such decisions says little (see the table).",
        alt="Share of shape decisions by the category of the shape, one line a network.",
        diverging=True,
    )


def _looks(result: StimuliConflict) -> Figure:
    tiles = [
        ("stimulus", f"{result.categories[int(shape)]} in {result.categories[int(texture)]}" + " " * at, pixels)
        for at, (shape, texture, pixels) in enumerate(
            zip(result.shape_of, result.texture_of, result.pictures, strict=False)  # the first few only
        )
    ]
    return gallery(
        "cue-conflict-stimuli",
        "Shapes of one class in textures of another",
        tiles,
        n=f"{len(tiles)} of {result.n:,} conflicts",
        protocol=f"{result.source}, shown at {result.side} pixels.",
        alt="; ".join(column.strip() for _, column, _ in tiles),
        side=96,
    )
