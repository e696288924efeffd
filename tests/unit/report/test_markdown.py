"""The page in Markdown, read back by the Markdown reader that makes the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import markdown
import pytest
from fake_study import accuracy, write_run, write_study

from priorscope.cli import main
from priorscope.report import write_markdown

HOSTILE = "<script>alert(1)</script> | *a* `b` [c](d) # e _f_"


def html_of(page: Path) -> ElementTree.Element:
    """The page as the documentation shows it."""
    made = markdown.markdown(page.read_text(), extensions=["tables", "fenced_code"], output_format="xhtml")
    return ElementTree.fromstring(f"<page>{made}</page>".replace("&nbsp;", " "))


def text_of(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


@pytest.fixture
def page(tmp_path: Path) -> Path:
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1, 2))
    return write_markdown([study], tmp_path / "docs" / "result.md")[0]


def test_the_first_table_holds_every_recipe_with_its_number_and_interval(page):
    table = html_of(page).find("table")
    assert table is not None
    rows = [[text_of(cell) for cell in row] for row in table.iter("tr")]
    assert rows[0][:2] == ["recipe", "seeds"]
    column = next(i for i, head in enumerate(rows[0]) if head.startswith("accuracy"))
    told = {row[0]: row[column] for row in rows[1:]}
    assert set(told) == {"mlp", "cnn"}
    assert re.fullmatch(r"50\.0% \(\d+\.\d to \d+\.\d%\)", told["mlp"])
    assert re.fullmatch(r"70\.0% \(\d+\.\d to \d+\.\d%\)", told["cnn"])


def test_numbers_of_too_few_seeds_are_marked(tmp_path):
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))
    text = write_markdown([study], tmp_path / "one.md")[0].read_text()
    assert re.search(r"48\.8%† \(", text)
    assert "† Too few seeds to speak for a family." in text


def test_every_picture_is_there_and_says_in_words_what_it_shows(page):
    pictures = list(html_of(page).iter("img"))
    assert pictures
    for picture in pictures:
        assert (page.parent / picture.attrib["src"]).read_text().startswith("<svg")
        assert picture.attrib["alt"]


def test_a_page_made_again_is_the_same_and_forgets_pictures_that_it_no_longer_shows(page, tmp_path):
    before = page.read_bytes()
    stale, *foreign = (page.with_suffix("") / name for name in ("transfer-1.svg", "diagram.svg", "gone-1.svg", "accuracy.svg"))
    for path in (stale, *foreign):
        path.write_text("<svg/>")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "out"), "--out", str(page)])
    assert ended.value.code == 0
    assert page.read_bytes() == before
    assert not stale.exists()
    assert all(path.exists() for path in foreign)


def test_what_a_recipe_is_called_stays_text(tmp_path):
    study = write_study(tmp_path / "out", {"mlp": 0.5}, seeds=(0,))
    told = accuracy(0.6, 1).model_copy(update={"caveats": (HOSTILE,)})
    write_run(study / "runs" / "cnn-s0", "cnn", 0, {"accuracy": told})
    page = html_of(write_markdown([study], tmp_path / "result.md")[0])
    assert not list(page.iter("script"))
    assert HOSTILE in text_of(page)


def test_pictures_are_found_beside_a_page_whose_name_has_a_space(tmp_path):
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))
    page = write_markdown([study], tmp_path / "my results.md")[0]
    pictures = re.findall(r"!\[.*\]\((\S+)\)", page.read_text())
    assert pictures
    assert all((page.parent / unquote(picture)).exists() for picture in pictures)


def test_an_ending_in_capitals_is_markdown_as_well(tmp_path):
    study = write_study(tmp_path / "out", {"mlp": 0.5}, seeds=(0,))
    with pytest.raises(SystemExit) as ended:
        main(["report", str(study), "--out", str(tmp_path / "README.MD")])
    assert ended.value.code == 0
    assert (tmp_path / "README.MD").read_text().startswith("# ")


def test_what_differs_is_shown_on_the_html_page_alone(tmp_path, capsys):
    study = write_study(tmp_path / "out", {"mlp": 0.5}, seeds=(0,))
    with pytest.raises(SystemExit) as ended:
        main(["report", str(study), "--out", str(tmp_path / "a.md"), "--diff", str(study)])
    assert ended.value.code == 2
    assert "--diff came with a page in Markdown." in capsys.readouterr().err
