"""What a study asks of its data and devices and can never have is refused before anything is trained."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from priorscope.core.errors import RequestError
from priorscope.data import conversion
from priorscope.study.askable import check_askable
from priorscope.study.plan import make_plan
from priorscope.study.run import run_study
from priorscope.study.study import Study

WORLD = {"name": "shapetex", "train": 20, "val": 10, "test": 10}


def study(base: dict[str, Any], probe: dict[str, Any]) -> Study:
    values = {"name": "made", "question": "?", "base": {"data": {"source": WORLD}, "model": "mlp/tiny", **base}}
    return Study.parse({**values, "recipes": {"a": {}, "b": {}}, "probes": [{"name": "accuracy", **probe}]})


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of 12 pictures in two classes, of which no part is test; val is a tenth of them."""
    for kind in ("cat", "dog"):
        (tmp_path / "pets/train" / kind).mkdir(parents=True)
        for at in range(6):
            grey = np.full((16, 16, 3), 20 * at, np.uint8)
            Image.fromarray(grey).save(tmp_path / "pets/train" / kind / f"{at}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize(
    ("base", "probe", "step", "came"),
    [
        ({}, {"split": "tset"}, "accuracy of a-s0 (", "'tset' is not a split of shapetex"),
        ({}, {"data": {"name": "shapetex", "cue": "shape"}, "split": "dev"}, "accuracy of a-s0 (", "'dev' is not a split"),
        ({"train": {"track": ["tset"]}}, {}, "train a-s0'", "'tset' is not a split of shapetex"),
        ({"data": {"source": WORLD, "subset": 21}}, {}, "train a-s0'", "data.subset = 21 came with 20 training pictures."),
        ({"train": {"precision": "tf32"}}, {}, "train a-s0'", "train.precision = 'tf32' came with the device cpu"),
    ],
)
def test_what_a_study_can_never_do_is_refused_and_leaves_no_trace(
    base: dict[str, Any], probe: dict[str, Any], step: str, came: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError) as refused:
        run_study(study(base, probe), tmp_path / "out")
    assert refused.value.came.startswith(f"'{step}")
    assert f" and 1 more step cannot be done: {came}" in refused.value.came
    assert not (tmp_path / "out" / "study.toml").exists()


BESIDE = {"a": {"model": "mlp/tiny"}, "odd": {"model": "mlp/tiny"}}


