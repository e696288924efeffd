"""Functions that users name in their own code."""

from __future__ import annotations

import sys

import pytest

from priorscope.core.errors import RequestError
from priorscope.core.imports import made_by

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "my_own_net.py").write_text(
        "WIDTH = 3\n\n\ndef made():\n    return 7\n\n\ndef wrong():\n    return object().nothing\n\n\n"
        "def absent():\n    return open('no/such/file')\n",
        encoding="utf-8",
    )
    (tmp_path / "my_ill_net.py").write_text("raise ValueError('width is 3')\n", encoding="utf-8")
    (tmp_path / "my_poor_net.py").write_text("import no_such_thing\n", encoding="utf-8")
    yield
    sys.modules.pop("my_own_net", None)


def test_a_module_of_the_current_folder_is_found():
    assert made_by("my_own_net:made") == 7


@pytest.mark.parametrize(
    "factory", ["my_own_net:missing", "no_such_module:made", "my_own_net", ":made", ".own:made", "no.such:made"]
)
def test_what_is_not_there_is_said(factory):
    with pytest.raises(RequestError, match="is not found"):
        made_by(factory)


def test_what_cannot_be_called_is_said():
    with pytest.raises(RequestError) as caught:
        made_by("my_own_net:WIDTH")
    assert caught.value.came == "'my_own_net:WIDTH' is of type int, which cannot be called."
    assert caught.value.do == "name a function in my_own_net that returns it"


def test_an_error_of_the_user_s_own_keeps_its_place():
    with pytest.raises(AttributeError, match="nothing"):
        made_by("my_own_net:wrong")


@pytest.mark.parametrize(
    ("module", "said"), [("my_ill_net", "ValueError: width is 3"), ("my_poor_net", "ModuleNotFoundError: No module named")]
)
def test_a_module_that_is_there_and_fails_is_said_to_fail(module, said):
    with pytest.raises(RequestError, match=f"The module '{module}' is there and fails: {said}"):
        made_by(f"{module}:made")


def test_an_error_of_the_system_is_marked_as_the_user_s_own():
    with pytest.raises(FileNotFoundError) as caught:
        made_by("my_own_net:absent")
    assert caught.value.__notes__ == ["raised in your own code, my_own_net:absent"]
