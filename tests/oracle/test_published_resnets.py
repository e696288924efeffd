"""CIFAR ResNets of the hub: files that timm's own network saved become its logits here, with their authors' normalisation."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import priorscope as ps
from priorscope.core.errors import RequestError, WorkError
from priorscope.fitting.adoption import adopt
from priorscope.models.published import fetch_published, published_names, read_published, trained_on
from priorscope.models.published_resnets import RESNETS, known_as

NORMAL = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


@cache
def peer(name: str) -> nn.Module:
    """timm's ResNet with a 3x3 stem of stride 1 and no max-pool, running statistics and all. No test changes it."""
    architecture, _, source = name.partition("_")
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes={"cifar10": 10, "cifar100": 100}[source])
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def as_file(folder: Path, name: str) -> Path:
    torch.save(peer(name).state_dict(), folder / f"{name}.pth")
    return folder / f"{name}.pth"


def as_safetensors(folder: Path, name: str) -> Path:
    save_file(peer(name).state_dict(), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def as_folder(folder: Path, name: str) -> Path:
    """A repository as it is downloaded, with the config that timm writes."""
    (folder / name).mkdir()
    torch.save(peer(name).state_dict(), folder / name / "pytorch_model.bin")
    mean, std = NORMAL[name.partition("_")[2]]
    config = {"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {"mean": mean, "std": std}}
    (folder / name / "config.json").write_text(json.dumps(config))
    return folder / name


def as_cached(folder: Path, name: str) -> Path:
    """The hub's cache: the file is a link to a blob that has its hash for a name."""
    revision = folder / f"models--edadaltocg--{name}" / "snapshots" / "0123abcd"
    revision.mkdir(parents=True)
    blob = folder / "blob"
    torch.save(peer(name).state_dict(), blob)
    (revision / "pytorch_model.bin").symlink_to(blob)
    return revision / "pytorch_model.bin"


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("resnet18_cifar10", as_file),
        ("resnet18_cifar100", as_safetensors),
        ("resnet18_cifar10", as_folder),
        ("resnet18_cifar100", as_cached),
        pytest.param("resnet34_cifar10", as_file, marks=pytest.mark.slow),
        pytest.param("resnet50_cifar10", as_file, marks=pytest.mark.slow),
    ],
)
def test_logits_equal_timms_on_images_normalised_as_theirs(name: str, saved: Callable[..., Path], tmp_path: Path) -> None:
    model = read_published(saved(tmp_path, name)).eval()
    source = name.partition("_")[2]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMAL[source])
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(name)((x - mean) / std), rtol=1e-5, atol=1e-5)
    assert (model.name, model.num_classes, model.image_size) == (f"cnn/{name.partition('_')[0]}", len(model(x)[0]), 32)
    assert name != "resnet18_cifar10" or model.parameter_count() == 11_173_962


def test_names() -> None:
    assert sorted(RESNETS) == [f"resnet{depth}_{source}" for depth in (18, 34, 50) for source in ("cifar10", "cifar100")]
    assert all(published_names()[name] == (known.source, True) for name, known in RESNETS.items())
    assert known_as(Path("a/resnet18_cifar10/pytorch_model.bin")) == RESNETS["resnet18_cifar10"]
    assert known_as(Path("resnet18_cifar10/epoch_20")) is None
    assert known_as(Path("a/resnet18_cifar11.pth")) is None


