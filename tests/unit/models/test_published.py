"""Published checkpoints: the registry, the files as published, and what is said where something is missing or does not fit."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
import torch

from priorscope import models
from priorscope.core.config import Plain
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError, WorkError
from priorscope.models.hub import load_hub, save_hub
from priorscope.models.published import (
    CIFAR10,
    IMAGENET,
    REGISTRY,
    fetch_published,
    read_published,
    trained_on,
)

CONFIG: Plain = {"model": "BottleneckMLP", "architecture": "B_6-Wi_512", "normalization": "layer", "crop_resolution": 64}


def put(folder: Path, name: str, config: Plain | None, tensors: dict[str, torch.Tensor], config_name: str = "") -> Path:
    if config is not None:
        (folder / (config_name or f"{name}_config")).write_text(json.dumps({**config, "epochs": 20}))
    torch.save(tensors, folder / f"{name}_weights")
    return folder / f"{name}_weights"


def state(name: str, side: int, classes: int, **settings: object) -> dict[str, torch.Tensor]:
    return models.create(name, image_size=side, num_classes=classes, seed=3, **settings).network.state_dict()


def test_the_registry_is_the_published_one() -> None:
    assert len(REGISTRY) == 16
    assert {key: entry.file for key, entry in REGISTRY.items() if key.startswith("B_12-Wi_512")} == {
        "B_12-Wi_512_res_64_in21k": "B-12_Wi-512_res_64_imagenet21_epochs_600",
        "B_12-Wi_512_res_64_in21k_cifar10": "B-12_Wi-512_res_64_cifar10_epochs_20",
        "B_12-Wi_512_res_64_in21k_cifar100": "B-12_Wi-512_res_64_cifar100_epochs_20",
        "B_12-Wi_512_res_64_in21k_imagenet": "B-12_Wi-512_res_64_imagenet_epochs_20",
    }
    large = {key.rpartition("_")[2]: entry.file.rpartition("_")[2] for key, entry in REGISTRY.items() if "B_12-Wi_1024" in key}
    assert large == {"in21k": "800", "cifar10": "20", "cifar100": "40", "imagenet": "50"}
    assert all(entry.config_file.endswith(("imagenet21_epochs_800", "imagenet21_epochs_600")) for entry in REGISTRY.values())


def test_a_fine_tuned_file_takes_the_pretrained_config(tmp_path: Path) -> None:
    tensors = state("mlp/b6-w512", 64, 10)
    weights = put(
        tmp_path,
        "B-6_Wi-512_res_64_cifar10_epochs_20",
        CONFIG,
        tensors,
        config_name="B-6_Wi-512_res_64_imagenet21_epochs_800_config",
    )
    model = read_published(weights).eval()
    assert (model.name, model.image_size, model.input_size, model.num_classes) == ("mlp/b6-w512", 32, 64, 10)
    assert model.resize == "area"
    assert model.statistics == CIFAR10
    assert all(torch.equal(tensors[key], value) for key, value in model.network.state_dict().items())
    x = torch.rand(2, 3, 32, 32)
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(model.prepare(x), (doubled - model.mean) / model.std)


def test_a_pretrained_file_becomes_a_folder(tmp_path: Path) -> None:
    weights = put(tmp_path, "B-6_Wi-512_res_64_imagenet_epochs_20", CONFIG, state("mlp/b6-w512", 64, 1000))
    model = load_hub(save_hub(read_published(weights), tmp_path / "out"))
    assert (model.image_size, model.input_size, model.num_classes) == (64, 64, 1000)
    assert model.statistics == IMAGENET


@pytest.mark.parametrize(
    ("config", "name", "settings"),
    [
        ({"normalization": "batch", "dataset": "cifar10"}, "mlp/b2-w16", {"norm": "batch"}),
        ({"model": "MLP", "dataset": "stl10"}, "mlp/s2-w16", {}),
        ({"normalization": "none"}, "mlp/b2-w16", {"norm": "none"}),
    ],
)
def test_a_training_runs_file_is_read_with_its_config(config: Plain, name: str, settings: Plain, tmp_path: Path) -> None:
    config = {**CONFIG, "architecture": "B_2-Wi_16", "crop_resolution": 32, **config}
    tensors = state(name, 32, 10, **settings)
    weights = put(tmp_path, "epoch_20_compute_1", config, tensors, config_name="config.txt")
    model = read_published(weights)
    assert model.name == name
    assert (model.statistics is None) == ("dataset" not in config)
    assert all(torch.equal(tensors[key], value) for key, value in model.network.state_dict().items())


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    weights = put(tmp_path, "B-6_Wi-512_res_64_cifar10_epochs_20", None, {"a": torch.zeros(1)})
    with pytest.raises(RequestError) as refused:
        read_published(weights)
    assert str(refused.value) == (
        f"{weights} has no config beside it.\n"
        "  wanted: one of: B-6_Wi-512_res_64_cifar10_epochs_20_config, "
        "B-6_Wi-512_res_64_imagenet21_epochs_800_config, config.txt; "
        "or the name of a network that needs none (resnet18_cifar10.pth, ...)\n"
        f"  try:    put the published config into {tmp_path}"
    )


def test_missing_settings_are_named(tmp_path: Path) -> None:
    weights = put(tmp_path, "x", {"model": "MLP", "architecture": "B_2-Wi_8"}, {"a": torch.zeros(1)})
    with pytest.raises(RequestError, match=r"x_config lacks: normalization, crop_resolution\."):
        read_published(weights)


def test_unknown_models_are_named(tmp_path: Path) -> None:
    weights = put(tmp_path, "x", {**CONFIG, "model": "ViT"}, {"a": torch.zeros(1)})
    with pytest.raises(RequestError, match="names the model 'ViT'"):
        read_published(weights)


def test_keys_that_do_not_fit_are_named(tmp_path: Path) -> None:
    config = {**CONFIG, "architecture": "B_2-Wi_8", "crop_resolution": 4}
    tensors = state("mlp/b2-w8", 4, 5)
    tensors["blocks.1.block.0.weight"] = torch.zeros(3, 8)
    del tensors["layernorms.0.bias"]
    weights = put(tmp_path, "x", config, tensors)
    with pytest.raises(RequestError) as refused:
        read_published(weights)
    assert refused.value.came == (
        f"The weights {weights} do not fit mlp/b2-w8: missing network.layernorms.0.bias; "
        "network.blocks.1.block.0.weight is (3, 8), not (32, 8)."
    )
    weights = put(tmp_path, "y", config, {"head.weight": torch.zeros(1)})
    with pytest.raises(RequestError, match=r"has no key linear_out.weight; it has head.weight"):
        read_published(weights)


def test_a_registered_file_must_answer_its_classes(tmp_path: Path) -> None:
    weights = put(tmp_path, "B-6_Wi-512_res_64_cifar100_epochs_20", CONFIG, {"linear_out.weight": torch.zeros(10, 512)})
    with pytest.raises(RequestError, match=r"answers 10 classes: linear_out.weight is \(10, 512\)"):
        read_published(weights)


def test_our_own_export_is_ours_whatever_its_folder_is_called(tmp_path: Path) -> None:
    own = Statistics(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    model = models.create("cnn/resnet18", image_size=32, num_classes=10, statistics=own)
    for name in ("plain", "resnet18_cifar10"):
        save_hub(model, tmp_path / name)
        assert read_published(tmp_path / name).statistics == own
        assert trained_on(tmp_path / name / "model.safetensors") is None


def test_resnets_are_known_by_name_and_hash(tmp_path: Path) -> None:
    tensors = {
        f"module.{key.replace('fc.', 'linear.')}": value
        for key, value in state("cnn/resnet20", 32, 10).items()
        if "num_batches" not in key
    }
    torch.save({"state_dict": tensors, "best_prec1": 91.7}, tmp_path / "raw.th")
    digits = hashlib.sha256((tmp_path / "raw.th").read_bytes()).hexdigest()[:8]
    path = (tmp_path / "raw.th").rename(tmp_path / f"resnet20-{digits}.th")
    model = read_published(path)
    assert model.statistics == IMAGENET
    assert torch.equal(model.network.fc.weight, tensors["module.linear.weight"])
    with pytest.raises(WorkError, match=f"is damaged: its sha256 begins with {digits}"):
        read_published(path.rename(tmp_path / "resnet20-00000000.th"))


def test_fetching_says_what_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="leads to another checkpoint's file"):
        fetch_published("B_6-Wi_512_res_64_in21k_imagenet", tmp_path)
    with pytest.raises(RequestError, match="is not a published checkpoint"):
        fetch_published("B_6-Wi_512_res_64_in21k_cifar11", tmp_path)
    with pytest.raises(WorkError, match="could not be downloaded"):
        fetch_published("B_6-Wi_512_res_64_in21k_cifar10", tmp_path, link="http://127.0.0.1:1/{}")


def published_files() -> dict[str, bytes]:
    """A small file of weights that fits its config, as the two links would give them."""
    buffer = io.BytesIO()
    torch.save(state("mlp/b6-w512", 64, 10), buffer)
    return {
        "1VjHgjheSm_w7xPtheEmY5kV_KE4-38zQ": buffer.getvalue(),
        "1Fjf4RA_yUXHgHncb9GIlf9zBNAJ-8giv": json.dumps(CONFIG).encode(),
    }


def test_fetching_puts_files_under_their_published_names(tmp_path: Path, files_over_http) -> None:
    served = published_files()
    path = fetch_published("B_6-Wi_512_res_64_in21k_cifar10", tmp_path, link=files_over_http(served) + "/{}")
    assert path.read_bytes() == served["1VjHgjheSm_w7xPtheEmY5kV_KE4-38zQ"]
    assert read_published(path).name == "mlp/b6-w512"
    assert (tmp_path / "B-6_Wi-512_res_64_imagenet21_epochs_800_config").is_file()


def test_what_is_no_checkpoint_is_not_kept(tmp_path: Path, files_over_http) -> None:
    """A page that asks to sign in comes with status 200, as a file does; the next try must download again."""
    served = published_files() | {"1VjHgjheSm_w7xPtheEmY5kV_KE4-38zQ": b"<html>Sign in</html>"}
    link = files_over_http(served) + "/{}"
    with pytest.raises(WorkError, match="is not that checkpoint"):
        fetch_published("B_6-Wi_512_res_64_in21k_cifar10", tmp_path, link=link)
    assert list(tmp_path.iterdir()) == []
    served.update(published_files())
    assert fetch_published("B_6-Wi_512_res_64_in21k_cifar10", tmp_path, link=link).is_file()
