"""The cue conflict on stimuli: the published rule, planted deciders, people, and conflicts made from one's own classes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.seeds import difference_of_families, interval_of_seeds
from priorscope.core.stats import Interval
from priorscope.data.sources.cue_conflict import CLASSES
from priorscope.data.split import ArrayPixels, Split
from priorscope.probes import load_result
from priorscope.probes.cue_conflict import CueConflict, CueConflictConfig, measure_cue_conflict
from priorscope.probes.cue_conflict.categories import IMAGENET, decided, imagenet_members, members_of, read_humans, stems_of
from priorscope.probes.cue_conflict.stimuli import StimuliConflict

from .planted import Planted

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Sized:
    """As much of a model as the probe asks about."""

    image_size = 16

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes


class Decider(Planted):
    """A planted decider among given classes; `decide(split)` gives the class's number."""

    def __init__(self, decide, classes: int = 16) -> None:
        super().__init__(decide)
        self.model = Sized(classes)

    def logits(self, split, views=None):
        assert views is None
        return 10 * np.eye(self.model.num_classes, dtype=np.float32)[self.decide(split)]


@pytest.fixture(scope="module")
def stimuli() -> Split:
    """Every pair of the 16 categories twice, as plain pictures."""
    shape, texture = (cue.ravel() for cue in np.indices((16, 16)))
    shape, texture = np.tile(shape, 2), np.tile(texture, 2)
    pictures = np.zeros((512, 16, 16, 3), np.uint8)
    return Split("cue_conflict", "test", ArrayPixels(pictures), shape, CLASSES, {"shape": shape, "texture": texture})


def by(cue: str):
    return lambda split: np.asarray(split.columns[cue])


@pytest.mark.parametrize(("cue", "share"), [("shape", 1.0), ("texture", 0.0)])
def test_planted_deciders_read_one_and_zero_on_the_published_protocol(stimuli, cue, share):
    result = measure_cue_conflict(Decider(by(cue)), stimuli)
    assert isinstance(result, StimuliConflict)
    assert (result.value, result.n, result.kind) == (share, 480, "published")
    assert result.counts() == ((480, 0, 480) if cue == "shape" else (0, 480, 480))
    assert result.agreeing == (32, 32)
    assert result.interval.width > 0
    assert not any("not the published protocol" in caveat for caveat in result.caveats)


def test_a_network_that_knows_seven_categories_is_never_called_published(stimuli):
    number = {CLASSES.index({"automobile": "car", "ship": "boat"}.get(name, name)): at
              for at, name in enumerate(CIFAR10) if name not in ("deer", "frog", "horse")}  # fmt: skip

    def texture(split):
        return np.array([number[one] for one in split.columns["texture"]])

    own = Split("cifar10", "test", ArrayPixels(np.zeros((10, 16, 16, 3), np.uint8)), np.arange(10), CIFAR10)
    result = measure_cue_conflict(Decider(texture, 10), _Source(own), stimuli=_opened(stimuli))
    assert (result.value, result.n, result.kind) == (0.0, 7 * 6 * 2, "part of the published")
    assert result.categories == ("airplane", "bird", "boat", "car", "cat", "dog", "truck")
    assert result.headline().startswith("Not the published protocol, 7 of its 16 categories:")
    assert "This is not the published protocol: the network knows 7 of 16 categories" in result.caveats[0]
    assert {name for name, _, _ in result.by_category()} == set(result.categories)
    assert (result.decision == result.texture_of).all()


class _Source:
    """A source of one split."""

    caveats = ()
    origin = ""

    def __init__(self, split: Split) -> None:
        self.name, self.classes, self._split = split.source, split.classes, split

    def splits(self):
        return ("test",)

    def split(self, name):  # noqa: ARG002  there is one
        return self._split


@pytest.fixture(autouse=True)
def _named_stimuli(monkeypatch):
    """`stimuli="made"` opens what `_opened` was given, in place of a data set on the disk."""
    import priorscope.data

    usual = priorscope.data.open
    monkeypatch.setattr(
        priorscope.data, "open", lambda what: _OPENED[what] if isinstance(what, str) and what in _OPENED else usual(what)
    )