@pytest.mark.parametrize(
    ("model", "came"),
    [
        ({"name": "vit/tiny", "patch": 5}, "vit/tiny cuts 32 pixels into patches of 5, which leaves a rest of 2."),
        ({"name": "vit/tiny", "heads": 3}, "vit/tiny splits width 64 over 3 heads."),
        ({"name": "swin/tiny", "heads": [3, 5]}, "Stage 1 of swin/tiny splits width 96 over 5 heads."),
        ({"name": "swin/tiny", "heads": [3]}, "swin/tiny has 2 depths and 1 counts of heads."),
        ({"name": "swin/v-cifar10", "patch": 8}, "swin/v-cifar10 halves the map until nothing is left of 32 pixels."),
        ({"name": "mixer/tiny", "patch": 7}, "mixer/tiny cuts 32 pixels into patches of 7, which leaves a rest of 4."),
        ({"name": "mixer/tiny", "input_size": 30}, "mixer/tiny cuts 30 pixels into patches of 4, which leaves a rest of 2."),
        ({"name": "tnt/tiny", "patch": 12}, "tnt/tiny cuts 32 pixels into patches of 12, which leaves a rest of 8."),
        ({"name": "tnt/tiny", "pixel": 3}, "tnt/tiny cuts patches of 8 pixels into squares of 3."),
        ({"name": "perceiver/tiny", "patch": 3}, "perceiver/tiny cuts 32 pixels into patches of 3, which leaves a rest of 2."),
        ({"name": "perceiver_io/tiny", "patch": 3}, "perceiver_io/tiny cuts 32 pixels into patches of 3"),
        ({"name": "dial/mixer", "patch": 5}, "dial/mixer cuts 32 pixels into patches of 5, which leaves a rest of 2."),
        ({"name": "dial/dense", "budget": 1000}, "dial/dense cannot have 1,000 parameters at 32 pixels: the nearest are "),
        ({"name": "cnn/tiny", "widths": [8] * 5, "depths": [1] * 5}, "cnn/tiny halves the map until nothing is left of 32"),
        ({"name": "cnn/tiny", "widths": [8]}, "cnn/tiny has 3 depths and 1 widths."),
        ({"name": "mlp/tiny", "permute": {"patch": 5}}, "Pixels were to change places within patches of 5, and the backbone"),
        ({"name": "mlp/tiny", "input_size": 16, "resize": "none"}, "The images have side 32 and the backbone wants 16"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_before_anything_is_trained(
    model: dict[str, Any], came: str, tmp_path: Path
) -> None:
    values = {"name": "made", "question": "?", "base": {"data": {"source": WORLD}}, "probes": [{"name": "accuracy"}]}
    with pytest.raises(RequestError) as refused:
        check_askable(make_plan(Study.parse({**values, "recipes": {**BESIDE, "odd": {"model": model}}}), tmp_path))
    assert came in refused.value.came
    assert "odd" in refused.value.came


def test_the_side_of_pictures_is_known_without_opening_them(tmp_path: Path) -> None:
    """A side inside is enough where the pictures' own is not known; what only they can tell is not asked."""
    for source, patch, fits in (
        ({"name": "cifar10"}, 8, True), ({"name": "cifar10"}, 12, False), ({"name": "stl10"}, 12, True),
        ({"name": "folder", "path": "no/where", "res": 24}, 12, True),
        ({"name": "folder", "path": "no/where", "res": 24}, 16, False),
        ({"name": "folder", "path": "no/where"}, 5, True),
    ):  # fmt: skip
        made = study({"data": {"source": source}, "model": {"name": "vit/tiny", "patch": patch}}, {})
        if fits:
            check_askable(make_plan(made, tmp_path))
        else:
            with pytest.raises(RequestError, match=f"pixels into patches of {patch}"):
                check_askable(make_plan(made, tmp_path))


def test_a_network_is_checked_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from priorscope.study.askable import check_askable; "
        "from priorscope.study.plan import make_plan; from priorscope.study.study import Study; "
        "check_askable(make_plan(Study.load('quickstart'), Path(sys.argv[1]))); assert not {'torch', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("base", "probe"),
    [
        ({}, {"split": "conflict@0.2"}),
        ({"train": {"track": ["val", "conflict"]}}, {"split": "val"}),
        ({"data": {"source": WORLD, "subset": 20}}, {}),
        ({"train": {"precision": "tf32", "device": "cuda"}}, {}),
        ({"data": {"source": {"name": "folder", "path": "no/where"}}}, {"split": "tset"}),
    ],
)
def test_what_can_be_done_or_is_not_here_to_be_asked_is_planned(
    base: dict[str, Any], probe: dict[str, Any], tmp_path: Path
) -> None:
    check_askable(make_plan(study(base, probe), tmp_path))


def test_a_folder_that_has_no_test_part_is_told_of_before_all_steps(pets: Path, tmp_path: Path) -> None:
    own = {"data": {"source": {"name": "folder", "path": str(pets)}}}
    with pytest.raises(RequestError) as refused:
        check_askable(make_plan(study(own, {}), tmp_path))
    assert refused.value.came.startswith("'accuracy of a-s0' and 1 more step cannot be done: pets has no test")
    assert refused.value.do.startswith('split = "val"')
    check_askable(make_plan(study(own, {"split": "val"}), tmp_path))


def test_pictures_are_counted_where_they_are_listed(pets: Path, tmp_path: Path) -> None:
    """12 in all, of which val has one."""
    conversion.convert(str(pets), tmp_path / "pets.beton", split="all")
    for source in ({"name": "folder", "path": str(pets)}, {"name": "beton", "path": str(tmp_path / "pets.beton")}):
        check_askable(make_plan(study({"data": {"source": source, "subset": 11}}, {"split": "train"}), tmp_path))
        with pytest.raises(RequestError, match=r"data\.subset = 12 came with 11 training pictures\."):
            check_askable(make_plan(study({"data": {"source": source, "subset": 12}}, {"split": "train"}), tmp_path))


def test_a_val_that_cannot_be_held_back_is_refused(pets: Path, tmp_path: Path) -> None:
    """Of 12 pictures in two classes 10 can be; where test and val are published, none."""
    source = {"name": "folder", "path": str(pets)}
    check_askable(make_plan(study({"data": {"source": {**source, "val": 10}}}, {"split": "val"}), tmp_path))
    with pytest.raises(RequestError, match=r"^'train a-s0' and 3 more .*: val = 12 came with pets, of whose 12 .* 10 can"):
        check_askable(make_plan(study({"data": {"source": {**source, "val": 12}}}, {"split": "val"}), tmp_path))
    for part in ("val", "test"):
        shutil.copytree(pets / "train", pets / part)
    with pytest.raises(RequestError, match=r"^'train a-s0' .* val = 2 came with pets, whose splits are as they were"):
        check_askable(make_plan(study({"data": {"source": {**source, "val": 2}}}, {"split": "val"}), tmp_path))
