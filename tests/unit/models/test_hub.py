"""Models as folders of the hub's layout, ours and timm's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.models.hub import load_hub, save_hub
from priorscope.train.init import Stored

STATISTICS = Statistics(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.mark.parametrize("name", ["mlp/tiny", "cnn/tiny", "vit/tiny", "swin/tiny", "mixer/tiny"])
def test_a_folder_gives_back_the_model(name: str, tmp_path: Path) -> None:
    model = models.create(name, image_size=24, num_classes=3, input_size=32, statistics=STATISTICS, seed=5).eval()
    folder = save_hub(model, tmp_path / "m", classes=("a", "b", "c"))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text())["classes"] == ["a", "b", "c"]
    again = load_hub(folder).eval()
    x = torch.rand(2, 3, 24, 24)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert again.config == model.config
    assert again.statistics == STATISTICS


@pytest.mark.parametrize(
    "name",
    [
        "vit/tiny",
        "swin/tiny",
        "mixer/s16",
        "timm/test_vit",
        "timm/resnet10t",
        {"name": "vit/tiny", "pool": "avg", "qkv_bias": False},
    ],
)
def test_timm_opens_the_folder_where_it_has_the_network(name: str | dict[str, str], tmp_path: Path) -> None:
    """timm builds the network from our config and reads our weights; it wants its pictures resized and normalised."""
    model = models.create(name, image_size=32, num_classes=3, input_size=64, statistics=STATISTICS, seed=5).eval()
    folder = save_hub(model, tmp_path / "m", classes=("a", "b", "c"))
    peer = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    told = timm.data.resolve_model_data_config(peer)
    assert (tuple(told["input_size"]), told["crop_pct"], peer.num_classes) == ((3, 64, 64), 1.0, 3)
    assert peer.pretrained_cfg["label_names"] == ["a", "b", "c"]
    x = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(told[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(peer((x - mean) / std), model.network((x - model.mean) / model.std))
        again, y = load_hub(folder).eval(), torch.rand(2, 3, 32, 32)
        assert torch.equal(again(y), model(y))


@pytest.mark.parametrize(
    ("name", "body"), [("vit/tiny", "blocks.0.attn.qkv.weight"), ("timm/resnet10t", "layer1.0.conv1.weight")]
)
def test_timm_gives_the_folder_another_head(name: str, body: str, tmp_path: Path) -> None:
    model = models.create(name, image_size=32, num_classes=3, seed=5)
    peer = timm.create_model(f"local-dir:{save_hub(model, tmp_path / 'm')}", pretrained=True, num_classes=2)
    assert torch.equal(peer.get_parameter(body), model.network.get_parameter(body))
    assert peer.get_classifier().weight.shape[0] == 2


@pytest.mark.parametrize(
    "name",
    [
        *("mlp/tiny", "cnn/tiny", "mixer/tiny", "perceiver/tiny"),
        {"name": "vit/tiny", "permute": {"seed": 1}},
        {"name": "vit/tiny", "head_hidden": 8},
    ],
)
def test_nothing_is_promised_of_timm_where_it_has_not_the_network(name: str | dict[str, object], tmp_path: Path) -> None:
    """A Mixer of another size than the paper's cannot be asked of timm; pixels out of order and a deeper head are ours."""
    model = models.create(name, image_size=32, num_classes=3, statistics=STATISTICS, seed=5).eval()
    folder = save_hub(model, tmp_path / "m")
    assert not {"architecture", "model_args", "pretrained_cfg"} & set(json.loads((folder / "config.json").read_text()))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_hub(folder).eval()(x), model(x))


@pytest.mark.parametrize("family", [family for family in models.FAMILIES if family not in ("timm", "dial")])
def test_every_family_comes_back(family: str, tmp_path: Path) -> None:
    model = models.create(f"{family}/tiny", image_size=32, num_classes=4, statistics=STATISTICS, seed=2).eval()
    again = load_hub(save_hub(model, tmp_path / "m")).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


def test_a_folder_of_timms_opens(tmp_path: Path) -> None:
    peer = timm.create_model("test_vit", num_classes=4, img_size=32).eval()
    save_for_hf(peer, tmp_path)
    model = load_hub(tmp_path).eval()
    x = torch.rand(2, 3, model.image_size, model.image_size)
    mean, std = (torch.tensor(peer.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    assert model.num_classes == 4
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer((x - mean) / std))


@pytest.mark.parametrize("kind", ["local-dir", "hf-hub"])
def test_a_network_that_began_at_a_place_opens_without_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place says how timm's network is made, for images of 32 pixels; it is gone afterwards."""
    from timm.models import _hub

    args = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 7, "drop_rate": 0.1}
    peer = timm.create_model("test_vit", img_size=32, **args)
    save_for_hf(peer, tmp_path / "there", model_args={**args, "img_size": 32})
    place = f"local-dir:{tmp_path / 'there'}" if kind == "local-dir" else "hf-hub:somebody/small"
    monkeypatch.setattr(_hub, "download_from_hf", lambda _model, file, **_others: str(tmp_path / "there" / file))
    model = models.create(f"timm/{place}", image_size=32, num_classes=3, statistics=STATISTICS, input_size=64, seed=5).eval()
    folder = save_hub(model, tmp_path / "m")
    shutil.rmtree(tmp_path / "there")
    again, x = load_hub(folder).eval(), torch.rand(2, 3, 32, 32)
    assert again.config is not None
    told = again.config.plain()
    assert (told["name"], told["input_size"], told["pretrained"], told["args"]["depth"]) == ("timm/test_vit", 64, False, 2)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
        y = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(y), model.network(y))


@pytest.mark.parametrize("name", ["num_classes", "drop_rate", "pretrained"])
def test_settings_of_timms_that_ours_say_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match=rf"timm/test_vit came with args\.{name}, which is said elsewhere"):
        models.family_config({"name": "timm/test_vit", "args": {name: 1}})


@pytest.mark.parametrize("name", ["dial/tiny", "dial/dense", "dial/attention", "perceiver_io/v-cifar10"])
def test_a_body_made_for_other_classes_comes_back_with_its_new_head(name: str, tmp_path: Path) -> None:
    """Widths that depend on the number of classes stay those that the weights were trained at."""
    model = models.create(name, image_size=32, num_classes=3, statistics=STATISTICS, seed=2).eval()
    weights = save_hub(model, tmp_path / "before") / "model.safetensors"
    model.replace_head(90, seed=0)
    again, x = load_hub(save_hub(model, tmp_path / "after")).eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert again.config == model.config != models.family_config(name)
    tuned = models.create(again.config, image_size=32, num_classes=90, statistics=STATISTICS, seed=1).eval()
    Stored(weights, 3).put_into(tuned, seed=1)
    with torch.no_grad():
        assert torch.equal(tuned.features(x), model.features(x))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(RequestError, match="is neither ours nor timm's"):
        load_hub(tmp_path)


def test_a_network_of_ones_own_is_refused(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    with pytest.raises(RequestError, match="no config says how to build it again"):
        save_hub(models.wrap(network, image_size=4, classes=5), tmp_path)