_OPENED: dict[str, _Source] = {}


def _opened(split: Split) -> str:
    _OPENED["made"] = _Source(split)
    return "made"


def test_the_rule_is_the_mean_over_the_authors_list():
    """A cat class at 0.3 loses to the only knife class at 0.1, because a cat's mean is over six classes."""
    probability = np.full((1, 1000), 1e-6)
    probability[0, 281], probability[0, 499] = 0.3, 0.1
    members = members_of([str(number) for number in range(1000)], None)
    choice, outside = decided(np.log(probability), members)
    assert CLASSES[choice[0]] == "knife"
    assert 0 <= outside < 0.01
    assert decided(np.full((1, 1000), np.nan), members)[0].tolist() == [-1]
    assert decided(np.full((1, 1000), 0.3), members)[0].tolist() == [-1], "all categories are equally probable"


def test_the_authors_list_is_that_of_timm_s_wnids(tmp_path):
    """The file beside the real stimuli lists wnids; timm knows their places among the 1,000: every one is in our list."""
    timm = pytest.importorskip("timm")
    from pathlib import Path

    synsets = (Path(timm.__file__).parent / "data" / "_info" / "imagenet_synsets.txt").read_text().split()
    place = {wnid: at for at, wnid in enumerate(synsets)}
    listed = {"bear": ["n02132136"], "bottle": ["n02823428", "n03937543", "n03983396", "n04560804"],
              "car": ["n02814533", "n03100240", "n04285008"], "chair": ["n04099969"], "elephant": ["n02504458"],
              "truck": ["n03796401", "n03977966"], "oven": ["n04111531"], "knife": ["n03041632"],
              "clock": ["n02708093", "n03196217", "n04548280"], "airplane": ["n02690373"],
              "bicycle": ["n02835271", "n03792782"], "keyboard": ["n03085013", "n04505470"]}  # fmt: skip
    for category, wnids in listed.items():
        assert {place[wnid] for wnid in wnids} <= set(imagenet_members(category)), category
    every = [at for category in IMAGENET for at in imagenet_members(category)]
    assert len(every) == len(set(every))
    (tmp_path / "c.json").write_text(json.dumps({"categories": list(CLASSES), "wnids": listed}))
    assert set(members_of(["n02132136", "n04099969", "n00000001"], tmp_path / "c.json")) == {"bear", "chair"}


def test_people_are_filtered_to_the_same_pairs(tmp_path, stimuli):
    rows = ["subj,session,trial,rt,object_response,category,condition,imagename",
            "a,1,1,0.5,cat,cat,0,0001_cue_cat1-dog2.png",
            "a,1,2,0.5,dog,cat,0,cat1-dog2.png",
            "a,1,3,0.5,cat,cat,0,cat1-cat2.png",
            "a,1,4,0.5,knife,cat,0,cat1-knife2.png",
            "b,1,1,0.5,cat,cat,0,cat3-dog1.png",
            "b,1,2,NaN,na,cat,0,dog3-cat1.png"]  # fmt: skip
    path = tmp_path / "people.csv"
    path.write_text("\n".join(rows))
    some = read_humans(path, ("cat", "dog"))
    assert (some.subjects, some.trials, some.shape, some.texture) == (2, 4, 2, 1)
    assert some.shares == (0.5, 1.0)
    assert read_humans(tmp_path, CLASSES).trials == 5
    result = measure_cue_conflict(Decider(by("shape")), stimuli, humans=str(path))
    assert "People chose among 16 categories whatever the network chose among." in result.caveats
    assert "people, 16 choices" in result.table()
    (tmp_path / "people.csv").write_text("subj,imagename\na,cat1-dog1.png\n")
    with pytest.raises(WorkError, match="lacks a column"):
        read_humans(path, CLASSES)


