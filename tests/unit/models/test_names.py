"""Names and configs of models: two spellings of one model are one, and a wrong name meets the nearest right one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from priorscope import models
from priorscope.core.errors import RequestError


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("mlp/b12-w1024", "mlp/b12-w1024"),
        ("B_12-Wi_1024", "mlp/b12-w1024"),
        ("mlp/B_12-Wi_1024", "mlp/b12-w1024"),
        ("B_12-Wi_1024-Exp_4", "mlp/b12-w1024"),
        ("B_3-Wi_20-k_2", "mlp/b3-w20-e2"),
        ("mlp/b3-w20-e2", "mlp/b3-w20-e2"),
        ("mlp/s6-w1024", "mlp/s6-w1024"),
    ],
)
def test_spellings_of_one_mlp_are_one(spelling: str, name: str) -> None:
    assert models.family_config(spelling) == models.family_config(name)
    assert models.family_config(spelling).name == name


def test_grammars() -> None:
    assert models.family_config("mlp/b3-w20-e2").plain() == {
        "name": "mlp/b3-w20-e2",
        "resize": "bilinear",
        "form": "bottleneck",
        "blocks": 3,
        "width": 20,
        "expansion": 2,
        "norm": "layer",
        "act": "gelu",
        "dropout": 0.0,
    }
    vit = models.family_config("vit/d3-w100-p2-h5").plain()
    assert (vit["depth"], vit["width"], vit["patch"], vit["heads"]) == (3, 100, 2, 5)
    assert models.family_config("vit/d3-w192-p2").plain()["heads"] == 3
    mixer = models.family_config("mixer/d3-w96-p2").plain()
    assert (mixer["depth"], mixer["width"], mixer["patch"]) == (3, 96, 2)


def test_settings_that_came_later_leave_earlier_keys_as_they_were() -> None:
    """A run's key holds its model's config: keys of ViTs from before `qkv_bias` and `head_hidden`."""
    assert models.family_config("vit/tiny").digest() == "3049cb009d0db96a"
    assert models.family_config("vit/b16").digest() == "82df48d2a6472a41"


def test_a_table_changes_single_settings() -> None:
    config = models.family_config({"name": "cnn/resnet20", "norm": "group"})
    assert config == models.family_config("cnn/resnet20").replace(norm="group")
    assert config.digest() != models.family_config("cnn/resnet20").digest()
    assert models.family_config(config.plain()) == config


@pytest.mark.parametrize(
    ("name", "came", "do"),
    [
        ("mpl/tiny", "'mpl/tiny' is not a model.", "'mlp/tiny' (did you mean that?), or list all with: priorscope models list"),
        ("cnn/resnet81", "'cnn/resnet81' is not a model.", "'cnn/resnet18' (did you mean that?)"),
        ("swin", "'swin' is not a model.", "'swin/"),
        ("", "'' is not a model.", "list all with: priorscope models list"),
    ],
)
def test_wrong_names_meet_the_nearest_right_one(name: str, came: str, do: str) -> None:
    with pytest.raises(RequestError) as refused:
        models.family_config(name)
    assert refused.value.came == came
    assert refused.value.do.startswith(do)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(RequestError) as refused:
        models.create("mlp/tiny", image_size=32, num_classes=10, expanssion=2)
    assert refused.value.came.startswith("'expanssion' is not a setting")
    assert refused.value.do == "expansion = ... (did you mean that?)"


@pytest.mark.parametrize(
    ("name", "side", "settings", "came"),
    [
        ("vit/tiny", 30, {}, "vit/tiny cuts 30 pixels into patches of 4, which leaves a rest of 2."),
        ("vit/tiny", 32, {"heads": 3}, "vit/tiny splits width 64 over 3 heads."),
        ("swin/tiny", 32, {"heads": (3,)}, "swin/tiny has 2 depths and 1 counts of heads."),
        ("swin/v-cifar10", 16, {}, "swin/v-cifar10 halves the map until nothing is left of 16 pixels."),
        ("mixer/s16", 24, {}, "mixer/s16 cuts 24 pixels into patches of 16, which leaves a rest of 8."),
        ("cnn/tiny", 8, {}, "cnn/tiny halves the map until nothing is left of 8 pixels."),
        ("cnn/resnet18", 32, {"depths": (1, 1)}, "cnn/resnet18 has 2 depths and 4 widths."),
        ("cnn/resnet50", 32, {"shortcut": "pad"}, "cnn/resnet50 asks for shortcuts without parameters around bottlenecks."),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, side: int, settings: dict[str, object], came: str) -> None:
    with pytest.raises(RequestError) as refused:
        models.create(name, image_size=side, num_classes=10, **settings)
    assert refused.value.came == came


def test_lists_and_configs_need_neither_torch_nor_timm() -> None:
    script = (
        "import sys; from priorscope import models; assert len(models.presets()) > 40; "
        "[models.family_config(name) for name in models.presets()]; models.family_config('timm/anything'); "
        "from priorscope.models.timm_names import install; install(); "
        "assert not {'torch', 'timm', 'torchvision', 'safetensors'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "cnn/air-s", "stem": "imagenet"},
        {"name": "cnn/tiny", "block": "bottleneck"},
        {"name": "cnn/air-m", "shortcut": "pad"},
        {"name": "mlp/s6-w1024", "expansion": 2},
        "mlp/s6-w1024-e2",
        {"name": "dial/mixer", "kernel": 5},
        {"name": "dial/dense", "kernel": 1},
        {"name": "perceiver_io/v-cifar10", "patch": 4},
        {"name": "perceiver_io/v-cifar10", "bands": 4},
        {"name": "perceiver_io/v-cifar10", "max_freq": 4.0},
    ],
)
def test_a_setting_that_the_network_would_not_read_is_refused(settings: dict[str, object] | str) -> None:
    with pytest.raises(RequestError, match="which changes nothing"):
        models.family_config(settings)


def test_the_same_settings_are_read_elsewhere() -> None:
    assert models.family_config({"name": "dial/conv", "kernel": 5}).plain()["kernel"] == 5
    assert models.family_config({"name": "perceiver_io/v-cifar10", "tokens": "patches", "patch": 4}).plain()["patch"] == 4
