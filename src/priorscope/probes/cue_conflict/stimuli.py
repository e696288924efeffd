"""Which cue decides on pictures with one class's shape and another's texture, each a picture of its own.

Two kinds, behind `measure_cue_conflict`: the published stimuli (Geirhos et al. 2019), which only a network that knows all 16
categories is measured on as published; and pictures made from the user's own classes without a network, by a transform that
lends a picture another class's texture. The share of shape decisions among the decisions for either cue is one ratio; how many
decisions that are, and how accurate each cue alone is over all pictures, stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from priorscope.core.blocks import blocks
from priorscope.core.config import Plain
from priorscope.core.contracts import Array, Metric, Standing, Subject
from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home
from priorscope.core.metrics import answers_alone, top_k_correct
from priorscope.core.stats import NO_DECISION, Interval, bracketed, wilson
from priorscope.data.transforms import TRANSFORMS, apply
from priorscope.probes import TrainedRun, labelled_split, the_split
from priorscope.probes.cue_conflict import CueConflict, CueConflictConfig, Made
from priorscope.probes.cue_conflict.categories import (
    CATEGORIES,
    Humans,
    decided,
    imagenet_order,
    members_of,
    read_humans,
    stems_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence

Kind = Literal["published", "part of the published", "made here"]

IMAGES = 1000
BLOCK = 250
SHOWN, SHOWN_SIDE = 6, 64
PEOPLE = "people, 16 choices"
FEW = 0.2
"""A coverage below this, and the ratio describes few decisions."""

Ints = NDArray[np.int64]


class StimuliConflict(CueConflict):
    """Decisions on pictures whose cues disagree: one setting, no dial."""

    measure: ClassVar[str] = "shape share of decisions"

    salience: tuple[float, ...] = ()
    slope: float = 0.0
    kind: Kind
    source: str
    how: str
    categories: tuple[str, ...]
    side: int
    outside: float | None = None
    """Mean probability of classes that belong to none of the categories."""
    untouched: tuple[int, int] | None = None
    """(right, n) on the pictures that the shapes came from; absent for published stimuli, which come without them."""
    agreeing: tuple[int, int] | None = None
    """(right, n) where both cues are of one class: what the making itself costs."""
    humans: Humans | None = None
    shape_of: Array
    texture_of: Array
    decision: Array
    """(pictures,) numbers of categories; -1 for none."""
    pictures: Array

    def standing(self) -> Standing:
        """A part of the published protocol does not give the published number."""
        return Standing(leads=self.kind != "part of the published")

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        shape, texture, covered = self.counts()
        said = (
            f"{shape / self.n:.1%} of {self.n:,} conflicts are taken for the shape, {texture / self.n:.1%} for the texture: "
            f"shape decides {self.value:.1%}{bracketed(self.interval)} of the {covered / self.n:.1%} that either decides."
        )
        if self.kind == "part of the published":
            return f"Not the published protocol, {len(self.categories)} of its 16 categories: {said}"
        return said

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"{self.n:,} conflicts of {self.source}, {self.how}, shown at {self.side} pixels; {len(self.categories)} choices; "
            "Wilson 95 % intervals over images, of one checkpoint."
        )

    def counts(self) -> tuple[int, int, int]:
        """Decisions for the shape, for the texture, and for either."""
        shape, texture = int(self.shape.sum()), int(self.texture.sum())
        return shape, texture, shape + texture

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        shape, texture, covered = self.counts()
        rows = [Metric.of(self.measure, self.value, self.interval, covered, self.unit, setting=self.kind, split=self.source)]
        counted = {"shape accuracy": (shape, self.n), "texture accuracy": (texture, self.n), "coverage": (covered, self.n)}
        counted |= {"accuracy before": self.untouched} if self.untouched else {}
        counted |= {"accuracy, cues agree": self.agreeing} if self.agreeing else {}
        rows += [
            Metric.of(name, count / n, wilson(count, n), n, "share of images", setting=self.kind, split=self.source)
            for name, (count, n) in counted.items()
            if n
        ]
        if self.outside is not None:
            rows.append(Metric.of("probability of no category", self.outside, None, self.n, "mean", split=self.source))
        for name, hits, n in self.by_category():
            rows.append(
                Metric.of(self.measure, hits / n, wilson(hits, n), n, self.unit, setting=f"shape of {name}", split=self.source)
            )
        if self.humans:
            people, decided_either = self.humans, self.humans.shape + self.humans.texture
            if people.shares:
                each = len(people.shares)
                own = Metric.of(self.measure, people.mean(), human_interval(people), each, self.unit, setting=PEOPLE)
                rows.append(own)
            covered_by = decided_either / people.trials
            rows.append(Metric.of("coverage", covered_by, None, people.trials, "share of trials", setting="people"))
        return rows

    def by_category(self) -> list[tuple[str, int, int]]:
        """For each shape's category how often the shape decided, of how many decisions for either cue."""
        shaped, textured = self.decision == self.shape_of, self.decision == self.texture_of
        rows: list[tuple[str, int, int]] = []
        for number in np.unique(self.shape_of).tolist():
            here = self.shape_of == number
            hits, n = int((shaped & here).sum()), int(((shaped | textured) & here).sum())
            if n:
                rows.append((self.categories[number], hits, n))
        return rows

    @classmethod
    def side_by_side(cls, results: Sequence[Any]) -> NDArray[np.bool_] | None:
        """Whether each picture was taken for its shape, where all were shown the same and some were for either cue."""
        first, either = results[0], cls.which_count(results)
        if either is None or not either.any() or either.shape[1] < 2:
            return None
        return np.stack([each.decision == first.shape_of for each in results])

    @classmethod
    def which_count(cls, results: Sequence[Any]) -> NDArray[np.bool_] | None:
        """Whether each picture was taken for either of its cues."""
        cues = [np.stack([each.shape_of, each.texture_of]) for each in results]
        if not all(np.array_equal(cues[0], own) for own in cues):
            return None
        return np.stack([(each.decision == cues[0]).any(axis=0) for each in results])

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Any]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.cue_conflict.stimuli_figures import draw_all

        return draw_all(results)


