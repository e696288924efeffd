"""The pictures of `priorscope.probes.texture_shape`: what is left, curves over strength, paired differences, and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.comparison import Difference, holm, paired_proportions, seed_by_image_difference
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, named, smallest
from priorscope.core.matrices import gallery, heat_map
from priorscope.core.seeds import by_recipe
from priorscope.core.stats import ends, over_images
from priorscope.data.transforms import TRANSFORMS
from priorscope.probes.texture_shape import Condition, TextureShape

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

Arms = Sequence[tuple[Subject, Sequence[TextureShape]]]
"""The seeds of each recipe together."""

MOST_PAIRS = 6
"""Pairs of networks that are drawn against each other: those furthest apart, with p-values adjusted for all pairs."""
SEVERAL = "95 % intervals over seeds x images; of one checkpoint, Wilson's over images"


def draw_all(results: Sequence[tuple[Subject, TextureShape]]) -> list[Figure]:
    """What is left first, then what it looks like, how it falls with strength, who differs, and which classes."""
    arms = by_recipe(results)
    common = [one for one in arms[0][1][0].conditions if all(one in seed.conditions for _, seeds in arms for seed in seeds)]
    usual = [one for one in common if one.usual]
    figures = [_left(arms, usual), _looks(arms[0][1][0])]
    curved = [one for one in common if sum(other.transform == one.transform for other in common) > 1]
    if curved:
        figures.append(_curves(arms, curved))
    pairs = [(one, other) for one, other in combinations(arms, 2) if _comparable(one, other)]
    if pairs:
        figures.append(_differences(pairs, usual))
    return [*figures, _classes(arms[0], usual)]


def _rights(seeds: Sequence[TextureShape], one: Condition | None) -> np.ndarray:
    """(seeds, images): right under a condition, or without any."""
    return np.stack([seed.clean if one is None else seed.right[seed.conditions.index(one)] for seed in seeds])


def _share(rights: np.ndarray) -> dict[str, Any]:
    return {"value": float(rights.mean()), **ends(over_images(rights))}


def _left(arms: Arms, usual: Sequence[Condition]) -> Figure:
    rows: list[dict[str, Any]] = []
    for subject, seeds in arms:
        for one in (None, *usual):
            label = "no transform" if one is None else one.label()
            who = {"subject": label, "family": subject.family, "network": subject.name}
            rows.append({**who, **_share(_rights(seeds, one))})
    first = arms[0][1][0]
    about: dict[str, Any] = {
        "n": first.n,
        "protocol": f"{first.split}, all images whether right before or not. {SEVERAL}"
        + (", in the table of numbers." if len(arms) > 1 else "."),
        "alt": "; ".join(f"{row['network']} {row['subject']} {row['value']:.0%}" for row in rows),
    }
    if len(arms) == 1:
        least = smallest({row["subject"]: row["value"] for row in rows[1:]})
        leaves = least.do("leaves", "each leave") if least.equal else f"{least.do('leaves', 'leave')} least:"
        title = f"{leaves} {least.value:.0%} of {rows[0]['value']:.0%}"
        chance = (1 / len(first.classes), "chance")
        return interval_dots("texture-shape", title, rows, axis=SHARE, reference=chance, **about)
    numbers = ("value", "low", "high")
    cells = [{"x": row["subject"], "y": row["network"]} | {name: row[name] for name in numbers} for row in rows]
    shares = {one.label(): {subject.name: float(_rights(seeds, one).mean()) for subject, seeds in arms} for one in usual}
    title = _parting_title(shares)
    return heat_map("texture-shape", title, cells, x="", y="", value=Axis("right", domain=(0.0, 1.0), format=".0%"), **about)


def _parting_title(shares: Mapping[str, Mapping[str, float]]) -> str:
    """Which transform parts the networks most; `shares` holds by label the share that each network keeps."""
    parts = largest({label: max(own.values()) - min(own.values()) for label, own in shares.items()})
    if parts.value == 0:
        return f"No transform parts {named(list(next(iter(shares.values()))))}"
    them = "them" if parts.equal else "them most"
    first, *others = parts.names
    if others:
        return f"{parts} part {them}: by {100 * parts.value:.0f} points"
    best, worst = largest(shares[first]), smallest(shares[first])
    return f"{first} parts {them}: {best.do('keeps', 'keep')} {best.value:.0%}, {worst} {worst.value:.0%}"


def _looks(result: TextureShape) -> Figure:
    names = ["no transform", *(one.label() for _, one in result.usual())]
    tiles = [
        (name, result.classes[int(result.labels[at])] + " " * at, result.pictures[row, at])
        for row, name in enumerate(names)
        for at in range(result.pictures.shape[1])
    ]
    return gallery(
        "texture-shape-pictures",
        "What each transform takes away",
        tiles,
        n=f"{result.pictures.shape[1]} of {result.n:,} images",
        protocol=f"Seed {result.seed}, {result.split}; in pixel space at the images' own size.",
        alt=f"The same pictures under {', '.join(names)}.",
    )


def _curves(arms: Arms, curved: Sequence[Condition]) -> Figure:
    rows: list[dict[str, Any]] = []
    falls: dict[str, float] = {}
    names = list(dict.fromkeys(one.transform for one in curved))
    for subject, seeds in arms:
        for name in names:
            about = {"series": subject.name, "family": subject.family, "panel": _panel(name, curved)}
            steps = [None, *(one for one in curved if one.transform == name)]
            shares = [_share(_rights(seeds, one)) for one in steps]
            rows += [{**about, "x": x, "y": s["value"], "low": s["low"], "high": s["high"]} for x, s in enumerate(shares)]
            falls[f"{subject.name} to {name}"] = shares[0]["value"] - min(s["value"] for s in shares)
    most = largest(falls)
    points = f"{100 * most.value:.0f} points at its worst"
    if most.value <= 0:
        title = "No transform costs anything"
    else:
        title = f"Every transform costs {points}" if most.equal else f"Most is lost by {most}: {points}"
    return curves_with_band(
        "texture-shape-curves",
        title,
        rows,
        x=Axis("strength, in the order of the panel's title; 0 is no transform", format="d"),
        y=SHARE,
        n=arms[0][1][0].n,
        protocol=f"Chance is {1 / len(arms[0][1][0].classes):.0%}. {SEVERAL}.",
        alt="Accuracy over the strength of each transform, one curve a network.",
        panel="panel",
    )


def _panel(name: str, curved: Sequence[Condition]) -> str:
    levels = ", ".join(f"{one.level:g}" for one in curved if one.transform == name)
    return f"{name}: {levels} {TRANSFORMS[name].strength}"


def _comparable(first: tuple[Subject, Sequence[TextureShape]], second: tuple[Subject, Sequence[TextureShape]]) -> bool:
    """Whether answers can be paired: both saw the same pictures, and both are one checkpoint, or both several seeds."""
    one, other = first[1][0], second[1][0]
    if (len(first[1]) > 1) != (len(second[1]) > 1):
        return False
    same = one.n == other.n and one.split == other.split and one.seed == other.seed and one.classes == other.classes
    return same and bool(np.array_equal(one.pictures[0], other.pictures[0]) and np.array_equal(one.labels, other.labels))


def difference(first: Sequence[TextureShape], second: Sequence[TextureShape], one: Condition | None) -> Difference:
    """How much more often the first is right than the second on the same pictures: over images, or over seeds x images."""
    a, b = _rights(first, one), _rights(second, one)
    if len(a) > 1:
        return seed_by_image_difference(a, b)
    return paired_proportions(a[0], b[0])


def _differences(pairs: Sequence[tuple[Any, Any]], usual: Sequence[Condition]) -> Figure:
    found: list[tuple[str, str, Difference]] = [
        (f"{a.name} minus {b.name}", "no transform" if one is None else one.label(), difference(x, y, one))
        for (a, x), (b, y) in pairs
        for one in (None, *usual)
    ]
    adjusted = holm([each.p_value for _, _, each in found])
    rows: list[dict[str, Any]] = [
        {"subject": label, "family": "other", "panel": panel, "value": each.value, **ends(each.interval), "p": p}
        for (panel, label, each), p in zip(found, adjusted, strict=True)
    ]
    sure = [row for row in rows if row["p"] < 0.05]
    widest_first = sorted(rows, key=lambda row: (row["p"] >= 0.05, -abs(row["value"])))
    drawn = list(dict.fromkeys(row["panel"] for row in widest_first))[:MOST_PAIRS]
    of_all = f"; of {len(pairs)} pairs the {MOST_PAIRS} furthest apart are drawn" if len(pairs) > MOST_PAIRS else ""
    shown = [row for row in rows if row["panel"] in drawn]
    title = "No difference stands out once all are counted"
    if sure:
        most = max(sure, key=lambda row: abs(row["value"]))
        title = f"{most['panel']}: {100 * most['value']:+.0f} points under {most['subject']}"
    return interval_dots(
        "texture-shape-differences",
        title,
        shown,
        axis=Axis("difference of accuracies (1 % is a point)", format="+.0%"),
        reference=(0.0, "no difference"),
        n=pairs[0][0][1][0].n,
        protocol=f"The same pictures, paired; {len(sure)} of {len(rows)} differences at 5 % after Holm's correction{of_all}.",
        alt="; ".join(f"{row['panel']} {row['subject']} {100 * row['value']:+.0f} points" for row in shown),
        panel="panel",
    )


def _classes(arm: tuple[Subject, Sequence[TextureShape]], usual: Sequence[Condition]) -> Figure:
    subject, seeds = arm
    rows: list[dict[str, Any]] = []
    for one in (None, *usual):
        rights = _rights(seeds, one)
        for at, name in enumerate(seeds[0].classes):
            asked = seeds[0].labels == at
            if asked.any():
                label = "no transform" if one is None else one.label()
                rows.append({"x": name, "y": label, "value": float(rights[:, asked].mean())})
    best = largest({f"{row['x']} under {row['y']}": row["value"] for row in rows if row["y"] != "no transform"})
    return heat_map(
        "texture-shape-classes",
        f"{subject.name} keeps {'every class alike' if best.equal else f'{best} best'}: {best.value:.0%}",
        rows,
        x="class",
        y="",
        value=Axis("right", domain=(0.0, 1.0), format=".0%"),
        n=f"{int(np.bincount(seeds[0].labels).min()):,} images or more a class",
        protocol="A class that stays while the others go may be what the network answers when it knows nothing.",
        alt=f"Accuracy of {subject.name} by class and transform.",
    )