def test_people_are_filtered_to_the_stimuli_that_are_shown(tmp_path):
    """Three pictures lie in the folder; people also judged a fourth of the same pair, which is not shown."""
    from PIL import Image

    folder = tmp_path / "stimuli"
    for name in ("cat1-dog2", "dog1-cat1", "cat2-cat1"):
        (folder / name[:3]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(folder / name[:3] / f"{name}.png")
    rows = ["subj,object_response,imagename",
            "a,cat,0001_cue_cat1-dog2.png", "a,cat,cat1-dog2.png", "a,cat,dog1-cat1.png", "b,dog,cat1-dog2.png",
            "b,cat,cat9-dog9.png", "b,cat,cat9-dog9.png"]  # fmt: skip
    people = tmp_path / "people.csv"
    people.write_text("\n".join(rows))
    own = Split("mine", "test", ArrayPixels(np.zeros((16, 16, 16, 3), np.uint8)), np.arange(16), CLASSES)
    result = measure_cue_conflict(Decider(by("shape")), _Source(own), stimuli=str(folder), humans=str(people))
    assert (result.humans.trials, result.humans.shape, result.humans.texture) == (4, 2, 2)
    assert not any("The stimuli have no names here" in caveat for caveat in result.caveats)
    told = next(row for row in result.metrics() if row.setting == "people, 16 choices")
    assert told.value == pytest.approx((2 / 3 + 0 / 1) / 2), "each person once: pooled it would be 2 of 4"
    assert told.n == 2
    assert told.low <= told.value <= told.high
    share = [2 / 3, 0.0]
    half = 12.7062047 * np.std(share, ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom
    assert (told.low, told.high) == (max(np.mean(share) - half, 0), min(np.mean(share) + half, 1))


def test_a_table_of_stimuli_knows_their_names(tmp_path):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from priorscope.data import open_published

    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    rows = [{"bytes": picture.getvalue(), "path": f"cat/{name}.png"} for name in ("cat1-dog2", "cat3-car1")]
    pq.write_table(pa.table({"image": rows, "shape": ["cat", "cat"], "texture": ["dog", "car"]}), tmp_path / "s.parquet")
    pixels = open_published({"name": "cue_conflict", "path": str(tmp_path)}).split("test").pixels
    assert stems_of(pixels) == {"cat1-dog2", "cat3-car1"}
    nameless = [{"bytes": row["bytes"], "path": None} for row in rows]
    pq.write_table(pa.table({"image": nameless, "shape": ["cat", "cat"], "texture": ["dog", "car"]}), tmp_path / "s.parquet")
    assert stems_of(open_published({"name": "cue_conflict", "path": str(tmp_path)}).split("test").pixels) is None


def test_the_list_of_categories_is_looked_for_beside_the_stimuli_first(tmp_path, monkeypatch):
    from priorscope.probes.cue_conflict.stimuli import _list_of_categories

    usual, own = tmp_path / "data" / "cue-conflict", tmp_path / "own"
    for place in (usual, own):
        place.mkdir(parents=True)
        (place / "categories.json").write_text("{}")
    (own / "stimuli.parquet").write_bytes(b"")
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    assert _list_of_categories(None, str(own)) == own / "categories.json"
    assert _list_of_categories(None, str(own / "stimuli.parquet")) == own / "categories.json"
    assert _list_of_categories(None, "cue_conflict") == usual / "categories.json"
    assert _list_of_categories(None, None) == usual / "categories.json"


def test_a_thousand_classes_are_imagenet_s_only_where_their_names_allow_it(stimuli):
    wnids = [f"n{10_000_000 + 7 * at}" for at in range(1000)]
    turned = members_of(wnids[::-1], None)
    assert turned["knife"] == [999 - 499], "wnids say their order themselves"
    named = [f"class {at}" for at in range(1000)]
    for at, name in {0: "tench, Tinca tinca", 404: "Airliner", 499: "cleaver", 766: "rotisserie", 999: "toilet_tissue"}.items():
        named[at] = name
    assert members_of(named, None)["knife"] == [499]
    with pytest.raises(RequestError, match="0 categories of the stimuli are known"):
        members_of([f"thing {at}" for at in range(1000)], None)
    others = [f"thing {at}" for at in range(998)] + ["cat", "dog"]
    assert members_of(others, None) == {"cat": [998], "dog": [999]}

    def shape(split):
        return np.array([imagenet_members(CLASSES[one])[0] for one in split.columns["shape"]])

    result = measure_cue_conflict(Decider(shape, 1000), stimuli)
    assert any("1,000 classes without names are taken for ImageNet's" in caveat for caveat in result.caveats)


def own_world(classes: int = 4, n: int = 80) -> Split:
    labels = np.arange(n) % classes
    pictures = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), np.uint8)
    return Split("mine", "test", ArrayPixels(pictures), labels, tuple("abcdefgh"[:classes]))