def human_interval(people: Humans) -> Interval | None:
    """The interval of people's mean share, over people by Student's t; None for fewer than two."""
    from priorscope.core.stats import over_seeds

    if len(people.shares) < 2:
        return None
    found = over_seeds(people.shares)
    return found.replace(low=max(found.low, 0.0), high=min(found.high, 1.0), over="people")


def measure_stimuli(
    evidence: Evidence, data: Source | Split, run: TrainedRun | None, asked: CueConflictConfig
) -> StimuliConflict:
    """Decisions on the published stimuli, or on others of that layout."""
    from priorscope.data import open as open_source

    given = open_source(_written(asked.stimuli)) if asked.stimuli else data
    whole, side = the_split(given, "test"), evidence.model.image_size
    classes = _classes(evidence, data if asked.stimuli else None, run, whole)
    members = members_of(classes, _list_of_categories(asked.categories, asked.stimuli))
    shape, texture = (np.asarray(whole.columns[cue], np.int64) for cue in ("shape", "texture"))
    numbers = [CATEGORIES.index(name) for name in members]
    known = np.isin(shape, numbers) & np.isin(texture, numbers)
    shown = _at_side(whole.choose(np.flatnonzero(known)), side)
    choice, outside = decided(evidence.logits(shown), members)
    shape, texture = shape[known], texture[known]
    conflict = shape != texture
    if not conflict.any():
        raise RequestError("No conflict is left among the categories known.", "two categories at least", "other stimuli")
    right, full = int((choice == shape)[~conflict].sum()), len(members) == len(CATEGORIES)
    people, about_people = _people(asked.humans, given, asked.stimuli, tuple(members))
    result = _result(
        shape[conflict],
        texture[conflict],
        choice[conflict],
        kind="published" if full else "part of the published",
        source=whole.source,
        how="the decision is the category with the highest mean probability over its classes",
        categories=CATEGORIES,
        side=side,
        outside=outside,
        agreeing=(right, int((~conflict).sum())),
        humans=people,
        pictures=_looks(shown, conflict),
    )
    order = imagenet_order(classes)
    assumed = [order[1]] if order is not None and order[1] else []
    small = [f"The stimuli were made at 224 pixels and are shown at {side}."] if side < 224 else []
    told = (*result.caveats, *small, *assumed, *about_people)
    return result.model_copy(update={"caveats": told} if full else _in_part(result, tuple(members), told))


