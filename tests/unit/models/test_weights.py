"""Files of weights: read without running them, and every misfit said key by key."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError, WorkError
from priorscope.models.building import load_weights
from priorscope.models.classifier import Classifier
from priorscope.models.weights import read_tensors


def create() -> Classifier:
    return models.create("mlp/b1-w4", image_size=2, num_classes=3)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("under", [None, "state_dict", "model"])
def test_state_dicts_are_found(prefix: str, under: str | None, tmp_path: Path) -> None:
    tensors = {f"{prefix}a": torch.ones(2), f"{prefix}b": torch.zeros(1)}
    torch.save({under: tensors, "epoch": 3} if under else tensors, tmp_path / "w.pt")
    assert sorted(read_tensors(tmp_path / "w.pt")) == ["a", "b"]


def test_a_pickled_module_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(RequestError) as refused:
        read_tensors(path)
    assert str(refused.value) == (
        f"{path} holds a pickled Python object, not only tensors: opening it would run code from the file.\n"
        "  wanted: a state dict, or safetensors\n"
        "  try:    in the program that made it: torch.save(model.state_dict(), 'weights.pt'), then import that file"
    )


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_bare_pickle_is_refused_too(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": Counter(b=1)}, protocol))
    with pytest.raises(RequestError, match="holds a pickled Python object"):
        read_tensors(tmp_path / "w.pkl")


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 torn"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_damaged_files_are_said_to_be(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkError, match="are damaged"):
        read_tensors(tmp_path / name)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "w.pt")
    with pytest.raises(RequestError, match="holds no state dict"):
        read_tensors(tmp_path / "w.pt")
    with pytest.raises(RequestError, match="There is no file"):
        read_tensors(tmp_path / "x.pt")


def test_a_classifiers_file_brings_its_normalisation(tmp_path: Path) -> None:
    statistics = Statistics(mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25))
    model = models.create("mlp/b1-w4", image_size=2, num_classes=3, statistics=statistics, seed=1).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    other = models.create("mlp/b1-w4", image_size=2, num_classes=3, weights=tmp_path / "w.safetensors").eval()
    assert other.statistics == statistics
    x = torch.rand(2, 3, 2, 2)
    assert torch.equal(other(x), model(x))


def test_a_bare_networks_file_keeps_the_models_normalisation(tmp_path: Path) -> None:
    statistics = Statistics(mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25))
    network = create().network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    model = models.create(
        "mlp/b1-w4", image_size=2, num_classes=3, statistics=statistics, weights=tmp_path / "w.safetensors", seed=9
    )
    assert model.statistics == statistics
    assert all(torch.equal(value, model.network.state_dict()[key]) for key, value in network.state_dict().items())


def test_misfits_are_said_key_by_key(tmp_path: Path) -> None:
    model = create()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tensors: dict[str, Tensor] = dict(model.network.state_dict())
    del tensors["linear_in.bias"]
    tensors["linear_out.weight"] = torch.zeros(4, 4)
    tensors["extra"] = torch.zeros(1)
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    with pytest.raises(RequestError) as refused:
        load_weights(model, path)
    assert refused.value.came == (
        f"The weights {path} do not fit mlp/b1-w4: missing network.linear_in.bias; left over network.extra; "
        "network.linear_out.weight is (4, 4), not (3, 4)."
    )
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