@pytest.mark.parametrize("made", ["quilting", "phase-swap", "histogram"])
@pytest.mark.parametrize(("cue", "share"), [("shape", 1.0), ("texture", 0.0)])
def test_planted_deciders_read_one_and_zero_on_conflicts_made_of_own_classes(made, cue, share):
    def decide(split):
        return np.asarray(split.columns.get(cue, split.labels))

    result = measure_cue_conflict(Decider(decide, 4), own_world(), made=made)
    assert (result.value, result.kind, result.n) == (share, "made here", 80)
    assert (result.shape_of != result.texture_of).all()
    assert result.untouched == (80, 80)
    assert result.agreeing == (80, 80)
    assert f"made by {made}" in result.protocol()
    assert "These conflicts are made here" in result.caveats[0]


def test_equal_logits_decide_for_neither_of_the_classes_of_a_made_conflict():
    class Flat(Decider):
        def logits(self, split, views=None):
            return np.zeros_like(super().logits(split, views))

    result = measure_cue_conflict(Flat(lambda split: split.labels, 4), own_world())
    assert (result.decision == -1).all()
    assert (result.value, result.interval.low, result.interval.high) == (0.5, 0, 1)


def test_a_decider_by_neither_cue_says_that_nothing_is_known():
    world = own_world()

    def neither(split):
        if not split.columns:
            return split.labels
        taken = [set(pair) for pair in zip(split.columns["shape"].tolist(), split.columns["texture"].tolist(), strict=True)]
        return np.array([min(set(range(4)) - pair) for pair in taken])

    result = measure_cue_conflict(Decider(neither, 4), world)
    assert (result.value, result.interval.low, result.interval.high) == (0.5, 0, 1)
    assert any("No decision was for either cue" in caveat for caveat in result.caveats)
    assert any("Making alone costs more than half" in caveat for caveat in result.caveats)
    figures = result.charts()
    assert [figure.name for figure in figures] == ["shape-share-made-here", "shape-and-texture", "cue-conflict-stimuli"]
    assert figures[0].title == "No decision was for either cue"
    assert all(figure.svg().startswith("<svg") for figure in figures)


def test_titles_rank_what_differs_alone(stimuli):
    def half(split):
        return np.where(split.columns["shape"] < 8, split.columns["shape"], split.columns["texture"])

    shape, torn = (measure_cue_conflict(Decider(decide), stimuli) for decide in (by("shape"), half))

    def titles(**results: StimuliConflict) -> list[str]:
        named = [(Subject(name=name, family="mlp"), result) for name, result in results.items()]
        return [figure.title for figure in CueConflict.draw(named)]

    answered, first_half = "100% of the conflicts with either cue (guessing: 12%)", ", ".join(CLASSES[:3])
    assert titles(a=shape)[:3] == [
        "a decides by shape in 100%",
        f"a answers {answered}",
        "Shape decides 100%, whatever the category",
    ]
    assert titles(a=shape, b=shape)[:2] == ["a and b each decide by shape in 100%", f"a and b answer {answered}"]
    assert titles(a=shape, b=torn)[0] == "a decides by shape in 100%, b in 50%"
    assert titles(b=torn)[2] == f"Shape decides most often where it is of {first_half} and 5 others: 100%"