def _people(
    humans: str | None, given: Source | Split, stimuli: str | None, members: tuple[str, ...]
) -> tuple[Humans | None, list[str]]:
    """What people decided on the stimuli, and what to bear in mind beside it; nobody if no file of theirs was named."""
    if not humans:
        return None, []
    names = _names(given, stimuli)
    said = ["People chose among 16 categories whatever the network chose among."]
    if names is None:
        said.insert(0, "The stimuli have no names here: people's decisions are those on every picture of the same categories.")
    return read_humans(at_home(humans), members, names), said


def _in_part(result: StimuliConflict, members: tuple[str, ...], caveats: Sequence[str]) -> Plain:
    """What is different in a result of a network that knows a part of the 16 categories."""
    said = (
        f"This is not the published protocol: the network knows {len(members)} of 16 categories ({', '.join(members)}), so "
        f"that {result.n} of 1,200 conflicts are shown and it chooses among {len(members)}. Do not compare with "
        "published shape biases."
    )
    return {"caveats": (said, *caveats), "categories": members, **_renumbered(result, members)}


def _renumbered(result: StimuliConflict, members: tuple[str, ...]) -> dict[str, Ints]:
    """Numbers among the categories that the network knows, in place of numbers among the 16."""
    to = np.full(len(CATEGORIES) + 1, -1, np.int64)
    for number, name in enumerate(members):
        to[CATEGORIES.index(name)] = number
    return {name: to[getattr(result, name)] for name in ("shape_of", "texture_of", "decision")}


def _classes(evidence: Evidence, own: Source | Split | None, run: TrainedRun | None, shown: Split) -> Sequence[str]:
    """The names of the network's classes: its own data's, its run's, or what their number says."""
    from priorscope.data import open as open_source

    if own is not None:
        return own.classes
    if run is not None:
        return evidence.classes or open_source(run.recipe.data.source).classes
    count = evidence.model.num_classes
    if count == len(shown.classes):
        return shown.classes
    if count == 1000:
        return [str(number) for number in range(1000)]
    raise RequestError(
        f"The network answers {count} classes, and nothing says which.",
        "a finished run, 1,000 ImageNet classes, or the data that it was trained on beside the stimuli",
        "measure_cue_conflict(model, its_own_source, stimuli='cue_conflict')",
    )


def _written(stimuli: str) -> str | Plain:
    """Stimuli by their source's name or from a place: a table, or the authors' folder, which looks like any class folders."""
    place = at_home(stimuli)
    published = place.is_dir() or (place.is_file() and place.suffix == ".parquet")
    return {"name": "cue_conflict", "path": stimuli} if published else stimuli


def _names(given: Source | Split, stimuli: str | None) -> frozenset[str] | None:
    """The names of the stimuli shown, as they were published; None if there are only pictures in memory."""
    from priorscope.data import open_published
    from priorscope.data.split import Split

    if isinstance(given, Split):
        return stems_of(given.pixels)
    published = getattr(given, "of", None)
    if published is None and stimuli is not None:
        published = open_published(_written(stimuli))
    return stems_of(the_split(published, "test").pixels) if published is not None else None


def _list_of_categories(path: str | None, stimuli: str | None) -> Path | None:
    """The file given, or the one that lies beside the stimuli: where these were asked for, then in the data folder."""
    if path is not None:
        if not at_home(path).is_file():
            raise RequestError(f"There is no file {path!r}.", "a list of classes by category", "leave categories out")
        return at_home(path)
    from priorscope.data.folders import data_folder

    place = at_home(stimuli) if stimuli is not None else None
    near = [] if place is None else [place / "categories.json", place.parent / "categories.json"] if place.exists() else []
    found = (beside for beside in (*near, data_folder() / "cue-conflict" / "categories.json") if beside.is_file())
    return next(found, None)


def _at_side(split: Split, side: int) -> Split:
    """The stimuli at the network's own size, by area average when they shrink."""
    from priorscope.data.decode import squared
    from priorscope.data.split import ArrayPixels

    if split.pixels.size == (side, side):
        return split
    pixels = np.stack([squared(split.pixels.read(at), side) for at in range(len(split))])
    return replace(split, pixels=ArrayPixels(pixels), known_statistics=None, known_fingerprint=None)


