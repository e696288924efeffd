"""What stands beside a result: above all the command that makes it again."""

from __future__ import annotations

import shlex

import pytest

from priorscope import models
from priorscope.core.config import assign
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError
from priorscope.data import source_config
from priorscope.models.hub import save_hub
from priorscope.probes import probe_config
from priorscope.study.look import about, look, network


def test_the_command_can_be_typed_again():
    wanted = probe_config({"name": "accuracy", "views": {"name": "six", "shift": 2}, "split": "val"})
    told = about(wanted, [(Subject(name="a-s0", family="mlp"), "runs/a s0")], source_config("shapetex"), {}, other_data=False)
    words = shlex.split(told["command"])
    assert words[:4] == ["priorscope", "probe", "accuracy", "runs/a s0"]
    table = {"name": "accuracy"}
    for flag, setting in zip(words[4::2], words[5::2], strict=True):
        assert flag == "--set"
        table = assign(table, setting)
    assert probe_config(table) == wanted


@pytest.mark.parametrize(
    "source",
    [
        {"name": "cifar10"},
        {"name": "shapetex", "cue": "texture"},
        {"name": "beton", "path": "some pets.beton"},
        {"name": "folder", "path": "pets", "res": 32},
    ],
)
def test_the_data_can_be_typed_again(source):
    asked_on = source_config(source)
    told = about(probe_config("accuracy"), [(Subject(name="a", family="mlp"), "a")], asked_on, {}, other_data=True)
    *_, flag, typed = shlex.split(told["command"])
    assert flag == "--data"
    assert source_config(typed) == asked_on


def test_published_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths: list[str] = []
    for name in ("a", "b"):
        save_hub(models.create("mlp/tiny", image_size=32, num_classes=10), tmp_path / name)
        paths.append(str(tmp_path / name / "model.safetensors"))
    networks = [network(path, None) for path in paths]
    assert [one.name for one in networks] == ["a", "b"]
    (tmp_path / "linked").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "a" / name)
    assert network(str(tmp_path / "linked" / "model.safetensors"), None).name == "linked"
    with pytest.raises(RequestError, match="Two networks are called 'a'"):
        look(probe_config("accuracy"), [networks[0], networks[0]], "shapetex")
