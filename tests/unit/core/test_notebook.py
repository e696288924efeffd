"""What notebooks show: everything said, nothing run, whatever a name says."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, ClassVar

import pytest

import priorscope as ps
from priorscope.core.axis import Axis
from priorscope.core.charts import interval_dots
from priorscope.core.contracts import Metric, Result, Subject
from priorscope.core.environment import Environment, NetworkRecord
from priorscope.core.epoch import Epoch, Score
from priorscope.core.figure import Figure
from priorscope.core.notebook import ROWS, shown_run
from priorscope.core.stats import wilson
from priorscope.doctor.instruments.planted import planted_epoch

HOSTILE = "</td><script>alert('1')</script>\" onerror=\"x"


class Planted(Result):
    """One number, and as many rows as asked for."""

    probe: ClassVar[str] = "planted"
    question: ClassVar[str] = "How many?"
    measure: ClassVar[str] = "share"
    rows: int = 1
    drawn: bool = True

    def headline(self) -> str:
        return f"{self.value:.0%} of {HOSTILE}"

    def protocol(self) -> str:
        return "Every image once."

    def metrics(self) -> list[Metric]:
        rows = range(self.rows)
        return [Metric.of(f"share {k}", self.value, self.interval, self.n, HOSTILE, setting="all") for k in rows]

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Any]]) -> list[Figure]:
        ((_, result),) = results
        row = {"subject": HOSTILE, "family": "mlp", "value": result.value, "low": None, "high": None}
        told: dict[str, Any] = {"n": result.n, "protocol": result.protocol(), "alt": HOSTILE}
        return [interval_dots("dots", "Seven of ten", [row], axis=Axis("share"), **told)] if result.drawn else []


def planted(**settings: Any) -> Planted:
    given = {"value": 0.7, "interval": wilson(7, 10), "n": 10, "unit": "share of images", "caveats": ("Ten are few.",)}
    return Planted.model_validate(given | settings)


class Reader(HTMLParser):
    """The cells and the text of a piece of HTML, and the elements that it holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.open: list[str] = []
        self.cells: list[str] = []
        self.words: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag == "img":
            self.images.append(dict(attrs))
            return
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if "td" in self.open:
            self.cells[-1] += data


def test_a_result_shows_its_answer_its_numbers_its_caveats_and_its_picture():
    read = Reader(planted()._repr_html_())
    assert read.words[0] == f"70% of {HOSTILE}"
    assert read.cells == ["share 0", "all", "0.7", "[0.3968, 0.8922]", "10", HOSTILE]
    assert read.words[-2:] == ["Every image once.", "But: Ten are few."]
    assert set(read.tags) == {"div", "p", "strong", "small", "table", "thead", "tbody", "tr", "th", "td", "img"}
    (image,) = read.images
    assert image["alt"] == HOSTILE
    assert set(image) == {"src", "alt", "style"}
    svg = base64.b64decode(str(image["src"]).removeprefix("data:image/svg+xml;base64,")).decode()
    assert svg.startswith("<svg")
    assert "<script" not in svg


def test_a_front_end_finds_the_chart_the_picture_and_the_text_beside_it():
    bundle = planted()._repr_mimebundle_(include=None, exclude=None)
    kinds = list(bundle)
    assert kinds[0] == "text/html"
    assert re.fullmatch(r"application/vnd\.vegalite\.v\d\+json", kinds[1])
    assert kinds[2:] == ["image/svg+xml", "text/plain"]
    spec = bundle[kinds[1]]
    assert f"/v{kinds[1][-6]}" in spec["$schema"]
    assert spec["datasets"]["rows"][0]["value"] == 0.7
    assert bundle["text/plain"].splitlines()[1:] == [
        "metric   setting  value  interval          n   unit",
        f"share 0  all      0.7    [0.3968, 0.8922]  10  {HOSTILE}",
        "Every image once.",
        "But: Ten are few.",
    ]


def test_a_result_without_a_picture_is_shown_without_one():
    bundle = planted(drawn=False)._repr_mimebundle_()
    assert list(bundle) == ["text/html", "text/plain"]
    assert "img" not in Reader(bundle["text/html"]).tags


def test_a_long_table_is_cut_and_says_by_how_much():
    read = Reader(planted(rows=ROWS + 12)._repr_html_())
    assert read.tags["tr"] == 1 + ROWS
    assert "and 12 more rows" in read.words


RECIPE = {"model": {"name": "mlp/tiny", "width": 16}, "data": {"source": {"name": "shapetex"}}, "seed": 3}
MADE = NetworkRecord(image_size=32, num_classes=10, parameters=50442)
ENVIRONMENT = Environment(key="a", model=MADE, chosen_epoch=2, seconds=12.34)


def history(*accuracies: float) -> list[Epoch]:
    return [planted_epoch(epoch=k, val=Score(1.0, a, 10)) for k, a in enumerate(accuracies, 1)]


def test_a_run_shows_the_epoch_that_it_kept_with_its_interval():
    shown = shown_run("a-s3", RECIPE, ENVIRONMENT, history(0.5, 0.7, 0.6), ["It is right."])
    assert shown.title == "a-s3: mlp/tiny on shapetex"
    assert list(shown.rows) == [
        ("model", "width = 16"),
        ("parameters", "50,442"),
        ("seed", "3"),
        ("epochs", "3, weights of epoch 2"),
        ("val accuracy", "70.0% [39.7%, 89.2%], n = 10"),
        ("trained for", "12.3 s"),
    ]
    assert shown.notes == ["It is right."]
    assert shown.figure is not None
    assert shown.figure.title == "After 3 epochs: val 60.0%"
    assert [(row["x"], row["y"], row["end"]) for row in shown.figure.rows] == [(1, 0.5, None), (2, 0.7, None), (3, 0.6, "val")]


def test_a_run_of_no_epochs_has_no_curves():
    shown = shown_run("adopted", RECIPE, ENVIRONMENT.replace(chosen_epoch=0), [])
    assert shown.figure is None
    assert ("epochs", "0") in shown.rows


def test_a_finished_run_shows_itself(tiny, tmp_path):
    run = ps.fit(tiny, tmp_path / "a")
    bundle = run._repr_mimebundle_(include=None)
    assert bundle["text/html"] == run._repr_html_()
    assert Reader(bundle["text/html"]).words[0] == "a: mlp/tiny on shapetex"
    assert "train accuracy" in bundle["text/plain"]
    assert bundle["image/svg+xml"].startswith("<svg")


@pytest.mark.parametrize("module", ["altair", "vl_convert", "torch"])
def test_results_are_read_without_what_draws_them(module):
    code = f"import sys, priorscope.core.contracts, priorscope.core.notebook; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