@pytest.mark.parametrize("saved", [as_file, as_folder])
def test_a_run_is_made_of_one(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved(tmp_path, "resnet18_cifar10")
    run = adopt(path, tmp_path / "run")
    assert (run.recipe.model.name, run.recipe.data.source.name) == ("cnn/resnet18", "cifar10")
    assert run.model.statistics is not None
    assert run.model.statistics.std == pytest.approx(NORMAL["cifar10"][1])
    with torch.no_grad():
        x = torch.rand(1, 3, 32, 32)
        assert torch.equal(run.model.eval()(x), read_published(path).eval()(x))


@pytest.mark.parametrize(("trained", "theirs"), [({"epochs": 0}, True), ({"steps": 1, "batch_size": 4}, False)])
def test_taken_as_it_is_a_network_keeps_its_normalisation(trained: dict[str, int], theirs: bool, tmp_path: Path) -> None:
    """On any data: what it was trained on is not what it is looked at with. Trained further it takes that of the data."""
    recipe = {
        "data": {"source": {"name": "shapetex", "train": 20, "val": 10, "test": 10}, "augment": "none"},
        "model": "cnn/resnet18",
        "init": {"kind": "published", "published": str(as_file(tmp_path, "resnet18_cifar10"))},
        "train": trained,
    }
    run = ps.fit(ps.Recipe.of(recipe), tmp_path / "run")
    assert run.model.statistics is not None
    assert (run.model.statistics.std == pytest.approx(NORMAL["cifar10"][1])) == theirs


def test_what_does_not_fit_is_said_key_by_key(tmp_path: Path) -> None:
    state = dict(peer("resnet18_cifar10").state_dict())
    state["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    del state["layer1.0.bn1.weight"]
    state["spare"] = torch.zeros(1)
    path = tmp_path / "resnet18_cifar10.bin"
    torch.save(state, path)
    with pytest.raises(RequestError) as refused:
        read_published(path)
    assert refused.value.came == (
        f"The weights {path} do not fit cnn/resnet18: missing network.layer1.0.bn1.weight; left over network.spare; "
        "network.conv1.weight is (64, 3, 7, 7), not (64, 3, 3, 3)."
    )
    torch.save(peer("resnet18_cifar10").state_dict(), tmp_path / "resnet18_cifar100.bin")
    with pytest.raises(RequestError, match=r"network.fc.weight is \(10, 512\), not \(100, 512\)"):
        read_published(tmp_path / "resnet18_cifar100.bin")


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(peer("resnet18_cifar10"), tmp_path / "resnet18_cifar10.pth")
    with pytest.raises(RequestError, match="holds a pickled Python object"):
        read_published(tmp_path / "resnet18_cifar10.pth")


def test_a_folder_of_another_normalisation_is_refused(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, "resnet18_cifar10")
    (folder / "config.json").write_text(json.dumps({"mean": [0.5, 0.5, 0.5], "std": list(NORMAL["cifar10"][1])}))
    with pytest.raises(RequestError) as refused:
        read_published(folder)
    assert str(refused.value) == (
        f"{folder / 'config.json'} states another normalisation than that of resnet18_cifar10: mean is [0.5, 0.5, 0.5].\n"
        "  wanted: mean [0.4914, 0.4822, 0.4465] and std [0.2023, 0.1994, 0.201]\n"
        "  try:    name the folder after the network that it holds, or import its weights alone as resnet18_cifar10.bin"
    )


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refused:
        read_published(tmp_path)
    assert str(refused.value) == (
        f"The folder {str(tmp_path)!r} holds no weights.\n"
        "  wanted: model.safetensors or pytorch_model.bin in it\n"
        "  try:    name the file"
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, files_over_http: Callable[[dict[str, bytes]], str]) -> dict[str, bytes]:
    """The files, by path, of a hub on this machine."""
    files: dict[str, bytes] = {}
    monkeypatch.setenv("HF_ENDPOINT", files_over_http(files))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return files


ADDRESS = "edadaltocg/resnet18_cifar10/resolve/main/pytorch_model.bin"


def test_one_is_fetched_from_the_hub(hub: dict[str, bytes], tmp_path: Path) -> None:
    hub[ADDRESS] = as_file(tmp_path, "resnet18_cifar10").read_bytes()
    path = fetch_published("resnet18_cifar10", tmp_path / "fetched")
    assert path == tmp_path / "fetched" / "resnet18_cifar10.pth"
    assert path.read_bytes() == hub[ADDRESS]
    assert trained_on(path) == "cifar10"


def test_what_the_hub_gives_instead_is_not_kept(hub: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"resnet18_cifar10.pth could not be downloaded \(HTTPError: 404"):
        fetch_published("resnet18_cifar10", tmp_path)
    hub[ADDRESS] = b"<html>Sign in</html>"
    with pytest.raises(WorkError) as refused:
        fetch_published("resnet18_cifar10", tmp_path)
    assert refused.value.came.startswith("What came for resnet18_cifar10 is not that checkpoint: ")
    assert refused.value.do == f"open the link in a browser and put the file resnet18_cifar10.pth into {tmp_path} by hand"
    assert list(tmp_path.iterdir()) == []