def measure_made(evidence: Evidence, data: Source | Split, asked: CueConflictConfig) -> StimuliConflict:
    """Decisions on pictures made from the data's own classes: each has its own shape and another class's texture."""
    from priorscope.data.fetch import some_images
    from priorscope.data.transforms.draws import other_class

    made = asked.made or "quilting"
    chosen, index = some_images(labelled_split(data, "test", evidence), asked.images or IMAGES)
    lent = {
        "conflict": other_class(chosen.labels, index, 0, "conflict"),
        "agreeing": other_class(chosen.labels, index, 0, "agreeing", same=True),
    }
    shown = {name: _made(chosen, index, rows, made) for name, rows in lent.items()}
    choice = answers_alone(evidence.logits(shown["conflict"]))
    untouched = top_k_correct(evidence.logits(chosen), chosen.labels)
    agreeing = top_k_correct(evidence.logits(shown["agreeing"]), chosen.labels)
    result = _result(
        chosen.labels,
        chosen.labels[lent["conflict"]],
        choice,
        kind="made here",
        source=f"{chosen.source}/{chosen.name}",
        how=f"made by {made} with a picture of another class",
        categories=chosen.classes,
        side=chosen.image_size,
        untouched=(int(untouched.sum()), len(untouched)),
        agreeing=(int(agreeing.sum()), len(agreeing)),
        pictures=_looks(shown["conflict"], np.ones(len(chosen), np.bool_)),
    )
    caveats = ["These conflicts are made here, without a network: they are no published stimuli and compare with none."]
    if agreeing.mean() < 0.5 * untouched.mean():
        caveats.append(
            f"Making alone costs more than half of what is right: {agreeing.mean():.0%} where both cues agree, "
            f"{untouched.mean():.0%} before."
        )
    return result.model_copy(update={"caveats": (*caveats, *result.caveats)})


def _made(chosen: Split, index: Ints, lent: Ints, how: Made) -> Split:
    """The pictures with textures lent by others, rounded to grey levels as stored pictures are."""
    import torch

    from priorscope.data.split import ArrayPixels

    def pictures(rows: Ints) -> Tensor:
        levels = np.stack([chosen.pixels.read(int(row)) for row in rows])
        return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255

    parts: list[NDArray[np.uint8]] = []
    for rows in blocks(len(chosen), BLOCK):
        changed = apply(how, pictures(rows), index[rows], level=TRANSFORMS[how].usual, donors=pictures(lent[rows]))
        parts.append((changed * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return replace(
        chosen,
        name=f"{how} of {chosen.name}",
        pixels=ArrayPixels(np.concatenate(parts)),
        columns={"shape": chosen.labels, "texture": chosen.labels[lent]},
        known_statistics=None,
        known_fingerprint=None,
    )


def _looks(split: Split, which: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A few of the pictures, made smaller where they are large."""
    from priorscope.data.decode import squared

    side = min(split.image_size, SHOWN_SIDE)
    return np.stack([squared(split.pixels.read(int(row)), side) for row in np.flatnonzero(which)[:SHOWN]])


def _result(shape_of: Ints, texture_of: Ints, decision: Ints, **about: Any) -> StimuliConflict:
    shaped, textured = decision == shape_of, decision == texture_of
    covered, n = int((shaped | textured).sum()), len(decision)
    caveats: list[str] = []
    if not covered:
        caveats.append("No decision was for either cue: the share is not known, and stands at one half with no evidence.")
    elif covered / n < FEW:
        caveats.append(f"Only {covered / n:.0%} of the decisions are for either cue: the share describes few of them.")
    fields: dict[str, Any] = {
        "value": float(shaped.sum() / covered) if covered else 0.5,
        "interval": wilson(int(shaped.sum()), covered) if covered else NO_DECISION,
        "n": n,
        "unit": "share of decisions",
        "caveats": tuple(caveats),
        "shape": np.array([shaped.sum()]),
        "texture": np.array([textured.sum()]),
        "shape_of": shape_of,
        "texture_of": texture_of,
        "decision": decision,
    }
    return StimuliConflict(**fields, **about)