def test_seeds_that_saw_the_same_pictures_are_no_surer_than_the_pictures(stimuli):
    """Two families that decide alike, by pictures that pull both ways: over seeds alone one in seven pairs is told apart."""
    draw, covered, apart = np.random.default_rng(0), 0, 0
    kept = stimuli.choose(np.flatnonzero(stimuli.columns["shape"] != stimuli.columns["texture"]))
    one = measure_cue_conflict(Decider(by("shape")), kept)
    for _ in range(100):
        families = []
        for _ in range(2):
            pull, tells = draw.normal(0, 1.5, one.n), draw.normal(0, 1, one.n)
            families.append([])
            for _ in range(5):
                lean = pull + draw.normal(0, 0.1) + draw.normal(0, 0.7, one.n)
                decided = tells + draw.normal(0, 0.7, one.n) < 0.3
                decision = np.where(decided, np.where(lean > 0, one.shape_of, one.texture_of), -1)
                families[-1].append(seed_of(one, decision))
        interval = interval_of_seeds(families[0])
        assert interval.over == "seeds x images"
        covered += interval.contains(0.5)
        apart += difference_of_families(*families).p_value < 0.05
    assert covered >= 95
    assert apart <= 7


def seed_of(result: StimuliConflict, decision: np.ndarray) -> StimuliConflict:
    """The result of a network that decides so."""
    shape, texture = (np.array([(decision == cue).sum()]) for cue in (result.shape_of, result.texture_of))
    value = float(shape[0] / (shape + texture)[0]) if (shape + texture)[0] else 0.5
    return result.model_copy(update={"decision": decision, "shape": shape, "texture": texture, "value": value})


def test_the_picture_has_the_interval_of_the_sentence_and_none_decided_is_no_fault(stimuli):
    one = measure_cue_conflict(Decider(by("shape")), stimuli)
    half = np.where(np.arange(one.n) % 2, one.shape_of, one.texture_of)
    seeds = [seed_of(one, np.roll(half, at)) for at in range(3)]
    subjects = [Subject(name=f"a-s{at}", family="a", recipe="a", seed=at) for at in range(3)]
    row = CueConflict.draw(list(zip(subjects, seeds, strict=True)))[0].rows[0]
    interval = interval_of_seeds(seeds)
    assert (row["low"], row["high"]) == (interval.low, interval.high)
    assert StimuliConflict.side_by_side([one, seed_of(one, half).model_copy(update={"shape_of": one.texture_of})]) is None
    unknown = Interval(low=0, high=1, method="no decision", over="images")
    none = interval_of_seeds([seed_of(one, np.full(one.n, -1)).model_copy(update={"interval": unknown})] * 3)
    assert (none.low, none.high) == (pytest.approx(0), pytest.approx(1))


def test_it_is_stored_and_drawn_beside_the_dial_s(tmp_path, stimuli):
    result = measure_cue_conflict(Decider(by("shape")), stimuli)
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, StimuliConflict)
    assert isinstance(back, CueConflict)
    assert back.table() == result.table()
    names = ["shape-share-published", "shape-and-texture", "shape-share-by-category", "cue-conflict-stimuli"]
    assert [figure.name for figure in back.charts()] == names
    subject = Subject(name="a", family="cnn", recipe="a")
    for figure in CueConflict.draw([(subject, back), (subject, result)]):
        assert figure.svg().startswith("<svg")


def test_wrong_requests_are_refused(stimuli):
    with pytest.raises(RequestError, match="answers 7 classes, and nothing says which"):
        measure_cue_conflict(Decider(by("shape"), 7), stimuli)
    with pytest.raises(RequestError, match="0 categories of the stimuli are known"):
        measure_cue_conflict(Decider(by("shape"), 4), _Source(own_world()), stimuli=_opened(stimuli))
    agreeing = stimuli.choose(np.flatnonzero(stimuli.columns["shape"] == stimuli.columns["texture"]))
    with pytest.raises(RequestError, match="No conflict is left"):
        measure_cue_conflict(Decider(by("shape")), agreeing)
    with pytest.raises(RequestError, match="There is no file"):
        measure_cue_conflict(Decider(by("shape")), stimuli, categories="nowhere.json")


def test_the_config_of_a_shapetex_study_is_what_it_was():
    """Stored results keep their keys: what is not set is left out of the plain config."""
    assert set(CueConflictConfig().plain()) == {"name", "salience"}
